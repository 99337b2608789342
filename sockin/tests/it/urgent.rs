//! Urgent data, out of line and in it, and the mark.

use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use libnet::Ready;
use libnet::net::TcpStream;
use libnet::socket::{OptionKey, SocketOption};

use crate::new_layer;

const EINVAL: i32 = 22;

fn pair() -> (TcpStream, TcpStream) {
    let layer = new_layer();
    let listener = layer.tcp_listen("127.0.0.1:0").unwrap();
    let client = layer.tcp_connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

fn wait_for_urgent(stream: &TcpStream) {
    let socket = stream.socket();
    let ready = socket.wait_ready(Ready::URGENT, Some(Duration::from_secs(10))).unwrap();
    assert!(ready.contains(Ready::URGENT), "{ready:?}");
}

#[test]
fn an_urgent_byte_overtakes_what_was_sent_before() {
    let (client, mut server) = pair();
    (&client).write_all(b"ab").unwrap();
    assert_eq!(client.socket().send_urgent(b"c!").unwrap(), 2);
    (&client).write_all(b"de").unwrap();
    wait_for_urgent(&server);
    let mut byte = [0; 1];
    assert_eq!(server.socket().recv_urgent(&mut byte).unwrap(), 1);
    assert_eq!(byte, *b"!");
    assert!(!server.socket().is_at_mark().unwrap());
    let mut before = [0; 5];
    // A read stops at the mark.
    let n = server.read(&mut before).unwrap();
    assert_eq!(&before[..n], b"abc");
    assert!(server.socket().is_at_mark().unwrap());
    let mut after = [0; 2];
    server.read_exact(&mut after).unwrap();
    assert_eq!(&after, b"de");
}

#[test]
fn without_an_urgent_byte_there_is_none_to_receive() {
    let (_client, server) = pair();
    let error = server.socket().recv_urgent(&mut [0; 1]).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(EINVAL));
    assert!(!server.socket().is_at_mark().unwrap());
    let error = server.socket().recv_urgent(&mut [0; 1]).unwrap_err();
    assert_ne!(error.kind(), ErrorKind::WouldBlock);
}

#[test]
fn in_line_it_is_read_with_the_rest() {
    let (client, mut server) = pair();
    server.socket().set_option(SocketOption::UrgentInline(true)).unwrap();
    let kept = server.socket().option(OptionKey::UrgentInline).unwrap();
    assert_eq!(kept, SocketOption::UrgentInline(true));
    (&client).write_all(b"ab").unwrap();
    client.socket().send_urgent(b"!").unwrap();
    wait_for_urgent(&server);
    let error = server.socket().recv_urgent(&mut [0; 1]).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(EINVAL));
    let mut all = [0; 8];
    let n = server.read(&mut all).unwrap();
    assert_eq!(&all[..n], b"ab");
    assert!(server.socket().is_at_mark().unwrap());
    server.read_exact(&mut all[..1]).unwrap();
    assert_eq!(all[0], b'!');
}
