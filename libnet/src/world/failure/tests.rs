//! The command and the folder that a failed test is told, from how its program was started.

use super::*;

/// A run of a program of this very package.
fn run(program: &str, test: Option<&str>) -> Run {
    Run {
        package: Some("rumpnet-net".to_owned()),
        manifest: Some(PathBuf::from(env!("CARGO_MANIFEST_DIR"))),
        program: PathBuf::from(program),
        test: test.map(str::to_owned),
        failures: None,
        caches: None,
    }
}

#[test]
fn the_command_names_package_target_test_and_seed() {
    let unit = run("target/debug/deps/libnet-0123456789abcdef", Some("world::tests::late"));
    assert_eq!(
        unit.command(42),
        "RUMPNET_SEED=0x2a cargo test -p rumpnet-net --lib -- --exact world::tests::late"
    );
    let mut integration = run("target/debug/deps/worlds-0123456789abcdef", Some("ten_hosts"));
    integration.manifest = Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests"));
    integration.package = Some("rumpnet-tests".to_owned());
    assert_eq!(
        integration.command(u64::MAX),
        "RUMPNET_SEED=0xffffffffffffffff cargo test -p rumpnet-tests --test worlds -- --exact ten_hosts"
    );
}

#[test]
fn examples_benches_binaries_and_documentation_are_run_as_what_they_are() {
    for (folder, program, expected) in [
        ("../examples", "t/examples/virtual_time", "cargo run -p p --example virtual_time --"),
        (
            "../benches",
            "t/release/deps/paths-0123456789abcdef",
            "cargo bench -p p --bench paths --",
        ),
        ("", "/tmp/rustdoctestAbC/rust_out", "cargo test -p p --doc --"),
        ("", "/tmp/rustdoctestAbC/merged_doctest_2024/rust_out", "cargo test -p p --doc --"),
        ("../examples", "t/debug/deps/prog-0123456789abcdef", "cargo test -p p --bin prog --"),
        ("../examples", "t/debug/prog", "t/debug/prog"),
    ] {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let package = Some("p".to_owned());
        let run = Run { package, manifest: Some(manifest), ..run(program, None) };
        assert_eq!(run.command(7), format!("RUMPNET_SEED=0x7 {expected}"), "{program}");
    }
}

#[test]
fn without_cargo_the_program_itself_is_named() {
    let alone = Run { package: None, ..run("bin/worlds-0123456789abcdef", Some("one")) };
    assert_eq!(alone.command(7), "RUMPNET_SEED=0x7 bin/worlds-0123456789abcdef --exact one");
    let nameless = Run { package: None, ..run("bin/prog", None) };
    assert_eq!(nameless.command(7), "RUMPNET_SEED=0x7 bin/prog");
}

#[test]
fn captures_go_where_the_environment_says_and_each_run_has_a_folder() {
    let own = Run { failures: Some("out".into()), ..run("bin/w", Some("a::b c")) };
    assert_eq!(own.folder(7, 0xabc).unwrap(), Path::new("out/a.b_c-0x7-0000000000000abc"));
    let target = run(std::env::current_exe().unwrap().to_str().unwrap(), Some("t")).folder(1, 2);
    let target = target.unwrap();
    assert!(target.ends_with("world-failures/t-0x1-0000000000000002"), "{}", target.display());
    // Elsewhere only where nobody else writes.
    let caches = Some("/home/me/.cache".into());
    let own = Run { caches, ..run("/no/such/w", Some("t")) }.folder(1, 2).unwrap();
    assert_eq!(own.parent(), Some(Path::new("/home/me/.cache/rumpnet/world-failures")));
    assert_eq!(run("/no/such/w", Some("t")).folder(1, 2), None);
    assert_eq!(path_in("RUMPNET_NO_SUCH_VARIABLE"), None);
}

#[test]
fn seeds_are_read_as_they_are_printed() {
    for seed in [0, 7, 42, u64::MAX] {
        assert_eq!(parse_seed(&format!("{seed:#x}")), Some(seed));
        assert_eq!(parse_seed(&seed.to_string()), Some(seed));
    }
    assert_eq!(parse_seed("seven"), None);
}

#[test]
fn a_single_test_is_known_by_its_argument() {
    let args = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(named_exactly(&args("--exact a::b --nocapture")), Some("a::b".to_owned()));
    assert_eq!(named_exactly(&args("a::b")), None, "a part of a name is no name");
}
