//! IPv4: headers, options, routes, fragments.

use std::net::Ipv4Addr;
use std::time::Duration;

use libnet::world::LinkConfig;
use libnet::{DropReason, EtherType, MacAddr};
use rumpnet::InetConfig;
use rumpnet_tests::frames::{Icmp, Ip4, ethernet};
use rumpnet_tests::lab::{Lab, PEER_MAC, STACK};

/// Sends one packet that `change` made wrong; the reason's counter.
fn one(reason: DropReason, change: impl FnOnce(&mut Ip4)) -> u64 {
    let lab = Lab::new().unwrap();
    let mut ip = lab.ip(17);
    change(&mut ip);
    lab.send_ip(&ip.build(&[0; 32]));
    lab.drops(reason)
}

pub(crate) fn malformed() -> u64 {
    one(DropReason::IpMalformed, |ip| ip.version_ihl = Some(0x44))
}

pub(crate) fn checksum() -> u64 {
    one(DropReason::IpChecksum, |ip| ip.checksum_error = 1)
}

pub(crate) fn bad_source() -> u64 {
    one(DropReason::IpBadSource, |ip| ip.src = Ipv4Addr::BROADCAST)
}

pub(crate) fn not_ours() -> u64 {
    one(DropReason::IpNotOurs, |ip| ip.dst = Ipv4Addr::new(10, 0, 0, 77))
}

pub(crate) fn link_broadcast() -> u64 {
    let lab = Lab::new().unwrap();
    let packet = lab.ip(17).build(&[0; 32]);
    lab.send_frame(ethernet(MacAddr::BROADCAST, PEER_MAC, EtherType::IPV4, &packet));
    lab.drops(DropReason::IpLinkBroadcast)
}

pub(crate) fn bad_options() -> u64 {
    // A record-route option of no length.
    one(DropReason::IpBadOptions, |ip| ip.options = vec![7, 0, 4, 0])
}

pub(crate) fn source_route() -> u64 {
    // A loose source route with a hop to go.
    one(DropReason::IpSourceRoute, |ip| ip.options = vec![131, 7, 4, 10, 0, 0, 77, 0])
}

pub(crate) fn unknown_protocol() -> u64 {
    one(DropReason::IpUnknownProtocol, |ip| ip.protocol = 200)
}

pub(crate) fn no_route() -> u64 {
    // Who asks from another network gets no answer without a route to it.
    let lab = Lab::new().unwrap();
    let ip = Ip4::new(Ipv4Addr::new(192, 0, 2, 1), STACK, 1);
    lab.send_ip(&Icmp::new(8, 0, [0; 4]).build(&ip, b"ping"));
    lab.drops(DropReason::NoRoute)
}

/// Sends fragments as (offset in bytes, more to come, bytes).
fn fragments(lab: &Lab, id: u16, pieces: &[(u16, bool, &[u8])]) {
    for &(offset, more, bytes) in pieces {
        let fragment = (offset / 8) | if more { 0x2000 } else { 0 };
        lab.send_ip(&Ip4 { id, fragment, ..lab.ip(17) }.build(bytes));
    }
}

pub(crate) fn fragment_malformed() -> u64 {
    let lab = Lab::new().unwrap();
    fragments(&lab, 1, &[(0, true, &[0; 13])]);
    lab.drops(DropReason::FragmentMalformed)
}

pub(crate) fn fragment_overlap() -> u64 {
    let lab = Lab::new().unwrap();
    fragments(&lab, 1, &[(0, true, &[1; 24]), (16, true, &[2; 24])]);
    lab.drops(DropReason::FragmentOverlap)
}

pub(crate) fn fragment_timeout() -> u64 {
    let lab = Lab::new().unwrap();
    fragments(&lab, 1, &[(0, true, &[1; 24])]);
    lab.world.run_for(Duration::from_secs(120));
    lab.drops(DropReason::FragmentTimeout)
}

pub(crate) fn fragment_memory() -> u64 {
    let mut config = InetConfig::default();
    config.ip.reassembly_datagrams = 1;
    let lab = Lab::with(config, LinkConfig::default()).unwrap();
    fragments(&lab, 1, &[(0, true, &[1; 24])]);
    fragments(&lab, 2, &[(0, true, &[1; 24])]);
    lab.drops(DropReason::FragmentMemory)
}
