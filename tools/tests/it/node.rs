//! `rumpnet node` and `rumpnet ls`.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::process::{Place, Process};

#[test]
fn a_node_makes_the_bus_says_what_it_is_and_is_listed() {
    let place = Place::new();
    let node = Process::start(&["node", &place.interface(1), "--name", "alice"]);
    let line = node.wait_for("alice is up");
    assert!(line.contains("10.0.0.1/24") && line.contains("mtu 1500"), "{line}");
    let listed = place.run(&["ls", &place.bus()]);
    assert_eq!(listed.status, Some(0));
    let rows: Vec<&str> = listed.out.lines().collect();
    assert_eq!(rows.len(), 2, "{}", listed.out);
    assert!(rows[0].starts_with("NAME"), "{}", rows[0]);
    let cells: Vec<&str> = rows[1].split_whitespace().collect();
    assert_eq!((cells[0], cells[3]), ("alice", "alive"));
    assert_eq!(cells[2], node.pid().to_string());
}

#[test]
fn a_node_leaves_cleanly_when_told_to() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let place = Place::new();
        let node = place.node("alice", 1);
        let ended = node.stop(signal);
        assert_eq!((ended.status, &ended.out[..]), (Some(0), "left the bus\n"), "{signal}");
        let listed = place.run(&["ls", &place.bus()]);
        assert_eq!(listed.out, format!("nobody is on {}\n", place.bus()));
    }
}

#[test]
fn a_killed_node_is_listed_as_gone_and_its_place_is_taken_again() {
    let place = Place::new();
    let ended = place.node("alice", 1).stop(Signal::SIGKILL);
    assert_eq!(ended.status, None);
    let listed: Value =
        serde_json::from_str(&place.run(&["ls", "--json", &place.bus()]).out).unwrap();
    assert_eq!(listed[0]["name"], "alice");
    assert_eq!(listed[0]["state"], "gone");
    let _next = place.node("bob", 2);
    let listed: Value =
        serde_json::from_str(&place.run(&["ls", "--json", &place.bus()]).out).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(listed[0]["state"], "alive");
}

#[test]
fn a_bus_can_be_watched() {
    let place = Place::new();
    let _alice = place.node("alice", 1);
    let watch = Process::start(&["ls", "--watch", "0.05", &place.bus()]);
    for _ in 0..3 {
        watch.wait_for("NAME");
        watch.wait_for("alice");
    }
    assert_eq!(watch.stop(Signal::SIGINT).status, Some(0));
}

#[test]
fn json_tells_programs_that_the_node_is_up() {
    let place = Place::new();
    let node = Process::start(&["node", &place.interface(1), "--json", "--name", "alice"]);
    let line: Value = serde_json::from_str(&node.wait_for("\"event\":\"up\"")).unwrap();
    assert_eq!(line["name"], "alice");
    assert_eq!(line["pid"], node.pid());
    let interfaces = line["interfaces"].as_array().unwrap();
    assert!(interfaces.iter().any(|iface| iface["addrs"][0] == "10.0.0.1/24"), "{line}");
    node.signal(Signal::SIGQUIT);
    let line: Value = serde_json::from_str(&node.wait_for("\"event\":\"report\"")).unwrap();
    assert!(line["interfaces"][0]["rx_frames"].is_u64(), "{line}");
    assert_eq!(node.stop(Signal::SIGINT).status, Some(0));
}

#[test]
fn two_nodes_cannot_have_one_mac_address() {
    let place = Place::new();
    let _alice = place.node("alice", 1);
    let listed: Value =
        serde_json::from_str(&place.run(&["ls", "--json", &place.bus()]).out).unwrap();
    let mac = listed[0]["mac"].as_str().unwrap();
    let ended = place.run(&["node", &format!("{},mac={mac}", place.interface(2))]);
    assert_eq!(ended.status, Some(2));
    assert!(
        ended.err.contains(&format!("MAC address {mac} is taken by \"alice\"")),
        "{}",
        ended.err
    );
}
