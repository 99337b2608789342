#![no_main]

use std::str::FromStr;

use tools::ifspec::IfSpec;

libfuzzer_sys::fuzz_target!(|text: &str| {
    match IfSpec::from_str(text) {
        Ok(spec) => assert!(!spec.path.as_os_str().is_empty()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
