//! The main road: handshake, data both ways, close.

use super::net::*;
use crate::tcp::*;

#[test]
fn three_segments_make_a_connection() {
    let mut net = Net::new();
    net.established();
    let flags: Vec<_> = net.log.iter().map(|sent| sent.seg.flags).collect();
    assert_eq!(flags, [Flags::SYN, Flags::SYN | Flags::ACK, Flags::ACK]);
    let syn = net.log[0].seg.options;
    assert_eq!((syn.mss, syn.window_shift), (Some(1460), Some(10)));
    assert!(syn.timestamps.is_some());
}

#[test]
fn both_ends_exchange_data_and_close() {
    let mut net = Net::new();
    let (a, b) = net.established();
    assert_eq!(net.send(Side::A, a, b"question"), Ok(8));
    net.run_for(ms(50));
    assert_eq!(net.recv(Side::B, b), Ok(b"question".to_vec()));
    assert_eq!(net.send(Side::B, b, b"answer"), Ok(6));
    net.run_for(ms(50));
    assert_eq!(net.recv(Side::A, a), Ok(b"answer".to_vec()));
    net.close(Side::A, a);
    net.run_for(ms(50));
    assert_eq!(net.recv(Side::B, b), Ok(Vec::new()));
    net.close(Side::B, b);
    net.run_for(ms(50));
    assert_eq!((net.a.table.len(), net.b.table.len()), (0, 0));
    assert_eq!((net.a.table.time_waits(), net.b.table.time_waits()), (1, 0));
    net.run_for(secs(61));
    assert!(net.a.table.is_empty() && net.b.table.is_empty());
}

#[test]
fn megabytes_cross_in_super_segments() {
    let mut net = Net::new();
    net.cut = false;
    let (a, b) = net.established();
    let data: Vec<u8> = (0..8u32 << 20).map(|i| ((i * 7) >> 3) as u8).collect();
    net.transfer(Side::A, a, b, &data, secs(20));
    net.transfer(Side::B, b, a, &data, secs(20));
    assert!(net.log.iter().any(|sent| sent.seg.data_len == 45 * 1448));
    assert_eq!(net.info(Side::A, a).retransmits, 0);
    let acks = net.sent_by(Side::B).iter().filter(|sent| sent.seg.data_len == 0).count();
    assert!(acks < 250, "{acks} acknowledgements for 130 super-segments");
}

#[test]
fn megabytes_cross_over_ipv6() {
    let config = TcpConfig::default;
    let (a, b) = ([0xfd00u16, 0, 0, 0, 0, 0, 0, 1], [0xfd00u16, 0, 0, 0, 0, 0, 0, 2]);
    let mut net = Net::at(a.into(), b.into(), config(), config());
    let (a, b) = net.established();
    let data: Vec<u8> = (0..3u32 << 20).map(|i| ((i * 5) >> 2) as u8).collect();
    net.transfer(Side::A, a, b, &data, secs(20));
    assert_eq!(net.info(Side::A, a).snd_mss_bytes, 1428);
}
