//! What dropping a stack does with what it still holds.

use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use libnet::pair::{PairConfig, pair};
use libnet::world::{LinkConfig, World};
use libnet::{Family, Protocol, Ready, SockType};
use rumpnet::{InterfaceSpec, Stack};

/// Two stacks on one wire.
fn stacks(linger: Duration) -> (Stack, Stack) {
    let (left, right) = pair(&PairConfig::default());
    let build = |link, addr| {
        let spec = InterfaceSpec::new(link).addr(addr);
        Stack::builder().interface(spec).linger(linger).start().unwrap()
    };
    (build(left, "10.0.0.1/24"), build(right, "10.0.0.2/24"))
}

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn what_was_written_is_delivered_after_the_last_handle_is_gone() {
    let (here, there) = stacks(PATIENCE);
    let listener = here.tcp_listen("10.0.0.1:9000").unwrap();
    let sent = vec![0x5a; 4 << 20];
    let copy = sent.clone();
    let sender = std::thread::spawn(move || {
        let mut stream = there.tcp_connect("10.0.0.1:9000").unwrap();
        stream.write_all(&copy).unwrap();
        // Stream and stack go at once, with most of it under way.
    });
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    assert!(got == sent);
    sender.join().unwrap();
}

#[test]
fn a_datagram_that_waits_for_an_address_is_delivered() {
    let (here, there) = stacks(PATIENCE);
    let receiver = here.udp_bind("10.0.0.1:9000").unwrap();
    receiver.set_read_timeout(Some(PATIENCE)).unwrap();
    there.udp_bind("10.0.0.2:0").unwrap().send_to(b"last words", "10.0.0.1:9000").unwrap();
    drop(there);
    let mut buf = [0; 32];
    assert_eq!(receiver.recv_from(&mut buf).unwrap().0, 10);
}

#[test]
fn a_socket_outlives_the_stack_s_handles() {
    let (here, there) = stacks(PATIENCE);
    let listener = here.tcp_listen("10.0.0.1:9000").unwrap();
    let mut stream = there.tcp_connect("10.0.0.1:9000").unwrap();
    let (mut accepted, _) = listener.accept().unwrap();
    drop((here, there, listener));
    stream.write_all(b"still here").unwrap();
    let mut got = [0; 10];
    accepted.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"still here");
}

#[test]
fn who_does_not_read_in_time_is_reset() {
    let (here, there) = stacks(Duration::from_millis(20));
    let listener = here.tcp_listen("10.0.0.1:9000").unwrap();
    let stream = there.tcp_connect("10.0.0.1:9000").unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
    let (mut accepted, _) = listener.accept().unwrap();
    // More than both buffers hold, so that some of it can never be delivered.
    while (&stream).write(&[0; 65_536]).is_ok() {}
    drop((there, stream));
    accepted.set_read_timeout(Some(PATIENCE)).unwrap();
    let error = accepted.read_to_end(&mut Vec::new()).unwrap_err();
    let drops = here.inet().unwrap().engine().drops().nonzero();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{drops:?}");
}

#[test]
fn a_world_keeps_a_dropped_stack_until_it_has_delivered() {
    let world = World::new(1);
    let (_wire, left, right) = world.wire(LinkConfig::default());
    let build = |link, addr, name| {
        let spec = InterfaceSpec::new(link).addr(addr);
        Stack::builder().interface(spec).start_in(&world.host(name)).unwrap()
    };
    let (here, there) = (build(left, "10.0.0.1/24", "here"), build(right, "10.0.0.2/24", "there"));
    let listener = here.tcp_listen("10.0.0.1:9000").unwrap();
    let reader = world.spawn("reader", move || {
        let mut got = Vec::new();
        listener.accept().unwrap().0.read_to_end(&mut got).unwrap();
        got.len()
    });
    let writer = world.spawn("writer", move || {
        let mut stream = there.tcp_connect("10.0.0.1:9000").unwrap();
        stream.write_all(&vec![0x5a; 1 << 20]).unwrap();
    });
    writer.join();
    assert_eq!(reader.join(), 1 << 20);
}

/// Drops what it holds when it is woken, on whatever thread that is.
struct DropsAll(std::sync::Mutex<Option<Box<dyn std::any::Any + Send>>>);

impl std::task::Wake for DropsAll {
    fn wake(self: std::sync::Arc<Self>) {
        drop(self.0.lock().unwrap().take());
    }
}

#[test]
fn a_stack_dropped_on_a_thread_of_its_own_delivers_too() {
    let (here, there) = stacks(PATIENCE);
    let listener = here.tcp_listen("10.0.0.1:9000").unwrap();
    let socket = there.socket(Family::Inet, SockType::Stream, Protocol::TCP).unwrap();
    socket.connect("10.0.0.1:9000".parse().unwrap()).unwrap();
    let (mut accepted, _) = listener.accept().unwrap();
    accepted.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_nonblocking(true);
    let sent = vec![0x5a; 4 << 20];
    // As much as fits in both buffers.
    let mut taken = 0;
    while let Ok(n) = socket.send(&sent[taken..]) {
        taken += n;
    }
    let holder = std::sync::Arc::new(DropsAll(std::sync::Mutex::new(None)));
    let waker = std::task::Waker::from(std::sync::Arc::clone(&holder));
    let (domain, id) = (std::sync::Arc::clone(socket.domain()), socket.id());
    *holder.0.lock().unwrap() = Some(Box::new((socket, there)));
    let _registration = domain.register(id, Ready::WRITABLE, &waker);
    // Reading makes room there, which its own thread tells of.
    let mut got = Vec::new();
    accepted.read_to_end(&mut got).unwrap();
    assert!(holder.0.lock().unwrap().is_none(), "the waker was fired");
    assert_eq!(got.len(), taken);
}
