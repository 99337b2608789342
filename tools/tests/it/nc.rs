//! `rumpnet nc`.

use std::fs::{self, File};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::process::{Place, Process};

fn listener(place: &Place, more: &[&str], input: Stdio) -> Process {
    let interface = format!("{},create", place.interface(1));
    let mut args = vec!["nc", &interface, "-v", "-l", "9000"];
    args.extend(more);
    let process = Process::with_input(&args, input);
    process.wait_for_error("listening on [::]:9000");
    process
}

fn file_of(place: &Place, name: &str, lines: usize) -> String {
    let text: String = (0..lines).map(|n| format!("line {n} of {name}\n")).collect();
    fs::write(place.path(name), &text).unwrap();
    text
}

#[test]
fn files_cross_both_ways_and_each_side_ends_when_both_have() {
    let place = Place::new();
    let up = file_of(&place, "up", 200_000);
    let down = file_of(&place, "down", 100_000);
    let input = File::open(place.path("down")).unwrap();
    let server = listener(&place, &[], input.into());
    let input = File::open(place.path("up")).unwrap();
    let client =
        Process::with_input(&["nc", &place.interface(2), "10.0.0.1", "9000"], input.into());
    let (client, server) = (client.finish(), server.finish());
    assert_eq!((client.status, server.status), (Some(0), Some(0)), "{client:?}");
    assert!(client.out == down, "{} of {} bytes", client.out.len(), down.len());
    assert!(server.out == up, "{} of {} bytes", server.out.len(), up.len());
}

#[test]
fn the_end_of_input_closes_one_direction_only() {
    let place = Place::new();
    let mut server = listener(&place, &[], Stdio::piped());
    let client = Process::start(&["nc", &place.interface(2), "10.0.0.1", "9000", "-v"]);
    // The client's input has ended; it still hears what the server says.
    server.wait_for_error("connection from 10.0.0.2:");
    server.feed(b"said after the end\n".to_vec());
    assert_eq!(client.wait_for("said after"), "said after the end\n");
    assert_eq!(client.finish().status, Some(0));
    assert_eq!(server.finish().status, Some(0));
}

#[test]
fn with_k_the_next_connection_is_served_too() {
    let place = Place::new();
    let server = listener(&place, &["-k"], Stdio::null());
    for text in ["first\n", "second\n"] {
        let mut client =
            Process::with_input(&["nc", &place.interface(2), "10.0.0.1", "9000"], Stdio::piped());
        client.feed(text.as_bytes().to_vec());
        assert_eq!(server.wait_for(text.trim()), text);
        assert_eq!(client.finish().status, Some(0));
    }
}

#[test]
fn datagrams_cross_too() {
    let place = Place::new();
    let server = listener(&place, &["-u", "-w", "1"], Stdio::null());
    let mut client = Process::with_input(
        &["nc", "-u", "-w", "0.3", &place.interface(2), "10.0.0.1", "9000"],
        Stdio::piped(),
    );
    client.feed(b"a datagram\n".to_vec());
    assert_eq!(server.wait_for("datagram"), "a datagram\n");
    assert_eq!(client.finish().status, Some(0));
    assert_eq!(server.finish().status, Some(0));
}

#[test]
fn refused_and_unreachable_say_what_to_look_at() {
    let place = Place::new();
    let _alice = place.node("alice", 1);
    let ended = place.run(&["nc", &place.interface(2), "10.0.0.1", "9001"]);
    assert_eq!(ended.status, Some(1));
    let told =
        "rumpnet: cannot connect to 10.0.0.1:9001: Connection refused: nothing listens there\n";
    assert_eq!(ended.err, told);
    let ended = place.run(&["nc", &place.interface(2), "-z", "10.0.0.1", "7"]);
    assert_eq!(ended.status, Some(0), "the echo service is there: {ended:?}");
    let ended = place.run(&["nc", &place.interface(2), "192.0.2.1", "9001"]);
    assert_eq!(ended.status, Some(1));
    assert!(ended.err.contains("Network is unreachable: give an interface"), "{}", ended.err);
    let ended = place.run(&["nc", &place.interface(2), "10.0.0.1", "0"]);
    assert_eq!(ended.status, Some(2));
    assert!(ended.err.contains("`0` is not a port"), "{}", ended.err);
}

#[test]
fn connecting_ends_at_its_time_or_by_a_signal() {
    let place = Place::new();
    let alice = place.node("alice", 1);
    let warm = place.run(&["ping", &place.interface(2), "10.0.0.1", "-c", "1"]);
    assert_eq!(warm.status, Some(0));
    // It lives, but it says nothing any more.
    alice.signal(Signal::SIGSTOP);
    let ended = place.run(&["nc", &place.interface(2), "-w", "0.3", "10.0.0.1", "7"]);
    assert_eq!(ended.status, Some(1));
    assert!(
        ended.err.contains("cannot connect to 10.0.0.1:7: Connection timed out"),
        "{}",
        ended.err
    );
    let client = Process::start(&["nc", "-vv", &place.interface(2), "10.0.0.1", "7"]);
    let dump = Process::start(&["dump", &place.bus(), "-c", "1", "arp or port 7"]);
    assert_eq!(dump.finish().status, Some(0), "the client is at it");
    assert_eq!(client.stop(Signal::SIGINT).status, Some(130));
    let client = Process::start(&["nc", &place.interface(2), "10.0.0.1", "7"]);
    let dump = Process::start(&["dump", &place.bus(), "-c", "1", "arp or port 7"]);
    assert_eq!(dump.finish().status, Some(0), "the client is at it");
    assert_eq!(client.stop(Signal::SIGTERM).status, Some(143));
}

#[test]
fn sending_is_something_that_happens() {
    let place = Place::new();
    let server = listener(&place, &[], Stdio::null());
    let client = ["nc", &place.interface(2), "-w", "1", "10.0.0.1", "9000"];
    let mut client = Process::with_input(&client, Stdio::piped());
    let began = Instant::now();
    for n in 0.. {
        let line = format!("line {n};\n");
        client.feed_line(&line);
        assert_eq!(server.wait_for(&line), line);
        if began.elapsed() > Duration::from_millis(1800) {
            break;
        }
    }
    client.feed(b"the last\n".to_vec());
    assert_eq!(server.wait_for("last"), "the last\n");
    assert_eq!(client.finish().status, Some(0));
}

#[test]
fn an_upload_that_is_stuck_ends_at_its_time_and_says_so() {
    let place = Place::new();
    let server = listener(&place, &[], Stdio::null());
    let client = ["nc", &place.interface(2), "-v", "-w", "1.5", "10.0.0.1", "9000"];
    let mut client = Process::with_input(&client, Stdio::piped());
    client.wait_for_error("connected to");
    server.signal(Signal::SIGSTOP);
    client.feed(vec![b'x'; 64 << 20]);
    let ended = client.finish();
    assert_eq!(ended.status, Some(1), "{ended:?}");
    assert!(ended.err.contains("the other side takes nothing any more"), "{}", ended.err);
}

#[test]
fn a_refused_datagram_without_another_ends_it() {
    let place = Place::new();
    let _alice = place.node("alice", 1);
    let mut client =
        Process::with_input(&["nc", "-u", &place.interface(2), "10.0.0.1", "9001"], Stdio::piped());
    client.feed(b"a datagram\n".to_vec());
    let ended = client.finish();
    assert_eq!(ended.status, Some(1));
    assert!(ended.err.contains("nothing listens there"), "{}", ended.err);
}

#[test]
fn nobody_came_in_time_is_said() {
    let place = Place::new();
    let ended = place.run(&[
        "nc",
        "--if",
        &format!("shmif:{},addr=10.0.0.1/24,create", place.bus()),
        "-l",
        "9000",
        "-w",
        "0.2",
    ]);
    assert_eq!(ended.status, Some(1));
    assert_eq!(ended.err, "rumpnet: nobody connected in time\n");
}
