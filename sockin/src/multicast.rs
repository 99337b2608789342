//! Groups and their sources, as the host's options of the same names have them.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;

use libnet::errno;
use libnet::socket::{
    Family, FilterMode, GroupInterface, MulticastGroup, SocketOption as Opt, SourceFilter,
};
use nix::libc;
use rustix::net::sockopt;

use crate::sys;

/// Joins, leaves, or tells sources apart. Those that are not about groups have no place here.
///
/// # Errors
/// The host's; `EINVAL` for an address of another family, `ENODEV` for an interface that nobody
/// has.
pub(crate) fn set(fd: &OwnedFd, family: Family, option: &Opt) -> io::Result<()> {
    match option {
        Opt::JoinGroup(group) => join(fd, family, group),
        Opt::LeaveGroup(group) => leave(fd, family, group),
        Opt::JoinSource(group, source) => {
            change_source(fd, family, libc::MCAST_JOIN_SOURCE_GROUP, group, *source)
        }
        Opt::LeaveSource(group, source) => {
            change_source(fd, family, libc::MCAST_LEAVE_SOURCE_GROUP, group, *source)
        }
        Opt::BlockSource(group, source) => {
            change_source(fd, family, libc::MCAST_BLOCK_SOURCE, group, *source)
        }
        Opt::UnblockSource(group, source) => {
            change_source(fd, family, libc::MCAST_UNBLOCK_SOURCE, group, *source)
        }
        Opt::SourceFilter(filter) => set_filter(fd, family, filter),
        Opt::MulticastInterface(how) => set_interface(fd, family, *how),
        Opt::MulticastAll(on) => sys::set_int(fd, level_of(family), all_of(family), (*on).into()),
        _ => Err(errno::no_such_option()),
    }
}

fn join(fd: &OwnedFd, family: Family, group: &MulticastGroup) -> io::Result<()> {
    match (family, group.group) {
        (Family::Inet, IpAddr::V4(addr)) => {
            let (own, index) = place_of(group.interface);
            Ok(sockopt::set_ip_add_membership_with_ifindex(fd, &addr, &own, index)?)
        }
        (Family::Inet6, IpAddr::V6(addr)) => {
            Ok(sockopt::set_ipv6_add_membership(fd, &addr, index_of(group.interface)?)?)
        }
        _ => Err(errno::invalid()),
    }
}

fn leave(fd: &OwnedFd, family: Family, group: &MulticastGroup) -> io::Result<()> {
    match (family, group.group) {
        (Family::Inet, IpAddr::V4(addr)) => {
            let (own, index) = place_of(group.interface);
            Ok(sockopt::set_ip_drop_membership_with_ifindex(fd, &addr, &own, index)?)
        }
        (Family::Inet6, IpAddr::V6(addr)) => {
            Ok(sockopt::set_ipv6_drop_membership(fd, &addr, index_of(group.interface)?)?)
        }
        _ => Err(errno::invalid()),
    }
}

/// `struct group_source_req` (RFC 3678 §5.1.2): the interface, the group, the source.
fn change_source(
    fd: &OwnedFd,
    family: Family,
    name: libc::c_int,
    group: &MulticastGroup,
    source: IpAddr,
) -> io::Result<()> {
    check_family(family, group.group)?;
    check_family(family, source)?;
    let mut request = Structure::default();
    request.word(index_of(group.interface)?);
    request.address(group.group);
    request.address(source);
    sys::set_bytes(fd, level_of(family), name, &request.0)
}

/// `struct group_filter` (RFC 3678 §5.2.2): the interface, the group, the mode, how many sources,
/// and these.
fn set_filter(fd: &OwnedFd, family: Family, filter: &SourceFilter) -> io::Result<()> {
    check_family(family, filter.group.group)?;
    let count = u32::try_from(filter.sources.len()).map_err(|_| errno::no_buffers())?;
    let mut request = filter_head(&filter.group)?;
    request.word(match filter.mode {
        FilterMode::Include => libc::MCAST_INCLUDE,
        FilterMode::Exclude => libc::MCAST_EXCLUDE,
    } as u32);
    request.word(count);
    for source in &filter.sources {
        check_family(family, *source)?;
        request.address(*source);
    }
    sys::set_bytes(fd, level_of(family), libc::MCAST_MSFILTER, &request.0)
}

/// Reads which sources of a group the socket takes.
///
/// # Errors
/// The host's, such as `EADDRNOTAVAIL` if the socket is not in the group.
pub(crate) fn filter(fd: &OwnedFd, family: Family, group: MulticastGroup) -> io::Result<Opt> {
    check_family(family, group.group)?;
    let mut room = 64;
    loop {
        let mut answer = filter_head(&group)?;
        answer.word(0);
        answer.word(room);
        let sources_at = answer.0.len();
        answer.0.resize(sources_at + room as usize * STORAGE_BYTES, 0);
        sys::get_bytes(fd, level_of(family), libc::MCAST_MSFILTER, &mut answer.0)?;
        let (mode, count) = (word(&answer.0, sources_at - 8), word(&answer.0, sources_at - 4));
        // There are more, and the host has said how many.
        if count > room {
            room = count;
            continue;
        }
        let listed = answer.0[sources_at..].chunks_exact(STORAGE_BYTES).take(count as usize);
        let sources = listed.filter_map(|storage| address_in(storage, family)).collect();
        let mode = if mode == libc::MCAST_INCLUDE as u32 {
            FilterMode::Include
        } else {
            FilterMode::Exclude
        };
        return Ok(Opt::SourceFilter(SourceFilter { group, mode, sources }));
    }
}

fn filter_head(group: &MulticastGroup) -> io::Result<Structure> {
    let mut head = Structure::default();
    head.word(index_of(group.interface)?);
    head.address(group.group);
    Ok(head)
}

fn set_interface(fd: &OwnedFd, family: Family, how: GroupInterface) -> io::Result<()> {
    if family == Family::Inet6 {
        return Ok(sockopt::set_ipv6_multicast_if(fd, index_of(how)?)?);
    }
    let (own, index) = place_of(how);
    let any = Ipv4Addr::UNSPECIFIED;
    Ok(sockopt::set_ip_multicast_if_with_ifindex(fd, &any, &own, index)?)
}

/// Reads the interface that packets to groups leave by. Of IPv4 the host tells an address alone.
///
/// # Errors
/// The host's.
pub(crate) fn interface(fd: &OwnedFd, family: Family) -> io::Result<Opt> {
    Ok(Opt::MulticastInterface(match family {
        Family::Inet6 => GroupInterface::from_index(sockopt::ipv6_multicast_if(fd)?),
        _ => GroupInterface::from_address(sockopt::ip_multicast_if(fd)?),
    }))
}

/// Reads `IP_MULTICAST_ALL` or `IPV6_MULTICAST_ALL`.
///
/// # Errors
/// The host's.
pub(crate) fn all(fd: &OwnedFd, family: Family) -> io::Result<Opt> {
    Ok(Opt::MulticastAll(sys::int(fd, level_of(family), all_of(family))? != 0))
}

fn level_of(family: Family) -> libc::c_int {
    if family == Family::Inet6 { libc::IPPROTO_IPV6 } else { libc::IPPROTO_IP }
}

fn all_of(family: Family) -> libc::c_int {
    if family == Family::Inet6 { IPV6_MULTICAST_ALL } else { libc::IP_MULTICAST_ALL }
}

/// Source: `linux/in6.h`.
const IPV6_MULTICAST_ALL: libc::c_int = 29;

fn check_family(family: Family, addr: IpAddr) -> io::Result<()> {
    if Family::of(&addr) == family { Ok(()) } else { Err(errno::invalid()) }
}

/// The last two fields of `struct ip_mreqn`.
fn place_of(interface: GroupInterface) -> (Ipv4Addr, u32) {
    match interface {
        GroupInterface::Any => (Ipv4Addr::UNSPECIFIED, 0),
        GroupInterface::Index(index) => (Ipv4Addr::UNSPECIFIED, index),
        GroupInterface::Address(addr) => (addr, 0),
    }
}

/// The interface's index; 0 means any.
///
/// # Errors
/// `ENODEV` for an address that no interface has.
fn index_of(interface: GroupInterface) -> io::Result<u32> {
    match interface {
        GroupInterface::Any => Ok(0),
        GroupInterface::Index(index) => Ok(index),
        GroupInterface::Address(addr) => index_with(addr),
    }
}

fn index_with(addr: Ipv4Addr) -> io::Result<u32> {
    // As the host does, which answers for all of a loopback's network.
    let covers = |own: Ipv4Addr| own == addr || (own.is_loopback() && addr.is_loopback());
    let mut all = nix::ifaddrs::getifaddrs()?;
    let found = all.find(|entry| {
        let own = entry.address.as_ref().and_then(|own| own.as_sockaddr_in());
        own.is_some_and(|own| covers(own.ip()))
    });
    let name = found.ok_or_else(errno::no_device)?.interface_name;
    nix::net::if_::if_nametoindex(name.as_str()).map_err(io::Error::from)
}

/// Fields of C's structures, laid out as the compiler there does.
#[derive(Default)]
struct Structure(Vec<u8>);

impl Structure {
    fn word(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_ne_bytes());
    }

    /// A `struct sockaddr_storage` with an address.
    fn address(&mut self, addr: IpAddr) {
        let at = self.0.len().next_multiple_of(align_of::<libc::sockaddr_storage>());
        self.0.resize(at + STORAGE_BYTES, 0);
        let storage = &mut self.0[at..];
        let family = match addr {
            IpAddr::V4(v4) => {
                storage[V4_AT..V4_AT + 4].copy_from_slice(&v4.octets());
                libc::AF_INET
            }
            IpAddr::V6(v6) => {
                storage[V6_AT..V6_AT + 16].copy_from_slice(&v6.octets());
                libc::AF_INET6
            }
        };
        storage[..2].copy_from_slice(&(family as libc::sa_family_t).to_ne_bytes());
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn address_in(storage: &[u8], family: Family) -> Option<IpAddr> {
    match family {
        Family::Inet6 => {
            storage.get(V6_AT..)?.first_chunk::<16>().map(|octets| IpAddr::from(*octets))
        }
        _ => storage.get(V4_AT..)?.first_chunk::<4>().map(|octets| IpAddr::from(*octets)),
    }
}

const STORAGE_BYTES: usize = size_of::<libc::sockaddr_storage>();
/// Where the addresses are in `struct sockaddr_in` and `sockaddr_in6`.
const V4_AT: usize = 4;
const V6_AT: usize = 8;
