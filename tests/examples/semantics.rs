//! Runs the semantics suite: prints every case in which our sockets do not do what the host's do.
//!
//! ```text
//! cargo run -p rumpnet-tests --example semantics              all cases
//! cargo run -p rumpnet-tests --example semantics -- linger    those whose name contains the text
//! ```
//! As root the host's side has a network namespace of its own, else it uses the host's loopback.
//! The status is 1 if anything differs.

use std::process::ExitCode;

use rumpnet_tests::semantics::cases::TABLES;
use rumpnet_tests::semantics::difference::side_by_side;
use rumpnet_tests::semantics::host::Host;
use rumpnet_tests::semantics::node::Node;
use rumpnet_tests::semantics::{BROKEN, Case, Net};

fn main() -> ExitCode {
    let part = std::env::args().nth(1).unwrap_or_default();
    let host = Host::isolated().unwrap_or_else(|error| {
        println!("no namespace of its own ({error}): on the host's loopback");
        Host::plain()
    });
    let subjects: Vec<Box<dyn Net>> = vec![
        Box::new(Node::loopback().expect("a stack can be made")),
        Box::new(Node::bus().expect("a bus can be made")),
    ];
    let chosen = TABLES.iter().flat_map(|(_, cases)| *cases).filter(|c| c.name.contains(&part));
    let (mut ran, mut differ) = (0, 0);
    for case in chosen {
        ran += 1;
        differ += compare(case, &host, &subjects);
    }
    println!("{ran} cases over {} subjects: {differ} transcripts differ", subjects.len());
    if differ == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// How many subjects differ from the host in a case; prints those.
fn compare(case: &Case, host: &Host, subjects: &[Box<dyn Net>]) -> usize {
    let oracle = case.transcript(host, None);
    if oracle.iter().any(|line| line == BROKEN) {
        println!("{}: broken on the host\n    {}", case.name, oracle.join("\n    "));
    }
    let mut differ = 0;
    for subject in subjects {
        let ours = case.transcript(&**subject, Some(&oracle));
        if ours != oracle {
            differ += 1;
            println!("{}\n{}", case.name, side_by_side(("host", &oracle), (subject.name(), &ours)));
        }
    }
    differ
}
