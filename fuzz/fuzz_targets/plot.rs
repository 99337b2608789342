#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tools::parsers::run("plot", bytes));
