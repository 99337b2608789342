//! Bad links on real buses.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::process::{Place, Process};

/// How many of the pings of a quick flood were answered.
fn answered(place: &Place, interface: &str, count: &str) -> u64 {
    let args = ["ping", interface, "10.0.0.1", "-c", count, "-i", "0.002", "-W", "1", "--json"];
    let ended = place.run(&args);
    let last: Value = serde_json::from_str(ended.out.lines().last().unwrap()).unwrap();
    last["received"].as_u64().unwrap_or_else(|| panic!("{last}"))
}

#[test]
fn an_interface_loses_what_it_is_asked_to_in_one_direction() {
    let place = Place::new();
    let alice = Process::start(&[
        "node",
        &format!("{},in.loss=30%,seed=7,corrupt=0.0001%", place.interface(1)),
        "--name=alice",
        "--json",
    ]);
    alice.wait_for("\"event\":\"up\"");
    let answered = answered(&place, &place.interface(9), "200");
    // A binomial of 200 and 0.7 is within seven deviations of 140.
    assert!((95..=185).contains(&answered), "{answered} of 200 answered, 140 expected");
    let ended = alice.stop(Signal::SIGINT);
    let last: Value = serde_json::from_str(ended.out.lines().last().unwrap()).unwrap();
    let impaired = &last["impaired"][0];
    assert!(impaired["in"]["lost"].as_u64().unwrap() > 10, "{last}");
    assert_eq!(impaired["out"]["lost"], 0);
    let unfired = last["unfired_faults"].to_string();
    assert!(unfired.contains("out.corrupt") && !unfired.contains("loss"), "{unfired}");
    assert!(ended.err.contains("out.corrupt was asked for and never happened"), "{}", ended.err);
}

#[test]
fn a_delay_is_never_shorter_than_it_was_asked_to_be() {
    let place = Place::new();
    let _alice = place.node("alice", 1);
    let interface = format!("{},delay=30ms", place.interface(9));
    let ended = place.run(&["ping", &interface, "10.0.0.1", "-c", "3", "-i", "0.01", "--json"]);
    let last: Value = serde_json::from_str(ended.out.lines().last().unwrap()).unwrap();
    assert_eq!(last["received"], 3, "{}", ended.out);
    assert!(last["rtt_ms"]["min"].as_f64().unwrap() >= 60.0, "out and back: {last}");
}

#[test]
fn a_wire_joins_two_buses_and_harms_what_crosses() {
    let place = Place::new();
    let other = place.path("other.bus").display().to_string();
    let alice = format!("--if=shmif:{other},addr=10.0.0.1/24,create");
    let alice = Process::start(&["node", &alice, "--name", "alice"]);
    alice.wait_for("answers ping");
    let ends = [format!("shmif:{}", place.bus()), format!("shmif:{other}")];
    let harm = "--impair=out.loss=ge:5%,40%,delay=1ms,seed=3,in.dup=0.0001%";
    let wire = Process::start(&["wire", &ends[0], &ends[1], harm, "--json"]);
    wire.wait_for("\"event\":\"up\"");
    let answered = answered(&place, &place.interface(9), "300");
    assert!((200..300).contains(&answered), "{answered} of 300 answered, 267 expected");
    let ended = wire.stop(Signal::SIGINT);
    assert_eq!(ended.status, Some(0), "{}", ended.err);
    let last: Value = serde_json::from_str(ended.out.lines().last().unwrap()).unwrap();
    assert!(last["out"]["impaired"]["lost"].as_u64().unwrap() > 0, "{last}");
    assert!(last["in"]["frames"].as_u64().unwrap() >= 200, "{last}");
    assert_eq!(last["unfired_faults"], serde_json::json!(["in.dup"]));
}

#[test]
fn a_schedule_is_read_from_a_file_and_a_wrong_line_is_named() {
    let place = Place::new();
    let file = place.path("script");
    std::fs::write(&file, "# from the start\n0s in.down\n3600s up\n").unwrap();
    let with = |interface: String| format!("{interface},schedule={}", file.display());
    let alice = Process::start(&["node", &with(place.interface(1)), "--name=alice", "--json"]);
    alice.wait_for("\"event\":\"up\"");
    let interface = place.interface(9);
    let ended = place.run(&["ping", &interface, "10.0.0.1", "-c", "1", "-W", "0.2", "--json"]);
    assert!(ended.out.contains("\"received\":0"), "{}", ended.out);
    let ended = alice.stop(Signal::SIGINT);
    let last: Value = serde_json::from_str(ended.out.lines().last().unwrap()).unwrap();
    assert!(last["impaired"][0]["in"]["lost_down"].as_u64().unwrap() > 0, "{last}");
    let unfired = last["unfired_faults"].to_string();
    assert!(unfired.contains("in.schedule from 3600s on (no frame came)"), "{unfired}");
    std::fs::write(&file, "0s loss=1%\n5s lost=3%\n").unwrap();
    let ended = place.run(&["ping", &with(place.interface(9)), "10.0.0.1"]);
    assert_eq!(ended.status, Some(2));
    let wrong = format!("{}, line 2: unknown impairment `lost`: there are loss", file.display());
    assert!(ended.err.contains(&wrong), "{}", ended.err);
}

#[test]
fn a_wire_says_what_it_cannot_be() {
    let place = Place::new();
    let bus = format!("shmif:{}", place.bus());
    for keys in ["addr=10.0.0.1/24", "addr=auto", "ra", "route=10.2.0.0/16"] {
        let ended = place.run(&["wire", &bus, &format!("{bus},{keys}")]);
        assert_eq!(ended.status, Some(2));
        assert!(ended.err.contains("has no stack: leave addr=, gw=, route= and ra away"), "{keys}");
    }
    let ended = place.run(&["wire", &bus, &format!("{bus},loss=1%")]);
    assert!(ended.err.contains("--impair"), "{}", ended.err);
    let ended = place.run(&["wire", &bus, &bus, "--impair", "los=1%"]);
    assert!(ended.err.contains("unknown impairment `los`"), "{}", ended.err);
}
