//! What happens to connections when cables are pulled, peers vanish, readers sleep and frames are
//! lost at the worst moment. All times are virtual.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use libnet::impair::{Fault, Impairments, Which};
use libnet::socket::SocketOption;
use libnet::world::Plug;
use libnet::{InterfaceSpec, MacAddr};
use rumpnet::{Stack, TcpListener, TcpStream};
use rumpnet_tests::frames::flags::{ACK, FIN, RST, SYN};
use rumpnet_tests::lab::{Pair, PairConfig};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Two stacks that know each other, 5 ms apart, and a listener on b.
fn world() -> (Pair, TcpListener) {
    let pair = Pair::new(&PairConfig::new(21)).unwrap();
    pair.impair(&Impairments::none().delay(Duration::from_millis(5)));
    let listener = pair.b.tcp_listen("10.0.0.2:9").unwrap();
    drop(pair.a.tcp_connect("10.0.0.2:1").unwrap_err());
    (pair, listener)
}

fn connected() -> (Pair, TcpStream, TcpStream) {
    let (pair, listener) = world();
    let client = pair.a.tcp_connect("10.0.0.2:9").unwrap();
    let (server, _) = listener.accept().unwrap();
    (pair, client, server)
}

/// Is the frame TCP with exactly these of SYN, ACK, RST and FIN?
fn tcp_with(want: u8) -> impl FnMut(&[u8]) -> bool + Send + 'static {
    move |frame| frame.len() >= 54 && frame[23] == 6 && frame[47] & (SYN | ACK | RST | FIN) == want
}

#[test]
fn a_cable_that_is_out_for_a_minute_delays_a_transfer_and_loses_nothing() {
    let (pair, mut client, mut server) = connected();
    let sent: Vec<u8> = (0..4 << 20).map(|i: u32| (i % 251) as u8).collect();
    let copy = sent.clone();
    let writer = pair.world.spawn("writer", move || {
        client.write_all(&copy).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        client
    });
    let mut got = vec![0; 1 << 20];
    server.read_exact(&mut got).unwrap();
    pair.segment.plug(pair.ports[0], Plug::Pulled);
    pair.world.run_for(MINUTE);
    pair.segment.plug(pair.ports[0], Plug::In);
    let back_at = pair.world.now();
    server.read_to_end(&mut got).unwrap();
    assert!(got == sent);
    // The next retransmission is at most as far off as the outage was long.
    assert!(pair.world.now().since(back_at) < MINUTE * 2, "{}", pair.world.now());
    drop(writer.join());
}

#[test]
fn a_reader_that_sleeps_for_an_hour_stops_the_writer_and_then_gets_everything() {
    let (pair, mut client, mut server) = connected();
    let writer = pair.world.spawn("writer", move || {
        client.write_all(&vec![3; 8 << 20]).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        client
    });
    let frames = pair.world.frames();
    pair.world.run_for(MINUTE * 60);
    assert!(!writer.is_finished(), "the window is shut");
    assert!(pair.world.frames() - frames < 6_000, "probes back off");
    // The window opens, and the frame that says so is lost.
    let lost = pair.segment.drop_nth(1, tcp_with(ACK));
    let (mut got, mut buf) = (0, vec![0; 1 << 20]);
    loop {
        match server.read(&mut buf).unwrap() {
            0 => break,
            n => got += n,
        }
    }
    assert_eq!((got, lost.get()), (8 << 20, 1));
    drop(writer.join());
}

#[test]
fn a_peer_that_vanishes_fails_the_writer_in_the_end() {
    let (mut pair, mut client, server) = connected();
    drop(server);
    let link = pair.segment.link(MacAddr([2, 0, 0, 0, 7, 7]));
    let spare = Stack::builder().interface(InterfaceSpec::new(link)).shards(1);
    let spare = spare.start_in(&pair.world.host("spare")).unwrap();
    // The last handle of b: the stack is gone, without a word.
    drop(std::mem::replace(&mut pair.b, spare));
    pair.segment.plug(pair.ports[1], Plug::Pulled);
    let start = pair.world.now();
    let error = loop {
        if let Err(error) = client.write_all(&[0; 100_000]) {
            break error;
        }
    };
    let gone = [ErrorKind::TimedOut, ErrorKind::HostUnreachable, ErrorKind::BrokenPipe];
    assert!(gone.contains(&error.kind()), "{error:?}");
    let took = pair.world.now().since(start);
    assert!(took < MINUTE * 60, "{took:?}");
}

#[test]
fn keep_alive_finds_a_dead_peer_after_its_probes() {
    let (pair, mut client, _server) = connected();
    let socket = client.socket();
    socket.set_option(SocketOption::KeepAlive(true)).unwrap();
    socket.set_option(SocketOption::KeepIdle(MINUTE)).unwrap();
    socket.set_option(SocketOption::KeepInterval(SECOND * 10)).unwrap();
    socket.set_option(SocketOption::KeepCount(3)).unwrap();
    pair.world.run_for(MINUTE * 30);
    assert!(client.take_error().unwrap().is_none(), "a living peer answers");
    pair.impair(&Impairments::none().loss(1.0));
    let start = pair.world.now();
    let error = client.read(&mut [0; 1]).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::HostUnreachable), "{error:?}");
    let took = pair.world.now().since(start);
    assert!((SECOND * 30..MINUTE * 2 + SECOND * 40).contains(&took), "{took:?}");
}

#[test]
fn a_silent_host_makes_a_connect_time_out_after_its_retries() {
    let (pair, _listener) = world();
    pair.segment.inject("SYNs", Which::Every, Fault::Drop, tcp_with(SYN));
    let start = pair.world.now();
    let error = pair.a.tcp_connect("10.0.0.2:9").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    // Four times a second, then 1 + 2 + 4 + … + 64 s: eleven SYNs, as Linux sends.
    assert_eq!(pair.world.now().since(start).as_secs(), 131);
}

#[test]
fn a_connect_timeout_ends_a_connect_early() {
    let (pair, _listener) = world();
    pair.segment.inject("SYNs", Which::Every, Fault::Drop, tcp_with(SYN));
    let start = pair.world.now();
    let addr = "10.0.0.2:9".parse().unwrap();
    let error = pair.a.tcp_connect_timeout(&addr, SECOND * 5).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert_eq!(pair.world.now().since(start), SECOND * 5);
}

#[test]
fn each_lost_part_of_a_handshake_costs_one_timeout() {
    for (lost, name) in [(SYN, "SYN"), (SYN | ACK, "SYN-ACK")] {
        let (pair, listener) = world();
        let count = pair.segment.drop_nth(1, tcp_with(lost));
        let start = pair.world.now();
        let mut client = pair.a.tcp_connect("10.0.0.2:9").unwrap();
        let took = pair.world.now().since(start);
        assert_eq!(count.get(), 1);
        assert!((SECOND..SECOND * 2).contains(&took), "{name}: {took:?}");
        let (mut server, _) = listener.accept().unwrap();
        client.write_all(b"x").unwrap();
        server.read_exact(&mut [0; 1]).unwrap();
    }
}

#[test]
fn the_lost_last_part_of_a_handshake_is_made_good_by_the_first_data() {
    let (pair, listener) = world();
    let count = pair.segment.drop_nth(1, tcp_with(ACK));
    let mut client = pair.a.tcp_connect("10.0.0.2:9").unwrap();
    client.write_all(b"x").unwrap();
    let (mut server, _) = listener.accept().unwrap();
    server.read_exact(&mut [0; 1]).unwrap();
    assert_eq!(count.get(), 1);
}

#[test]
fn a_lost_fin_is_sent_again() {
    let (pair, client, mut server) = connected();
    let count = pair.segment.drop_nth(1, tcp_with(FIN | ACK));
    client.shutdown(Shutdown::Write).unwrap();
    let start = pair.world.now();
    assert_eq!(server.read(&mut [0; 1]).unwrap(), 0);
    assert_eq!(count.get(), 1);
    let took = pair.world.now().since(start);
    assert!((Duration::from_millis(200)..SECOND * 2).contains(&took), "{took:?}");
}

#[test]
fn both_close_at_once_and_both_see_the_end() {
    let (pair, mut client, mut server) = connected();
    client.shutdown(Shutdown::Write).unwrap();
    server.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
    assert_eq!(server.read(&mut [0; 1]).unwrap(), 0);
    drop((client, server));
    pair.world.run_for(MINUTE * 5);
    assert!(pair.a.inet().unwrap().sockets().is_empty(), "{:?}", pair.a.inet().unwrap().sockets());
}

#[test]
fn a_close_with_linger_zero_resets_the_peer() {
    let (_pair, client, mut server) = connected();
    client.socket().set_option(SocketOption::Linger(Some(Duration::ZERO))).unwrap();
    drop(client);
    let error = server.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_peer_that_started_anew_resets_old_connections() {
    let (mut pair, mut client, server) = connected();
    let link = pair.segment.link(MacAddr([2, 0, 0, 0, 0, 2]));
    let anew = Stack::builder().interface(InterfaceSpec::new(link).addr("10.0.0.2/24"));
    // It dies without a word, and comes back.
    pair.segment.plug(pair.ports[1], Plug::Pulled);
    drop(server);
    let anew = anew.start_in(&pair.world.host("b again")).unwrap();
    drop(std::mem::replace(&mut pair.b, anew));
    pair.world.run_for(SECOND * 10);
    client.write_all(b"are you there?").unwrap();
    let error = client.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn two_hundred_connect_at_once_to_a_listener_that_is_slow_to_accept() {
    let (pair, listener) = world();
    let clients: Vec<_> = (0..200u32)
        .map(|i| {
            let stack = pair.a.clone();
            pair.world.spawn("client", move || -> io::Result<u32> {
                let mut stream = stack.tcp_connect("10.0.0.2:9")?;
                stream.write_all(&i.to_be_bytes())?;
                let mut answer = [0; 4];
                stream.read_exact(&mut answer)?;
                Ok(u32::from_be_bytes(answer))
            })
        })
        .collect();
    pair.world.run_for(SECOND * 2);
    let server = pair.world.spawn("server", move || {
        for _ in 0..200 {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4];
            stream.read_exact(&mut request).unwrap();
            stream.write_all(&request).unwrap();
        }
    });
    for (i, client) in clients.into_iter().enumerate() {
        assert_eq!(client.join().unwrap(), i as u32);
    }
    server.join();
}

#[test]
fn a_port_is_used_again_right_after_its_connection_closed() {
    let (pair, listener) = world();
    let server = pair.world.spawn("server", move || {
        for _ in 0..20 {
            let (mut stream, _) = listener.accept().unwrap();
            let mut all = Vec::new();
            stream.read_to_end(&mut all).unwrap();
            assert_eq!(all, b"again");
        }
    });
    for round in 0..20 {
        let socket = pair.a.socket(
            libnet::Family::Inet,
            libnet::SockType::Stream,
            libnet::Protocol::DEFAULT,
        );
        let socket = socket.unwrap();
        socket.set_option(SocketOption::ReuseAddr(true)).unwrap();
        let bound = socket.bind("10.0.0.1:7777".parse().unwrap());
        bound.unwrap_or_else(|error| panic!("round {round}: {error}"));
        let connected = socket.connect("10.0.0.2:9".parse().unwrap());
        connected.unwrap_or_else(|error| panic!("round {round}: {error}"));
        let mut stream = TcpStream::from_socket(socket);
        stream.write_all(b"again").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
        drop(stream);
        pair.world.run_for(SECOND * 2);
    }
    server.join();
}
