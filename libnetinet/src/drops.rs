//! Counts what is dropped on its way out: all together, and IPv6 apart.

use std::sync::Arc;

use libnet::ethernet::{EtherType, EthernetHeader};
use libnet::link::Medium;
use libnet::stats::{DropCounters, DropReason, Dropped};

/// The counters of both families together, and those of IPv6 among them.
#[derive(Clone)]
pub(crate) struct FamilyDrops {
    pub(crate) all: Arc<DropCounters>,
    pub(crate) six: Arc<DropCounters>,
}

impl FamilyDrops {
    /// Nothing was dropped.
    pub(crate) fn new() -> Self {
        FamilyDrops { all: Arc::new(DropCounters::new()), six: Arc::new(DropCounters::new()) }
    }

    /// Counts a packet that was to leave, in the family that it is of.
    pub(crate) fn outgoing(&self, reason: DropReason, dropped: Dropped<'_>) {
        if is_six(&dropped) {
            self.six.count(reason);
        }
        self.all.count_packet(reason, dropped);
    }
}

/// Is it a packet of IPv6?
fn is_six(dropped: &Dropped<'_>) -> bool {
    const TYPE_AT: usize = EthernetHeader::LEN - 2;
    let (at, bytes) = if dropped.medium == Medium::Ethernet { (TYPE_AT, 2) } else { (0, 1) };
    let mut front = [0; 2];
    let n = dropped.packet.copy_to(at, &mut front[..bytes]);
    match front[..n] {
        [high, low] => u16::from_be_bytes([high, low]) == EtherType::IPV6.0,
        [first] => first >> 4 == 6,
        _ => false,
    }
}
