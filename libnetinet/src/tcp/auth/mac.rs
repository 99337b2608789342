//! The primitives of signatures, as RFC 2385 and RFC 5926 use them.

use aes::Aes128;
use cmac::Cmac;
use hmac::{Hmac, KeyInit, Mac};
use libnet::socket::AoAlgorithm;
use md5::{Digest, Md5};
use sha1::Sha1;

use super::{AO_MAC_BYTES, MD5_BYTES, TrafficKey};

/// Can anything be signed?
pub(super) const AVAILABLE: bool = true;

/// MD5 over all parts. Source: RFC 2385 §2.0.
pub(super) fn md5<'a>(parts: impl Iterator<Item = &'a [u8]>) -> [u8; MD5_BYTES] {
    let mut hash = Md5::new();
    parts.for_each(|part| hash.update(part));
    hash.finalize().into()
}

/// The traffic key of a master key for a connection. Source: RFC 5926 §3.1.1.
pub(super) fn traffic_key(algorithm: AoAlgorithm, master_key: &[u8], context: &[u8]) -> TrafficKey {
    // i || Label || Context || Output_Length, of which the output needs one block.
    match algorithm {
        AoAlgorithm::AesCmac => {
            let key = aes_key(master_key);
            let label = [&[1], LABEL, context, &128u16.to_be_bytes()];
            TrafficKey::new(&cmac(&key, label.into_iter()))
        }
        _ => {
            let label = [&[1], LABEL, context, &160u16.to_be_bytes()];
            TrafficKey::new(&hmac(master_key, label.into_iter()))
        }
    }
}

/// The signature of all parts. Source: RFC 5926 §3.2.
pub(super) fn sign<'a>(
    algorithm: AoAlgorithm,
    key: &TrafficKey,
    parts: impl Iterator<Item = &'a [u8]>,
) -> [u8; AO_MAC_BYTES] {
    let mut mac = [0; AO_MAC_BYTES];
    match algorithm {
        AoAlgorithm::AesCmac => {
            let mut whole = [0; 16];
            whole.copy_from_slice(&key.bytes()[..16]);
            mac.copy_from_slice(&cmac(&whole, parts)[..AO_MAC_BYTES]);
        }
        _ => mac.copy_from_slice(&hmac(key.bytes(), parts)[..AO_MAC_BYTES]),
    }
    mac
}

/// RFC 5926 §3.1.1.2: a master key of another length is made one of 128 bits first.
fn aes_key(master_key: &[u8]) -> [u8; 16] {
    match <[u8; 16]>::try_from(master_key) {
        Ok(key) => key,
        Err(_) => cmac(&[0; 16], std::iter::once(master_key)),
    }
}

fn hmac<'a>(key: &[u8], parts: impl Iterator<Item = &'a [u8]>) -> [u8; 20] {
    let mut mac = Hmac::<Sha1>::new_from_slice(key).expect("HMAC takes keys of any length");
    parts.for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

fn cmac<'a>(key: &[u8; 16], parts: impl Iterator<Item = &'a [u8]>) -> [u8; 16] {
    let mut mac = Cmac::<Aes128>::new_from_slice(key).expect("128 bits are AES-128's");
    parts.for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

const LABEL: &[u8] = b"TCP-AO";
