#![no_main]

use libnet::InterfaceSpec;
use libnet::world::{LinkConfig, World};
use rumpnet::Stack;
use tools::inside::{self, Inside};
use tools::output::Output;
use tools::signals::{Asked, Interrupts};

// Command lines that a client has a node run: ip, ss, netstat, impair, ping and the like, one after
// the other in one stack, in virtual time.
libfuzzer_sys::fuzz_target!(|text: &str| {
    let world = World::new(1);
    let segment = world.segment(LinkConfig::default());
    let spec = InterfaceSpec::new(segment.next_link()).addr("10.0.0.1/24").addr("fd00::1/64");
    let stack = Stack::builder().interface(spec).start_in(&world.host("node")).expect("it starts");
    for line in text.lines().take(8) {
        let argv: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        // What would go on for ever is stopped when it begins.
        let (asker, interrupts) = Interrupts::from_afar();
        asker.ask(Asked::Stop);
        let mut inside = Inside {
            stack: stack.clone(),
            name: "fuzz".to_owned(),
            output: Output::over(std::io::sink()),
            errors: Box::new(std::io::sink()),
            interrupts,
        };
        if let Err(failure) = inside::run(&argv, &mut inside) {
            assert!(failure.line().is_none_or(|line| !line.trim().is_empty()), "{line}");
        }
    }
});
