//! One source of socket tests, run against `std::net` on the host's loopback and against a stack
//! of ours: the same calls, the same results, the same error kinds and numbers.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, ToSocketAddrs};
use std::thread;
use std::time::Duration;

use rumpnet::Stack;

/// The host's own sockets.
struct Host;

impl Host {
    fn new() -> Self {
        Host
    }

    fn tcp_connect(&self, addr: impl ToSocketAddrs) -> io::Result<std::net::TcpStream> {
        std::net::TcpStream::connect(addr)
    }

    fn tcp_connect_timeout(
        &self,
        addr: &SocketAddr,
        timeout: Duration,
    ) -> io::Result<std::net::TcpStream> {
        std::net::TcpStream::connect_timeout(addr, timeout)
    }

    fn tcp_listen(&self, addr: impl ToSocketAddrs) -> io::Result<std::net::TcpListener> {
        std::net::TcpListener::bind(addr)
    }

    fn udp_bind(&self, addr: impl ToSocketAddrs) -> io::Result<std::net::UdpSocket> {
        std::net::UdpSocket::bind(addr)
    }
}

/// A stack with nothing but its loopback.
struct Ours(Stack);

impl Ours {
    fn new() -> Self {
        Ours(Stack::builder().start().expect("a stack without links always starts"))
    }
}

impl std::ops::Deref for Ours {
    type Target = Stack;

    fn deref(&self) -> &Stack {
        &self.0
    }
}

const LOCAL: &str = "127.0.0.1:0";
/// Longer than anything here takes; a test that meets it fails rather than hangs.
const PATIENCE: Duration = Duration::from_secs(20);

fn errno<T>(result: io::Result<T>) -> Option<i32> {
    result.err().expect("the call is to fail").raw_os_error()
}

fn kind<T>(result: io::Result<T>) -> ErrorKind {
    result.err().expect("the call is to fail").kind()
}

macro_rules! suite {
    ($module:ident, $net:ty) => {
        mod $module {
            use super::*;

            /// Both ends of a connection, with the stack or host they are on.
            macro_rules! connected {
                ($n:ident, $a:ident, $b:ident) => {
                    let $n = <$net>::new();
                    let listener = $n.tcp_listen(LOCAL).unwrap();
                    let $a = $n.tcp_connect(listener.local_addr().unwrap()).unwrap();
                    let ($b, peer) = listener.accept().unwrap();
                    assert_eq!(peer, $a.local_addr().unwrap());
                    for end in [&$a, &$b] {
                        end.set_read_timeout(Some(PATIENCE)).unwrap();
                        end.set_write_timeout(Some(PATIENCE)).unwrap();
                    }
                };
            }

            #[test]
            fn addresses_of_both_ends_agree() {
                connected!(_net, a, b);
                assert_eq!(a.peer_addr().unwrap(), b.local_addr().unwrap());
                assert_eq!(b.peer_addr().unwrap(), a.local_addr().unwrap());
            }

            #[test]
            fn bytes_cross_in_order_and_the_end_follows() {
                connected!(_net, a, b);
                let sent: Vec<u8> = (0..3_000_000u32).map(|i| (i * 7 + i / 251) as u8).collect();
                let copy = sent.clone();
                let writer = thread::spawn(move || {
                    (&a).write_all(&copy).unwrap();
                    a.shutdown(Shutdown::Write).unwrap();
                    a
                });
                let mut got = Vec::new();
                (&b).read_to_end(&mut got).unwrap();
                assert!(got == sent);
                drop(writer.join().unwrap());
            }

            #[test]
            fn the_other_direction_stays_open_after_a_half_close() {
                connected!(_net, a, b);
                a.shutdown(Shutdown::Write).unwrap();
                assert_eq!((&b).read(&mut [0; 8]).unwrap(), 0);
                (&b).write_all(b"still here").unwrap();
                let mut got = [0; 10];
                (&a).read_exact(&mut got).unwrap();
                assert_eq!(&got, b"still here");
            }

            #[test]
            fn a_write_after_the_own_shutdown_is_a_broken_pipe() {
                connected!(_net, a, _b);
                a.shutdown(Shutdown::Write).unwrap();
                assert_eq!(errno((&a).write(b"x")), Some(32));
            }

            #[test]
            fn a_read_after_the_own_shutdown_is_the_end() {
                connected!(_net, a, _b);
                a.shutdown(Shutdown::Read).unwrap();
                assert_eq!((&a).read(&mut [0; 8]).unwrap(), 0);
            }

            #[test]
            fn writes_to_a_closed_peer_end_in_an_error() {
                connected!(_net, a, b);
                drop(b);
                let error = loop {
                    if let Err(error) = (&a).write(&[0; 1000]) {
                        break error;
                    }
                };
                assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset));
            }

            #[test]
            fn a_close_with_unread_data_resets() {
                connected!(_net, a, b);
                (&a).write_all(b"never read").unwrap();
                let mut byte = [0];
                assert_eq!(b.peek(&mut byte).unwrap(), 1);
                drop(b);
                assert_eq!(kind((&a).read(&mut [0; 8])), ErrorKind::ConnectionReset);
            }

            #[test]
            fn peek_leaves_what_it_shows() {
                connected!(_net, a, b);
                (&a).write_all(b"abc").unwrap();
                let mut buf = [0; 3];
                while b.peek(&mut buf).unwrap() < 3 {}
                assert_eq!(&buf, b"abc");
                let mut again = [0; 3];
                (&b).read_exact(&mut again).unwrap();
                assert_eq!(&again, b"abc");
            }

            #[test]
            fn vectored_io_takes_the_buffers_in_turn() {
                connected!(_net, a, b);
                let n = (&a).write_vectored(&[IoSlice::new(b"ab"), IoSlice::new(b"cde")]).unwrap();
                assert_eq!(n, 5);
                let mut all = [0; 5];
                while b.peek(&mut all).unwrap() < 5 {}
                let (mut x, mut y) = ([0; 3], [0; 4]);
                let mut bufs = [IoSliceMut::new(&mut x), IoSliceMut::new(&mut y)];
                assert_eq!((&b).read_vectored(&mut bufs).unwrap(), 5);
                assert_eq!((&x, &y), (b"abc", b"de\0\0"));
            }

            #[test]
            fn a_read_that_nobody_answers_times_out_as_would_block() {
                connected!(_net, a, _b);
                a.set_read_timeout(Some(Duration::from_millis(40))).unwrap();
                assert_eq!(a.read_timeout().unwrap(), Some(Duration::from_millis(40)));
                assert_eq!(kind((&a).read(&mut [0; 8])), ErrorKind::WouldBlock);
            }

            #[test]
            fn a_zero_timeout_is_refused() {
                connected!(net, a, _b);
                assert_eq!(kind(a.set_read_timeout(Some(Duration::ZERO))), ErrorKind::InvalidInput);
                assert_eq!(
                    kind(a.set_write_timeout(Some(Duration::ZERO))),
                    ErrorKind::InvalidInput
                );
                let addr = a.peer_addr().unwrap();
                let refused = net.tcp_connect_timeout(&addr, Duration::ZERO);
                assert_eq!(kind(refused), ErrorKind::InvalidInput);
            }

            #[test]
            fn non_blocking_calls_do_not_wait() {
                let net = <$net>::new();
                let listener = net.tcp_listen(LOCAL).unwrap();
                listener.set_nonblocking(true).unwrap();
                assert_eq!(errno(listener.accept()), Some(11));
                listener.set_nonblocking(false).unwrap();
                let a = net.tcp_connect(listener.local_addr().unwrap()).unwrap();
                let (b, _) = listener.accept().unwrap();
                a.set_nonblocking(true).unwrap();
                assert_eq!(kind((&a).read(&mut [0; 8])), ErrorKind::WouldBlock);
                let mut total = 0;
                let full = loop {
                    match (&a).write(&[0; 65_536]) {
                        Ok(n) => total += n,
                        Err(error) => break error,
                    }
                };
                assert_eq!(full.kind(), ErrorKind::WouldBlock);
                assert!(total > 0);
                drop(b);
            }

            #[test]
            fn clones_share_the_connection_and_its_mode() {
                connected!(_net, a, b);
                let clone = a.try_clone().unwrap();
                clone.set_nonblocking(true).unwrap();
                assert_eq!(kind((&a).read(&mut [0; 8])), ErrorKind::WouldBlock);
                a.set_nonblocking(false).unwrap();
                drop(clone);
                (&a).write_all(b"open").unwrap();
                let mut got = [0; 4];
                (&b).read_exact(&mut got).unwrap();
            }

            #[test]
            fn options_are_kept() {
                connected!(_net, a, _b);
                assert!(!a.nodelay().unwrap());
                a.set_nodelay(true).unwrap();
                assert!(a.nodelay().unwrap());
                assert_eq!(a.ttl().unwrap(), 64);
                a.set_ttl(7).unwrap();
                assert_eq!(a.ttl().unwrap(), 7);
                assert_eq!(errno(a.set_ttl(0)), Some(22));
                assert_eq!(errno(a.set_ttl(256)), Some(22));
                assert!(a.take_error().unwrap().is_none());
            }

            #[test]
            fn nobody_listening_refuses() {
                let net = <$net>::new();
                let listener = net.tcp_listen(LOCAL).unwrap();
                let addr = listener.local_addr().unwrap();
                drop(listener);
                let refused = net.tcp_connect(addr);
                assert_eq!(errno(refused), Some(111));
                let refused = net.tcp_connect_timeout(&addr, PATIENCE);
                assert_eq!(kind(refused), ErrorKind::ConnectionRefused);
            }

            #[test]
            fn a_port_is_listened_on_once() {
                let net = <$net>::new();
                let listener = net.tcp_listen(LOCAL).unwrap();
                let again = net.tcp_listen(listener.local_addr().unwrap());
                assert_eq!(errno(again), Some(98));
            }

            #[test]
            fn a_foreign_address_is_not_available() {
                let net = <$net>::new();
                assert_eq!(errno(net.tcp_listen("192.0.2.1:0")), Some(99));
                assert_eq!(errno(net.udp_bind("192.0.2.1:0")), Some(99));
            }

            #[test]
            fn connections_queue_until_they_are_accepted() {
                let net = <$net>::new();
                let listener = net.tcp_listen(LOCAL).unwrap();
                let addr = listener.local_addr().unwrap();
                let clients: Vec<_> = (0..20).map(|_| net.tcp_connect(addr).unwrap()).collect();
                for client in &clients {
                    let (stream, peer) = listener.accept().unwrap();
                    assert_eq!(peer, client.local_addr().unwrap());
                    assert_eq!(stream.local_addr().unwrap(), addr);
                }
            }

            #[test]
            fn a_port_is_free_again_for_a_new_listener() {
                let net = <$net>::new();
                let listener = net.tcp_listen(LOCAL).unwrap();
                let addr = listener.local_addr().unwrap();
                let a = net.tcp_connect(addr).unwrap();
                let (b, _) = listener.accept().unwrap();
                // The listener's side closes first, and keeps TIME-WAIT on its port.
                drop(b);
                assert_eq!((&a).read(&mut [0; 8]).unwrap(), 0);
                drop((a, listener));
                net.tcp_listen(addr).unwrap();
            }

            #[test]
            fn datagrams_keep_their_bounds() {
                let net = <$net>::new();
                let (a, b) = (net.udp_bind(LOCAL).unwrap(), net.udp_bind(LOCAL).unwrap());
                b.set_read_timeout(Some(PATIENCE)).unwrap();
                let to = b.local_addr().unwrap();
                assert_eq!(a.send_to(b"one", to).unwrap(), 3);
                assert_eq!(a.send_to(b"", to).unwrap(), 0);
                assert_eq!(a.send_to(b"three", to).unwrap(), 5);
                let mut buf = [0; 4];
                assert_eq!(b.peek_from(&mut buf).unwrap(), (3, a.local_addr().unwrap()));
                assert_eq!(b.recv_from(&mut buf).unwrap(), (3, a.local_addr().unwrap()));
                assert_eq!(b.recv_from(&mut buf).unwrap().0, 0);
                assert_eq!(b.recv_from(&mut buf).unwrap().0, 4);
                assert_eq!(&buf, b"thre");
            }

            #[test]
            fn a_datagram_of_the_largest_size_crosses() {
                let net = <$net>::new();
                let (a, b) = (net.udp_bind(LOCAL).unwrap(), net.udp_bind(LOCAL).unwrap());
                b.set_read_timeout(Some(PATIENCE)).unwrap();
                let big = vec![0xa5; 65_507];
                assert_eq!(a.send_to(&big, b.local_addr().unwrap()).unwrap(), 65_507);
                let mut got = vec![0; 70_000];
                assert_eq!(b.recv_from(&mut got).unwrap().0, 65_507);
                assert_eq!(&got[..65_507], &big[..]);
                let too_big = a.send_to(&[0; 65_508], b.local_addr().unwrap());
                assert_eq!(errno(too_big), Some(90));
            }

            #[test]
            fn a_connected_datagram_socket_hears_of_a_closed_port_once() {
                let net = <$net>::new();
                let (a, b) = (net.udp_bind(LOCAL).unwrap(), net.udp_bind(LOCAL).unwrap());
                a.set_read_timeout(Some(PATIENCE)).unwrap();
                a.connect(b.local_addr().unwrap()).unwrap();
                assert_eq!(a.peer_addr().unwrap(), b.local_addr().unwrap());
                drop(b);
                a.send(b"anybody?").unwrap();
                assert_eq!(errno(a.recv(&mut [0; 8])), Some(111));
                a.set_nonblocking(true).unwrap();
                assert_eq!(errno(a.recv(&mut [0; 8])), Some(11));
            }

            #[test]
            fn a_connected_datagram_socket_hears_its_peer_alone() {
                let net = <$net>::new();
                let (a, b) = (net.udp_bind(LOCAL).unwrap(), net.udp_bind(LOCAL).unwrap());
                let stranger = net.udp_bind(LOCAL).unwrap();
                a.set_read_timeout(Some(PATIENCE)).unwrap();
                a.connect(b.local_addr().unwrap()).unwrap();
                stranger.send_to(b"me", a.local_addr().unwrap()).unwrap();
                b.send_to(b"you", a.local_addr().unwrap()).unwrap();
                let mut buf = [0; 8];
                assert_eq!(a.recv(&mut buf).unwrap(), 3);
            }

            #[test]
            fn a_datagram_socket_without_a_peer_says_so() {
                let net = <$net>::new();
                let a = net.udp_bind(LOCAL).unwrap();
                assert_eq!(errno(a.send(b"whom?")), Some(89));
                assert_eq!(errno(a.peer_addr()), Some(107));
            }

            #[test]
            fn broadcast_must_be_asked_for() {
                let net = <$net>::new();
                let a = net.udp_bind("0.0.0.0:0").unwrap();
                assert!(!a.broadcast().unwrap());
                assert_eq!(
                    errno(a.send_to(b"all", (Ipv4Addr::new(127, 255, 255, 255), 9))),
                    Some(13)
                );
                a.set_broadcast(true).unwrap();
                assert!(a.broadcast().unwrap());
            }
        }
    };
}

suite!(host, Host);
suite!(ours, Ours);
