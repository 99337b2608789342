//! The queue of packets that are passed on to an interface, and its share of the link.

use std::collections::VecDeque;
use std::net::IpAddr;

use libnet::iface::IfIndex;
use libnet::packet::Packet;
use libnet::stats::{DropReason, Dropped};
use libnet::time::Instant;

use crate::config::ForwardingConfig;
use crate::ipv4::header::{self as ipv4, Ipv4Header};
use crate::ipv6::header::{self as ipv6, Ipv6Header};
use crate::output::{Account, OutQueue};
use crate::shard::Shard;

/// Frames of others for one interface, bounded in number and bytes.
#[derive(Default)]
pub(crate) struct TransitQueue {
    frames: VecDeque<Packet>,
    bytes: usize,
    /// Bytes that these frames are ahead of our own connections, while both wait for the link.
    lead_bytes: i64,
}

impl TransitQueue {
    /// Takes a frame, unless it is full; gives it back then.
    fn push(&mut self, frame: Packet, config: &ForwardingConfig) -> Option<Packet> {
        let bytes = frame.len();
        let too_many = self.frames.len() >= config.queue_packets;
        if too_many || (self.bytes + bytes > config.queue_bytes && !self.frames.is_empty()) {
            return Some(frame);
        }
        self.bytes += bytes;
        self.frames.push_back(frame);
        None
    }

    fn pop(&mut self) -> Option<Packet> {
        let frame = self.frames.pop_front()?;
        self.bytes -= frame.len();
        Some(frame)
    }

    /// Does nothing wait?
    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }
}

/// Whose turn it is on a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Turn {
    Transit,
    Connections,
    Nobody,
}

impl Shard {
    /// Puts a frame of another host into the queue of an interface.
    pub(crate) fn enqueue_transit(&mut self, iface: IfIndex, frame: Packet) {
        let _ = self.queue(iface);
        let transit = &mut self.outs[iface.0 as usize].transit;
        if let Some(frame) = transit.push(frame, &self.config.forwarding) {
            let dropped = Dropped::new(iface, self.medium_of(iface), &frame);
            self.wide.family_drops.outgoing(DropReason::ForwardQueueFull, dropped);
        }
    }

    /// Shares `budget` frames of a link between our connections and what is passed on: while both
    /// have something, byte for byte, so that neither starves the other.
    pub(crate) fn share_link(
        &mut self,
        now: Instant,
        iface: IfIndex,
        budget: usize,
        out: &mut VecDeque<Packet>,
    ) {
        let mut left = budget;
        let mut has_segments = self.tcp().has_pending(iface);
        while left > 0 {
            let before = out.len();
            match self.turn(iface, has_segments) {
                Turn::Nobody => return,
                Turn::Connections => {
                    let alone = self.transit_is_empty(iface);
                    let most = if alone { left } else { 1 };
                    self.tcp_transmit(now, iface, most);
                    self.take_frames(iface, left, out);
                    // What came of it may wait for a neighbour, or leave by another interface.
                    has_segments = out.len() > before && self.tcp().has_pending(iface);
                    if !alone {
                        let bytes: usize = out.iter().skip(before).map(Packet::len).sum();
                        self.queue(iface).transit.lead_bytes -= bytes as i64;
                    }
                }
                Turn::Transit => {
                    let Some(frame) = self.queue(iface).transit.pop() else { return };
                    self.queue(iface).transit.lead_bytes += frame.len() as i64;
                    out.push_back(frame);
                }
            }
            left -= (out.len() - before).min(left);
        }
    }

    fn turn(&mut self, iface: IfIndex, has_segments: bool) -> Turn {
        let Some(OutQueue { transit, .. }) = self.outs.get_mut(iface.0 as usize) else {
            return if has_segments { Turn::Connections } else { Turn::Nobody };
        };
        match (transit.is_empty(), has_segments) {
            (true, false) => Turn::Nobody,
            (false, true) if transit.lead_bytes <= 0 => Turn::Transit,
            (false, true) => Turn::Connections,
            (alone, _) => {
                // Who has the link alone owes nobody for it.
                transit.lead_bytes = 0;
                if alone { Turn::Connections } else { Turn::Transit }
            }
        }
    }

    fn transit_is_empty(&self, iface: IfIndex) -> bool {
        self.outs.get(iface.0 as usize).is_none_or(|queue| queue.transit.is_empty())
    }

    /// The account of a packet that waited for a neighbour: its source tells whose it is.
    pub(crate) fn account_of(&mut self, packet: &mut Packet, account: Account) -> Account {
        let src = match packet.pull(1).map(|first| first[0] >> 4) {
            Some(4) => {
                packet.pull(ipv4::HEADER_BYTES).and_then(Ipv4Header::read).map(|h| h.src.into())
            }
            _ => packet.pull(ipv6::HEADER_BYTES).and_then(Ipv6Header::read).map(|h| h.src.into()),
        };
        let view = self.view();
        let is_own = |src: IpAddr| src.is_unspecified() || view.is_local(src);
        if src.is_none_or(is_own) { account } else { Account::Transit }
    }
}
