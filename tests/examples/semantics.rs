//! Runs the semantics suite: prints every case in which our sockets do not do what the host's do.
//!
//! ```text
//! cargo run -p rumpnet-tests --example semantics              all cases
//! cargo run -p rumpnet-tests --example semantics -- linger    those whose name contains the text
//! ```
//! As root the host's side has a network namespace of its own, else it uses the host's loopback.
//! The status is 1 if anything differs that is not known to (`tests/conformance/semantics.toml`).

use std::process::ExitCode;

use libnet::socket::Family;
use rumpnet_tests::semantics::cases::TABLES;
use rumpnet_tests::semantics::difference::{Verdict, judge};
use rumpnet_tests::semantics::host::Host;
use rumpnet_tests::semantics::known::{Known, known};
use rumpnet_tests::semantics::node::Node;
use rumpnet_tests::semantics::{Case, Net};

fn main() -> ExitCode {
    let part = std::env::args().nth(1).unwrap_or_default();
    let four = Host::best();
    let mut wrong = compare_all(&four, &part);
    match four.six() {
        Ok(six) => wrong += compare_all(&six, &part),
        Err(error) => println!("not over IPv6: {error}"),
    }
    if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The cases whose name contains `part`, over the host's family; how many are not as they should be.
fn compare_all(host: &Host, part: &str) -> usize {
    let family = host.family();
    let subjects: Vec<Box<dyn Net>> = vec![
        Box::new(Node::sockin(host).expect("the host's sockets can be had")),
        Box::new(Node::loopback(family).expect("a stack can be made")),
        Box::new(Node::bus(family).expect("a bus can be made")),
    ];
    let known = known();
    let all = TABLES.iter().flat_map(|(_, cases)| *cases);
    let chosen = all
        .filter(|case| case.name.contains(part) && (host.is_closed() || !case.wants_closed_net))
        .filter(|case| family == Family::Inet || !case.is_ipv4_only);
    let (mut ran, mut wrong) = (0, 0);
    for case in chosen {
        ran += 1;
        wrong += compare(case, host, &subjects, &known);
    }
    let over = subjects.len();
    println!("{ran} cases of {family} over {over} subjects: {wrong} are not as they should be");
    wrong
}

/// Prints how the subjects differ from the host in a case; how many do that should not.
fn compare(case: &Case, host: &Host, subjects: &[Box<dyn Net>], known: &[Known]) -> usize {
    let oracle = case.transcript(host, None);
    let mut wrong = 0;
    for subject in subjects {
        let (what, text) = match judge(case, host, &oracle, &**subject, known) {
            Verdict::Same => continue,
            Verdict::Meant(text) => ("differs, as it is meant to", text),
            Verdict::Differs(text) => ("DIFFERS", text),
            Verdict::NoLongerDiffers => ("NO LONGER DIFFERS, but is listed", String::new()),
            Verdict::Broken(text) => ("IS BROKEN on the host", text),
        };
        wrong += usize::from(!what.contains("meant"));
        println!("{} ({}) {what}\n{text}", case.name, subject.name());
    }
    wrong
}
