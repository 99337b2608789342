//! Fast Open, deferred accepts and signed segments as programs use them: by sockets, in a world.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use libnet::InterfaceSpec;
use libnet::impair::Impairments;
use libnet::socket::{AoKey, Family, Md5Key, OptionKey, Protocol, SockType, SocketOption};
use libnet::world::{LinkConfig, World};
use rumpnet::libnetinet::tcp::{FastOpen, TcpCounters};
use rumpnet::{InetConfig, Socket, Stack, TcpListener, TcpStream};

const DELAY: Duration = Duration::from_millis(50);

/// Two stacks a tenth of a second apart, there and back.
struct Far {
    world: World,
    client: Stack,
    server: Stack,
    at: SocketAddr,
}

impl Far {
    fn new() -> Far {
        let world = World::new(5);
        let segment =
            world.segment(LinkConfig::default().impairments(Impairments::none().delay(DELAY)));
        let start = |name: &str, addr: &str| {
            let mut config = InetConfig::default();
            config.tcp.fast_open = FastOpen::CLIENT.with(FastOpen::SERVER);
            let spec = InterfaceSpec::new(segment.next_link()).addr(addr);
            let builder = Stack::builder().config(config).interface(spec);
            builder.start_in(&world.host(name)).expect("it starts")
        };
        let (client, server) = (start("client", "10.0.0.1/24"), start("server", "10.0.0.2/24"));
        let at = "10.0.0.2:80".parse().expect("an address");
        // Neighbours know each other from here on.
        let warm_up = server.tcp_listen("10.0.0.2:9").expect("a free port");
        client.tcp_connect("10.0.0.2:9").expect("it connects");
        drop(warm_up);
        Far { world, client, server, at }
    }

    fn socket(stack: &Stack) -> Socket {
        stack.socket(Family::Inet, SockType::Stream, Protocol::TCP).expect("a socket")
    }

    fn listen(&self, option: SocketOption) -> TcpListener {
        let socket = Far::socket(&self.server);
        socket.set_option(SocketOption::ReuseAddr(true)).expect("an option of all");
        socket.set_option(option).expect("an option of TCP");
        socket.bind(self.at).expect("a free port");
        socket.listen(8).expect("it listens");
        TcpListener::from_socket(socket)
    }

    /// Answers every connection's first four bytes.
    fn answer(&self, listener: TcpListener) {
        let _ = self.world.spawn("server", move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let mut question = [0; 4];
                if stream.read_exact(&mut question).is_ok() {
                    let _ = stream.write_all(b"here");
                }
            }
        });
    }

    /// How long the answer takes to come.
    fn ask(&self, connect: impl FnOnce() -> TcpStream) -> Duration {
        let begun = self.world.now();
        let mut stream = connect();
        let mut reply = [0; 4];
        stream.read_exact(&mut reply).expect("an answer");
        self.world.now().since(begun)
    }

    fn client_counters(&self) -> TcpCounters {
        self.client.inet().expect("a stack of its own").tcp_counters().remove(0)
    }
}

#[test]
fn data_with_the_syn_are_answered_after_one_round_trip() {
    let far = Far::new();
    far.answer(far.listen(SocketOption::FastOpenQueue(5)));
    let ask = || far.ask(|| far.client.tcp_connect_with(far.at, b"you?").expect("a way"));
    let (first, second) = (ask(), ask());
    assert!(first >= 4 * DELAY, "{first:?}");
    assert!(second < 2 * DELAY + DELAY / 2, "{second:?}");
    assert_eq!(far.client_counters().fast_open_active, 1);
}

#[test]
fn a_connect_that_waits_for_data_is_there_at_once() {
    let far = Far::new();
    far.answer(far.listen(SocketOption::FastOpenQueue(5)));
    let connect = || {
        let socket = Far::socket(&far.client);
        socket.set_option(SocketOption::FastOpenConnect(true)).expect("an option of TCP");
        let begun = far.world.now();
        socket.connect(far.at).expect("it connects, or will");
        let waited = far.world.now().since(begun);
        socket.send(b"you?").expect("room");
        (TcpStream::from_socket(socket), waited)
    };
    let mut waits = Vec::new();
    let mut ask = || {
        far.ask(|| {
            let (stream, waited) = connect();
            waits.push(waited);
            stream
        })
    };
    let (first, second) = (ask(), ask());
    assert!(first >= 4 * DELAY && second < 2 * DELAY + DELAY / 2, "{first:?} {second:?}");
    assert!(waits[0] >= 2 * DELAY && waits[1].is_zero(), "{waits:?}");
}

#[test]
fn a_listener_can_wait_for_data() {
    let far = Far::new();
    let listener = far.listen(SocketOption::DeferAccept(Duration::from_secs(5)));
    let asked = listener.socket().option(OptionKey::DeferAccept).expect("an option of TCP");
    // As on Linux, rounded up to the times at which SYN-ACKs are sent again.
    assert_eq!(asked, SocketOption::DeferAccept(Duration::from_secs(7)));
    let mut stream = far.client.tcp_connect(far.at).expect("it connects");
    listener.set_nonblocking(true).expect("it can be");
    far.world.run_for(Duration::from_secs(2));
    let nobody = listener.accept().expect_err("no data have come");
    assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock);
    stream.write_all(b"now").expect("it is connected");
    far.world.run_for(2 * DELAY);
    let (mut accepted, _) = listener.accept().expect("they have");
    let mut data = [0; 3];
    accepted.read_exact(&mut data).expect("they are there");
    assert_eq!(&data, b"now");
}

#[test]
fn keys_are_given_to_sockets_and_go_from_listeners_to_their_connections() {
    let far = Far::new();
    let ours = "10.0.0.1".parse().expect("an address");
    for (here, there) in [
        (
            SocketOption::Md5Key(Md5Key::new(ours, b"secret")),
            SocketOption::Md5Key(Md5Key::new(far.at.ip(), b"secret")),
        ),
        (
            SocketOption::AoKey(AoKey::new(ours, 3, b"secret")),
            SocketOption::AoKey(AoKey::new(far.at.ip(), 3, b"secret")),
        ),
    ] {
        let listener = far.listen(here.clone());
        let socket = Far::socket(&far.client);
        socket.set_option(there.clone()).expect("a key");
        socket.connect(far.at).expect("both have the key");
        let (accepted, _) = listener.accept().expect("it is there");
        socket.send(b"signed").expect("room");
        let mut data = [0; 6];
        (&accepted).read_exact(&mut data).expect("it arrives");
        if matches!(there, SocketOption::AoKey(_)) {
            let in_use = socket.option(OptionKey::AoCurrent).expect("it signs");
            assert_eq!(in_use, SocketOption::AoCurrent(3));
            let unknown = socket.set_option(SocketOption::AoCurrent(4));
            assert_eq!(unknown.expect_err("no such key").raw_os_error(), Some(2));
            let twice = socket.set_option(there);
            assert_eq!(twice.expect_err("its number is taken").raw_os_error(), Some(17));
        }
    }
    assert!(far.client_counters().ao_good > 0);
}
