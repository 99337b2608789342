//! What goes with a message beside its data, as control messages of the host.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;
use std::time::Duration;

use libnet::errno;
use libnet::socket::{Family, Received, SendControl};
use libnet::time::Instant;
use nix::libc;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage};
use nix::sys::time::TimeSpec;
use rustix::net::{RecvFlags, SendFlags};
use rustix::time::{ClockId, clock_gettime};

use crate::table::Entry;

/// Sends with what holds for this message alone.
pub(crate) fn send(
    entry: &Entry,
    bufs: &[IoSlice<'_>],
    control: SendControl,
    flags: SendFlags,
) -> io::Result<usize> {
    let SendControl { to, tos, ttl, from, interface, .. } = control;
    let (wide_tos, ttl) = (tos.map(i32::from), ttl.map(i32::from));
    let mut messages = Vec::with_capacity(3);
    let (info4, info6);
    if entry.kind.family == Family::Inet6 {
        messages.extend(wide_tos.as_ref().map(ControlMessage::Ipv6TClass));
        messages.extend(ttl.as_ref().map(ControlMessage::Ipv6HopLimit));
        info6 = packet_info6(from, interface)?;
        messages.extend(info6.as_ref().map(ControlMessage::Ipv6PacketInfo));
    } else {
        messages.extend(tos.as_ref().map(ControlMessage::Ipv4Tos));
        messages.extend(ttl.as_ref().map(ControlMessage::Ipv4Ttl));
        info4 = packet_info4(from, interface)?;
        messages.extend(info4.as_ref().map(ControlMessage::Ipv4PacketInfo));
    }
    let to = to.map(SockaddrStorage::from);
    let fd = entry.fd.as_raw_fd();
    // The bits of the two packages are the host's.
    let flags = MsgFlags::from_bits_truncate(flags.bits() as i32);
    Ok(nix::sys::socket::sendmsg(fd, bufs, &messages, flags, to.as_ref())?)
}

fn packet_info4(
    from: Option<IpAddr>,
    interface: Option<u32>,
) -> io::Result<Option<libc::in_pktinfo>> {
    let source = match from {
        Some(IpAddr::V4(source)) => source,
        Some(IpAddr::V6(_)) => return Err(errno::invalid()),
        None if interface.is_none() => return Ok(None),
        None => Ipv4Addr::UNSPECIFIED,
    };
    let ipi_ifindex = i32::try_from(interface.unwrap_or(0)).map_err(|_| errno::no_device())?;
    let ipi_spec_dst = libc::in_addr { s_addr: u32::from_ne_bytes(source.octets()) };
    Ok(Some(libc::in_pktinfo { ipi_ifindex, ipi_spec_dst, ipi_addr: libc::in_addr { s_addr: 0 } }))
}

fn packet_info6(
    from: Option<IpAddr>,
    interface: Option<u32>,
) -> io::Result<Option<libc::in6_pktinfo>> {
    let source = match from {
        Some(IpAddr::V6(source)) => source,
        // A socket of both families: the address in its mapped form.
        Some(IpAddr::V4(source)) => source.to_ipv6_mapped(),
        None if interface.is_none() => return Ok(None),
        None => Ipv6Addr::UNSPECIFIED,
    };
    let ipi6_addr = libc::in6_addr { s6_addr: source.octets() };
    Ok(Some(libc::in6_pktinfo { ipi6_addr, ipi6_ifindex: interface.unwrap_or(0) }))
}

/// Receives a datagram with all that the socket was asked to tell of it.
pub(crate) fn recv(
    entry: &Entry,
    bufs: &mut [IoSliceMut<'_>],
    flags: RecvFlags,
) -> io::Result<Received> {
    let room_bytes: usize = bufs.iter().map(|buf| buf.len()).sum();
    let mut control = nix::cmsg_space!(i32, i32, TimeSpec, libc::in6_pktinfo, libc::in_pktinfo);
    // The bits of the two packages are the host's.
    let flags = MsgFlags::from_bits_truncate(flags.bits() as i32) | MsgFlags::MSG_TRUNC;
    let fd = entry.fd.as_raw_fd();
    let got = nix::sys::socket::recvmsg::<SockaddrStorage>(fd, bufs, Some(&mut control), flags)?;
    let mut received = Received::stream(got.bytes.min(room_bytes));
    received.message_bytes = got.bytes;
    received.from = got.address.as_ref().and_then(to_std);
    // What did not fit is not told; the message itself is whole.
    for message in got.cmsgs().into_iter().flatten() {
        take(&mut received, &message);
    }
    Ok(received)
}

fn take(received: &mut Received, message: &ControlMessageOwned) {
    match message {
        ControlMessageOwned::Ipv4Ttl(ttl) | ControlMessageOwned::Ipv6HopLimit(ttl) => {
            received.ttl = u8::try_from(*ttl).unwrap_or(0);
        }
        ControlMessageOwned::Ipv4Tos(tos) => received.tos = Some(*tos),
        ControlMessageOwned::Ipv6TClass(tos) => received.tos = u8::try_from(*tos).ok(),
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            received.to = Some(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes()).into());
            received.interface = u32::try_from(info.ipi_ifindex).ok();
        }
        ControlMessageOwned::Ipv6PacketInfo(info) => {
            received.to = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
            received.interface = Some(info.ipi6_ifindex);
        }
        ControlMessageOwned::ScmTimestampns(at) => {
            received.rx_at = to_monotonic(Duration::from(*at))
        }
        _ => {}
    }
}

/// A time of the host's calendar on the clock that drivers use.
fn to_monotonic(calendar: Duration) -> Instant {
    let read = |clock| {
        let now = clock_gettime(clock);
        Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), now.tv_nsec.try_into().unwrap_or(0))
    };
    let ago = read(ClockId::Realtime).saturating_sub(calendar);
    let at = read(ClockId::Monotonic).saturating_sub(ago);
    // Never zero, which says that it is not known.
    Instant::from_nanos(u64::try_from(at.as_nanos()).unwrap_or(u64::MAX).max(1))
}

fn to_std(addr: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = addr.as_sockaddr_in() {
        return Some(SocketAddrV4::from(*v4).into());
    }
    addr.as_sockaddr_in6().map(|v6| SocketAddrV6::from(*v6).into())
}
