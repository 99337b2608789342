//! Built without the feature `tcp-auth`: no key can be set, so that nothing is ever signed.

use libnet::socket::AoAlgorithm;

use super::{AO_MAC_BYTES, MD5_BYTES, TrafficKey};

/// Can anything be signed?
pub(super) const AVAILABLE: bool = false;

pub(super) fn md5<'a>(_parts: impl Iterator<Item = &'a [u8]>) -> [u8; MD5_BYTES] {
    unreachable!("no key can be set")
}

pub(super) fn traffic_key(_: AoAlgorithm, _master_key: &[u8], _context: &[u8]) -> TrafficKey {
    unreachable!("no key can be set")
}

pub(super) fn sign<'a>(
    _: AoAlgorithm,
    _: &TrafficKey,
    _parts: impl Iterator<Item = &'a [u8]>,
) -> [u8; AO_MAC_BYTES] {
    unreachable!("no key can be set")
}
