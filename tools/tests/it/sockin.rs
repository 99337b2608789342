//! The subcommands over the host's own sockets.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Stdio;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::process::Process;

/// A port of the host's loopback that nobody has now.
pub(crate) fn free_port() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port().to_string()
}

#[test]
fn nc_is_a_client_of_the_hosts_sockets() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let mut client = Process::with_input(&["nc", "--sockin", "127.0.0.1", &port], Stdio::piped());
    client.feed(b"from us\n".to_vec());
    let (mut stream, _) = listener.accept().unwrap();
    let mut heard = String::new();
    stream.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "from us\n");
    stream.write_all(b"after the end\n").unwrap();
    drop(stream);
    let client = client.finish();
    assert_eq!((client.status, &client.out[..]), (Some(0), "after the end\n"));
}

#[test]
fn nc_listens_by_the_hosts_sockets() {
    let port = free_port();
    let args = ["nc", "--sockin", "-v", "-s", "127.0.0.1", "-l", &port];
    let mut server = Process::with_input(&args, Stdio::piped());
    server.wait_for_error("listening on 127.0.0.1:");
    let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    stream.write_all(b"a line\n").unwrap();
    assert_eq!(server.wait_for("line"), "a line\n");
    server.feed(b"an answer\n".to_vec());
    let mut heard = String::new();
    stream.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "an answer\n");
    drop(stream);
    assert_eq!(server.finish().status, Some(0));
}

#[test]
fn perf_measures_the_hosts_sockets() {
    let port = free_port();
    let server = Process::start(&["perf", "--sockin", "-s", "-B", "127.0.0.1", "-p", &port]);
    server.wait_for("Server listening on");
    for more in [
        &["-n", "5M"][..],
        &["-n", "5M", "-R"],
        &["-t", "0.3", "--rr"],
        &["-u", "-b", "100M", "-n", "1M"],
    ] {
        let mut args = vec!["perf", "--sockin", "--json", "-p", &port, "-c", "127.0.0.1"];
        args.extend(more);
        let client = Process::start(&args).finish();
        assert_eq!(client.status, Some(0), "{more:?}: {client:?}");
        let report: Value = serde_json::from_str(&client.out).unwrap();
        assert_eq!(report["error"], Value::Null, "{more:?}: {report:#}");
    }
    assert_eq!(server.stop(Signal::SIGINT).status, Some(0));
}

#[test]
fn ping_asks_by_the_hosts_sockets() {
    let ended =
        Process::start(&["ping", "--sockin", "127.0.0.1", "-c", "2", "-i", "0.01"]).finish();
    if ended.err.contains("cannot make a socket for ICMP") {
        eprintln!("skipped: neither raw nor ping sockets are allowed here: {}", ended.err);
        return;
    }
    assert_eq!((ended.status, &ended.err[..]), (Some(0), ""));
    assert!(ended.out.contains("64 bytes from 127.0.0.1: icmp_seq=2 ttl="), "{}", ended.out);
    assert!(!ended.out.contains("ttl=0"), "{}", ended.out);
}

/// A capture of a run over the host's sockets, and what tshark finds wrong with it; `None` without
/// tshark.
fn complaints(path: &std::path::Path) -> Option<String> {
    let wrong = "_ws.malformed || tcp.checksum.status == 0 || udp.checksum.status == 0 \
                 || ip.checksum.status == 0 || icmp.checksum.status == 0 || tcp.analysis.flags";
    let checks = ["tcp.check_checksum:TRUE", "udp.check_checksum:TRUE", "ip.check_checksum:TRUE"];
    let mut tshark = std::process::Command::new("tshark");
    tshark.arg("-r").arg(path).args(["-Y", wrong]);
    for check in checks {
        tshark.args(["-o", check]);
    }
    let output = tshark.stderr(Stdio::null()).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_capture_of_the_hosts_sockets_is_read_by_dump_and_by_tshark() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (server_file, client_file) = (at("server.pcapng"), at("client.pcapng"));
    let server = Process::start(&[
        "perf",
        "--sockin",
        "--pcap",
        &server_file,
        "-s",
        "-B",
        "127.0.0.1",
        "-p",
        &port,
    ]);
    server.wait_for("Server listening on");
    for more in
        [&["-n", "3M"][..], &["-n", "1M", "-R", "-P", "2"], &["-u", "-b", "40M", "-n", "1M"]]
    {
        let mut args = vec!["perf", "--sockin", "--pcap", &client_file, "-p", &port];
        args.extend(["-c", "127.0.0.1"]);
        args.extend(more);
        let client = Process::start(&args).finish();
        assert_eq!((client.status, &client.err[..]), (Some(0), ""), "{more:?}");
        let dump = Process::start(&["dump", "-r", &client_file]).finish();
        assert_eq!(dump.status, Some(0), "{dump:?}");
        let head = format!("127.0.0.1.{port}");
        assert!(dump.out.lines().count() > 20, "{more:?}: {}", dump.out);
        assert!(dump.out.contains(&head) || dump.out.contains(&format!(":{port}")), "{}", dump.out);
        match complaints(client_file.as_ref()) {
            Some(found) => assert_eq!(found, "", "{more:?}"),
            None => eprintln!("skipped: tshark is not installed"),
        }
    }
    assert_eq!(server.stop(Signal::SIGINT).status, Some(0));
    assert_eq!(complaints(server_file.as_ref()).unwrap_or_default(), "");
}
