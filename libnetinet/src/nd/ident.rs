//! Interface identifiers: the last 64 bits of an address that we make (RFC 7217, RFC 8981,
//! RFC 4291 Appendix A).

use std::hash::Hasher;
use std::net::Ipv6Addr;

use libnet::ethernet::MacAddr;
use siphasher::sip::SipHasher24;

use super::option::masked;

/// What identifiers are made of beside the prefix: an interface of this stack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    /// Of the stack's seed; nobody outside knows it.
    pub(crate) secret: [u8; 16],
    pub(crate) mac: MacAddr,
}

impl Identity {
    /// An identifier that is the same whenever we come to a prefix, and says nothing elsewhere.
    ///
    /// RFC 7217 §5: `F(Prefix, Net_Iface, Network_ID, DAD_Counter, secret_key)`, with SipHash-2-4
    /// as F and the MAC address as Net_Iface; there is no Network_ID.
    pub(crate) fn stable(&self, prefix: Ipv6Addr, dad_counter: u8) -> u64 {
        let mut counter = u32::from(dad_counter) << 8;
        loop {
            let mut hasher = SipHasher24::new_with_key(&self.secret);
            hasher.write(&prefix.octets()[..8]);
            hasher.write(&self.mac.0);
            hasher.write(&counter.to_be_bytes());
            let ident = hasher.finish();
            if !is_reserved(ident) {
                return ident;
            }
            counter += 1;
        }
    }

    /// The identifier of the hardware: RFC 4291 Appendix A, modified EUI-64.
    pub(crate) const fn hardware(&self) -> u64 {
        let [a, b, c, d, e, f] = self.mac.0;
        u64::from_be_bytes([a ^ 0x02, b, c, 0xff, 0xfe, d, e, f])
    }
}

/// A random identifier (RFC 8981 §3.3.1); `random` is asked until it gives one that may be used.
pub(crate) fn random_ident(mut random: impl FnMut() -> u64) -> u64 {
    loop {
        let ident = random();
        if !is_reserved(ident) {
            return ident;
        }
    }
}

/// The address of a prefix of 64 bits and an identifier.
pub(crate) fn join(prefix: Ipv6Addr, ident: u64) -> Ipv6Addr {
    Ipv6Addr::from_bits(masked(prefix, 64).to_bits() | u128::from(ident))
}

/// RFC 5453: identifiers that mean something else (subnet-router anycast, RFC 2526 anycast, and
/// IANA's own block).
const fn is_reserved(ident: u64) -> bool {
    ident == 0
        || (ident >= 0x0200_5eff_fe00_0000 && ident <= 0x0200_5eff_feff_ffff)
        || (ident >= 0xfdff_ffff_ffff_ff80 && ident <= 0xfdff_ffff_ffff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0);
    const THERE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 2, 0, 0, 0, 0);

    fn identity(secret: u8, mac: u8) -> Identity {
        Identity { secret: [secret; 16], mac: MacAddr([2, 0, 0, 0, 0, mac]) }
    }

    #[test]
    fn a_stable_identifier_depends_on_each_of_its_parts_and_on_nothing_else() {
        let us = identity(1, 1);
        let ident = us.stable(HERE, 0);
        assert_eq!(us.stable(HERE, 0), ident);
        assert_eq!(us.stable(join(HERE, 77), 0), ident, "past the prefix nothing counts");
        let others = [
            us.stable(THERE, 0),
            us.stable(HERE, 1),
            identity(2, 1).stable(HERE, 0),
            identity(1, 2).stable(HERE, 0),
        ];
        assert!(!others.contains(&ident));
        assert_ne!(join(HERE, ident).octets()[8..], us.hardware().to_be_bytes());
    }

    #[test]
    fn the_hardwares_identifier_is_the_modified_eui_64() {
        let us = Identity { secret: [0; 16], mac: MacAddr([0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde]) };
        assert_eq!(us.hardware(), 0x3656_78ff_fe9a_bcde);
        assert_eq!(join(HERE, us.hardware()).to_string(), "2001:db8:0:1:3656:78ff:fe9a:bcde");
    }

    #[test]
    fn reserved_identifiers_are_not_used() {
        let mut drawn = [0, 0xfdff_ffff_ffff_ff80, 0x0200_5eff_fe00_0001, 5].into_iter();
        assert_eq!(random_ident(|| drawn.next().unwrap()), 5);
    }
}
