#![no_main]

use std::cell::RefCell;

use libnet::link::Medium;
use tools::dissect::summary::Summary;
use tools::dissect::{Detail, Dissector};

thread_local! {
    // Kept across inputs: flows remembered from one frame must not break the next.
    static DISSECTOR: RefCell<Dissector> = RefCell::new(Dissector::new(detail()));
}

fn detail() -> Detail {
    Detail { link_header: true, verbosity: 1, absolute_seqs: false }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut line = String::new();
    for medium in [Medium::Ethernet, Medium::Ip] {
        DISSECTOR.with_borrow_mut(|dissector| {
            dissector.line(medium, bytes, bytes.len() + 7, &mut line);
        });
        assert!(!line.contains('\u{1b}'), "nothing received reaches the terminal raw");
        Summary::of(medium, bytes).to_json();
    }
});
