//! Stacks whose clock the test moves, on links whose frames it sees and makes.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use libnet::callback::{CallbackConfig, Injector, callback_link};
use libnet::driver::Driver;
use libnet::driver::manual::ManualDriver;
use libnet::pair::{PairConfig, pair};
use libnet::socket::{GroupInterface, MulticastGroup, SocketOption};
use libnet::{Family, Instant, InterfaceSpec, Protocol, SockType};
use rumpnet::{Stack, TcpListener, TcpStream};

type Heard = Arc<Mutex<Vec<(Instant, Vec<u8>)>>>;

/// A stack at 10.0.0.1 and fd00::1 on bare IP.
struct Bench {
    clock: Arc<ManualDriver>,
    stack: Stack,
    injector: Injector,
    heard: Heard,
}

impl Bench {
    fn at(addr: &str) -> Bench {
        let clock = ManualDriver::new();
        let heard = Heard::default();
        let sink = Arc::clone(&heard);
        let (link, injector) = callback_link(&CallbackConfig::default(), move |at, packet| {
            sink.lock().unwrap().push((at, packet.to_vec()));
        });
        let spec = InterfaceSpec::new(link).addr(addr).addr("fd00::1/64");
        let stack = Stack::builder().interface(spec).seed([3; 32]).start_manual(&clock).unwrap();
        Bench { clock, stack, injector, heard }
    }

    fn hear(&self) -> Vec<(Instant, Vec<u8>)> {
        std::mem::take(&mut *self.heard.lock().unwrap())
    }

    /// Gives what was sent to another one, which takes it in at once.
    fn pass_to(&self, other: &Bench) -> usize {
        let heard = self.hear();
        for (_, packet) in &heard {
            other.injector.inject(packet).unwrap();
        }
        other.clock.settle();
        heard.len()
    }
}

fn begin(stack: &Stack, to: &str) -> libnet::net::Socket {
    let socket = stack.socket(Family::Inet, SockType::Stream, Protocol::TCP).unwrap();
    socket.set_nonblocking(true);
    let to: SocketAddr = to.parse().unwrap();
    assert!(libnet::errno::is_in_progress(&socket.connect(to).unwrap_err()));
    socket
}

#[test]
fn a_link_of_bare_ip_is_silent() {
    let bench = Bench::at("10.0.0.1/24");
    let group = MulticastGroup {
        group: IpAddr::V4(Ipv4Addr::new(239, 1, 2, 3)),
        interface: GroupInterface::Address(Ipv4Addr::new(10, 0, 0, 1)),
    };
    let socket = bench.stack.udp_bind("10.0.0.1:9").unwrap();
    let (all, to) = (SocketOption::JoinGroup(group), "10.0.0.2:9");
    socket.socket().set_option(all).unwrap();
    bench.clock.advance(Duration::from_secs(3_600));
    assert_eq!(bench.hear(), []);
    socket.send_to(b"now", to).unwrap();
    let heard = bench.hear();
    assert_eq!((heard.len(), heard[0].0), (1, Instant::from_millis(3_600_000)));
    assert_eq!(heard[0].1[28..], *b"now");
}

#[test]
fn timers_fire_at_their_own_times_in_whichever_steps_the_clock_goes() {
    let times = |move_on: &dyn Fn(&ManualDriver)| {
        let bench = Bench::at("10.0.0.1/24");
        let _socket = begin(&bench.stack, "10.0.0.2:80");
        move_on(&bench.clock);
        bench.hear()
    };
    let by_step = times(&|clock| {
        while clock.now() < Instant::from_millis(9_000) {
            let due = clock.next_deadline().expect("a SYN waits for its answer");
            assert_eq!(clock.step(), Some(due));
        }
    });
    let at_once = times(&|clock| {
        clock.advance(Duration::from_secs(10));
    });
    let known: Vec<_> =
        by_step.iter().take_while(|(at, _)| *at < Instant::from_millis(9_000)).collect();
    assert!(known.len() > 3 && at_once.iter().take(known.len()).eq(known.iter().copied()));
    assert_eq!(at_once[1].0, Instant::from_millis(1_000), "RFC 6298 §2.1: the first RTO");
}

#[test]
fn a_call_on_another_thread_times_out_by_the_clock() {
    let bench = Bench::at("10.0.0.1/24");
    let (clock, stack) = (Arc::clone(&bench.clock), bench.stack.clone());
    let (tell, told) = channel();
    let caller = thread::spawn(move || {
        let socket = stack.udp_bind("10.0.0.1:9").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let in_call = clock.enter();
        tell.send(()).unwrap();
        let error = socket.recv_from(&mut [0; 8]).unwrap_err();
        let at = clock.now();
        drop(in_call);
        (error.kind(), at)
    });
    told.recv().unwrap();
    assert_eq!(bench.clock.advance(Duration::from_secs(10)), Instant::from_millis(10_000));
    assert_eq!(caller.join().unwrap(), (ErrorKind::WouldBlock, Instant::from_millis(2_000)));
}

#[test]
fn a_packet_has_been_dealt_with_when_the_clock_has_settled() {
    let (a, b) = (Bench::at("10.0.0.1/24"), Bench::at("10.0.0.2/24"));
    let listener = b.stack.tcp_listen("10.0.0.2:80").unwrap();
    listener.set_nonblocking(true).unwrap();
    let socket = begin(&a.stack, "10.0.0.2:80");
    assert_eq!((a.pass_to(&b), b.pass_to(&a), a.pass_to(&b)), (1, 1, 1), "the handshake");
    let (mut accepted, _) = listener.accept().unwrap();
    assert_eq!(socket.send(b"hello").unwrap(), 5);
    assert_eq!(a.pass_to(&b), 1);
    let mut buf = [0; 8];
    assert_eq!(accepted.read(&mut buf).unwrap(), 5);
}

/// A server that echoes one message.
fn echo(listener: &TcpListener) {
    let (mut stream, _) = listener.accept().unwrap();
    let mut buf = [0; 5];
    stream.read_exact(&mut buf).unwrap();
    stream.write_all(&buf).unwrap();
}

fn ask(mut stream: TcpStream) -> [u8; 5] {
    let mut buf = [0; 5];
    stream.write_all(b"hello").unwrap();
    stream.read_exact(&mut buf).unwrap();
    buf
}

#[test]
fn interfaces_can_be_added_to_a_stack_on_threads() {
    let (a, b) = (Stack::builder().start().unwrap(), Stack::builder().start().unwrap());
    for (net, port) in [("10.0.1", 1), ("10.0.2", 2)] {
        let (end_a, end_b) = pair(&PairConfig::default());
        let spec = |end, n| InterfaceSpec::new(end).addr(&format!("{net}.{n}/24"));
        a.add_interface(spec(end_a, 1)).unwrap();
        b.add_interface(spec(end_b, 2)).unwrap();
        let to = format!("{net}.2:{port}");
        let listener = b.tcp_listen(&*to).unwrap();
        let server = thread::spawn(move || echo(&listener));
        assert_eq!(ask(a.tcp_connect(&*to).unwrap()), *b"hello");
        server.join().unwrap();
    }
}
