//! The host's options that no crate wraps, most of them for groups; the only unsafe code of the package.
#![allow(unsafe_code)]

use std::io;
use std::mem::offset_of;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, OwnedFd};

use libnet::socket::{
    FilterMode, GroupInterface, MulticastGroup, OptionKey, SocketOption, SourceFilter,
};
use nix::libc;
use rustix::net::sockopt;

use super::host_stream;

/// `struct sockaddr_storage`: the family, the port, and the address.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Address {
    family: u16,
    rest: [u8; 126],
}

/// `struct group_source_req`.
#[repr(C)]
struct GroupSource {
    interface: u32,
    group: Address,
    source: Address,
}

/// `struct group_filter` with room for what the cases list.
#[repr(C)]
struct GroupFilter {
    interface: u32,
    group: Address,
    mode: u32,
    count: u32,
    sources: [Address; ROOM],
}

const ROOM: usize = 4;
const NOBODY: Address = Address { family: 0, rest: [0; 126] };
/// Source: `linux/in6.h`.
const IPV6_MULTICAST_ALL: libc::c_int = 29;

/// Sets an option about groups.
pub(super) fn set(fd: &OwnedFd, six: bool, option: &SocketOption) -> io::Result<()> {
    match *option {
        SocketOption::JoinGroup(group) => member(fd, group, true),
        SocketOption::LeaveGroup(group) => member(fd, group, false),
        SocketOption::JoinSource(group, source) => {
            source_of(fd, six, libc::MCAST_JOIN_SOURCE_GROUP, group, source)
        }
        SocketOption::LeaveSource(group, source) => {
            source_of(fd, six, libc::MCAST_LEAVE_SOURCE_GROUP, group, source)
        }
        SocketOption::BlockSource(group, source) => {
            source_of(fd, six, libc::MCAST_BLOCK_SOURCE, group, source)
        }
        SocketOption::UnblockSource(group, source) => {
            source_of(fd, six, libc::MCAST_UNBLOCK_SOURCE, group, source)
        }
        SocketOption::SourceFilter(ref filter) => set_filter(fd, six, filter),
        SocketOption::MulticastInterface(how) => set_interface(fd, six, how),
        SocketOption::MulticastAll(on) => {
            let value = libc::c_int::from(on);
            write(fd, six, all_of(six), &value, size_of_val(&value))
        }
        ref other => host_stream::set(fd, other),
    }
}

/// Reads one.
pub(super) fn get(fd: &OwnedFd, six: bool, key: OptionKey) -> io::Result<SocketOption> {
    Ok(match key {
        OptionKey::MulticastInterface if six => {
            let index = sockopt::ipv6_multicast_if(fd)?;
            SocketOption::MulticastInterface(GroupInterface::from_index(index))
        }
        OptionKey::MulticastInterface => {
            let addr = sockopt::ip_multicast_if(fd)?;
            SocketOption::MulticastInterface(GroupInterface::from_address(addr))
        }
        OptionKey::MulticastAll => {
            let mut value: libc::c_int = 0;
            read(fd, six, all_of(six), &mut value)?;
            SocketOption::MulticastAll(value != 0)
        }
        OptionKey::SourceFilter(group) => {
            let mut filter = filter_of(group);
            filter.count = ROOM as u32;
            read(fd, six, libc::MCAST_MSFILTER, &mut filter)?;
            let mode = if filter.mode == libc::MCAST_INCLUDE as u32 {
                FilterMode::Include
            } else {
                FilterMode::Exclude
            };
            let sources = filter.sources.iter().take(filter.count as usize).map(ip_of).collect();
            SocketOption::SourceFilter(SourceFilter { group, mode, sources })
        }
        other => host_stream::get(fd, other)?,
    })
}

fn set_interface(fd: &OwnedFd, six: bool, how: GroupInterface) -> io::Result<()> {
    match (six, how) {
        (true, how) => sockopt::set_ipv6_multicast_if(fd, index_of(how))?,
        (false, GroupInterface::Address(addr)) => sockopt::set_ip_multicast_if(fd, &addr)?,
        (false, how) => {
            let any = Ipv4Addr::UNSPECIFIED;
            sockopt::set_ip_multicast_if_with_ifindex(fd, &any, &any, index_of(how))?;
        }
    }
    Ok(())
}

fn member(fd: &OwnedFd, group: MulticastGroup, is_join: bool) -> io::Result<()> {
    let index = index_of(group.interface);
    // IPv4 finds the interface of an address itself.
    let (own, index4) = match group.interface {
        GroupInterface::Address(addr) => (addr, 0),
        _ => (Ipv4Addr::UNSPECIFIED, index),
    };
    match (group.group, is_join) {
        (IpAddr::V4(group), true) => {
            sockopt::set_ip_add_membership_with_ifindex(fd, &group, &own, index4)?;
        }
        (IpAddr::V4(group), false) => {
            sockopt::set_ip_drop_membership_with_ifindex(fd, &group, &own, index4)?;
        }
        (IpAddr::V6(group), true) => sockopt::set_ipv6_add_membership(fd, &group, index)?,
        (IpAddr::V6(group), false) => sockopt::set_ipv6_drop_membership(fd, &group, index)?,
    }
    Ok(())
}

fn source_of(
    fd: &OwnedFd,
    six: bool,
    name: libc::c_int,
    group: MulticastGroup,
    source: IpAddr,
) -> io::Result<()> {
    let interface = index_of(group.interface);
    let request = GroupSource { interface, group: address(group.group), source: address(source) };
    write(fd, six, name, &request, size_of_val(&request))
}

fn set_filter(fd: &OwnedFd, six: bool, filter: &SourceFilter) -> io::Result<()> {
    let mut request = filter_of(filter.group);
    request.mode = match filter.mode {
        FilterMode::Include => libc::MCAST_INCLUDE as u32,
        FilterMode::Exclude => libc::MCAST_EXCLUDE as u32,
    };
    request.count = filter.sources.len() as u32;
    for (place, source) in request.sources.iter_mut().zip(&filter.sources) {
        *place = address(*source);
    }
    let bytes = offset_of!(GroupFilter, sources) + filter.sources.len() * size_of::<Address>();
    write(fd, six, libc::MCAST_MSFILTER, &request, bytes)
}

fn filter_of(group: MulticastGroup) -> GroupFilter {
    let interface = index_of(group.interface);
    GroupFilter {
        interface,
        group: address(group.group),
        mode: 0,
        count: 0,
        sources: [NOBODY; ROOM],
    }
}

/// The loopback has all addresses that the cases use.
fn index_of(interface: GroupInterface) -> u32 {
    match interface {
        GroupInterface::Any => 0,
        GroupInterface::Index(index) => index,
        GroupInterface::Address(_) => super::host::LOOPBACK,
    }
}

fn all_of(six: bool) -> libc::c_int {
    if six { IPV6_MULTICAST_ALL } else { libc::IP_MULTICAST_ALL }
}

fn address(ip: IpAddr) -> Address {
    let mut address = NOBODY;
    match ip {
        IpAddr::V4(ip) => {
            address.family = libc::AF_INET as u16;
            address.rest[2..6].copy_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            address.family = libc::AF_INET6 as u16;
            address.rest[6..22].copy_from_slice(&ip.octets());
        }
    }
    address
}

fn ip_of(address: &Address) -> IpAddr {
    if i32::from(address.family) == libc::AF_INET {
        let octets: [u8; 4] = address.rest[2..6].try_into().expect("four bytes");
        return octets.into();
    }
    let octets: [u8; 16] = address.rest[6..22].try_into().expect("sixteen bytes");
    octets.into()
}

fn level_of(six: bool) -> libc::c_int {
    if six { libc::IPPROTO_IPV6 } else { libc::IPPROTO_IP }
}

/// `setsockopt(2)` with these bytes.
pub(super) fn set_raw<const N: usize>(
    fd: &OwnedFd,
    level: libc::c_int,
    name: libc::c_int,
    value: [u8; N],
) -> io::Result<()> {
    write_at(fd, level, name, &value, N)
}

/// `getsockopt(2)` of up to so many bytes; zeros behind what the host writes.
pub(super) fn raw<const N: usize>(
    fd: &OwnedFd,
    level: libc::c_int,
    name: libc::c_int,
) -> io::Result<[u8; N]> {
    let mut value = [0; N];
    read_at(fd, level, name, &mut value)?;
    Ok(value)
}

fn write<T>(fd: &OwnedFd, six: bool, name: libc::c_int, value: &T, bytes: usize) -> io::Result<()> {
    write_at(fd, level_of(six), name, value, bytes)
}

/// `setsockopt(2)` with the first bytes of a value.
pub(super) fn write_at<T>(
    fd: &OwnedFd,
    level: libc::c_int,
    name: libc::c_int,
    value: &T,
    bytes: usize,
) -> io::Result<()> {
    let len = libc::socklen_t::try_from(bytes.min(size_of::<T>())).expect("a small structure");
    // SAFETY: the pointer is to `len` bytes of `value`, which outlives the call.
    let done =
        unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const *value).cast(), len) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn read<T>(fd: &OwnedFd, six: bool, name: libc::c_int, value: &mut T) -> io::Result<()> {
    read_at(fd, level_of(six), name, value).map(drop)
}

/// `getsockopt(2)`; how many bytes the host wrote.
pub(super) fn read_at<T>(
    fd: &OwnedFd,
    level: libc::c_int,
    name: libc::c_int,
    value: &mut T,
) -> io::Result<usize> {
    let mut len = libc::socklen_t::try_from(size_of::<T>()).expect("a small structure");
    // SAFETY: the pointers are to `value`, of which the host writes `len` bytes at most, and to
    // `len`; both outlive the call, and any bytes make integers and addresses.
    let done = unsafe {
        libc::getsockopt(fd.as_raw_fd(), level, name, (&raw mut *value).cast(), &raw mut len)
    };
    if done == 0 { Ok(len as usize) } else { Err(io::Error::last_os_error()) }
}
