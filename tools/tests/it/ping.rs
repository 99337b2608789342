//! `rumpnet ping`.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::process::{Place, Process};

#[test]
fn an_answered_ping_looks_like_iputils_and_ends_with_0() {
    let place = Place::new();
    let _alice = place.node("alice", 1);
    let ended = place.run(&["ping", &place.interface(9), "10.0.0.1", "-c", "3", "-i", "0.01"]);
    assert_eq!((ended.status, &ended.err[..]), (Some(0), ""));
    let lines: Vec<&str> = ended.out.lines().collect();
    assert_eq!(lines[0], "PING 10.0.0.1 (10.0.0.1) 56(84) bytes of data.");
    for (at, line) in lines[1..4].iter().enumerate() {
        let head = format!("64 bytes from 10.0.0.1: icmp_seq={} ttl=64 time=", at + 1);
        assert!(line.starts_with(&head) && line.ends_with(" ms"), "{line}");
    }
    assert_eq!(lines[4..6], ["", "--- 10.0.0.1 ping statistics ---"]);
    assert!(lines[6].starts_with("3 packets transmitted, 3 received, 0% packet loss, time "));
    assert!(lines[7].starts_with("rtt min/avg/max/mdev = "), "{}", lines[7]);
}

#[test]
fn the_largest_payload_comes_back() {
    let place = Place::new();
    let _alice = place.node("alice", 1);
    let ended = place.run(&["ping", &place.interface(9), "10.0.0.1", "-c", "1", "-s", "65507"]);
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert!(ended.out.contains("65515 bytes from 10.0.0.1"), "{}", ended.out);
    let ended = place.run(&["ping", &place.interface(9), "10.0.0.1", "-s", "65508"]);
    assert_eq!(ended.status, Some(2));
}

#[test]
fn a_host_that_is_not_there_is_unreachable_with_status_1() {
    let place = Place::new();
    let _alice = place.node("alice", 1);
    let ended = place.run(&["ping", &place.interface(9), "10.0.0.77", "-c", "1", "-W", "10"]);
    assert_eq!(ended.status, Some(1), "{ended:?}");
    let line = "From 10.0.0.9 icmp_seq=1 Destination Host Unreachable";
    assert!(ended.out.lines().any(|other| other == line), "{}", ended.out);
    assert!(ended.out.contains("0 received, +1 errors, 100% packet loss"), "{}", ended.out);
}

#[test]
fn without_a_route_nothing_is_tried_and_the_status_is_2() {
    let place = Place::new();
    let _alice = place.node("alice", 1);
    let ended = place.run(&["ping", &place.interface(9), "192.0.2.1", "-c", "1"]);
    assert_eq!((ended.status, &ended.out[..]), (Some(2), ""));
    assert!(ended.err.contains("Network is unreachable"), "{}", ended.err);
    let ended = place.run(&["ping", "10.0.0.1", "-c", "1"]);
    assert_eq!(ended.status, Some(2));
    assert!(ended.err.contains("add --if shmif:BUS,addr=ADDRESS/BITS"), "{}", ended.err);
    let ended = place.run(&["ping", "alice"]);
    assert_eq!(ended.status, Some(2));
    assert!(ended.err.contains("not an IP address"), "{}", ended.err);
}

#[test]
fn what_must_not_be_fragmented_or_broadcast_says_so() {
    let place = Place::new();
    let _alice = place.node("alice", 1);
    let interface = place.interface(9);
    let ended = place.run(&["ping", &interface, "10.0.0.1", "-c", "1", "-M", "do", "-s", "1473"]);
    assert_eq!(ended.status, Some(2));
    assert!(ended.err.contains("Message too long: it is longer than the MTU"), "{}", ended.err);
    let ended = place.run(&["ping", &interface, "10.0.0.1", "-c", "1", "-M", "do", "-s", "1472"]);
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let ended = place.run(&["ping", &interface, "10.0.0.255", "-c", "1"]);
    assert_eq!(ended.status, Some(2));
    assert!(ended.err.contains("add -b"), "{}", ended.err);
}

#[test]
fn the_loopback_is_always_there() {
    let ended = Place::new().run(&["ping", "127.0.0.1", "-c", "2", "-i", "0.01", "-q"]);
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert!(!ended.out.contains("icmp_seq"), "quiet: {}", ended.out);
    assert!(ended.out.contains("2 packets transmitted, 2 received, 0% packet loss"));
}

#[test]
fn an_interrupt_sums_up() {
    let place = Place::new();
    let _alice = place.node("alice", 1);
    let ping = Process::start(&["ping", &place.interface(9), "10.0.0.1"]);
    ping.wait_for("icmp_seq=1 ");
    let ended = ping.stop(Signal::SIGINT);
    assert_eq!(ended.status, Some(0));
    assert!(ended.out.contains("ping statistics"), "{}", ended.out);
}

#[test]
fn a_flood_answers_all() {
    let place = Place::new();
    let _alice = place.node("alice", 1);
    let ended = place.run(&["ping", &place.interface(9), "10.0.0.1", "-f", "-c", "500", "-q"]);
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert!(ended.out.contains("500 packets transmitted, 500 received"), "{}", ended.out);
    assert!(ended.out.contains("ipg/ewma"), "{}", ended.out);
}

#[test]
fn json_is_a_line_per_event() {
    let place = Place::new();
    let _alice = place.node("alice", 1);
    let ended =
        place.run(&["ping", "--json", &place.interface(9), "10.0.0.1", "-c", "2", "-i", "0.01"]);
    assert_eq!(ended.status, Some(0));
    let lines: Vec<Value> =
        ended.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3, "{}", ended.out);
    assert_eq!((&lines[0]["type"], &lines[0]["icmp_seq"]), (&"reply".into(), &1.into()));
    assert_eq!(lines[2]["type"], "summary");
    assert_eq!(lines[2]["received"], 2);
    assert!(lines[2]["rtt_ms"]["avg"].as_f64().unwrap() > 0.0);
}
