//! `rumpnet dump`.

use std::fs;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::process::{Place, Process};

/// A bus on which two pings were answered, and everyone was killed.
fn dead_bus() -> Place {
    let place = Place::new();
    let alice = place.node("alice", 1);
    let ended = place.run(&["ping", &place.interface(9), "10.0.0.1", "-c", "2", "-i", "0.01"]);
    assert_eq!(ended.status, Some(0));
    assert_eq!(alice.stop(Signal::SIGKILL).status, None);
    place
}

#[test]
fn the_last_frames_are_there_after_everyone_has_died() {
    let place = dead_bus();
    let ended = place.run(&["dump", "--once", "-t", &place.bus(), "icmp"]);
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let lines: Vec<&str> = ended.out.lines().collect();
    assert_eq!(lines.len(), 4, "{}", ended.out);
    assert!(lines[0].starts_with("IP 10.0.0.9 > 10.0.0.1: ICMP echo request, id "));
    assert!(lines[0].ends_with(", seq 1, length 64"), "{}", lines[0]);
    assert!(lines[1].starts_with("IP 10.0.0.1 > 10.0.0.9: ICMP echo reply, id "));
    assert_eq!(ended.err, "4 packets captured\n0 packets missed\n");
}

#[test]
fn a_count_ends_it_and_e_shows_the_link() {
    let place = dead_bus();
    let ended = place.run(&["dump", "--once", "-t", "-e", "-c", "1", &place.bus(), "arp"]);
    assert_eq!(ended.status, Some(0));
    assert_eq!(ended.out.lines().count(), 1);
    assert!(
        ended.out.contains(" > ff:ff:ff:ff:ff:ff, ethertype ARP (0x0806), length 42: "),
        "{}",
        ended.out
    );
    assert!(ended.err.starts_with("1 packet captured\n"), "{}", ended.err);
}

#[test]
fn what_is_written_is_read_again() {
    let place = dead_bus();
    let file = place.path("out.pcapng").display().to_string();
    let written = place.run(&["dump", "--once", "-w", &file, &place.bus()]);
    assert_eq!((written.status, &written.out[..]), (Some(0), ""));
    let from_bus = place.run(&["dump", "--once", "-e", &place.bus(), "icmp"]);
    let from_file = place.run(&["dump", "-r", &file, "-e", "icmp"]);
    assert_eq!(from_file.status, Some(0));
    assert_eq!(from_file.out, from_bus.out);
    assert_eq!(from_file.out.lines().count(), 4);
}

#[test]
fn a_cut_capture_gives_what_it_holds_and_status_1() {
    let place = dead_bus();
    let file = place.path("out.pcapng");
    let name = file.display().to_string();
    assert_eq!(place.run(&["dump", "--once", "-w", &name, &place.bus()]).status, Some(0));
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() - 10]).unwrap();
    let ended = place.run(&["dump", "-r", &name]);
    assert_eq!(ended.status, Some(1));
    assert!(ended.out.contains("ICMP echo reply"), "{}", ended.out);
    assert!(ended.err.ends_with("the capture ends in the middle of a packet\n"), "{}", ended.err);
    let ended = place.run(&["dump", "-r", "/dev/null"]);
    assert_eq!(ended.status, Some(1));
    assert!(ended.err.contains("not a capture file"), "{}", ended.err);
}

#[test]
fn a_live_bus_is_followed() {
    let place = Place::new();
    let _alice = place.node("alice", 1);
    let dump = Process::start(&["dump", &place.bus(), "-c", "2", "--json", "icmp"]);
    dump.wait_for_error("listening on");
    let ping = Process::start(&["ping", &place.interface(9), "10.0.0.1", "-i", "0.05"]);
    let line: Value = serde_json::from_str(&dump.wait_for("echo request")).unwrap();
    assert_eq!((&line["src"], &line["dst"]), (&"10.0.0.9".into(), &"10.0.0.1".into()));
    assert_eq!(line["sender"], "ping");
    let ended = dump.finish();
    assert_eq!(ended.status, Some(0));
    assert!(ended.err.contains("2 packets captured"), "{}", ended.err);
    assert_eq!(ping.stop(Signal::SIGINT).status, Some(0));
}

/// A bus whose last frames are super-segments of a transfer.
fn bus_after_a_transfer() -> Place {
    let place = Place::new();
    let interface = format!("{},create", place.interface(1));
    let server = Process::start(&["perf", &interface, "-s", "-1"]);
    server.wait_for("Server listening");
    let ended = place.run(&["perf", &place.interface(2), "-c", "10.0.0.1", "-n", "2M", "-i", "0"]);
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert_eq!(server.finish().status, Some(0));
    place
}

/// The numbers behind `length ` in lines with a link header: the frames' own lengths.
fn frame_lengths(out: &str) -> Vec<usize> {
    out.lines()
        .filter_map(|line| line.split("length ").nth(1)?.split(':').next()?.parse().ok())
        .collect()
}

#[test]
fn super_segments_are_whole_with_true_checksums_or_cut_to_the_mtu() {
    let place = bus_after_a_transfer();
    let whole = place.run(&["dump", "--once", "-e", "-v", &place.bus(), "tcp"]);
    assert_eq!(whole.status, Some(0));
    assert!(frame_lengths(&whole.out).iter().any(|len| *len > 1514), "{}", whole.out);
    assert!(whole.out.contains("(super-segment of "), "{}", whole.out);
    let cut = place.run(&["dump", "--once", "-e", "-v", "--cut", &place.bus(), "tcp"]);
    assert_eq!(cut.status, Some(0));
    assert!(frame_lengths(&cut.out).iter().all(|len| *len <= 1514), "{}", cut.out);
    assert!(frame_lengths(&cut.out).len() > frame_lengths(&whole.out).len());
    for out in [&whole.out, &cut.out] {
        assert!(out.contains("(correct)") && !out.contains("incorrect"), "{out}");
        assert!(!out.contains("bad cksum") && !out.contains("truncated"), "{out}");
    }
}

#[test]
fn bytes_are_shown_in_hexadecimal_and_as_letters() {
    let place = dead_bus();
    let ended = place.run(&["dump", "--once", "-t", "-X", "-c", "1", &place.bus(), "icmp"]);
    let lines: Vec<&str> = ended.out.lines().collect();
    assert_eq!(lines.len(), 1 + 84_usize.div_ceil(16), "{}", ended.out);
    assert!(lines[1].starts_with("\t0x0000:  4500 0054 "), "{}", lines[1]);
    assert!(lines[3].contains("  .............."), "{}", lines[3]);
    let ended = place.run(&["dump", "--once", "-t", "-xx", "-c", "1", &place.bus(), "icmp"]);
    assert!(ended.out.lines().nth(1).unwrap().contains(" 0800 4500"), "{}", ended.out);
}

#[test]
fn a_filter_that_makes_no_sense_says_why() {
    let place = dead_bus();
    let ended = place.run(&["dump", "--once", &place.bus(), "port", "http"]);
    assert_eq!((ended.status, &ended.out[..]), (Some(2), ""));
    assert_eq!(ended.err, "rumpnet: `http` in the filter is not a port, 0 to 65535\n");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let place = dead_bus();
    let mut dump = Command::new(env!("CARGO_BIN_EXE_rumpnet"))
        .args(["dump", "--once", "-X", "-l", &place.bus()].iter().filter(|arg| **arg != "-l"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(dump.stdout.take());
    let ended = dump.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(0));
    let err = String::from_utf8(ended.stderr).unwrap();
    assert!(!err.contains("panicked") && !err.contains("roken pipe"), "{err}");
}
