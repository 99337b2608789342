//! Control messages: what goes with a message beside its data.

use std::ffi::c_int;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libnet::errno;
use libnet::socket::{Received, SendControl};
use libnet::{Family, SockType};
use nix::libc;

use crate::address::array;
use crate::descriptor::Kind;

/// What control messages tell of received ones, as the options of the same names turn on.
#[derive(Clone, Copy, Default)]
pub(crate) struct Told {
    pub(crate) ttl: bool,
    pub(crate) tos: bool,
    pub(crate) packet_info: bool,
}

/// Bytes of `struct cmsghdr`; what follows is aligned as it is.
const HEADER: usize = size_of::<libc::cmsghdr>();
const ALIGN: usize = align_of::<libc::cmsghdr>();

/// Reads the control messages of a send.
///
/// # Errors
/// `EINVAL` for what is malformed, out of range or unknown.
pub(crate) fn parse(kind: Kind, mut bytes: &[u8], control: &mut SendControl) -> io::Result<()> {
    while bytes.len() >= HEADER {
        let len = usize::from_ne_bytes(array(bytes, 0));
        let word = |at| c_int::from_ne_bytes(array(bytes, at));
        let (level, ty) = (word(HEADER - 8), word(HEADER - 4));
        let data = bytes.get(HEADER..len).ok_or_else(errno::invalid)?;
        parse_one(kind, (level, ty), data, control)?;
        bytes = bytes.get(len.next_multiple_of(ALIGN)..).unwrap_or_default();
    }
    Ok(())
}

fn parse_one(
    kind: Kind,
    which: (c_int, c_int),
    data: &[u8],
    control: &mut SendControl,
) -> io::Result<()> {
    let octet = |least: c_int| match data.len() {
        4 => u8::try_from(c_int::from_ne_bytes(array(data, 0)))
            .ok()
            .filter(|value| c_int::from(*value) >= least)
            .ok_or_else(errno::invalid),
        1 if which == (libc::IPPROTO_IP, libc::IP_TOS) => Ok(data[0]),
        _ => Err(errno::invalid()),
    };
    match which {
        (libc::IPPROTO_IP, libc::IP_TTL) => control.ttl = Some(octet(1)?),
        (libc::IPPROTO_IP, libc::IP_TOS) => control.tos = Some(octet(0)?),
        (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => control.ttl = Some(octet(1)?),
        (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => control.tos = Some(octet(0)?),
        (libc::IPPROTO_IP, libc::IP_PKTINFO) if data.len() == 12 => {
            let source = Ipv4Addr::from(array::<4>(data, 4));
            let index = u32::from_ne_bytes(array(data, 0));
            control.interface = (index != 0).then_some(index);
            control.from = (!source.is_unspecified()).then_some(IpAddr::V4(source));
        }
        (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) if data.len() == 20 => {
            let source = Ipv6Addr::from(array::<16>(data, 0));
            let index = u32::from_ne_bytes(array(data, 16));
            control.interface = (index != 0).then_some(index);
            control.from = (!source.is_unspecified()).then_some(IpAddr::V6(source));
        }
        // Linux's TCP passes over what it does not know.
        _ if kind.ty == SockType::Stream => {}
        _ => return Err(errno::invalid()),
    }
    Ok(())
}

/// The control messages of a received message.
pub(crate) fn write(kind: Kind, told: Told, received: &Received) -> Vec<u8> {
    let mut bytes = Vec::new();
    if kind.ty == SockType::Stream {
        return bytes;
    }
    let six = kind.family == Family::Inet6;
    let level = if six { libc::IPPROTO_IPV6 } else { libc::IPPROTO_IP };
    if told.packet_info
        && let Some(to) = received.to
    {
        let index = received.interface.unwrap_or(0).to_ne_bytes();
        match to {
            IpAddr::V4(to) if !six => {
                let to = to.octets();
                append(&mut bytes, (level, libc::IP_PKTINFO), &[&index[..], &to, &to].concat());
            }
            IpAddr::V4(to) => {
                let to = to.to_ipv6_mapped().octets();
                append(&mut bytes, (level, libc::IPV6_PKTINFO), &[&to[..], &index].concat());
            }
            IpAddr::V6(to) => {
                let to = to.octets();
                append(&mut bytes, (level, libc::IPV6_PKTINFO), &[&to[..], &index].concat());
            }
        }
    }
    if told.ttl {
        let ty = if six { libc::IPV6_HOPLIMIT } else { libc::IP_TTL };
        append(&mut bytes, (level, ty), &c_int::from(received.ttl).to_ne_bytes());
    }
    if told.tos
        && let Some(tos) = received.tos
    {
        match six {
            true => {
                append(&mut bytes, (level, libc::IPV6_TCLASS), &c_int::from(tos).to_ne_bytes());
            }
            false => append(&mut bytes, (level, libc::IP_TOS), &[tos]),
        }
    }
    bytes
}

fn append(bytes: &mut Vec<u8>, (level, ty): (c_int, c_int), data: &[u8]) {
    bytes.extend_from_slice(&(HEADER + data.len()).to_ne_bytes());
    bytes.extend_from_slice(&level.to_ne_bytes());
    bytes.extend_from_slice(&ty.to_ne_bytes());
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(ALIGN), 0);
}
