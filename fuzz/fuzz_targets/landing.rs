#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rumpnet_tests::parsers::run("landing", bytes));
