//! ICMP and UDP.

use libnet::DropReason;
use libnet::socket::SocketOption;
use rumpnet_tests::frames::{Icmp, Ip4, Udp};
use rumpnet_tests::lab::{Lab, PEER, STACK};

fn icmp(reason: DropReason, message: &Icmp, payload: &[u8]) -> u64 {
    let lab = Lab::new().unwrap();
    lab.introduce();
    lab.send_ip(&message.build(&lab.ip(1), payload));
    lab.drops(reason)
}

pub(crate) fn icmp_malformed() -> u64 {
    icmp(DropReason::IcmpMalformed, &Icmp::new(3, 1, [0; 4]), &[0; 10])
}

pub(crate) fn icmp_checksum() -> u64 {
    let message = Icmp { checksum_error: 1, ..Icmp::new(8, 0, [0; 4]) };
    icmp(DropReason::IcmpChecksum, &message, b"ping")
}

pub(crate) fn icmp_unmatched() -> u64 {
    let never_sent = Udp::new(1, 2).build(&Ip4::new(STACK, PEER, 17), b"x");
    icmp(DropReason::IcmpUnmatched, &Icmp::new(3, 3, [0; 4]), &never_sent)
}

pub(crate) fn icmp_ignored() -> u64 {
    icmp(DropReason::IcmpIgnored, &Icmp::new(4, 0, [0; 4]), &[0; 28])
}

pub(crate) fn icmp_rate_limited() -> u64 {
    let lab = Lab::new().unwrap();
    lab.introduce();
    for _ in 0..100 {
        lab.send_ip(&Udp::new(1, 9).build(&lab.ip(17), b"x"));
    }
    lab.drops(DropReason::IcmpRateLimited)
}

fn udp(reason: DropReason, datagram: &Udp) -> u64 {
    let lab = Lab::new().unwrap();
    lab.introduce();
    let _socket = lab.stack.udp_bind("10.0.0.1:53").unwrap();
    lab.send_ip(&datagram.build(&lab.ip(17), b"data"));
    lab.drops(reason)
}

pub(crate) fn udp_malformed() -> u64 {
    udp(DropReason::UdpMalformed, &Udp { len: Some(500), ..Udp::new(1, 53) })
}

pub(crate) fn udp_checksum() -> u64 {
    udp(DropReason::UdpChecksum, &Udp { checksum_error: 1, ..Udp::new(1, 53) })
}

pub(crate) fn udp_no_port() -> u64 {
    udp(DropReason::UdpNoPort, &Udp::new(1, 54))
}

pub(crate) fn udp_memory() -> u64 {
    let lab = Lab::new().unwrap();
    lab.introduce();
    let _socket = lab.stack.udp_bind("10.0.0.1:53").unwrap();
    lab.stack.inet().unwrap().set_sysctl("net.ipv4.udp_mem", "1 1 2").unwrap();
    for _ in 0..20 {
        lab.send_ip(&Udp::new(1, 53).build(&lab.ip(17), &[0; 1_000]));
    }
    lab.drops(DropReason::UdpMemory)
}

pub(crate) fn socket_buffer_full() -> u64 {
    let lab = Lab::new().unwrap();
    lab.introduce();
    let socket = lab.stack.udp_bind("10.0.0.1:53").unwrap();
    socket.socket().set_option(SocketOption::ReceiveBufferBytes(4_096)).unwrap();
    for _ in 0..100 {
        lab.send_ip(&Udp::new(1, 53).build(&lab.ip(17), &[0; 1_000]));
    }
    lab.drops(DropReason::SocketBufferFull)
}
