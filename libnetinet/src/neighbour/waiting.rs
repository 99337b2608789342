//! Packets that wait for neighbours that have not answered yet, bounded for each and for all
//! together.

use std::collections::VecDeque;

use libnet::packet::Packet;

use crate::config::ArpConfig;

/// What waits for one neighbour.
#[derive(Default)]
pub(super) struct Waiting {
    packets: VecDeque<Packet>,
    /// Of their data.
    bytes: usize,
}

/// What waits for all neighbours together.
#[derive(Default)]
pub(super) struct AllWaiting {
    /// Neighbours that packets wait for.
    pub(super) neighbours: usize,
    /// Memory of these packets.
    memory: usize,
}

/// Memory of a packet, its data included.
fn memory_of(packet: &Packet) -> usize {
    Packet::OVERHEAD_BYTES + packet.len()
}

impl Waiting {
    /// Lets a packet wait; `gives_way` is told of those that wait no more for it.
    pub(super) fn push(
        &mut self,
        packet: Packet,
        config: &ArpConfig,
        all: &mut AllWaiting,
        mut gives_way: impl FnMut(&Packet),
    ) {
        all.neighbours += usize::from(self.packets.is_empty());
        self.bytes += packet.len();
        all.memory += memory_of(&packet);
        self.packets.push_back(packet);
        // RFC 1122 §2.3.2.2: the latest packets are worth more than the first, and one is kept.
        while self.packets.len() > 1 && self.is_too_much(config, all) {
            let Some(oldest) = self.packets.pop_front() else { break };
            self.bytes -= oldest.len();
            all.memory -= memory_of(&oldest);
            gives_way(&oldest);
        }
    }

    fn is_too_much(&self, config: &ArpConfig, all: &AllWaiting) -> bool {
        self.packets.len() > config.queue_packets
            || self.bytes > config.queue_bytes
            || all.memory > config.total_queue_bytes
    }

    /// Takes all of them.
    pub(super) fn take(&mut self, all: &mut AllWaiting) -> VecDeque<Packet> {
        all.neighbours -= usize::from(!self.packets.is_empty());
        all.memory -= self.packets.iter().map(memory_of).sum::<usize>();
        self.bytes = 0;
        std::mem::take(&mut self.packets)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.packets.len()
    }

    /// The one that has waited for longest.
    pub(super) fn first(&self) -> Option<&Packet> {
        self.packets.front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(bytes: usize) -> Packet {
        Packet::from_payload(vec![7; bytes].into())
    }

    fn push(
        waiting: &mut Waiting,
        all: &mut AllWaiting,
        config: &ArpConfig,
        bytes: usize,
    ) -> usize {
        let mut gone = 0;
        waiting.push(packet(bytes), config, all, |_| gone += 1);
        gone
    }

    #[test]
    fn each_neighbour_keeps_its_latest_within_its_own_bounds() {
        let config = ArpConfig { queue_packets: 3, queue_bytes: 1_000, ..ArpConfig::default() };
        let (mut one, mut all) = (Waiting::default(), AllWaiting::default());
        let gone: Vec<usize> = (0..5).map(|_| push(&mut one, &mut all, &config, 10)).collect();
        assert_eq!((gone, one.len()), (vec![0, 0, 0, 1, 1], 3));
        assert_eq!(push(&mut one, &mut all, &config, 995), 3, "and one that is longer than that");
        assert_eq!((one.len(), one.take(&mut all).len()), (1, 1));
        assert_eq!((all.neighbours, all.memory), (0, 0));
    }

    #[test]
    fn all_together_stay_within_theirs_but_for_one_packet_of_each() {
        let total = 10 * memory_of(&packet(100));
        let config = ArpConfig { total_queue_bytes: total, ..ArpConfig::default() };
        let mut all = AllWaiting::default();
        let mut many: Vec<Waiting> = (0..20).map(|_| Waiting::default()).collect();
        let greedy = &mut many[0];
        let gone: usize = (0..50).map(|_| push(greedy, &mut all, &config, 100)).sum();
        assert_eq!((gone, greedy.len(), all.memory), (40, 10, total));
        for one in &mut many[1..] {
            assert_eq!(push(one, &mut all, &config, 100), 0, "its only one");
            assert_eq!(push(one, &mut all, &config, 100), 1);
        }
        assert_eq!(all.neighbours, 20);
        assert_eq!(push(&mut many[0], &mut all, &config, 100), 10, "whoever has most gives way");
        many.iter_mut().for_each(|one| drop(one.take(&mut all)));
        assert_eq!((all.neighbours, all.memory), (0, 0));
    }
}
