//! What goes with a datagram beside its data, both ways, and what of it there is not.

use std::io::{IoSlice, IoSliceMut};

use libnet::socket::{
    Domain, MtuDiscovery, OptionKey, Protocol, RecvMsg, SendControl, SendMsg, SocketOption,
};
use libnet::wake::Ready;

use crate::testing::{Net, at, errno, ip, is_ip};

const EINVAL: i32 = 22;
const ENODEV: i32 = 19;
const EOPNOTSUPP: i32 = 95;

#[test]
fn a_message_may_have_its_own_ttl_and_traffic_class() {
    let net = Net::new();
    let (a, b) = (net.node(1), net.node(2));
    let (client, server) = (a.udp(), b.udp_at(at(2, 7)));
    let mut control = SendControl::to(Some(at(2, 7)));
    control.ttl = Some(9);
    control.tos = Some(0xb9);
    a.inet.send(client, SendMsg::With(&[IoSlice::new(b"marked")], control)).unwrap();
    a.send_to(client, b"plain", at(2, 7)).unwrap();
    net.run_ms(10);
    let (_, marked) = b.recv(server).unwrap();
    assert_eq!((marked.ttl, marked.tos), (9, Some(0xb9)));
    assert_eq!((marked.to, marked.is_truncated()), (Some(ip(2).into()), false));
    assert!(marked.interface.is_some_and(|index| index > 1), "not lo0");
    let (_, plain) = b.recv(server).unwrap();
    assert_eq!((plain.ttl, plain.tos), (64, Some(0)));
}

#[test]
fn a_message_comes_from_an_address_of_ours_or_is_refused() {
    let net = Net::new();
    let (a, b) = (net.node(1), net.node(2));
    let (client, server) = (a.udp(), b.udp_at(at(2, 7)));
    let mut control = SendControl::to(Some(at(2, 7)));
    control.from = Some(ip(1).into());
    let send = |control| a.inet.send(client, SendMsg::With(&[IoSlice::new(b"x")], control));
    send(control).unwrap();
    net.run_ms(10);
    assert_eq!(b.recv(server).unwrap().1.from.unwrap().ip(), ip(1));
    control.from = Some(ip(77).into());
    assert_eq!(errno(send(control)), EINVAL);
    control.from = None;
    control.interface = Some(99);
    assert_eq!(errno(send(control)), ENODEV);
    control.interface = None;
    control.ttl = Some(0);
    assert_eq!(errno(send(control)), EINVAL);
}

#[test]
fn df_is_set_as_the_socket_wants_it() {
    let net = Net::new();
    let (a, b) = (net.node(1), net.node(2));
    let client = a.udp();
    b.udp_at(at(2, 7));
    for (how, df) in [(MtuDiscovery::Never, 0), (MtuDiscovery::IfItFits, 0x40)] {
        a.inet.set_option(client, SocketOption::MtuDiscovery(how)).unwrap();
        let kept = a.inet.get_option(client, OptionKey::MtuDiscovery).unwrap();
        assert_eq!(kept, SocketOption::MtuDiscovery(how));
        net.frames();
        a.send_to(client, b"x", at(2, 7)).unwrap();
        net.run_ms(10);
        let sent = net.frames();
        let sent = sent.iter().find(|frame| is_ip(frame, Protocol::UDP)).unwrap();
        assert_eq!(sent[14 + 6] & 0x40, df, "{how:?}");
    }
}

#[test]
fn an_urgent_byte_goes_out_of_line_unless_it_is_to_stay() {
    let net = Net::new();
    let (a, b) = (net.node(1), net.node(2));
    let (client, listener) = (a.tcp(), b.listener(7));
    // It has begun; the handshake takes time.
    let _ = a.inet.connect(client, at(2, 7));
    net.run_ms(100);
    let (server, _) = b.inet.accept(listener).unwrap();
    let send = |data: &[u8]| a.inet.send(client, SendMsg::Urgent(&[IoSlice::new(data)]));
    let receive = || {
        let mut buf = [0; 2];
        let into = &mut [IoSliceMut::new(&mut buf)];
        b.inet.recv(server, RecvMsg::Urgent(into)).map(|got| buf[..got.bytes].to_vec())
    };
    assert_eq!(errno(receive()), EINVAL);
    assert!(!b.inet.is_at_mark(server).unwrap());
    assert_eq!(send(b"ab!").unwrap(), 3);
    net.run_ms(100);
    assert!(b.inet.ready(server).unwrap().contains(Ready::URGENT));
    assert_eq!(receive().unwrap(), b"!");
    assert_eq!(errno(receive()), EINVAL, "once");
    assert!(!b.inet.is_at_mark(server).unwrap());
    assert_eq!(b.recv(server).unwrap().0, b"ab");
    assert!(b.inet.is_at_mark(server).unwrap());
    b.inet.set_option(server, SocketOption::UrgentInline(true)).unwrap();
    assert_eq!(b.recv(server).unwrap().0, b"!", "in line, the byte is where it was");
    assert_eq!(send(b"?").unwrap(), 1);
    net.run_ms(100);
    assert_eq!(errno(receive()), EINVAL, "it stays in line");
    assert_eq!(b.recv(server).unwrap().0, b"?");
    assert_eq!(errno(b.inet.recv(b.tcp(), RecvMsg::Urgent(&mut []))), EINVAL);
    assert!(b.inet.descriptor(server).unwrap().is_none());
    let udp = a.udp();
    let urgent = SendMsg::Urgent(&[IoSlice::new(b"!")]);
    assert_eq!(errno(a.inet.send(udp, urgent)), EOPNOTSUPP);
}
