//! Addresses as C has them, as bytes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use libnet::errno;
use nix::libc;

/// Bytes of `struct sockaddr_in`.
pub(crate) const SOCKADDR_IN: usize = 16;
/// Bytes of `struct sockaddr_in6`.
pub(crate) const SOCKADDR_IN6: usize = 28;
/// Of the first one, which had no scope (RFC 2133); Linux takes it still.
const SOCKADDR_IN6_OLD: usize = 24;

/// Reads a `struct sockaddr` of either family.
///
/// # Errors
/// `EINVAL` if it is too short for its family, `EAFNOSUPPORT` for one that is neither.
pub(crate) fn parse(bytes: &[u8]) -> io::Result<SocketAddr> {
    let family = bytes.first_chunk::<2>().ok_or_else(errno::invalid)?;
    match i32::from(u16::from_ne_bytes(*family)) {
        libc::AF_INET if bytes.len() < SOCKADDR_IN => Err(errno::invalid()),
        libc::AF_INET6 if bytes.len() < SOCKADDR_IN6_OLD => Err(errno::invalid()),
        libc::AF_INET => {
            let addr = Ipv4Addr::from(array::<4>(bytes, 4));
            Ok(SocketAddrV4::new(addr, u16::from_be_bytes(array(bytes, 2))).into())
        }
        libc::AF_INET6 => {
            let addr = Ipv6Addr::from(array::<16>(bytes, 8));
            let port = u16::from_be_bytes(array(bytes, 2));
            let flow = u32::from_be_bytes(array(bytes, 4));
            let scope = u32::from_ne_bytes(array(bytes, 24));
            Ok(SocketAddrV6::new(addr, port, flow, scope).into())
        }
        _ => Err(errno::family_not_supported()),
    }
}

/// Writes one.
pub(crate) fn write(addr: SocketAddr) -> Vec<u8> {
    let mut bytes = vec![0; if addr.is_ipv4() { SOCKADDR_IN } else { SOCKADDR_IN6 }];
    bytes[2..4].copy_from_slice(&addr.port().to_be_bytes());
    let family = match addr {
        SocketAddr::V4(addr) => {
            bytes[4..8].copy_from_slice(&addr.ip().octets());
            libc::AF_INET
        }
        SocketAddr::V6(addr) => {
            bytes[4..8].copy_from_slice(&addr.flowinfo().to_be_bytes());
            bytes[8..24].copy_from_slice(&addr.ip().octets());
            bytes[24..28].copy_from_slice(&addr.scope_id().to_ne_bytes());
            libc::AF_INET6
        }
    };
    bytes[..2].copy_from_slice(&(family as u16).to_ne_bytes());
    bytes
}

/// An IPv4 address in its mapped form, for a socket of IPv6.
pub(crate) fn mapped(addr: SocketAddr) -> SocketAddr {
    match addr.ip() {
        IpAddr::V4(four) => SocketAddr::new(IpAddr::V6(four.to_ipv6_mapped()), addr.port()),
        IpAddr::V6(_) => addr,
    }
}

/// `N` bytes at a place, zeros beyond the end.
pub(crate) fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..at + N).and_then(|part| part.try_into().ok()).unwrap_or([0; N])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_back_as_they_went() {
        for text in ["10.1.2.3:80", "[fe80::1%7]:443", "[::1]:0"] {
            let addr: SocketAddr = text.parse().unwrap();
            assert_eq!(parse(&write(addr)).unwrap(), addr, "{text}");
        }
    }

    #[test]
    fn short_and_foreign_addresses_are_refused_as_linux_does() {
        let number = |bytes: &[u8]| parse(bytes).unwrap_err().raw_os_error();
        let four = write("10.1.2.3:80".parse().unwrap());
        let six = write("[::1]:80".parse().unwrap());
        assert_eq!(number(&four[..15]), Some(libc::EINVAL));
        assert_eq!(number(&six[..23]), Some(libc::EINVAL));
        assert!(parse(&six[..24]).is_ok());
        assert_eq!(number(&[1]), Some(libc::EINVAL));
        assert_eq!(number(&[0; 28]), Some(libc::EAFNOSUPPORT));
    }
}
