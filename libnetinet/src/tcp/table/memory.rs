//! What a shard does about memory: who waits for some, whose out-of-order data go, and who is refused.

use libnet::{Instant, Ready};

use super::Table;
use crate::tcp::held::memory_of;
use crate::tcp::tcb::Connection;

impl Table {
    /// Is there memory for one connection more? While it is not short, nobody asks.
    pub(super) fn has_memory(&mut self) -> bool {
        let limits = self.ctx.config.memory;
        let least = self.ctx.config.receive_buffer_min_bytes as usize;
        !self.ctx.quota.is_pressed() || self.ctx.quota.has_room(&limits, memory_of(least).into())
    }

    /// Has the stack as many closed connections as it may, or no memory for what they owe?
    pub(super) fn too_many_orphans(&mut self) -> bool {
        self.ctx.quota.budget().orphans() >= self.ctx.config.orphans_max || !self.has_memory()
    }

    /// A connection could not send: it is woken when there is memory.
    pub(super) fn await_memory(&mut self, now: Instant, index: u32) {
        let id = self.slots.id(index);
        let Some(conn) = self.slots.at_mut(index) else { return };
        conn.mode.starved = false;
        if conn.mode.awaits_memory {
            return;
        }
        conn.mode.awaits_memory = true;
        self.starved.push_back(id);
        if self.starved_until == Instant::MAX {
            self.starved_until = now + LOOK_AGAIN;
        }
    }

    /// Wakes those that wait for memory, in the order in which they came, as long as there is some.
    pub(super) fn feed_starved(&mut self, now: Instant) {
        let limits = self.ctx.config.memory;
        for _ in 0..FED_AT_ONCE {
            if !self.ctx.quota.has_room(&limits, WORTH_A_WAKE_BYTES) {
                break;
            }
            let Some(id) = self.starved.pop_front() else { break };
            let Some(conn) = self.slots.get_mut(id) else { continue };
            conn.mode.awaits_memory = false;
            if conn.mode.writer_waits && conn.state.can_send() {
                conn.mode.writer_waits = false;
                conn.wake |= Ready::WRITABLE;
                self.settle(now, id.index);
            }
        }
        let waits = !self.starved.is_empty();
        self.starved_until = if waits { now + LOOK_AGAIN } else { Instant::MAX };
    }

    /// Memory is used up: connections let go what came out of order, some at a time.
    pub(super) fn prune_others(&mut self, now: Instant) {
        self.ctx.wants_pruning = false;
        let places = self.slots.places();
        for _ in 0..PRUNED_AT_ONCE.min(places) {
            self.prune_at = if self.prune_at + 1 < places { self.prune_at + 1 } else { 0 };
            let Some(conn) = self.slots.at_mut(self.prune_at) else { continue };
            if conn.prune_early_data(&mut self.ctx) {
                self.settle(now, self.prune_at);
            }
        }
    }

    /// A connection is gone, and its memory with it.
    pub(super) fn forget_memory(&mut self, conn: &Connection) {
        self.ctx.quota.change(&self.ctx.config.memory, conn.charged, 0);
        self.ctx.quota.remove_socket();
        if conn.mode.counted_orphan {
            self.ctx.quota.remove_orphan();
        }
    }

    /// Panics if what is charged is not what is held; for tests.
    pub(super) fn check_memory(&self) {
        let mut held = 0;
        for (_, conn) in self.slots.iter() {
            assert_eq!(conn.charged, conn.memory_bytes(), "not charged: {conn:?}");
            held += u64::from(conn.charged);
        }
        assert_eq!(self.ctx.quota.used(), held);
    }
}

/// How long who waits for memory waits before it is looked at again, in which another shard may have
/// given some back.
const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_millis(20);
const FED_AT_ONCE: usize = 256;
const WORTH_A_WAKE_BYTES: u64 = 8 << 10;
/// Connections that are looked at for each segment that finds no memory.
const PRUNED_AT_ONCE: u32 = 64;
