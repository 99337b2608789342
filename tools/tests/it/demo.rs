//! `rumpnet demo`.

use std::process::Command;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::process::{Place, Process};

#[test]
fn every_check_holds_and_everything_is_where_it_says() {
    let place = Place::new();
    let folder = place.path("demo").display().to_string();
    let ended = place.run(&["demo", "--size", "8M", "--folder", &folder]);
    assert_eq!(ended.status, Some(0), "{ended:?}");
    for text in
        ["ping", "8.00 MiB from a to b", "SHA-256 equal", "all intact", "p50", "Every check held"]
    {
        assert!(ended.out.contains(text), "{text}: {}", ended.out);
    }
    let capture = place.path("demo").join("start.pcapng").display().to_string();
    let dump = place.run(&["dump", "-r", &capture, "icmp"]);
    assert_eq!(dump.status, Some(0));
    assert_eq!(dump.out.lines().count(), 2 * 3 * 6, "{}", dump.out);
    let handshake = place.run(&["dump", "-t", "-r", &capture, "-c", "2", "port", "50001"]);
    assert!(handshake.out.contains("Flags [S], seq "), "{}", handshake.out);
    assert!(handshake.out.contains("Flags [S.], seq "), "{}", handshake.out);
    let bus = place.path("demo").join("demo.bus").display().to_string();
    assert_eq!(place.run(&["ls", &bus]).out, format!("nobody is on {bus}\n"));
}

#[test]
fn json_is_one_document_and_a_home_is_not_needed() {
    let place = Place::new();
    let ended = Command::new(env!("CARGO_BIN_EXE_rumpnet"))
        .args(["demo", "--json", "--size", "1M"])
        .env_clear()
        .env("TMPDIR", place.folder.path())
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    let report: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(report["ok"], true);
    assert_eq!(report["file"]["bytes"], 1 << 20);
    assert_eq!(report["ping_ms"].as_object().unwrap().len(), 6);
    assert!(
        report["folder"].as_str().unwrap().starts_with(&place.folder.path().display().to_string())
    );
}

#[test]
fn an_interrupt_ends_the_hosts_too() {
    let place = Place::new();
    let folder = place.path("demo").display().to_string();
    let demo = Process::start(&["demo", "--size", "4G", "--folder", &folder]);
    let pids: Vec<i32> = (0..3)
        .map(|_| {
            let line = demo.wait_for("pid ");
            line.trim().rsplit(' ').next().unwrap().parse().unwrap()
        })
        .collect();
    let ended = demo.stop(Signal::SIGINT);
    assert_eq!(ended.status, Some(1));
    assert!(ended.err.contains("interrupted"), "{}", ended.err);
    for pid in pids {
        assert_eq!(kill(Pid::from_raw(pid), None), Err(Errno::ESRCH), "host {pid} lives");
    }
}

#[test]
fn a_folder_that_exists_is_left_alone() {
    let place = Place::new();
    let folder = place.folder.path().display().to_string();
    let ended = place.run(&["demo", "--folder", &folder]);
    assert_eq!(ended.status, Some(1));
    assert!(ended.err.contains("cannot make"), "{}", ended.err);
}
