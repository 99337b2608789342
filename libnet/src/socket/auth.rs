//! Keys that sign the segments of a TCP connection: TCP-MD5 (RFC 2385) and TCP-AO (RFC 5925).

use std::fmt;
use std::net::IpAddr;

/// A key of TCP-MD5, for the peers of a prefix (`TCP_MD5SIG_EXT`); of several that cover a peer the
/// longest prefix counts. Source: RFC 2385.
#[derive(Clone, PartialEq, Eq)]
pub struct Md5Key {
    /// A peer's address.
    pub peer: IpAddr,
    /// How many of its bits count, 0 to 32 or 128.
    pub prefix_bits: u8,
    /// The secret, 80 bytes at most, as on Linux; an empty one takes the peer's key away.
    pub key: Vec<u8>,
}

/// A master key tuple of TCP-AO (`TCP_AO_ADD_KEY`). Source: RFC 5925 §3.1.
#[derive(Clone, PartialEq, Eq)]
pub struct AoKey {
    /// A peer's address.
    pub peer: IpAddr,
    /// How many of its bits count, 0 to 32 or 128.
    pub prefix_bits: u8,
    /// KeyID of the segments that it signs.
    pub send_id: u8,
    /// KeyID of the peer's segments that it checks.
    pub receive_id: u8,
    /// What it is used with.
    pub algorithm: AoAlgorithm,
    /// The secret, 1 to 80 bytes, as on Linux.
    pub key: Vec<u8>,
    /// Are other options signed as well? Both sides must agree.
    pub include_options: bool,
}

/// How traffic keys and signatures of TCP-AO are made; both have 96 bits. Source: RFC 5926 §3.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum AoAlgorithm {
    /// KDF_HMAC_SHA1 and HMAC-SHA-1-96.
    #[default]
    HmacSha1,
    /// KDF_AES_128_CMAC and AES-128-CMAC-96.
    AesCmac,
}

impl Md5Key {
    /// A key for one peer.
    pub fn new(peer: IpAddr, key: &[u8]) -> Self {
        Md5Key { peer, prefix_bits: all_bits(peer), key: key.to_vec() }
    }
}

impl AoKey {
    /// A key for one peer, with the same number in both directions, that signs other options too.
    pub fn new(peer: IpAddr, id: u8, key: &[u8]) -> Self {
        AoKey {
            peer,
            prefix_bits: all_bits(peer),
            send_id: id,
            receive_id: id,
            algorithm: AoAlgorithm::default(),
            key: key.to_vec(),
            include_options: true,
        }
    }
}

fn all_bits(addr: IpAddr) -> u8 {
    if addr.is_ipv4() { 32 } else { 128 }
}

impl fmt::Debug for Md5Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Md5Key({}/{})", self.peer, self.prefix_bits)
    }
}

impl fmt::Debug for AoKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AoKey { peer, prefix_bits, send_id, receive_id, algorithm, .. } = self;
        write!(f, "AoKey({peer}/{prefix_bits}, {send_id}, {receive_id}, {algorithm:?})")
    }
}
