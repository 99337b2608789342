//! `dump -n`.

use super::*;

#[test]
fn a_capture_inside_a_node_says_why_packets_were_dropped() {
    let place = Place::new();
    let alice = place.node("alice", 1);
    let ctl = place.ctl("alice").display().to_string();
    let file = place.path("out.pcapng").display().to_string();
    let dump = Process::start(&[
        "dump", "-n", &ctl, "-i", "shmif0", "-w", &file, "--print", "-t", "icmp", "or", "udp",
    ]);
    dump.wait_for_error("listening on shmif0 of alice");
    // The node begins to look when it was asked to, which nobody tells: pings until they are seen.
    let ping = Process::start(&["ping", &place.interface(9), "10.0.0.1", "-i", "0.02"]);
    dump.wait_for("ICMP echo reply");
    assert_eq!(ping.stop(Signal::SIGINT).status, Some(0));
    let to_nobody = place.run(&["traceroute", &place.interface(8), "-n", "-q", "1", "10.0.0.1"]);
    assert_eq!(to_nobody.status, Some(0), "{to_nobody:?}");
    let ended = dump.stop(Signal::SIGINT);
    assert_eq!(ended.status, Some(0), "{ended:?}");
    drop(alice);
    let bytes = fs::read(&file).unwrap();
    assert!(bytes.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]));
}

#[test]
fn a_dropped_packet_has_its_reason_as_a_comment() {
    let place = Place::new();
    let _alice = place.node("alice", 1);
    let ctl = place.ctl("alice").display().to_string();
    let file = place.path("out.pcapng").display().to_string();
    let dump = Process::start(&[
        "dump", "-n", &ctl, "-w", &file, "--print", "-t", "-c", "1", "udp", "dst", "port", "9",
    ]);
    dump.wait_for_error("listening on all interfaces of alice");
    let mut sender = Process::with_input(
        &["nc", &place.interface(9), "-u", "10.0.0.1", "9"],
        std::process::Stdio::piped(),
    );
    let deadline = Instant::now() + PATIENCE;
    let line = loop {
        assert!(Instant::now() < deadline);
        sender.feed_line("nobody is there\n");
        if let Some(line) = dump.line_within("UDP", Duration::from_millis(100)) {
            break line;
        }
    };
    assert!(line.trim_end().ends_with("(dropped: udp_no_port)"), "{line}");
    assert_eq!(dump.finish().status, Some(0));
    let bytes = fs::read(&file).unwrap();
    let comment = b"dropped: udp_no_port";
    assert!(bytes.windows(comment.len()).any(|window| window == comment));
    let ended = place.run(&["dump", "-n", &ctl, "-i", "nope"]);
    assert_eq!(ended.status, Some(2));
    assert!(
        ended.err.contains("there is no interface `nope`: there are lo0, shmif0"),
        "{}",
        ended.err
    );
}
