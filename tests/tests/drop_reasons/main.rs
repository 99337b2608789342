//! Every reason to drop a packet is provoked, and its counter tells.

use libnet::DropReason;

mod forward;
mod groups;
mod ip;
mod link;
mod six;
mod tcp;
mod transport;

/// How often the reason was counted in a world where it should be.
fn provoke(reason: DropReason) -> u64 {
    use DropReason as R;
    match reason {
        R::IfaceDown => link::iface_down(),
        R::LinkMalformed => link::link_malformed(),
        R::NotForUs => link::not_for_us(),
        R::UnknownEtherType => link::unknown_ethertype(),
        R::VlanTagged => link::vlan_tagged(),
        R::FrameTooLong => link::frame_too_long(),
        R::ReplyQueueFull => link::reply_queue_full(),
        R::LinkFailed => link::link_failed(),
        R::BadOffload => link::bad_offload(),
        R::ArpMalformed => link::arp_malformed(),
        R::NeighbourTableFull => link::neighbour_table_full(),
        R::NeighbourQueueFull => link::neighbour_queue_full(),
        R::NeighbourUnreachable => link::neighbour_unreachable(),
        R::IpMalformed => ip::malformed(),
        R::IpChecksum => ip::checksum(),
        R::IpBadSource => ip::bad_source(),
        R::IpNotOurs => ip::not_ours(),
        R::IpLinkBroadcast => ip::link_broadcast(),
        R::IpBadOptions => ip::bad_options(),
        R::IpSourceRoute => ip::source_route(),
        R::IpExtensionLimit => six::extension_limit(),
        R::IpNoNextHeader => six::no_next_header(),
        R::NdMalformed => six::nd_malformed(),
        R::NotForwardable => forward::not_forwardable(),
        R::HopLimit => forward::hop_limit(),
        R::ReversePath => forward::reverse_path(),
        R::RouteRefused => forward::route_refused(),
        R::ForwardQueueFull => forward::queue_full(),
        R::IpUnknownProtocol => ip::unknown_protocol(),
        R::NoRoute => ip::no_route(),
        R::FragmentMalformed => ip::fragment_malformed(),
        R::FragmentOverlap => ip::fragment_overlap(),
        R::FragmentTimeout => ip::fragment_timeout(),
        R::FragmentMemory => ip::fragment_memory(),
        R::TooBig => tcp::too_big(),
        R::IcmpMalformed => transport::icmp_malformed(),
        R::IcmpChecksum => transport::icmp_checksum(),
        R::IcmpUnmatched => transport::icmp_unmatched(),
        R::IcmpIgnored => transport::icmp_ignored(),
        R::IcmpRateLimited => transport::icmp_rate_limited(),
        R::GroupNotJoined => groups::not_joined(),
        R::IgmpMalformed => groups::igmp_malformed(),
        R::IgmpChecksum => groups::igmp_checksum(),
        R::MldMalformed => groups::mld_malformed(),
        R::UdpMalformed => transport::udp_malformed(),
        R::UdpChecksum => transport::udp_checksum(),
        R::RawChecksum => six::raw_checksum(),
        R::UdpNoPort => transport::udp_no_port(),
        R::SocketBufferFull => transport::socket_buffer_full(),
        R::UdpMemory => transport::udp_memory(),
        R::TcpMalformed => tcp::malformed(),
        R::TcpChecksum => tcp::checksum(),
        R::TcpNoConnection => tcp::no_connection(),
        R::TcpOutOfWindow => tcp::out_of_window(),
        R::TcpPaws => tcp::paws(),
        R::TcpBadAck => tcp::bad_ack(),
        R::TcpNoAck => tcp::no_ack(),
        R::TcpChallenged => tcp::challenged(),
        R::TcpChallengeLimited => tcp::challenge_limited(),
        R::TcpListenOverflow => tcp::listen_overflow(),
        R::TcpReassemblyFull => tcp::reassembly_full(),
        R::TcpDataAfterClose => tcp::data_after_close(),
        R::TcpBadSignature => tcp::bad_signature(),
        R::TcpTableFull => tcp::table_full(),
        R::TcpMemory => tcp::memory(),
        R::TcpZeroWindow => tcp::zero_window(),
        other => panic!("no scenario provokes {}: write one", other.name()),
    }
}

#[test]
fn every_reason_to_drop_a_packet_is_hit_and_counted() {
    let mut silent = Vec::new();
    for &reason in DropReason::ALL {
        let outcome = std::panic::catch_unwind(|| provoke(reason));
        match outcome {
            Ok(0) => silent.push(format!("{}: not counted", reason.name())),
            Ok(_) => {}
            Err(_) => silent.push(format!("{}: its scenario panicked", reason.name())),
        }
    }
    assert!(silent.is_empty(), "{silent:#?}");
}
