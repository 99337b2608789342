//! Options about groups and their sources. Source: `ip(7)`, `ipv6(7)`, RFC 3678.

use std::ffi::c_int;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libnet::errno;
use libnet::socket::{GroupInterface, MulticastGroup, SocketOption as Opt};
use nix::libc;

use super::int;
use crate::address::{self, array};

/// An option about groups with the value that C gave; `None` if it is about something else.
///
/// # Errors
/// `EINVAL` for a value that is too short, `ENODEV` for an index that is none.
pub(super) fn option(which: (c_int, c_int), value: &[u8]) -> io::Result<Option<Opt>> {
    let (join, leave, block, unblock) =
        (Opt::JoinSource, Opt::LeaveSource, Opt::BlockSource, Opt::UnblockSource);
    Ok(Some(match which {
        (libc::IPPROTO_IP, libc::IP_ADD_MEMBERSHIP) => Opt::JoinGroup(group4(value)?),
        (libc::IPPROTO_IP, libc::IP_DROP_MEMBERSHIP) => Opt::LeaveGroup(group4(value)?),
        (libc::IPPROTO_IPV6, libc::IPV6_ADD_MEMBERSHIP) => Opt::JoinGroup(group6(value)?),
        (libc::IPPROTO_IPV6, libc::IPV6_DROP_MEMBERSHIP) => Opt::LeaveGroup(group6(value)?),
        (libc::IPPROTO_IP, libc::IP_ADD_SOURCE_MEMBERSHIP) => source4(join, value)?,
        (libc::IPPROTO_IP, libc::IP_DROP_SOURCE_MEMBERSHIP) => source4(leave, value)?,
        (libc::IPPROTO_IP, libc::IP_BLOCK_SOURCE) => source4(block, value)?,
        (libc::IPPROTO_IP, libc::IP_UNBLOCK_SOURCE) => source4(unblock, value)?,
        (libc::IPPROTO_IP | libc::IPPROTO_IPV6, libc::MCAST_JOIN_GROUP) => {
            Opt::JoinGroup(group(value)?)
        }
        (libc::IPPROTO_IP | libc::IPPROTO_IPV6, libc::MCAST_LEAVE_GROUP) => {
            Opt::LeaveGroup(group(value)?)
        }
        (libc::IPPROTO_IP | libc::IPPROTO_IPV6, libc::MCAST_JOIN_SOURCE_GROUP) => {
            source(join, value)?
        }
        (libc::IPPROTO_IP | libc::IPPROTO_IPV6, libc::MCAST_LEAVE_SOURCE_GROUP) => {
            source(leave, value)?
        }
        (libc::IPPROTO_IP | libc::IPPROTO_IPV6, libc::MCAST_BLOCK_SOURCE) => source(block, value)?,
        (libc::IPPROTO_IP | libc::IPPROTO_IPV6, libc::MCAST_UNBLOCK_SOURCE) => {
            source(unblock, value)?
        }
        (libc::IPPROTO_IP, libc::IP_MULTICAST_IF) => multicast_if4(value)?,
        (libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_IF) => {
            let index = u32::try_from(int(value)?).map_err(|_| errno::no_device())?;
            Opt::MulticastInterface(GroupInterface::from_index(index))
        }
        _ => return Ok(None),
    }))
}

/// The interface of packets to groups: an index, or an IPv4 address; zero for none.
pub(super) fn bytes_of(how: GroupInterface) -> Vec<u8> {
    match how {
        GroupInterface::Any => vec![0; 4],
        GroupInterface::Index(index) => index.to_ne_bytes().to_vec(),
        GroupInterface::Address(addr) => addr.octets().to_vec(),
    }
}

type OfSource = fn(MulticastGroup, IpAddr) -> Opt;

/// A `struct ip_mreq_source`: group, interface, source.
fn source4(make: OfSource, value: &[u8]) -> io::Result<Opt> {
    if value.len() < 12 {
        return Err(errno::invalid());
    }
    let interface = GroupInterface::from_address(Ipv4Addr::from(array::<4>(value, 4)));
    let group = IpAddr::V4(Ipv4Addr::from(array::<4>(value, 0)));
    let source = IpAddr::V4(Ipv4Addr::from(array::<4>(value, 8)));
    Ok(make(MulticastGroup { group, interface }, source))
}

/// A `struct group_req`: an index and, aligned, room for any address.
fn group(value: &[u8]) -> io::Result<MulticastGroup> {
    let room = value.get(ALIGNED..ALIGNED + STORAGE).ok_or_else(errno::invalid)?;
    let interface = GroupInterface::from_index(u32::from_ne_bytes(array(value, 0)));
    Ok(MulticastGroup { group: address::parse(room)?.ip(), interface })
}

/// A `struct group_source_req`: the same, and room for another address.
fn source(make: OfSource, value: &[u8]) -> io::Result<Opt> {
    let room = value.get(ALIGNED + STORAGE..ALIGNED + 2 * STORAGE).ok_or_else(errno::invalid)?;
    Ok(make(group(value)?, address::parse(room)?.ip()))
}

/// Where addresses begin in those, and the room that each has.
const ALIGNED: usize = align_of::<libc::sockaddr_storage>();
const STORAGE: usize = size_of::<libc::sockaddr_storage>();

/// A `struct ip_mreq` or the longer `ip_mreqn`.
fn group4(value: &[u8]) -> io::Result<MulticastGroup> {
    if value.len() < 8 {
        return Err(errno::invalid());
    }
    let group = IpAddr::V4(Ipv4Addr::from(array::<4>(value, 0)));
    Ok(MulticastGroup { group, interface: place4(&value[4..]) })
}

/// An address and, if it is there, an index that counts before it.
fn place4(value: &[u8]) -> GroupInterface {
    match u32::from_ne_bytes(array(value, 4)) {
        0 => GroupInterface::from_address(Ipv4Addr::from(array::<4>(value, 0))),
        index => GroupInterface::Index(index),
    }
}

fn multicast_if4(value: &[u8]) -> io::Result<Opt> {
    let place = match value.len() {
        0..4 => return Err(errno::invalid()),
        4..8 => value,
        // The interface of an `ip_mreq` or `ip_mreqn`.
        _ => &value[4..],
    };
    Ok(Opt::MulticastInterface(place4(place)))
}

/// A `struct ipv6_mreq`.
fn group6(value: &[u8]) -> io::Result<MulticastGroup> {
    if value.len() < 20 {
        return Err(errno::invalid());
    }
    let index = u32::from_ne_bytes(array(value, 16));
    let group = IpAddr::V6(Ipv6Addr::from(array::<16>(value, 0)));
    Ok(MulticastGroup { group, interface: GroupInterface::from_index(index) })
}
