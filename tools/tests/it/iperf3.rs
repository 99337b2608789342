//! The system's iperf3 as the client of `rumpnet perf`. It speaks through the host's loopback; each of
//! its connections is passed on by a `rumpnet nc` of its own.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::process::{Place, Process};

/// Passes connections to a port of the host's loopback on to 10.0.0.1:5201.
struct Relay {
    addr: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    fn start(place: &Place) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&stop);
        let interfaces: Vec<String> = (10..100).map(|host| place.interface(host)).collect();
        let thread = std::thread::spawn(move || {
            let mut children = Vec::new();
            for interface in interfaces {
                let (stream, _) = listener.accept().unwrap();
                if is_over.load(Ordering::Acquire) {
                    break;
                }
                children.push(pass(stream.into(), &interface));
            }
            for mut child in children {
                // One that has ended already is what it should be.
                let _ = child.kill();
                child.wait().unwrap();
            }
        });
        Relay { addr, stop, thread: Some(thread) }
    }
}

fn pass(stream: OwnedFd, interface: &str) -> Child {
    // nc waits for the end of its input; iperf3 for that of the stream. The time-out ends that.
    Command::new(env!("CARGO_BIN_EXE_rumpnet"))
        .args(["nc", "-w", "4", interface, "10.0.0.1", "5201"])
        .env_remove("RUST_LOG")
        .stdin(stream.try_clone().unwrap())
        .stdout(stream)
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // It wakes the thread; one that has ended already needs no waking.
        let _ = std::net::TcpStream::connect(self.addr);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn is_installed() -> bool {
    let version = Command::new("iperf3").arg("--version").stdout(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}

fn iperf3(relay: &Relay, more: &[&str]) -> Value {
    let port = relay.addr.port().to_string();
    let output = Command::new("iperf3")
        .args(["-c", "127.0.0.1", "-p", &port, "--json"])
        .args(more)
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["error"], Value::Null, "{more:?}: {report:#}");
    report
}

#[test]
fn iperf3_is_a_client() {
    if !is_installed() {
        println!("skipped: iperf3 is not installed");
        return;
    }
    let place = Place::new();
    let interface = format!("{},create", place.interface(1));
    let server = Process::start(&["perf", &interface, "-s"]);
    server.wait_for("Server listening on 5201 (test #1)");
    let relay = Relay::start(&place);
    for more in
        [&["-n", "20M"][..], &["-n", "20M", "-P", "3"], &["-t", "1", "-O", "1"], &["-t", "1", "-R"]]
    {
        let end = iperf3(&relay, more)["end"].clone();
        let bytes = |side: &str| end[side]["bytes"].as_u64().unwrap();
        assert!(bytes("sum_sent") > 1 << 20, "{more:?}: {end:#}");
        assert!(bytes("sum_received") > 1 << 20, "{more:?}: {end:#}");
        if more[0] == "-n" {
            assert_eq!(bytes("sum_sent"), bytes("sum_received"), "{more:?}");
        }
    }
    drop(relay);
    assert_eq!(server.stop(Signal::SIGINT).status, Some(0));
}
