//! Runs the semantics suite: prints every case in which our sockets do not do what the host's do.
//!
//! ```text
//! cargo run -p rumpnet-tests --example semantics              all cases
//! cargo run -p rumpnet-tests --example semantics -- linger    those whose name contains the text
//! ```
//! As root the host's side has a network namespace of its own, else it uses the host's loopback.
//! The status is 1 if anything differs that is not known to (`tests/conformance/semantics.toml`).

use std::process::ExitCode;

use rumpnet_tests::semantics::cases::TABLES;
use rumpnet_tests::semantics::difference::{Verdict, judge};
use rumpnet_tests::semantics::host::Host;
use rumpnet_tests::semantics::known::{Known, known};
use rumpnet_tests::semantics::node::Node;
use rumpnet_tests::semantics::{Case, Net};

fn main() -> ExitCode {
    let part = std::env::args().nth(1).unwrap_or_default();
    let host = Host::best();
    let subjects: Vec<Box<dyn Net>> = vec![
        Box::new(Node::sockin(&host).expect("the host's sockets can be had")),
        Box::new(Node::loopback().expect("a stack can be made")),
        Box::new(Node::bus().expect("a bus can be made")),
    ];
    let known = known();
    let all = TABLES.iter().flat_map(|(_, cases)| *cases);
    let chosen = all
        .filter(|case| case.name.contains(&part) && (host.is_closed() || !case.wants_closed_net));
    let (mut ran, mut wrong) = (0, 0);
    for case in chosen {
        ran += 1;
        wrong += compare(case, &host, &subjects, &known);
    }
    println!("{ran} cases over {} subjects: {wrong} are not as they should be", subjects.len());
    if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
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
