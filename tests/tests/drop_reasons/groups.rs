//! Groups: who is not in them, IGMP and MLD.

use std::net::{Ipv4Addr, Ipv6Addr};

use libnet::DropReason;
use rumpnet_tests::frames::Ip4;
use rumpnet_tests::lab::{Lab, PEER};
use rumpnet_tests::station::Rig;
use rumpnet_tests::wire::Icmp;

const ALL_HOSTS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 1);

fn four(reason: DropReason, dst: Ipv4Addr, protocol: u8, data: &[u8]) -> u64 {
    let lab = Lab::new().unwrap();
    lab.send_ip(&Ip4::new(PEER, dst, protocol).build(data));
    lab.drops(reason)
}

pub(crate) fn not_joined() -> u64 {
    four(DropReason::GroupNotJoined, Ipv4Addr::new(239, 1, 2, 3), 17, &[0; 16])
}

pub(crate) fn igmp_malformed() -> u64 {
    // A query without the router alert option, its checksum right.
    four(DropReason::IgmpMalformed, ALL_HOSTS, 2, &[0x11, 1, 0xee, 0xfe, 0, 0, 0, 0])
}

pub(crate) fn igmp_checksum() -> u64 {
    four(DropReason::IgmpChecksum, ALL_HOSTS, 2, &[0x11, 1, 0, 0, 0, 0, 0, 0])
}

pub(crate) fn mld_malformed() -> u64 {
    // A query that came over a router.
    let rig = Rig::six();
    let (router, all) = (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2), "ff02::1".parse().unwrap());
    let message = Icmp { ty: 130, code: 0, rest: [0, 9, 0, 0], data: vec![0; 16] };
    rig.say_ip6(&message.packet6(router, all));
    rig.inet.drops().get(DropReason::MldMalformed)
}
