//! IPv6: extension headers, neighbour discovery.

use libnet::socket::{Protocol, SockType, SocketOption};
use libnet::{DropReason, Family};
use rumpnet_tests::station::{PEER6, Rig, US6, echo6_packet};
use rumpnet_tests::wire::Icmp;
use rumpnet_tests::wire::six::{DESTINATION_OPTIONS, Ip6, NO_NEXT_HEADER, options};

/// Sends one packet; the reason's counter.
fn one(reason: DropReason, ip: &Ip6) -> u64 {
    let rig = Rig::six();
    rig.say_ip6(ip);
    rig.inet.drops().get(reason)
}

pub(crate) fn extension_limit() -> u64 {
    let mut ip = echo6_packet();
    for _ in 0..9 {
        ip = ip.behind(DESTINATION_OPTIONS, options(&[]));
    }
    one(DropReason::IpExtensionLimit, &ip)
}

pub(crate) fn no_next_header() -> u64 {
    one(DropReason::IpNoNextHeader, &Ip6::new(PEER6, US6, NO_NEXT_HEADER, vec![1, 2, 3]))
}

/// A packet for a raw socket that has checksums made and checked, with a wrong one.
pub(crate) fn raw_checksum() -> u64 {
    let rig = Rig::six();
    let raw = rig.stack.socket(Family::Inet6, SockType::Raw, Protocol(253)).expect("a socket");
    raw.set_option(SocketOption::Checksum(Some(2))).expect("an even offset");
    rig.say_ip6(&Ip6::new(PEER6, US6, 253, vec![1, 2, 3, 4]));
    rig.inet.drops().get(DropReason::RawChecksum)
}

pub(crate) fn nd_malformed() -> u64 {
    // A solicitation that came over a router.
    let mut data = US6.octets().to_vec();
    data.extend([1, 1, 2, 0, 0, 0, 0, 2]);
    let message = Icmp { ty: 135, code: 0, rest: [0; 4], data };
    one(DropReason::NdMalformed, &message.packet6(PEER6, US6))
}
