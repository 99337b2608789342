//! Lets connections send, each in turn.

use libnet::{IfIndex, Instant};

use super::Table;
use crate::tcp::icmp::IcmpErrorKind;
use crate::tcp::path::{Path, PathError};

impl Table {
    /// Gives up to `budget` packets of connections that use `iface` to `path`; how many. A
    /// super-segment counts as one packet.
    pub fn poll_transmit(
        &mut self,
        now: Instant,
        path: &mut dyn Path,
        iface: IfIndex,
        budget: usize,
    ) -> usize {
        let mut sent = 0;
        while sent < budget {
            if let Some(id) = self.ready_requests.pop(iface)
                && self.requests.holds(id)
            {
                self.transmit_request(now, path, id.index);
                sent += 1;
            }
            let Some(id) = self.ready.pop(iface) else {
                match self.ready_requests.len(iface) {
                    0 => break,
                    _ => continue,
                }
            };
            let Some(conn) = self.slots.get_mut(id) else { continue };
            let index = id.index;
            conn.mode.queued = false;
            if conn.route_generation == path.route_generation() || self.reroute(path, index, iface)
            {
                sent += self.transmit_turn(now, path, index, budget - sent);
            }
            self.settle(now, index);
        }
        sent
    }

    /// Has anyone something to send by `iface`?
    pub fn has_pending(&self, iface: IfIndex) -> bool {
        self.ready.len(iface) + self.ready_requests.len(iface) > 0
    }

    /// One connection's turn: about as much as one super-segment carries.
    fn transmit_turn(
        &mut self,
        now: Instant,
        path: &mut dyn Path,
        index: u32,
        budget: usize,
    ) -> usize {
        let Some(conn) = self.slots.at_mut(index) else { return 0 };
        let (mut packets, mut bytes) = (0, 0);
        while packets < budget && bytes < TURN_BYTES {
            let Some(out) = conn.poll_transmit(now, &mut self.ctx) else { break };
            packets += 1;
            bytes += out.packet.len();
            if let Err(error) = path.output(now, &out.meta, out.packet) {
                conn.on_path_error(&mut self.ctx, kind_of(error));
                break;
            }
        }
        if std::mem::take(&mut conn.mode.progress) {
            path.positive_advice(now, conn.iface, conn.tuple.remote);
        }
        if std::mem::take(&mut conn.mode.advise) {
            path.negative_advice(conn.iface, conn.tuple.remote);
        }
        packets
    }

    /// Routes have changed; `true` if the connection still sends by `iface`.
    fn reroute(&mut self, path: &mut dyn Path, index: u32, iface: IfIndex) -> bool {
        let Some(conn) = self.slots.at_mut(index) else { return false };
        conn.route_generation = path.route_generation();
        let bound = conn.bound();
        match path.route(Some(conn.tuple.local), conn.tuple.remote, bound) {
            Ok(way) => conn.set_path(&way),
            // As RFC 9293 §3.9.2.2 has soft errors: routes may come back.
            Err(error) => conn.on_path_error(&mut self.ctx, kind_of(error)),
        }
        self.slots.at(index).is_some_and(|conn| conn.iface == iface)
    }
}

fn kind_of(error: PathError) -> IcmpErrorKind {
    match error {
        PathError::HostUnreachable | PathError::Blackhole => IcmpErrorKind::HostUnreachable,
        PathError::NetUnreachable | PathError::BadSource => IcmpErrorKind::NetUnreachable,
    }
}

const TURN_BYTES: usize = 65_536;
