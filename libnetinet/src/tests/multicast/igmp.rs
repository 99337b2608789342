//! What routers are told of IPv4 groups, and ask.

use std::net::Ipv4Addr;

use libnet::ethernet::{EtherType, EthernetHeader, MacAddr};
use libnet::socket::{Domain, Protocol};
use libnet::stats::DropReason;

use super::{GROUP, member};
use crate::testing::{Net, STRANGER, ip, ip_packet, is_ip, mac};

#[test]
fn reports_are_as_rfc_3376_wants_them_on_the_wire() {
    let net = Net::new();
    let a = net.node(1);
    net.run_ms(10);
    net.frames();
    let socket = member(&a, 7);
    net.run_ms(10);
    let frames = net.frames();
    let report = frames.iter().find(|f| is_ip(f, Protocol::IGMP)).expect("a report");
    assert_eq!(report[..6], [1, 0, 0x5e, 0, 0, 22]);
    assert_eq!((report[14], report[15], report[22]), (0x46, 0xc0, 1), "options, TOS, TTL");
    assert_eq!(report[26..38], [10, 0, 0, 1, 224, 0, 0, 22, 0x94, 4, 0, 0]);
    assert_eq!(libnet::checksum::checksum(&report[14..38]), 0);
    assert_eq!(libnet::checksum::checksum(&report[38..]), 0);
    let to_exclude = [0x22, 0, 0, 1, 4, 0, 0, 0, 239, 1, 2, 3];
    assert_eq!((report[38], &report[44..]), (to_exclude[0], &to_exclude[2..]));
    a.inet.close(socket);
    net.run_ms(10);
    let frames = net.frames();
    let left = frames.iter().find(|f| is_ip(f, Protocol::IGMP)).expect("a report");
    assert_eq!(left[46..], [3, 0, 0, 0, 239, 1, 2, 3], "closing leaves");
}

/// An IGMP message in its frame, from a router.
fn igmp(message: &[u8], alert: bool) -> libnet::Packet {
    let mut bytes = message.to_vec();
    let sum = libnet::checksum::checksum(&bytes);
    bytes[2..4].copy_from_slice(&sum.to_be_bytes());
    let all_hosts = Ipv4Addr::new(224, 0, 0, 1);
    let mut packet = ip_packet(ip(254), all_hosts, Protocol::IGMP, &bytes);
    if alert {
        let mut whole = packet.to_bytes().to_vec();
        whole.splice(20..20, [0x94, 4, 0, 0]);
        whole[0] = 0x46;
        whole[3] += 4;
        whole[10..12].fill(0);
        let sum = libnet::checksum::checksum(&whole[..24]);
        whole[10..12].copy_from_slice(&sum.to_be_bytes());
        packet = libnet::Packet::from_payload(whole.into());
    }
    let dst = MacAddr([1, 0, 0x5e, 0, 0, 1]);
    EthernetHeader { dst, src: STRANGER, ethertype: EtherType::IPV4 }.prepend_to(&mut packet);
    packet
}

#[test]
fn a_query_is_answered_and_one_that_no_router_of_ours_sent_is_not() {
    let net = Net::new();
    let a = net.node(1);
    let _member = member(&a, 7);
    net.run_ms(5_000);
    net.frames();
    let query = [0x11, 10, 0, 0, 0, 0, 0, 0, 2, 125, 0, 0];
    net.inject(igmp(&query, false));
    net.run_ms(2_000);
    assert!(net.frames().iter().all(|f| f[6..12] != mac(1).0), "no router alert");
    assert_eq!(a.dropped(DropReason::IgmpMalformed), 1);
    net.inject(igmp(&query, true));
    net.run_ms(1_000);
    let frames = net.frames();
    let answer = frames.iter().find(|f| f[6..12] == mac(1).0).expect("an answer");
    assert_eq!(answer[46..], [2, 0, 0, 0, 239, 1, 2, 3], "it excludes nothing");
    let mut wrong = igmp(&query, true);
    wrong.write_at(14 + 24 + 2, &[0xde, 0xad]);
    net.inject(wrong);
    net.run_ms(1_000);
    assert_eq!(a.dropped(DropReason::IgmpChecksum), 1);
}

#[test]
fn an_old_router_is_spoken_to_in_its_words() {
    let net = Net::new();
    let a = net.node(1);
    net.inject(igmp(&[0x11, 100, 0, 0, 0, 0, 0, 0], true));
    let socket = member(&a, 7);
    net.run_ms(20_000);
    let frames = net.frames();
    let ours: Vec<_> = frames.iter().filter(|f| f[6..12] == mac(1).0).collect();
    assert!(ours.iter().all(|f| f[..6] == [1, 0, 0x5e, 1, 2, 3] && f[38] == 0x16), "{ours:?}");
    assert_eq!(a.inet.groups().iter().find(|e| e.group == GROUP).unwrap().protocol_version, 2);
    a.inet.close(socket);
    net.run_ms(10);
    let frames = net.frames();
    let left = frames.iter().find(|f| f[6..12] == mac(1).0).expect("leaving is said");
    assert_eq!((&left[..6], left[38]), (&[1, 0, 0x5e, 0, 0, 2][..], 0x17));
    net.inject(igmp(&[0x11, 0, 0, 0, 0, 0, 0, 0], false));
    let _socket = member(&a, 7);
    net.run_ms(10);
    let frames = net.frames();
    let joined = frames.iter().find(|f| f[6..12] == mac(1).0).expect("a report");
    assert_eq!(joined[38], 0x12, "version one");
}

/// How many reports of [`GROUP`] there are after a query of version two, and another's report that
/// is sent to this station and address, from that one.
fn reports_after(other: Option<(MacAddr, Ipv4Addr, Ipv4Addr)>) -> usize {
    let net = Net::new();
    let a = net.node(1);
    let _member = member(&a, 7);
    net.run_ms(5_000);
    net.inject(igmp(&[0x11, 100, 0, 0, 0, 0, 0, 0], true));
    net.frames();
    if let Some((mac, dst, src)) = other {
        let mut bytes = igmp(&[0x16, 0, 0, 0, 239, 1, 2, 3], true).to_bytes().to_vec();
        bytes[..6].copy_from_slice(&mac.0);
        bytes[26..30].copy_from_slice(&src.octets());
        bytes[30..34].copy_from_slice(&dst.octets());
        bytes[24..26].fill(0);
        let sum = libnet::checksum::checksum(&bytes[14..38]);
        bytes[24..26].copy_from_slice(&sum.to_be_bytes());
        net.inject(libnet::Packet::from_payload(bytes.into()));
    }
    net.run_ms(12_000);
    net.frames().into_iter().filter(|f| f[6..12] == mac(1).0).count()
}

#[test]
fn the_report_of_another_counts_wherever_it_is_sent_to() {
    let group_mac = MacAddr([1, 0, 0x5e, 1, 2, 3]);
    assert_eq!(reports_after(None), 1);
    assert_eq!(reports_after(Some((group_mac, GROUP, ip(9)))), 0);
    assert_eq!(reports_after(Some((mac(1), ip(1), ip(9)))), 0, "RFC 3376 §4.2.14");
    let nobody = Ipv4Addr::UNSPECIFIED;
    assert_eq!(reports_after(Some((group_mac, GROUP, nobody))), 0, "RFC 1812 §4.2.2.11(a)");
}
