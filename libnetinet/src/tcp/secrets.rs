//! Keyed hashes: what a stranger must not foretell.

use std::fmt;
use std::hash::Hasher;
use std::net::IpAddr;

use libnet::Instant;
use siphasher::sip::SipHasher13;

use super::segment::FourTuple;
use super::seq::SeqNumber;

/// The keys of a stack, one per use; all its shards have the same.
#[derive(Clone)]
pub struct Secrets {
    keys: [[u8; 16]; USES],
}

#[derive(Clone, Copy)]
enum Use {
    Isn,
    Timestamps,
    Steer,
    Port,
    Challenge,
    Cookie,
    FastOpen,
}

impl Secrets {
    /// Keys made from 32 bytes of entropy.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let (mut first, mut second) = ([0; 16], [0; 16]);
        first.copy_from_slice(&seed[..16]);
        second.copy_from_slice(&seed[16..]);
        let half = |key: &[u8; 16], label: u64| {
            let mut hasher = SipHasher13::new_with_key(key);
            hasher.write_u64(label);
            hasher.finish().to_le_bytes()
        };
        let keys = std::array::from_fn(|label| {
            let mut key = [0; 16];
            key[..8].copy_from_slice(&half(&first, label as u64));
            key[8..].copy_from_slice(&half(&second, label as u64));
            key
        });
        Secrets { keys }
    }

    /// The initial sequence number of a new connection.
    ///
    /// Source: RFC 6528 §3, RFC 9293 §3.4.1 (MUST-8): a clock of 4 µs plus a keyed hash of the
    /// four-tuple.
    pub fn initial_seq(&self, tuple: &FourTuple, now: Instant) -> SeqNumber {
        let mut hasher = self.hasher(Use::Isn);
        write_endpoint(&mut hasher, tuple.local, tuple.local_port);
        write_endpoint(&mut hasher, tuple.remote, tuple.remote_port);
        let clock = (now.as_micros() / 4) as u32;
        SeqNumber::new(clock.wrapping_add(hasher.finish() as u32))
    }

    /// What is added to the timestamp clock towards a host. It depends on the addresses only, so
    /// that one connection's timestamps go on where another's ended. Source: RFC 7323 §7.1.
    pub fn timestamp_offset(&self, local: IpAddr, remote: IpAddr) -> u32 {
        let mut hasher = self.hasher(Use::Timestamps);
        write_endpoint(&mut hasher, local, 0);
        write_endpoint(&mut hasher, remote, 0);
        hasher.finish() as u32
    }

    /// A hash of both ends, the same from either side: which shard, and where in its table.
    pub fn steer_hash(&self, a: (IpAddr, u16), b: (IpAddr, u16)) -> u64 {
        let (first, second) = if a <= b { (a, b) } else { (b, a) };
        let mut hasher = self.hasher(Use::Steer);
        write_endpoint(&mut hasher, first.0, first.1);
        write_endpoint(&mut hasher, second.0, second.1);
        hasher.finish()
    }

    /// F of RFC 6056 §3.3.3: where the search for a port begins.
    pub(super) fn port_offset(&self, local: IpAddr, remote: IpAddr, remote_port: u16) -> u32 {
        let mut hasher = self.hasher(Use::Port);
        write_endpoint(&mut hasher, local, 0);
        write_endpoint(&mut hasher, remote, remote_port);
        hasher.finish() as u32
    }

    /// A number for each second that a stranger cannot foretell.
    pub(super) fn of_second(&self, second: u64) -> u64 {
        let mut hasher = self.hasher(Use::Challenge);
        hasher.write_u64(second);
        hasher.finish()
    }

    /// The parts of a SYN cookie: one for the two ends, and one more for each minute.
    pub(super) fn cookie(&self, tuple: &FourTuple, minute: Option<u32>) -> u32 {
        let mut hasher = self.hasher(Use::Cookie);
        write_endpoint(&mut hasher, tuple.local, tuple.local_port);
        write_endpoint(&mut hasher, tuple.remote, tuple.remote_port);
        if let Some(minute) = minute {
            hasher.write_u32(minute);
        }
        hasher.finish() as u32
    }

    /// The key of Fast Open cookies after so many lifetimes of one. Source: RFC 7413 §4.1.2.
    pub(super) fn fast_open_key(&self, period: u64) -> [u8; 16] {
        let half = |label| {
            let mut hasher = self.hasher(Use::FastOpen);
            hasher.write_u64(period);
            hasher.write_u64(label);
            hasher.finish()
        };
        let mut key = [0; 16];
        key[..8].copy_from_slice(&half(0).to_le_bytes());
        key[8..].copy_from_slice(&half(1).to_le_bytes());
        key
    }

    fn hasher(&self, purpose: Use) -> SipHasher13 {
        SipHasher13::new_with_key(&self.keys[purpose as usize])
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(…)")
    }
}

fn write_endpoint(hasher: &mut SipHasher13, addr: IpAddr, port: u16) {
    match addr {
        IpAddr::V4(addr) => hasher.write_u32(u32::from_be_bytes(addr.octets())),
        IpAddr::V6(addr) => hasher.write(&addr.octets()),
    }
    hasher.write_u16(port);
}

const USES: usize = 7;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::family::Zone;

    use super::*;

    fn tuple(local_port: u16) -> FourTuple {
        FourTuple {
            local: [10, 0, 0, 1].into(),
            remote: [10, 0, 0, 2].into(),
            local_port,
            remote_port: 80,
            zone: Zone::NONE,
        }
    }

    #[test]
    fn initial_numbers_follow_the_clock_and_differ_between_tuples_and_keys() {
        let secrets = Secrets::from_seed([1; 32]);
        let now = Instant::from_millis(5);
        let first = secrets.initial_seq(&tuple(1), now);
        assert_eq!(secrets.initial_seq(&tuple(1), now + Duration::from_micros(40)), first + 10);
        assert_ne!(secrets.initial_seq(&tuple(2), now), first);
        assert_ne!(Secrets::from_seed([2; 32]).initial_seq(&tuple(1), now), first);
    }

    #[test]
    fn both_sides_of_a_connection_hash_alike() {
        let secrets = Secrets::from_seed([3; 32]);
        let (a, b) = (([10, 0, 0, 1].into(), 1000), ([10, 0, 0, 2].into(), 80));
        assert_eq!(secrets.steer_hash(a, b), secrets.steer_hash(b, a));
        assert_ne!(secrets.steer_hash(a, b), secrets.steer_hash(a, (b.0, 81)));
    }
}
