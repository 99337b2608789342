//! Urgent data: the mark, the byte at it, and the pointer on the wire.

use std::io::{IoSlice, IoSliceMut};

use libnet::Ready;

use super::net::*;
use crate::tcp::*;

/// `MSG_OOB` at B.
fn urgent(net: &mut Net, id: ConnId) -> Result<Vec<u8>, RecvError> {
    let mut byte = [0; 2];
    let now = net.now;
    let received =
        net.node(Side::B).table.recv_urgent(now, id, &mut [IoSliceMut::new(&mut byte)])?;
    Ok(byte[..received].to_vec())
}

fn send_urgent(net: &mut Net, id: ConnId, data: &[u8]) {
    let now = net.now;
    let sent = net.node(Side::A).table.send_urgent(now, id, &[IoSlice::new(data)]);
    assert_eq!(sent, Ok(data.len()));
}

fn ready(net: &mut Net, id: ConnId) -> Ready {
    net.node(Side::B).table.ready(id)
}

#[test]
fn reads_stop_at_the_mark_and_the_urgent_byte_is_out_of_line() {
    // RFC 9293 §3.8.5 (MUST-30 to MUST-33), RFC 6093.
    let mut net = Net::new();
    let (_, b) = net.established();
    assert_eq!(urgent(&mut net, b), Err(RecvError::NoUrgent));
    net.forge_urgent(b, 0, b"normal!");
    assert_eq!(net.info(Side::B, b).urgent_bytes, 0, "a pointer of 0 points before the data");
    net.forge_urgent(b, 6, b"abcdef-rest");
    assert_eq!(net.info(Side::B, b).urgent_bytes, 7 + 6);
    assert!(ready(&mut net, b).contains(Ready::URGENT));
    assert_eq!(net.recv(Side::B, b), Ok(b"normal!abcde".to_vec()));
    assert_eq!(urgent(&mut net, b), Ok(b"f".to_vec()));
    assert!(!ready(&mut net, b).intersects(Ready::URGENT));
    assert_eq!(net.recv(Side::B, b), Ok(b"-rest".to_vec()));
    assert_eq!(net.info(Side::B, b).urgent_bytes, 0);
    assert_eq!(urgent(&mut net, b), Err(RecvError::NoUrgent));
}

#[test]
fn a_byte_that_is_announced_before_it_comes_is_waited_for() {
    let mut net = Net::new();
    let (_, b) = net.established();
    net.forge_urgent(b, 4, b"ab");
    assert_eq!(urgent(&mut net, b), Err(RecvError::WouldBlock));
    net.forge_urgent(b, 2, b"c!");
    assert_eq!(urgent(&mut net, b), Ok(b"!".to_vec()));
    assert_eq!(net.recv(Side::B, b), Ok(b"abc".to_vec()));
}

#[test]
fn a_later_urgent_byte_takes_the_place_of_one_that_nobody_took() {
    let mut net = Net::new();
    let (_, b) = net.established();
    net.forge_urgent(b, 2, b"a1");
    net.forge_urgent(b, 2, b"b2");
    assert_eq!(urgent(&mut net, b), Ok(b"2".to_vec()));
    assert_eq!(net.recv(Side::B, b), Ok(b"a1b".to_vec()), "the first is a byte like any other");
    net.forge_urgent(b, 1, b"3");
    assert!(!ready(&mut net, b).contains(Ready::READABLE), "it is out of line");
    net.forge_urgent(b, 1, b"4");
    assert_eq!(urgent(&mut net, b), Ok(b"4".to_vec()));
    assert_eq!(net.recv(Side::B, b), Err(RecvError::WouldBlock), "the one before it is lost");
}

#[test]
fn urgent_data_cross_in_the_midst_of_others() {
    let mut net = Net::new();
    let (a, b) = net.established();
    let big = vec![7; 100_000];
    assert_eq!(net.send(Side::A, a, &big), Ok(big.len()));
    send_urgent(&mut net, a, b"!");
    assert_eq!(net.send(Side::A, a, b"after"), Ok(5));
    net.run_for(ms(1_000));
    assert_eq!(urgent(&mut net, b), Ok(b"!".to_vec()));
    assert_eq!(net.recv(Side::B, b), Ok(big));
    assert_eq!(net.recv(Side::B, b), Ok(b"after".to_vec()));
}
