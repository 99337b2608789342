//! The system's iperf3 and `rumpnet perf`, each as the client of the other: over the host's sockets,
//! where they meet directly, and over a bus, by `rumpnet forward`.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::process::{Place, Process};
use crate::sockin::free_port;

/// A relay from a port of the host's loopback to 10.0.0.1:5201, and that port.
fn relay(place: &Place) -> (Process, String) {
    let relay = Process::start(&["forward", &place.interface(9), "-o", "0=10.0.0.1:5201"]);
    let line = relay.wait_for("of the host leads to 10.0.0.1:5201");
    let at: SocketAddr = line.split(' ').nth(1).unwrap().parse().unwrap();
    (relay, at.port().to_string())
}

fn is_installed() -> bool {
    let version = Command::new("iperf3").arg("--version").stdout(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}

fn iperf3(port: &str, more: &[&str]) -> Value {
    let output = Command::new("iperf3")
        .args(["-c", "127.0.0.1", "-p", port, "--json"])
        .args(more)
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["error"], Value::Null, "{more:?}: {report:#}");
    report
}

#[test]
fn iperf3_is_a_client_on_a_bus() {
    if !is_installed() {
        println!("skipped: iperf3 is not installed");
        return;
    }
    let place = Place::new();
    let interface = format!("{},create", place.interface(1));
    let server = Process::start(&["perf", &interface, "-s"]);
    server.wait_for("Server listening on 5201 (test #1)");
    let (relay, port) = relay(&place);
    for more in
        [&["-n", "20M"][..], &["-n", "20M", "-P", "3"], &["-t", "1", "-O", "1"], &["-t", "1", "-R"]]
    {
        let end = iperf3(&port, more)["end"].clone();
        let bytes = |side: &str| end[side]["bytes"].as_u64().unwrap();
        assert!(bytes("sum_sent") > 1 << 20, "{more:?}: {end:#}");
        assert!(bytes("sum_received") > 1 << 20, "{more:?}: {end:#}");
        if more[0] == "-n" {
            assert_eq!(bytes("sum_sent"), bytes("sum_received"), "{more:?}");
        }
    }
    assert_eq!(relay.stop(Signal::SIGINT).status, Some(0));
    assert_eq!(server.stop(Signal::SIGINT).status, Some(0));
}

/// What both sides are asked for over the host's sockets: TCP and UDP, each way, in parallel.
const MODES: &[&[&str]] = &[
    &["-n", "8M"],
    &["-n", "8M", "-P", "4"],
    &["-t", "1", "-R"],
    &["-t", "1", "-R", "-P", "4"],
    &["-u", "-b", "40M", "-t", "1"],
    &["-u", "-b", "40M", "-t", "1", "-P", "4"],
    &["-u", "-b", "40M", "-t", "1", "-R"],
    &["-u", "-b", "40M", "-t", "1", "-R", "-P", "4"],
];

/// Both sides agree on what was sent and received, and on how many streams there were.
fn check(more: &[&str], report: &Value) {
    let end = &report["end"];
    let bytes = |side: &str| end[side]["bytes"].as_u64().unwrap();
    let (sent, received) = (bytes("sum_sent"), bytes("sum_received"));
    assert!(sent > 1 << 20, "{more:?}: {end:#}");
    // iperf3 does not wait for what is still in the buffers when the client has sent it all.
    assert!(received > 0 && received <= sent + (64 << 20), "{more:?}: {end:#}");
    let streams = if more.contains(&"-P") { 4 } else { 1 };
    assert_eq!(end["streams"].as_array().map(Vec::len), Some(streams), "{more:?}: {end:#}");
    if more.contains(&"-u") {
        // A busy machine loses some: it is the numbering that is tried.
        let packets = |key: &str| end["sum"][key].as_i64().unwrap();
        assert!(packets("packets") > 0, "{more:?}: {end:#}");
        assert!((0..packets("packets")).contains(&packets("lost_packets")), "{more:?}: {end:#}");
    }
}

#[test]
fn iperf3_is_a_client_over_the_hosts_sockets() {
    if !is_installed() {
        eprintln!("skipped: iperf3 is not installed");
        return;
    }
    let port = free_port();
    let server = Process::start(&["perf", "--sockin", "-s", "-B", "127.0.0.1", "-p", &port]);
    server.wait_for("Server listening on");
    for more in MODES {
        check(more, &iperf3(&port, more));
    }
    assert_eq!(server.stop(Signal::SIGINT).status, Some(0));
}

/// iperf3 as a server; ended when dropped.
struct Server(Child);

impl Server {
    fn start(port: &str) -> Self {
        let args = ["-s", "-B", "127.0.0.1", "-p", port, "--forceflush"];
        let mut command = Command::new("iperf3");
        let mut child = command.args(args).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let up = lines.any(|line| line.unwrap().contains("Server listening on"));
        assert!(up, "iperf3 ended before it listened");
        // It goes on writing, and must not be stopped by a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Server(child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended already is what it should be.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn iperf3_is_a_server_over_the_hosts_sockets() {
    if !is_installed() {
        eprintln!("skipped: iperf3 is not installed");
        return;
    }
    let port = free_port();
    let _server = Server::start(&port);
    for more in MODES {
        let mut args = vec!["perf", "--sockin", "--json", "-p", &port, "-c", "127.0.0.1"];
        args.extend(*more);
        let client = Process::start(&args).finish();
        assert_eq!(client.status, Some(0), "{more:?}: {client:?}");
        check(more, &serde_json::from_str(&client.out).unwrap());
    }
}
