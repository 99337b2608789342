//! Help, wrong usage, missing things: what is said, where, and with which status.

use std::fs;

use crate::process::Place;

#[test]
fn help_and_version_go_to_stdout_with_status_0() {
    let place = Place::new();
    let help = place.run(&["--help"]);
    assert_eq!((help.status, &help.err[..]), (Some(0), ""));
    for word in [
        "node",
        "ping",
        "ls",
        "dump",
        "plot",
        "nc",
        "perf",
        "forward",
        "httpd",
        "fetch",
        "demo",
        "wire",
        "First steps",
    ] {
        assert!(help.out.contains(word), "{word}: {}", help.out);
    }
    assert!(!help.out.contains("demo-host"), "what is not for users is not shown");
    let version = place.run(&["--version"]);
    assert_eq!(version.status, Some(0));
    assert_eq!(version.out, format!("rumpnet {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn help_tells_units_and_defaults() {
    let place = Place::new();
    let help = place.run(&["ping", "-h"]).out;
    assert!(help.contains("Seconds between two requests [default: 1"), "{help}");
    assert!(help.contains("Bytes of payload, 0 to 65507 [default: 56]"), "{help}");
    assert!(help.contains("Exit status"), "{help}");
}

#[test]
fn nothing_to_do_is_wrong_usage() {
    let ended = Place::new().run::<&str>(&[]);
    assert_eq!(ended.status, Some(2));
    assert!(ended.err.contains("Usage: rumpnet"), "{}", ended.err);
}

#[test]
fn a_bad_interface_says_what_to_write() {
    let ended = Place::new().run(&["node", "--if", "shmif:x,adr=10.0.0.1/24"]);
    assert_eq!((ended.status, &ended.out[..]), (Some(2), ""));
    assert!(ended.err.contains("unknown key `adr`: did you mean `addr`?"), "{}", ended.err);
    let ended = Place::new().run(&["ping", "--if", "sockin:x", "10.0.0.1"]);
    assert_eq!(ended.status, Some(2));
    assert!(ended.err.contains("--sockin, instead of --if"), "{}", ended.err);
}

#[test]
fn a_missing_bus_says_how_to_get_one() {
    let place = Place::new();
    let bus = place.bus();
    let told = format!("rumpnet: no bus at {bus}: start a node first, or add create\n");
    for args in
        [vec!["ping", "10.0.0.1"], vec!["nc", "10.0.0.1", "9000"], vec!["perf", "-c", "10.0.0.1"]]
    {
        let interface = place.interface(1);
        let mut args = args;
        args.push(&interface);
        let ended = place.run(&args);
        assert_eq!((ended.status, &ended.err[..]), (Some(2), &told[..]), "{args:?}");
    }
    let told = format!("rumpnet: no bus at {bus}: start a node first\n");
    for args in [["ls", &bus], ["dump", &bus]] {
        let ended = place.run(&args);
        assert_eq!((ended.status, &ended.err[..]), (Some(1), &told[..]), "{args:?}");
    }
    assert!(!place.path("t.bus").exists(), "only who is asked to makes a bus");
}

#[test]
fn other_files_are_no_bus() {
    let place = Place::new();
    fs::write(place.path("t.bus"), "not a bus, but long enough to be read as one ".repeat(200))
        .unwrap();
    let told =
        format!("rumpnet: {} is not a bus: use another path, or remove it first\n", place.bus());
    assert_eq!(place.run(&["ls", &place.bus()]).err, told);
    let node = place.run(&["node", &place.interface(1)]);
    assert_eq!((node.status, node.err), (Some(2), told));
    let folder = place.folder.path().display().to_string();
    let ended = place.run(&["ls", &folder]);
    assert_eq!(ended.status, Some(1));
    assert!(ended.err.contains("not a regular file"), "{}", ended.err);
}

#[test]
fn a_node_without_an_interface_says_how_to_give_one() {
    let ended = Place::new().run(&["node"]);
    assert_eq!(ended.status, Some(2));
    assert!(ended.err.contains("--if shmif:my.bus,addr=10.0.0.1/24"), "{}", ended.err);
}

#[test]
fn completions_and_man_pages_are_made_of_the_command_line() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = place.run(&["completions", shell]);
        assert_eq!(script.status, Some(0));
        assert!(script.out.contains("rumpnet") && script.out.contains("ping"), "{shell}");
    }
    let man = place.path("man").display().to_string();
    assert_eq!(place.run(&["man", &man]).status, Some(0));
    for page in
        ["rumpnet.1", "rumpnet-ping.1", "rumpnet-dump.1", "rumpnet-perf.1", "rumpnet-forward.1"]
    {
        let text = fs::read_to_string(place.path("man").join(page)).unwrap();
        assert!(text.contains(".TH"), "{page}");
    }
}
