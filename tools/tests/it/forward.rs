//! `rumpnet forward`: the host's side is std's sockets, the stack's side a stack of this process.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use nix::sys::signal::Signal;
use rumpnet::{Shmif, Stack};
use serde_json::Value;

use crate::process::{PATIENCE, Place, Process};

/// 10.0.0.2 on the place's bus.
fn stack(place: &Place) -> Stack {
    let interface = Shmif::attach(place.path("t.bus")).unwrap().addr("10.0.0.2/24");
    Stack::builder().interface(interface).start().unwrap()
}

/// A relay at 10.0.0.1 that is up, and where its mappings listen.
fn forward(place: &Place, more: &[&str]) -> (Process, Vec<SocketAddr>) {
    let interface = format!("{},create", place.interface(1));
    let mut args = vec!["forward", "--json", "-v", &interface];
    args.extend(more);
    let process = Process::start(&args);
    let up: Value = serde_json::from_str(&process.wait_for("\"up\"")).unwrap();
    let at = |mapping: &Value| mapping["at"].as_str().unwrap().parse().unwrap();
    let ports = up["mappings"].as_array().unwrap().iter().map(at).collect();
    (process, ports)
}

/// Ends the relay; its mappings' counters.
fn end(process: Process) -> Vec<Value> {
    process.signal(Signal::SIGINT);
    let report: Value = serde_json::from_str(&process.wait_for("\"end\"")).unwrap();
    assert_eq!(process.finish().status, Some(0));
    report["mappings"].as_array().unwrap().clone()
}

fn host_listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr.to_string())
}

fn accept(listener: &TcpListener) -> TcpStream {
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn host_connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn stack_connect(stack: &Stack, addr: &str) -> rumpnet::TcpStream {
    let stream = stack.tcp_connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// What comes until the end. A read by hand would have to look out for signals.
fn rest(mut stream: impl Read) -> io::Result<usize> {
    stream.read_to_end(&mut Vec::new())
}

fn is_reset(rest: io::Result<usize>) {
    let kind = rest.map_err(|error| error.kind());
    assert_eq!(kind, Err(io::ErrorKind::ConnectionReset));
}

fn reset(stream: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    drop(stream);
}

fn pattern(bytes: usize, seed: u8) -> Vec<u8> {
    (0..bytes).map(|n| (n as u8).wrapping_mul(31).wrapping_add(seed)).collect()
}

/// The caller sends and closes its direction; the other hears its end, and answers only then.
fn converse(
    mut caller: impl Read + Write + Send,
    close: impl FnOnce() + Send,
    mut other: impl Read + Write,
) {
    let (question, answer) = (pattern(3_000_000, 1), pattern(2_000_000, 2));
    std::thread::scope(|scope| {
        let heard = scope.spawn(|| {
            caller.write_all(&question).unwrap();
            close();
            let mut heard = Vec::new();
            caller.read_to_end(&mut heard).unwrap();
            heard
        });
        let mut asked = Vec::new();
        other.read_to_end(&mut asked).unwrap();
        assert!(asked == question, "{} of {} bytes", asked.len(), question.len());
        other.write_all(&answer).unwrap();
        drop(other);
        let heard = heard.join().unwrap();
        assert!(heard == answer, "{} of {} bytes", heard.len(), answer.len());
    });
}

#[test]
fn inward_each_direction_ends_by_itself() {
    let place = Place::new();
    let (listener, target) = host_listener();
    let (relay, _) = forward(&place, &[&format!("80={target}")]);
    let client = stack_connect(&stack(&place), "10.0.0.1:80");
    let close = {
        let client = client.clone();
        move || client.shutdown(Shutdown::Write).unwrap()
    };
    converse(client, close, accept(&listener));
    relay.wait_for_error("connection closed");
    let counters = &end(relay)[0];
    assert_eq!((counters["begun"].as_u64(), counters["open"].as_u64()), (Some(1), Some(0)));
    assert_eq!(counters["there_bytes"], 3_000_000);
    assert_eq!(counters["back_bytes"], 2_000_000);
}

#[test]
fn outward_each_direction_ends_by_itself() {
    let place = Place::new();
    let (relay, at) = forward(&place, &["-o", "0=10.0.0.2:80"]);
    assert!(at[0].ip().is_loopback(), "only this host is let in unless asked for");
    let listener = stack(&place).tcp_listen("0.0.0.0:80").unwrap();
    let client = host_connect(at[0]);
    let close = {
        let client = client.try_clone().unwrap();
        move || client.shutdown(Shutdown::Write).unwrap()
    };
    let (server, _) = listener.accept().unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    converse(client, close, server);
    relay.wait_for_error("connection closed");
    assert_eq!(end(relay)[0]["reset"], 0);
}

#[test]
fn a_reset_is_passed_on_either_way() {
    let place = Place::new();
    let (listener, target) = host_listener();
    let (relay, _) = forward(&place, &[&format!("80={target}")]);
    let stack = stack(&place);
    let client = stack_connect(&stack, "10.0.0.1:80");
    let server = accept(&listener);
    client.set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    is_reset(rest(server));

    let client = stack_connect(&stack, "10.0.0.1:80");
    reset(accept(&listener));
    is_reset(rest(client));

    // Also to one that has closed its own direction, and waits.
    let client = stack_connect(&stack, "10.0.0.1:80");
    client.shutdown(Shutdown::Write).unwrap();
    let server = accept(&listener);
    assert_eq!(rest(&server).unwrap(), 0);
    reset(server);
    is_reset(rest(client));
    assert_eq!(end(relay)[0]["reset"], 3);
}

#[test]
fn who_asks_for_a_target_that_refuses_is_reset() {
    let place = Place::new();
    let (listener, target) = host_listener();
    drop(listener);
    let (relay, at) = forward(&place, &[&format!("80={target}"), "-o", "0=10.0.0.2:81"]);
    let stack = stack(&place);
    // The reset may be there before the caller has looked at its connection.
    is_reset(stack.tcp_connect("10.0.0.1:80").and_then(rest));
    is_reset(TcpStream::connect(at[1]).and_then(rest));
    let counters = end(relay);
    assert_eq!((&counters[0]["refused"], &counters[1]["refused"]), (&1.into(), &1.into()));
}

#[test]
fn the_end_of_the_relay_is_a_reset_to_who_is_not_done() {
    let place = Place::new();
    let (listener, target) = host_listener();
    let (relay, _) = forward(&place, &[&format!("80={target}")]);
    let mut client = stack_connect(&stack(&place), "10.0.0.1:80");
    let mut server = accept(&listener);
    server.write_all(b"half of an ans").unwrap();
    client.read_exact(&mut [0; 14]).unwrap();
    assert_eq!(end(relay)[0]["begun"], 1);
    is_reset(rest(client));
    is_reset(rest(server));
}

#[test]
fn two_hundred_connections_are_open_at_once() {
    let place = Place::new();
    let node = place.node("alice", 3);
    let (relay, at) = forward(&place, &["-o", "0=10.0.0.3:7"]);
    let mut clients: Vec<TcpStream> = (0..200).map(|_| host_connect(at[0])).collect();
    for round in 0..3_u8 {
        for (n, client) in clients.iter_mut().enumerate() {
            client.write_all(&pattern(1000 + n, round)).unwrap();
        }
        for (n, client) in clients.iter_mut().enumerate() {
            let mut back = vec![0; 1000 + n];
            client.read_exact(&mut back).unwrap();
            assert!(back == pattern(1000 + n, round), "connection {n}");
        }
    }
    relay.signal(Signal::SIGQUIT);
    let report: Value = serde_json::from_str(&relay.wait_for("\"report\"")).unwrap();
    assert_eq!(report["mappings"][0]["open"], 200);
    for client in &mut clients {
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(rest(client).unwrap(), 0);
    }
    let counters = &end(relay)[0];
    assert_eq!((&counters["begun"], &counters["reset"]), (&200.into(), &0.into()));
    assert_eq!(counters["there_bytes"], counters["back_bytes"]);
    drop(node);
}

#[test]
fn more_connections_than_allowed_wait_for_a_place() {
    let place = Place::new();
    let (listener, target) = host_listener();
    let (relay, _) = forward(&place, &["--max-connections", "1", &format!("80={target}")]);
    let stack = stack(&place);
    let first = stack_connect(&stack, "10.0.0.1:80");
    let server = accept(&listener);
    let mut second = stack_connect(&stack, "10.0.0.1:80");
    second.write_all(b"?").unwrap();
    relay.wait_for_error("all places are taken");
    listener.set_nonblocking(true).unwrap();
    let none = listener.accept().map(|_| ()).map_err(|error| error.kind());
    assert_eq!(none, Err(io::ErrorKind::WouldBlock));
    listener.set_nonblocking(false).unwrap();
    drop((first, server));
    accept(&listener).read_exact(&mut [0]).unwrap();
    assert_eq!(end(relay)[0]["at_limit"], 1);
}

#[test]
fn datagrams_find_their_way_back_and_idle_flows_end() {
    let place = Place::new();
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let target = server.local_addr().unwrap();
    let (relay, at) = forward(
        &place,
        &["--udp-timeout", "0.3", &format!("udp:53={target}"), "-o", "udp:0=10.0.0.2:54"],
    );
    let stack = stack(&place);
    let clients = [stack.udp_bind("0.0.0.0:0").unwrap(), stack.udp_bind("0.0.0.0:0").unwrap()];
    let mut buffer = [0; 9000];
    for bytes in [0, 1, 1400, 9000] {
        for (n, client) in clients.iter().enumerate() {
            client.send_to(&pattern(bytes, n as u8), "10.0.0.1:53").unwrap();
            let (got, from) = server.recv_from(&mut buffer).unwrap();
            assert_eq!(buffer[..got], pattern(bytes, n as u8));
            server.send_to(&pattern(bytes, 7), from).unwrap();
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            let (got, from) = client.recv_from(&mut buffer).unwrap();
            assert_eq!((&buffer[..got], from.port()), (&pattern(bytes, 7)[..], 53));
        }
    }
    let inside = stack.udp_bind("0.0.0.0:54").unwrap();
    let outside = UdpSocket::bind("127.0.0.1:0").unwrap();
    outside.send_to(b"outward", at[1]).unwrap();
    inside.set_read_timeout(Some(PATIENCE)).unwrap();
    let (got, from) = inside.recv_from(&mut buffer).unwrap();
    inside.send_to(&buffer[..got], from).unwrap();
    outside.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(outside.recv_from(&mut buffer).unwrap(), (7, at[1]));
    for _ in 0..3 {
        relay.wait_for_error("flow ended");
    }
    let counters = end(relay);
    assert_eq!((&counters[0]["begun"], &counters[0]["open"]), (&2.into(), &0.into()));
    assert_eq!((&counters[0]["there_datagrams"], &counters[0]["dropped"]), (&8.into(), &0.into()));
    assert_eq!(
        (&counters[1]["back_datagrams"], &counters[1]["back_bytes"]),
        (&1.into(), &7.into())
    );
}

#[test]
fn flows_past_the_bound_are_dropped_and_counted() {
    let place = Place::new();
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let target = server.local_addr().unwrap();
    let (relay, _) = forward(&place, &["--max-connections", "1", &format!("udp:53={target}")]);
    let stack = stack(&place);
    let [first, second] = [(); 2].map(|()| stack.udp_bind("0.0.0.0:0").unwrap());
    first.send_to(b"1", "10.0.0.1:53").unwrap();
    second.send_to(b"2", "10.0.0.1:53").unwrap();
    first.send_to(b"3", "10.0.0.1:53").unwrap();
    let mut heard = [0; 2];
    for byte in &mut heard {
        server.recv(std::slice::from_mut(byte)).unwrap();
    }
    assert_eq!(&heard, b"13");
    let counters = &end(relay)[0];
    assert_eq!((&counters["dropped"], &counters["at_limit"]), (&1.into(), &1.into()));
}

#[test]
fn flows_take_no_places_of_connections() {
    let place = Place::new();
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let (listener, target) = host_listener();
    let datagrams = format!("udp:53={}", server.local_addr().unwrap());
    let (relay, _) =
        forward(&place, &["--max-connections", "1", &datagrams, &format!("80={target}")]);
    let stack = stack(&place);
    let peer = stack.udp_bind("0.0.0.0:0").unwrap();
    peer.send_to(b"1", "10.0.0.1:53").unwrap();
    server.recv(&mut [0]).unwrap();
    let mut client = stack_connect(&stack, "10.0.0.1:80");
    client.write_all(b"?").unwrap();
    accept(&listener).read_exact(&mut [0]).unwrap();
    let counters = end(relay);
    assert_eq!((&counters[0]["open"], &counters[1]["begun"]), (&1.into(), &1.into()));
    assert_eq!((&counters[0]["at_limit"], &counters[1]["at_limit"]), (&0.into(), &0.into()));
}

#[test]
fn what_cannot_be_forwarded_is_told() {
    let place = Place::new();
    let (_listener, taken) = host_listener();
    let interface = format!("{},create", place.interface(1));
    let told = |args: &[&str]| {
        let mut all = vec!["forward", &interface];
        all.extend(args);
        let ended = place.run(&all);
        assert_eq!(ended.status, Some(2), "{args:?}: {ended:?}");
        ended.err
    };
    assert!(told(&["80"]).contains("`80` has no target: write 80=127.0.0.1:8080"));
    assert!(told(&["80=127.0.0.1:0"]).contains("nobody listens at port 0"));
    assert!(told(&["10.0.0.7:80=127.0.0.1:1"]).contains("it is no address of the stack's"));
    assert!(
        told(&["80=127.0.0.1:1", "80=127.0.0.1:2"])
            .contains("Address already in use: take another")
    );
    assert!(
        told(&["-o", &format!("{taken}=10.0.0.2:80")])
            .contains("Address already in use: take another")
    );
    assert!(
        told(&["-o", "192.0.2.1:8080=10.0.0.2:80"]).contains("it is no address of this host's")
    );
    assert!(told(&[]).contains("MAPPING"));
    let ended = place.run(&["forward", "80=127.0.0.1:8080"]);
    assert_eq!(ended.status, Some(2));
    assert!(ended.err.contains("forward needs an interface: add --if"), "{}", ended.err);
}
