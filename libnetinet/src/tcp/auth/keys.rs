//! The keys that a socket was given, and which of them are for a peer.

use std::net::IpAddr;

use libnet::socket::{AoKey, Md5Key};

use super::{Ao, ConnAuth, mac};

/// The keys of a socket; a listener's go to its connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthKeys {
    md5: Vec<Md5Key>,
    ao: Vec<AoKey>,
    /// No connection without TCP-AO.
    pub(in crate::tcp) ao_required: bool,
}

/// A key that cannot be taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Its prefix, its length or its peer is impossible, or the peer has a key of the other kind.
    #[error("invalid key")]
    Invalid,
    /// Another key of the peer has one of its numbers. Source: RFC 5925 §3.1.
    #[error("a key with this number exists")]
    Exists,
    /// There is no such key.
    #[error("no such key")]
    NotFound,
    /// The socket has as many keys as it may.
    #[error("too many keys")]
    TooMany,
    /// Built without signatures.
    #[error("signatures are not built in")]
    Unavailable,
}

impl AuthKeys {
    /// Adds a key of TCP-MD5 in the place of the one for the same peers; an empty one takes it away.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn set_md5(&mut self, key: Md5Key) -> Result<(), KeyError> {
        check(key.peer, key.prefix_bits, key.key.len())?;
        let (peer, bits) = (key.peer, key.prefix_bits);
        let same = |other: &Md5Key| other.prefix_bits == bits && covers(peer, bits, other.peer);
        let before = self.md5.len();
        self.md5.retain(|other| !same(other));
        if key.key.is_empty() {
            return if self.md5.len() < before { Ok(()) } else { Err(KeyError::NotFound) };
        }
        if self.ao.iter().any(|ao| overlap((peer, bits), (ao.peer, ao.prefix_bits))) {
            return Err(KeyError::Invalid);
        }
        self.has_room()?;
        self.md5.push(key);
        Ok(())
    }

    /// Adds a key of TCP-AO.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn add_ao(&mut self, key: AoKey) -> Result<(), KeyError> {
        check(key.peer, key.prefix_bits, key.key.len())?;
        let peers = (key.peer, key.prefix_bits);
        if key.key.is_empty()
            || self.md5.iter().any(|md5| overlap(peers, (md5.peer, md5.prefix_bits)))
        {
            return Err(KeyError::Invalid);
        }
        // RFC 5925 §3.1 (MUST): the numbers of keys that a connection may use differ.
        let clash = |other: &AoKey| {
            let same = other.send_id == key.send_id || other.receive_id == key.receive_id;
            same && overlap(peers, (other.peer, other.prefix_bits))
        };
        if self.ao.iter().any(clash) {
            return Err(KeyError::Exists);
        }
        self.has_room()?;
        self.ao.push(key);
        Ok(())
    }

    /// Takes a key of TCP-AO away, by its peer and both its numbers.
    ///
    /// # Errors
    /// [`KeyError::NotFound`].
    pub fn remove_ao(&mut self, key: &AoKey) -> Result<(), KeyError> {
        let before = self.ao.len();
        self.ao.retain(|other| {
            (other.peer, other.prefix_bits, other.send_id, other.receive_id)
                != (key.peer, key.prefix_bits, key.send_id, key.receive_id)
        });
        if self.ao.len() < before { Ok(()) } else { Err(KeyError::NotFound) }
    }

    /// Lets a listener refuse connections without TCP-AO.
    pub fn require_ao(&mut self, on: bool) {
        self.ao_required = on;
    }

    /// Are connections without TCP-AO refused?
    pub fn requires_ao(&self) -> bool {
        self.ao_required
    }

    /// Has it no key, and asks for none?
    pub fn is_empty(&self) -> bool {
        self.md5.is_empty() && self.ao.is_empty() && !self.ao_required
    }

    /// What a connection with this peer signs and checks with.
    pub(in crate::tcp) fn for_peer(&self, peer: IpAddr) -> Option<ConnAuth> {
        let md5 = self.md5.iter().filter(|key| covers(key.peer, key.prefix_bits, peer));
        if let Some(key) = md5.max_by_key(|key| key.prefix_bits) {
            return Some(ConnAuth::Md5(key.key.clone()));
        }
        Ao::new(self.ao_for(peer)).map(ConnAuth::Ao)
    }

    /// The keys of TCP-AO that a connection with this peer may use.
    pub(in crate::tcp) fn ao_for(&self, peer: IpAddr) -> Vec<AoKey> {
        let fitting = self.ao.iter().filter(|key| covers(key.peer, key.prefix_bits, peer));
        fitting.cloned().collect()
    }

    fn has_room(&self) -> Result<(), KeyError> {
        match self.md5.len() + self.ao.len() < KEYS_MAX {
            true => Ok(()),
            false => Err(KeyError::TooMany),
        }
    }
}

fn check(peer: IpAddr, bits: u8, key_bytes: usize) -> Result<(), KeyError> {
    if !mac::AVAILABLE {
        return Err(KeyError::Unavailable);
    }
    let most = if peer.is_ipv4() { 32 } else { 128 };
    if bits > most || key_bytes > KEY_BYTES_MAX { Err(KeyError::Invalid) } else { Ok(()) }
}

/// Is an address of a prefix?
fn covers(prefix: IpAddr, bits: u8, addr: IpAddr) -> bool {
    let shifted = |value: u128, all: u32| value.checked_shr(all - u32::from(bits)).unwrap_or(0);
    match (prefix, addr) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            shifted(a.to_bits().into(), 32) == shifted(b.to_bits().into(), 32)
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => shifted(a.to_bits(), 128) == shifted(b.to_bits(), 128),
        _ => false,
    }
}

/// Is there an address of both?
fn overlap(a: (IpAddr, u8), b: (IpAddr, u8)) -> bool {
    covers(a.0, a.1.min(b.1), b.0)
}

/// Keys of one socket at most.
const KEYS_MAX: usize = 64;
/// Linux's `TCP_MD5SIG_MAXKEYLEN` and `TCP_AO_MAXKEYLEN`.
const KEY_BYTES_MAX: usize = 80;
