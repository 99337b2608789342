//! Parsers of bytes from outside return, whatever the bytes: random ones, and valid ones damaged.
//! `scripts/fuzz` runs the same targets for longer.

use std::collections::BTreeSet;
use std::path::Path;

use proptest::prelude::*;
use rumpnet_tests::parsers::TARGETS;

/// Inputs per target; `PARSER_CASES` sets another number.
fn cases() -> u32 {
    std::env::var("PARSER_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(256)
}

#[test]
fn parsers_take_their_valid_input() {
    for target in TARGETS {
        for seed in (target.seeds)() {
            (target.run)(&seed);
        }
    }
}

#[test]
fn parsers_take_valid_input_cut_off_anywhere() {
    for target in TARGETS {
        for seed in (target.seeds)() {
            for end in 0..seed.len().min(2_000) {
                (target.run)(&seed[..end]);
            }
        }
    }
}

#[test]
fn every_parser_has_a_fuzz_target() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the root");
    let found: BTreeSet<String> = std::fs::read_dir(root.join("fuzz/fuzz_targets"))
        .expect("the folder of fuzz targets")
        .map(|entry| entry.expect("an entry").path())
        .filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
        .collect();
    for target in TARGETS {
        assert!(found.contains(target.name), "no fuzz/fuzz_targets/{}.rs", target.name);
    }
    let manifest = std::fs::read_to_string(root.join("fuzz/Cargo.toml")).expect("its manifest");
    for name in found {
        assert!(
            manifest.contains(&format!("name = \"{name}\"")),
            "{name} is not in fuzz/Cargo.toml"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn parsers_take_random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        for target in TARGETS {
            (target.run)(&bytes);
        }
    }

    #[test]
    fn parsers_take_damaged_input(
        choice in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        for target in TARGETS {
            let seeds = (target.seeds)();
            let mut bytes = choice.get(&seeds).clone();
            for (at, value) in &damage {
                let at = at.index(bytes.len());
                bytes[at] = *value;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            (target.run)(&bytes);
        }
    }
}
