//! Who has something to send, per interface, each in turn.

use std::collections::VecDeque;

use libnet::IfIndex;

/// Queues of connections, or of what will be one, for each interface that was ever used. Who is
/// gone by its turn is passed over.
#[derive(Debug)]
pub(super) struct ReadyQueues<T> {
    queues: Vec<(IfIndex, VecDeque<T>)>,
}

impl<T> Default for ReadyQueues<T> {
    fn default() -> Self {
        ReadyQueues { queues: Vec::new() }
    }
}

impl<T> ReadyQueues<T> {
    pub(super) fn push(&mut self, iface: IfIndex, id: T) {
        let at = match self.queues.iter().position(|(key, _)| *key == iface) {
            Some(at) => at,
            None => {
                self.queues.push((iface, VecDeque::new()));
                self.queues.len() - 1
            }
        };
        self.queues[at].1.push_back(id);
    }

    pub(super) fn pop(&mut self, iface: IfIndex) -> Option<T> {
        self.queues.iter_mut().find(|(key, _)| *key == iface)?.1.pop_front()
    }

    pub(super) fn len(&self, iface: IfIndex) -> usize {
        self.queues.iter().find(|(key, _)| *key == iface).map_or(0, |(_, queue)| queue.len())
    }

    /// The interfaces that something waits for.
    pub(super) fn pending(&self) -> impl Iterator<Item = IfIndex> {
        self.queues.iter().filter(|(_, queue)| !queue.is_empty()).map(|(iface, _)| *iface)
    }
}
