//! Clients of a control socket that do not know how to behave.

use super::*;

/// Connects as a client that does not know how to behave; what the node said first is read.
fn connect(place: &Place, name: &str) -> (UnixStream, String) {
    let stream = UnixStream::connect(place.ctl(name)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut hello = String::new();
    BufReader::new(stream.try_clone().unwrap()).read_line(&mut hello).unwrap();
    (stream, hello)
}

#[test]
fn garbage_and_endless_lines_cost_a_client_its_connection_and_the_node_nothing() {
    let place = Place::new();
    let _alice = place.node("alice", 1);
    let oversized = vec![b'x'; (64 << 10) + 1];
    for bytes in [
        &b"garbage\n"[..],
        b"{\"run\":{\"version\":99,\"argv\":[\"ip\"]}}\n",
        b"{\"run\":{\"version\":1,\"argv\":[\"node\"]}}\n",
        b"{\"run\":{\"version\":1,\"argv\":[]}}\n",
        b"\"stop\"\n",
        b"\xff\xfe\n",
        &oversized,
    ] {
        let (mut stream, hello) = connect(&place, "alice");
        assert!(hello.starts_with("{\"hello\":{\"version\":1,\"name\":\"alice\""), "{hello}");
        // The node may have closed before it has taken all.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        // A reset after the answer is as good as its end.
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.contains("\"err\"") || answer.is_empty(), "{answer}");
    }
    assert!(place.see("alice", &["ip", "addr"]).contains("10.0.0.1/24"));
}

#[test]
fn clients_are_bounded_and_one_that_stops_reading_holds_up_nobody() {
    let place = Place::new();
    let alice = place.node("alice", 1);
    // It asks for much and reads nothing.
    let (mut deaf, _) = connect(&place, "alice");
    deaf.write_all(b"{\"run\":{\"version\":1,\"argv\":[\"ping\",\"-f\",\"127.0.0.1\"]}}\n")
        .unwrap();
    let mut idle: Vec<UnixStream> = Vec::new();
    let refused = loop {
        assert!(idle.len() < 64, "nobody was refused");
        let (stream, hello) = connect(&place, "alice");
        if !hello.contains("hello") {
            break hello;
        }
        idle.push(stream);
    };
    assert!(refused.contains("too many clients"), "{refused}");
    idle.clear();
    // The places are free again once the node has seen that they went.
    let deadline = Instant::now() + PATIENCE;
    while place.look("alice", &["ip", "addr"]).status != Some(0) {
        assert!(Instant::now() < deadline, "the places were not given back");
    }
    let ended = place.run(&["ping", &place.interface(9), "10.0.0.1", "-c", "1"]);
    assert_eq!(ended.status, Some(0), "{ended:?}");
    // The deaf one is still there, and does not keep the node from ending.
    assert_eq!(alice.stop(Signal::SIGTERM).status, Some(0));
    assert!(!place.ctl("alice").exists());
}
