//! What others write to our commands: messages of a measurement, requests, addresses in links, and
//! what to forward. One function per parser; it returns, whatever the bytes.
//!
//! Fuzz targets of the same names call these, and so does a test, on random bytes and on damaged
//! valid ones. Where something can be said of the result, it is asserted.

/// A parser under test.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Name of the fuzz target.
    pub name: &'static str,
    /// Takes any bytes.
    pub run: fn(&[u8]),
    /// Valid inputs, to start from.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Every parser.
pub const TARGETS: &[Target] = &[
    Target { name: "perf", run: crate::perf::probe::run, seeds: crate::perf::probe::seeds },
    Target { name: "plot", run: crate::plot::probe::run, seeds: crate::plot::probe::seeds },
    Target { name: "httpd", run: crate::httpd::probe::run, seeds: crate::httpd::probe::seeds },
    Target { name: "fetch", run: crate::fetch::probe::run, seeds: crate::fetch::probe::seeds },
    Target {
        name: "mapping",
        run: crate::forward::probe::run,
        seeds: crate::forward::probe::seeds,
    },
];

/// Runs the target of that name.
///
/// # Panics
/// When there is no such target, or the parser is wrong.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target's name");
    (target.run)(bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parsers_take_their_valid_input_whole_and_cut_off_anywhere() {
        for target in TARGETS {
            for seed in (target.seeds)() {
                for end in 0..=seed.len() {
                    (target.run)(&seed[..end]);
                }
            }
        }
    }

    #[test]
    fn every_parser_has_a_fuzz_target() {
        let targets = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/fuzz_targets");
        for target in TARGETS {
            let path = format!("{targets}/{}.rs", target.name);
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(text.contains(&format!("\"{}\"", target.name)), "{path}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn parsers_take_random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for target in TARGETS {
                (target.run)(&bytes);
            }
        }

        #[test]
        fn parsers_take_damaged_input(
            choice in any::<prop::sample::Index>(),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            for target in TARGETS {
                let seeds = (target.seeds)();
                let mut bytes = choice.get(&seeds).clone();
                for (at, value) in &damage {
                    let at = at.index(bytes.len());
                    bytes[at] = *value;
                }
                (target.run)(&bytes);
            }
        }
    }
}
