#![no_main]

use std::str::FromStr;

use tools::impair::ImpairSpec;

// `loss=2%,delay=10ms` as people type it; what is shown of it can be typed again.
libfuzzer_sys::fuzz_target!(|text: &str| {
    match ImpairSpec::from_str(text) {
        Ok(spec) => {
            let shown = spec.to_string();
            if shown != "none" {
                let again = ImpairSpec::from_str(&shown);
                assert!(again.is_ok(), "{shown}: {again:?}");
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
