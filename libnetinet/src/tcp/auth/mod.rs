//! Signed segments: TCP-MD5 (RFC 2385) and TCP-AO (RFC 5925). A connection that signs sends no
//! super-segments: every segment has a signature of its own, so that it is cut before it is signed.

mod ao;
mod keys;
#[cfg_attr(not(feature = "tcp-auth"), path = "none.rs")]
mod mac;
#[cfg(all(test, feature = "tcp-auth"))]
mod tests;

use std::net::IpAddr;

use libnet::Packet;

pub(super) use self::ao::Ao;
pub use self::keys::{AuthKeys, KeyError};
use super::options::{Extra, KIND_AO, KIND_MD5, MAX_OPTIONS_BYTES};
use super::segment::{Flags, FourTuple, Header, MAX_HEADER_BYTES, MIN_HEADER_BYTES, Segment};
use super::seq::SeqNumber;

/// What a connection signs and checks with.
#[derive(Clone, Debug)]
pub(super) enum ConnAuth {
    /// RFC 2385.
    Md5(Vec<u8>),
    /// RFC 5925.
    Ao(Ao),
}

/// Both initial sequence numbers, as far as they are known: ours, and the peer's or zero.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Isns {
    pub(super) local: SeqNumber,
    pub(super) remote: SeqNumber,
}

/// What is wrong with a segment's signature.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Forgery {
    /// It has none, or one of the other kind.
    Missing,
    /// No key has its number.
    NoKey,
    /// It is another's, or the segment was changed.
    Wrong,
}

/// A key that signs the segments of one connection in one direction. Source: RFC 5925 §5.2.
#[derive(Clone, Copy)]
pub(super) struct TrafficKey {
    bytes: [u8; 20],
    len: u8,
}

impl TrafficKey {
    #[cfg_attr(not(feature = "tcp-auth"), expect(dead_code, reason = "nothing makes one"))]
    fn new(key: &[u8]) -> Self {
        let mut bytes = [0; 20];
        bytes[..key.len()].copy_from_slice(key);
        TrafficKey { bytes, len: key.len() as u8 }
    }

    #[cfg_attr(not(feature = "tcp-auth"), expect(dead_code, reason = "nothing uses one"))]
    fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl std::fmt::Debug for TrafficKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TrafficKey(…)")
    }
}

impl ConnAuth {
    /// Bytes of options that every segment has for it.
    pub(super) fn option_bytes(&self) -> u32 {
        match self {
            ConnAuth::Md5(_) => 20,
            ConnAuth::Ao(_) => 16,
        }
    }

    /// Leaves its signature room for timestamps on a SYN? As on Linux, MD5 does not.
    pub(super) fn leaves_timestamps(&self) -> bool {
        matches!(self, ConnAuth::Ao(_))
    }

    /// Puts a signed header in front of a packet that holds the data of one segment; `tuple` is as
    /// we see it.
    pub(super) fn sign(
        &mut self,
        header: &Header,
        packet: &mut Packet,
        tuple: &FourTuple,
        isns: Isns,
        mut extra: Extra,
    ) {
        let at = MIN_HEADER_BYTES + header.options.len() + extra.bytes().len() + 2;
        let fits = match self {
            ConnAuth::Md5(_) => extra.push(KIND_MD5, &[0; MD5_BYTES]),
            ConnAuth::Ao(ao) => {
                let [key, next] = ao.ids();
                let mut body = [0; 2 + AO_MAC_BYTES];
                (body[0], body[1]) = (key, next);
                extra.push(KIND_AO, &body)
            }
        };
        debug_assert!(fits, "the other options leave room for a signature");
        header.prepend_with(packet, tuple, 0, extra.bytes());
        let ends = (tuple.local, tuple.remote);
        match self {
            ConnAuth::Md5(key) => packet.write_at(at, &md5_of(key, ends, packet)),
            ConnAuth::Ao(ao) => {
                let isns = isns_of_sent(header.flags, isns);
                let mac = ao.sign(tuple, isns, header.seq, packet, at + 2);
                packet.write_at(at + 2, &mac);
            }
        }
    }

    /// Checks a received segment, whose header begins the packet.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn check(
        &mut self,
        seg: &Segment,
        packet: &Packet,
        isns: Isns,
    ) -> Result<(), Forgery> {
        let mut list = [0; MAX_OPTIONS_BYTES];
        let list_bytes = Segment::options_in(packet, &mut list);
        let found = seg.options.signature.find(&list[..list_bytes]);
        match (self, found) {
            (ConnAuth::Md5(key), Some((KIND_MD5, body))) => {
                let ends = (seg.tuple.remote, seg.tuple.local);
                let same = body.len() == MD5_BYTES && is_same(body, &md5_of(key, ends, packet));
                if same { Ok(()) } else { Err(Forgery::Wrong) }
            }
            (ConnAuth::Ao(ao), Some((KIND_AO, body))) => ao.check(seg, packet, isns, body),
            _ => Err(Forgery::Missing),
        }
    }
}

/// Which numbers stand in the context of a segment that we send: a SYN is signed before the peer's is
/// known.
fn isns_of_sent(flags: Flags, isns: Isns) -> Isns {
    match flags.has(Flags::SYN) && !flags.has(Flags::ACK) {
        true => Isns { remote: SeqNumber::default(), ..isns },
        false => isns,
    }
}

/// RFC 2385 §2.0: the pseudo-header, the header without options and with a checksum of zero, the
/// data, the key.
fn md5_of(key: &[u8], ends: (IpAddr, IpAddr), packet: &Packet) -> [u8; MD5_BYTES] {
    let (pseudo, pseudo_bytes) = pseudo_header(ends, packet.len());
    let (header, header_bytes) = header_of(packet);
    let parts = [&pseudo[..pseudo_bytes], &header[..MIN_HEADER_BYTES]];
    mac::md5(parts.into_iter().chain(data_of(packet, header_bytes)).chain([key]))
}

/// The pseudo-header, the sender first. Source: RFC 9293 §3.1, RFC 8200 §8.1.
fn pseudo_header((src, dst): (IpAddr, IpAddr), len: usize) -> ([u8; 40], usize) {
    let mut bytes = [0; 40];
    let len = len as u32;
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            bytes[..4].copy_from_slice(&src.octets());
            bytes[4..8].copy_from_slice(&dst.octets());
            bytes[9] = PROTOCOL_TCP;
            bytes[10..12].copy_from_slice(&(len as u16).to_be_bytes());
            (bytes, 12)
        }
        (src, dst) => {
            bytes[..16].copy_from_slice(&octets(src));
            bytes[16..32].copy_from_slice(&octets(dst));
            bytes[32..36].copy_from_slice(&len.to_be_bytes());
            bytes[39] = PROTOCOL_TCP;
            (bytes, 40)
        }
    }
}

fn octets(addr: IpAddr) -> [u8; 16] {
    match addr {
        IpAddr::V4(addr) => addr.to_ipv6_mapped().octets(),
        IpAddr::V6(addr) => addr.octets(),
    }
}

/// The TCP header that begins a packet, its checksum zero; its length.
fn header_of(packet: &Packet) -> ([u8; MAX_HEADER_BYTES], usize) {
    let mut header = [0; MAX_HEADER_BYTES];
    let have = packet.copy_to(0, &mut header);
    let len =
        (usize::from(header[12] >> 4) * 4).clamp(MIN_HEADER_BYTES, have.max(MIN_HEADER_BYTES));
    header[16..18].fill(0);
    (header, len)
}

/// What follows the first `skip` bytes.
fn data_of(packet: &Packet, mut skip: usize) -> impl Iterator<Item = &[u8]> {
    packet.pieces().filter_map(move |piece| {
        let here = skip.min(piece.len());
        skip -= here;
        (here < piece.len()).then(|| &piece[here..])
    })
}

/// Takes as long wherever they differ.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

/// Bytes of an MD5 signature. Source: RFC 2385 §3.
const MD5_BYTES: usize = 16;
/// Bytes of a signature of TCP-AO, of both algorithms. Source: RFC 5926 §3.2.
const AO_MAC_BYTES: usize = 12;
const PROTOCOL_TCP: u8 = 6;
