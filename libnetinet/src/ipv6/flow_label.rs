//! Flow labels of what we send: the same for all packets of a flow, and not to be foreseen.

use std::net::Ipv6Addr;

use crate::hash::Key;

/// Makes flow labels from addresses, protocol and ports. Source: RFC 6437 §3.
pub(crate) struct FlowLabels(Key);

/// What is the same in all labels between two addresses; kept with the path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LabelSeed(u32);

impl FlowLabels {
    /// Labels that only who has the key can foretell.
    pub(crate) const fn new(key: Key) -> Self {
        FlowLabels(key)
    }

    /// What the labels of flows from `src` to `dst` are made of.
    pub(crate) fn seed(&self, src: Ipv6Addr, dst: Ipv6Addr) -> LabelSeed {
        LabelSeed(self.0.hash((src, dst)) as u32)
    }
}

impl LabelSeed {
    /// No label.
    pub(crate) const NONE: LabelSeed = LabelSeed(0);

    /// The label of the flow whose transport header begins with these bytes: its ports, or zero
    /// where there are none. 20 bits, not zero unless there is no seed.
    pub(crate) fn label(self, ports: [u8; 4]) -> u32 {
        if self == Self::NONE {
            return 0;
        }
        // Golden-ratio hashing: the high bits depend on all of the ports.
        let mixed = (self.0 ^ u32::from_be_bytes(ports)).wrapping_mul(0x9e37_79b1);
        (mixed >> 12).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_keeps_its_label_and_flows_spread_over_all_of_them() {
        let labels = FlowLabels::new(Key::new(3, 4));
        let seed = labels.seed(Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST);
        let all: std::collections::BTreeSet<u32> =
            (0..1000u16).map(|port| seed.label([0, 80, (port >> 8) as u8, port as u8])).collect();
        assert!(all.iter().all(|&label| label > 0 && label < 1 << 20));
        assert!(all.len() > 990, "{}", all.len());
        assert_eq!(seed.label([1, 2, 3, 4]), seed.label([1, 2, 3, 4]));
        let other = labels.seed(Ipv6Addr::UNSPECIFIED, Ipv6Addr::LOCALHOST);
        assert_ne!(seed.label([1, 2, 3, 4]), other.label([1, 2, 3, 4]));
    }
}
