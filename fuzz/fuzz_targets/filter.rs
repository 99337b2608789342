#![no_main]

use libnet::link::Medium;
use tools::dissect::summary::Summary;
use tools::filter::Filter;

libfuzzer_sys::fuzz_target!(|input: (String, Vec<u8>)| {
    let (text, frame) = input;
    let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
    if let Ok(Some(filter)) = Filter::from_words(&words) {
        filter.matches(&Summary::of(Medium::Ethernet, &frame));
    }
});
