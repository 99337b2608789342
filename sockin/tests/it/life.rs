//! Closing, waking, descriptors and threads: what a value leaves behind, which is nothing.

use std::io::{ErrorKind, Read, Write};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};
use std::time::Duration;

use libnet::driver::Signal;
use libnet::socket::{Domain, Family, Protocol, SockType, SocketId};
use libnet::wake::Ready;
use sockin::Sockin;

use crate::{layer, new_layer};

const EBADF: i32 = 9;
const EISCONN: i32 = 106;
const PATIENCE: Duration = Duration::from_secs(20);

fn socket(domain: &Sockin, ty: SockType) -> SocketId {
    let id = domain.socket(Family::Inet, ty, Protocol::DEFAULT).unwrap();
    domain.bind(id, (Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    id
}

/// Sleeps on a socket in another thread until it is woken, and closes it meanwhile.
fn close_wakes(domain: &Arc<Sockin>, id: SocketId, interest: Ready) {
    let theirs = Arc::clone(domain);
    let thread = std::thread::spawn(move || {
        // It may come too late to sleep, which is as good.
        let _ = theirs.wait(id, interest, Some(PATIENCE)).unwrap();
        theirs.local_addr(id).unwrap_err().raw_os_error()
    });
    let began = std::time::Instant::now();
    domain.close(id);
    assert_eq!(thread.join().unwrap(), Some(EBADF));
    assert!(began.elapsed() < PATIENCE, "it slept on");
}

#[test]
fn a_close_wakes_a_sleeping_thread() {
    let domain = Arc::new(Sockin::new().unwrap());
    for _ in 0..200 {
        close_wakes(&domain, socket(&domain, SockType::Datagram), Ready::READABLE);
        let listener = socket(&domain, SockType::Stream);
        domain.listen(listener, 1).unwrap();
        close_wakes(&domain, listener, Ready::READABLE);
    }
}

#[test]
fn a_close_wakes_a_thread_that_sleeps_on_a_connection() {
    let domain = Arc::new(Sockin::new().unwrap());
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    for _ in 0..100 {
        let id = socket(&domain, SockType::Stream);
        let _ = domain.connect(id, listener.local_addr().unwrap());
        let (mut peer, _) = listener.accept().unwrap();
        close_wakes(&domain, id, Ready::READABLE | Ready::READ_CLOSED);
        assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0);
    }
}

#[test]
fn a_close_wakes_a_thread_that_sleeps_in_a_receive_or_a_send() {
    let domain = Arc::new(Sockin::new().unwrap());
    for round in 0..100 {
        let layer = layer(&domain);
        let listener = layer.tcp_listen("127.0.0.1:0").unwrap();
        let client = layer.tcp_connect(listener.local_addr().unwrap()).unwrap();
        let _peer = listener.accept().unwrap();
        let id = client.socket().id();
        let thread = std::thread::spawn(move || match round % 2 {
            0 => (&client).read(&mut [0; 1]).unwrap_err(),
            _ => loop {
                // Nobody reads: it fills up.
                if let Err(error) = (&client).write(&[0; 1 << 20]) {
                    return error;
                }
            },
        });
        while round % 2 == 1 && domain.traffic(id).is_ok_and(|traffic| traffic.sent_bytes == 0) {
            std::thread::yield_now();
            // The first write of a megabyte may be the one that sleeps.
            if domain.ready(id).is_ok_and(|ready| !ready.contains(Ready::WRITABLE)) {
                break;
            }
        }
        domain.close(id);
        let error = thread.join().unwrap();
        assert_eq!(error.raw_os_error(), Some(EBADF), "round {round}: {error}");
    }
}

#[test]
fn a_connect_of_what_was_connected_does_not_wait_though_its_receives_may() {
    let domain = Arc::new(Sockin::new().unwrap());
    let layer = layer(&domain);
    let listener = layer.tcp_listen("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let client = layer.tcp_connect(addr).unwrap();
    let (server, _) = listener.accept().unwrap();
    (&server).write_all(b"x").unwrap();
    assert_eq!((&client).read(&mut [0; 1]).unwrap(), 1);
    let id = client.socket().id();
    assert_eq!(domain.connect(id, addr).unwrap_err().raw_os_error(), Some(EISCONN));
    server.set_linger(Some(Duration::ZERO)).unwrap();
    drop(server);
    assert_eq!((&client).read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    // The host lets no socket connect twice, not even after a reset.
    assert_eq!(domain.connect(id, addr).unwrap_err().raw_os_error(), Some(EISCONN));
}

#[test]
fn a_close_wakes_registered_wakers() {
    let domain = Sockin::new().unwrap();
    let id = socket(&domain, SockType::Datagram);
    let signal = Signal::new();
    let _registration = domain.register(id, Ready::READABLE, &signal.waker());
    // Arming told that it is writable, which nobody asked for.
    domain.close(id);
    assert!(signal.sleep(Some(PATIENCE)));
}

#[test]
fn a_thousand_sockets_are_woken_by_one_thread() {
    struct Count(AtomicUsize, std::thread::Thread);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
            self.1.unpark();
        }
    }
    let domain = Sockin::new().unwrap();
    let counts: Vec<_> =
        (0..1_000).map(|_| Arc::new(Count(AtomicUsize::new(0), std::thread::current()))).collect();
    let sockets: Vec<_> = counts
        .iter()
        .map(|count| {
            let id = socket(&domain, SockType::Datagram);
            let waker = Waker::from(Arc::clone(count));
            (domain.local_addr(id).unwrap(), domain.register(id, Ready::READABLE, &waker))
        })
        .collect();
    let threads = std::fs::read_dir("/proc/self/task").unwrap().filter_map(Result::ok);
    let ours = threads.filter(|task| {
        std::fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name == "rump/sockin\n")
    });
    assert!(ours.count() < 100, "one thread a value, however many sockets");
    let host = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    for (addr, _) in &sockets {
        host.send_to(b"x", addr).unwrap();
    }
    let deadline = std::time::Instant::now() + PATIENCE;
    while counts.iter().any(|count| count.0.load(Ordering::SeqCst) == 0) {
        let left = deadline.saturating_duration_since(std::time::Instant::now());
        assert!(!left.is_zero(), "some were not woken");
        std::thread::park_timeout(left);
    }
}

#[test]
fn counters_tell_what_was_carried() {
    let domain = Arc::new(Sockin::new().unwrap());
    let layer = layer(&domain);
    let (a, b) = (layer.udp_bind("127.0.0.1:0").unwrap(), layer.udp_bind("127.0.0.1:0").unwrap());
    a.send_to(b"hello", b.local_addr().unwrap()).unwrap();
    a.send_to(b"", b.local_addr().unwrap()).unwrap();
    b.recv_from(&mut [0; 3]).unwrap();
    b.recv_from(&mut [0; 3]).unwrap();
    let own = domain.traffic(b.socket().id()).unwrap();
    assert_eq!((own.received_bytes, own.received_messages, own.sent_messages), (3, 2, 0));
    a.socket().listen(1).unwrap_err();
    drop((a, b));
    let counters = domain.counters();
    assert_eq!((counters.opened, counters.errors), (2, 1));
    assert_eq!((counters.traffic.sent_bytes, counters.traffic.sent_messages), (5, 2));
    assert_eq!((counters.traffic.received_bytes, counters.traffic.received_messages), (3, 2));
}

#[test]
fn another_descriptor_is_the_same_socket_and_outlives_it() {
    let layer = new_layer();
    let listener = layer.tcp_listen("127.0.0.1:0").unwrap();
    let client = layer.tcp_connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    let descriptor = client.socket().descriptor().unwrap().unwrap();
    drop(client);
    let mut client = std::net::TcpStream::from(descriptor);
    client.write_all(b"still here").unwrap();
    drop(client);
    let mut heard = String::new();
    (&server).read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "still here");
}

/// In a process of its own, where no other test opens descriptors meanwhile.
#[test]
fn nothing_is_left_of_a_dropped_value() {
    const INNER: &str = "SOCKIN_COUNT_WHAT_IS_LEFT";
    if std::env::var_os(INNER).is_none() {
        let inner = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "life::nothing_is_left_of_a_dropped_value", "--nocapture"])
            .env(INNER, "1")
            .output()
            .unwrap();
        assert!(inner.status.success(), "{}", String::from_utf8_lossy(&inner.stderr));
        return;
    }
    let count = |what: &str| std::fs::read_dir(format!("/proc/self/{what}")).unwrap().count();
    let before = (count("fd"), count("task"));
    for round in 0..20 {
        let domain = Arc::new(Sockin::new().unwrap());
        let layer = layer(&domain);
        let listener = layer.tcp_listen("127.0.0.1:0").unwrap();
        let client = layer.tcp_connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        let signal = Signal::new();
        let watch = domain.register(client.socket().id(), Ready::READABLE, &signal.waker());
        (&server).write_all(b"x").unwrap();
        assert!(signal.sleep(Some(PATIENCE)));
        server.set_nonblocking(true).unwrap();
        assert_eq!((&server).read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(count("task") > before.1, "round {round}: a thread serves wakers");
        drop((watch, client, server, listener, layer));
        assert_eq!(Arc::strong_count(&domain), 1);
        drop(domain);
    }
    assert_eq!((count("fd"), count("task")), before);
}
