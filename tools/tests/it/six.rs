//! The commands over IPv6.

use std::fs;
use std::process::Stdio;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::process::{Place, Process};

/// `--if` for a host of both families.
fn interface(place: &Place, host: u8) -> String {
    format!("{},addr=fd00::{host}/64", place.interface(host))
}

fn node(place: &Place) -> Process {
    let interface = format!("{},create", interface(place, 1));
    let node = Process::start(&["node", &interface, "--name", "alice", "--echo", "7"]);
    node.wait_for("answers ping");
    node
}

#[test]
fn a_ping_is_answered_and_tells_who_is_not_there() {
    let place = Place::new();
    let _alice = node(&place);
    let by = interface(&place, 9);
    let ended = place.run(&["ping", "-6", &by, "fd00::1", "-c", "3", "-i", "0.01", "-s", "4000"]);
    assert_eq!((ended.status, &ended.err[..]), (Some(0), ""), "{ended:?}");
    assert!(ended.out.contains("4008 bytes from fd00::1: icmp_seq=3 ttl=64"), "{}", ended.out);
    assert!(ended.out.contains("3 received, 0% packet loss"), "{}", ended.out);
    let ended = place.run(&["ping", &by, "fd00::77", "-c", "1", "-W", "10"]);
    assert_eq!(ended.status, Some(1), "{ended:?}");
    assert!(ended.out.contains("From fd00::9 icmp_seq=1 Destination"), "{}", ended.out);
    let ended = place.run(&["ping", "-6", &by, "10.0.0.1"]);
    assert_eq!(ended.status, Some(2));
    assert!(ended.err.contains("10.0.0.1 is no IPv6 address"), "{}", ended.err);
}

#[test]
fn a_command_that_looks_for_an_address_waits_until_it_has_one() {
    let place = Place::new();
    let router = format!("{},addr=fd00:1::1/64,ra,create", place.interface(1));
    let router = Process::start(&["node", &router, "--forward", "--name", "router"]);
    router.wait_for("answers ping");
    let guest = format!("--if=shmif:{},addr=auto", place.bus());
    let ended = place.run(&["ping", &guest, "fd00:1::1", "-c", "1", "-W", "10"]);
    assert_eq!((ended.status, &ended.err[..]), (Some(0), ""), "{ended:?}");
    router.stop(Signal::SIGINT);
    let ended = place.run(&["ping", &guest, "fd00:1::1", "-c", "1", "-W", "1"]);
    assert!(ended.err.contains("no router told shmif0 of a prefix"), "{ended:?}");
    assert_ne!(ended.status, Some(0));
}

#[test]
fn nc_passes_bytes_and_datagrams() {
    let place = Place::new();
    let (one, two) = (format!("{},create", interface(&place, 1)), interface(&place, 2));
    let server = Process::start(&["nc", "-6", &one, "-v", "-l", "9000"]);
    server.wait_for_error("listening on [::]:9000");
    let mut client = Process::with_input(&["nc", &two, "fd00::1", "9000"], Stdio::piped());
    client.feed(b"by TCP\n".to_vec());
    assert_eq!(server.wait_for("by TCP"), "by TCP\n");
    assert_eq!((client.finish().status, server.finish().status), (Some(0), Some(0)));
    let server = Process::start(&["nc", "-6", "-u", &one, "-v", "-l", "9000"]);
    server.wait_for_error("listening on [::]:9000");
    let mut client =
        Process::with_input(&["nc", "-u", &two, "fd00::1", "9000", "-w", "1"], Stdio::piped());
    client.feed(b"by UDP\n".to_vec());
    assert_eq!(server.wait_for("by UDP"), "by UDP\n");
    server.stop(Signal::SIGINT);
}

#[test]
fn perf_measures_over_both_families_with_one_server() {
    let place = Place::new();
    let one = format!("{},create", interface(&place, 1));
    let server = Process::start(&["perf", &one, "-s"]);
    server.wait_for("Server listening on 5201 (test #1)");
    let two = interface(&place, 2);
    for (to, from) in [("fd00::1", "fd00::2"), ("10.0.0.1", "10.0.0.2")] {
        let ended = place.run(&["perf", &two, "-c", to, "--json", "-n", "5M"]);
        let report: Value = serde_json::from_str(&ended.out).unwrap();
        assert_eq!(report["end"]["sum_received"]["bytes"], 5 << 20, "{ended:?}");
        // As people write it, also where the server's socket has both families.
        server.wait_for(&format!("Accepted connection from {from}, port"));
        let more = ["-u", "-b", "5M", "-t", "0.5"];
        let ended = place.run(&[&["perf", &two, "-c", to, "--json"][..], &more].concat());
        let report: Value = serde_json::from_str(&ended.out).unwrap();
        assert_eq!(report["end"]["sum"]["lost_packets"], 0, "{ended:?}");
    }
    assert_eq!(server.stop(Signal::SIGINT).status, Some(0));
}

#[test]
fn the_demo_holds_every_check() {
    let place = Place::new();
    let folder = place.path("demo").display().to_string();
    let ended = place.run(&["demo", "-6", "--size", "8M", "--folder", &folder]);
    assert_eq!(ended.status, Some(0), "{ended:?}");
    for text in ["fd00:77::3", "65527 bytes from a to c and back, all intact", "Every check held"] {
        assert!(ended.out.contains(text), "{text}: {}", ended.out);
    }
    assert!(!ended.out.contains("10.77"), "{}", ended.out);
}

#[test]
fn a_file_is_served_and_fetched() {
    let place = Place::new();
    fs::create_dir(place.path("site")).unwrap();
    fs::write(place.path("site").join("text"), "over IPv6").unwrap();
    let root = place.path("site").display().to_string();
    let one = format!("{},create", interface(&place, 1));
    let server = Process::start(&["httpd", "--json", &one, &root]);
    server.wait_for("\"up\"");
    for host in ["[fd00::1]", "10.0.0.1"] {
        let url = format!("http://{host}/text");
        let ended = place.run(&["fetch", &interface(&place, 2), &url]);
        assert_eq!((ended.status, &ended.out[..]), (Some(0), "over IPv6"), "{ended:?}");
    }
    server.stop(Signal::SIGINT);
}

#[test]
fn a_relay_leads_from_ipv6_to_the_hosts_ipv4() {
    use std::io::Read;
    use std::net::TcpListener;
    let place = Place::new();
    let host = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = host.local_addr().unwrap();
    let one = format!("{},create", interface(&place, 1));
    let relay = Process::start(&["forward", "--json", &one, &format!("[::]:80={to}")]);
    relay.wait_for("\"up\"");
    let two = interface(&place, 2);
    let mut client = Process::with_input(&["nc", &two, "fd00::1", "80"], Stdio::piped());
    client.feed(b"through".to_vec());
    let (mut stream, _) = host.accept().unwrap();
    stream.set_read_timeout(Some(crate::process::PATIENCE)).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!(text, "through");
    drop(stream);
    assert_eq!(client.finish().status, Some(0));
    relay.stop(Signal::SIGINT);
}
