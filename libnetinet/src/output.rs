//! The way out: from an IP packet and its path to frames in an interface's queue.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use libnet::ethernet::{EtherType, EthernetHeader, MacAddr};
use libnet::iface::IfIndex;
use libnet::link::Medium;
use libnet::packet::Packet;
use libnet::stats::{DropReason, Dropped};
use libnet::time::Instant;

use crate::arp::packet::ArpPacket;
use crate::counters::bump;
use crate::datagram::DatagramSocket;
use crate::forward::queue::TransitQueue;
use crate::ipv4::fragment::fragment;
use crate::ipv6::fragment::fragment as fragment6;
use crate::neighbour::{Action, NextHop};
use crate::path::{Path, Reach};
use crate::shard::Shard;

/// What waits in a shard for room on one interface.
#[derive(Default)]
pub(crate) struct OutQueue {
    /// Frames, link headers included.
    pub(crate) frames: VecDeque<Packet>,
    /// Frames that are passed on for others.
    pub(crate) transit: TransitQueue,
    /// Sockets that were told `EAGAIN`, to be woken when there is room.
    pub(crate) waiting: Vec<Arc<DatagramSocket>>,
}

/// On whose account a packet is queued.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Account {
    /// A sender's, who asked for room before.
    Sender,
    /// Ours, in answer to what was received: dropped when the queue is full, so that receiving
    /// never depends on sending.
    Reply,
    /// Of another host, passed on to yet another: in a queue of its own, dropped when that is full.
    Transit,
}

impl OutQueue {
    /// Does nothing wait?
    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.transit.is_empty()
    }
}

impl Shard {
    /// Is there room for a sender's packet?
    pub(crate) fn has_room(&self, iface: IfIndex) -> bool {
        let queued = self.outs.get(iface.0 as usize).map_or(0, |queue| queue.frames.len());
        queued < self.config.output_queue_packets
    }

    /// Moves up to `budget` frames of an interface to `out`; how many.
    pub(crate) fn take_frames(
        &mut self,
        iface: IfIndex,
        budget: usize,
        out: &mut VecDeque<Packet>,
    ) -> usize {
        let Some(queue) = self.outs.get_mut(iface.0 as usize) else { return 0 };
        let n = budget.min(queue.frames.len());
        out.extend(queue.frames.drain(..n));
        n
    }

    /// Wakes the socket when there is room again.
    pub(crate) fn wait_for_room(&mut self, iface: IfIndex, socket: &Arc<DatagramSocket>) {
        let waiting = &mut self.queue(iface).waiting;
        // It waits already if it was refused by another interface in between.
        if !waiting.iter().any(|other| Arc::ptr_eq(other, socket)) {
            waiting.push(Arc::clone(socket));
        }
    }

    /// Sends a packet that begins with its IP header on its way. What does not fit the path is
    /// cut into fragments; a super-segment is left to the link.
    pub(crate) fn send_ip(
        &mut self,
        now: Instant,
        path: &mut Path,
        mut packet: Packet,
        account: Account,
    ) {
        if path.reach == Reach::Multicast && !path.iface.link.loopback {
            if path.loops_back {
                self.loop_back_to_members(now, path.iface.index, &packet);
            }
            // RFC 1112 §6.1: with a TTL of zero it stays on this host.
            if !leaves_host(&mut packet) {
                return;
            }
        }
        if packet.len() <= path.mtu as usize || packet.gso.is_some() {
            self.count_out(path.dst);
            return self.link_output(now, path, packet, account);
        }
        // IPv4 alone has a bit that forbids it; whoever sends IPv6 is asked before.
        let forbidden =
            path.dst.is_ipv4() && packet.pull(20).is_none_or(|header| header[6] & 0x40 != 0);
        if forbidden || !packet.complete_checksum() {
            return self.drop_outgoing(DropReason::TooBig, path.iface.index, &packet);
        }
        let mut pieces = Vec::new();
        match path.dst {
            IpAddr::V4(_) => fragment(&packet, path.mtu, |piece| pieces.push(piece)),
            IpAddr::V6(_) => {
                // RFC 7739 §5: not to be foreseen.
                let ident = self.wide.random_u64() as u32;
                fragment6(&packet, path.mtu, ident, |piece| pieces.push(piece));
            }
        }
        for piece in pieces {
            self.count_out(path.dst);
            bump(match path.dst {
                IpAddr::V4(_) => &self.wide.counters.fragments_out,
                IpAddr::V6(_) => &self.wide.counters.fragments6_out,
            });
            self.link_output(now, path, piece, account);
        }
    }

    fn count_out(&self, dst: IpAddr) {
        bump(match dst {
            IpAddr::V4(_) => &self.wide.counters.ip_out,
            IpAddr::V6(_) => &self.wide.counters.ip6_out,
        });
    }

    /// Puts a finished frame into an interface's queue.
    pub(crate) fn enqueue(&mut self, iface: IfIndex, frame: Packet, account: Account) {
        if account == Account::Transit {
            return self.enqueue_transit(iface, frame);
        }
        let config = &self.config;
        let limit = config.output_queue_packets + config.reply_queue_packets;
        if account == Account::Reply && self.queue(iface).frames.len() >= limit {
            let dropped = Dropped::new(iface, self.medium_of(iface), &frame);
            return self.wide.family_drops.outgoing(DropReason::ReplyQueueFull, dropped);
        }
        self.queue(iface).frames.push_back(frame);
    }

    /// Carries out what the neighbour table asked for, with packets on `account`.
    pub(crate) fn act(&mut self, now: Instant, actions: Vec<Action>, account: Account) {
        for action in actions {
            match action {
                Action::Ask { iface, addr: IpAddr::V4(addr), to, .. } => {
                    self.arp_request(iface, addr, to);
                }
                Action::Ask { iface, addr: IpAddr::V6(addr), to, src } => {
                    self.nd_solicit(iface, addr, to, src);
                }
                Action::NoRouter { iface, addr } => {
                    self.with_nd(now, |nd, out| nd.forget_router(now, iface, addr, out));
                }
                Action::Send { iface, to, mut packet } => {
                    // What waited is on the account of whoever sent it, not of whoever waited last.
                    let account = self.account_of(&mut packet, account);
                    self.ethernet_output(iface, to, packet, account);
                }
                Action::Unreachable { packet } => self.report_unreachable(now, packet),
            }
        }
    }

    /// Asks, retries and gives up on neighbours, as is due.
    pub(crate) fn expire_neighbours(&mut self, now: Instant) {
        let mut actions = Vec::new();
        self.wide.with_neighbours(|table| table.expire(now, &mut actions));
        self.act(now, actions, Account::Sender);
    }

    /// Sends an ARP packet.
    pub(crate) fn arp_output(&mut self, iface: IfIndex, arp: ArpPacket, to: MacAddr) {
        bump(&self.wide.counters.arp_out);
        // RFC 3927 §2.5: what is said from a link-local address all hear, so that whoever uses it
        // too is noticed, even after two links were joined.
        let to = if arp.sender.is_link_local() { MacAddr::BROADCAST } else { to };
        self.enqueue(iface, arp.to_frame(to), Account::Reply);
    }

    /// Puts a packet on its way to the next hop, whatever its size.
    pub(crate) fn link_output(
        &mut self,
        now: Instant,
        path: &mut Path,
        mut packet: Packet,
        account: Account,
    ) {
        let iface = path.iface.index;
        if path.iface.link.medium != Medium::Ethernet {
            packet.mark = path.zone.map_or(0, |zone| zone.0);
            return self.enqueue(iface, packet, account);
        }
        match (path.reach, path.next_hop) {
            (Reach::Broadcast, _) => {
                self.loop_back(&packet, account);
                self.ethernet_output(iface, MacAddr::BROADCAST, packet, account);
            }
            (Reach::Multicast, group) => {
                self.ethernet_output(iface, MacAddr::of_group(group), packet, account);
            }
            _ => self.neighbour_output(now, path, packet, account),
        }
    }

    fn neighbour_output(
        &mut self,
        now: Instant,
        path: &mut Path,
        packet: Packet,
        account: Account,
    ) {
        let iface = path.iface.index;
        if path.neighbour.is_none() {
            path.neighbour = self.known_neighbours.get(iface, path.next_hop);
        }
        let fresh = path.neighbour.as_ref().and_then(|n| n.mac_if_fresh(now));
        if let Some(to) = fresh {
            return self.ethernet_output(iface, to, packet, account);
        }
        let mut actions = Vec::new();
        let is_gateway = path.next_hop != path.dst;
        let for_others = account == Account::Transit;
        let hop = NextHop { iface, addr: path.next_hop, is_gateway, for_others };
        path.neighbour =
            self.wide.with_neighbours(|table| table.send(now, hop, packet, &mut actions));
        if let Some(neighbour) = &path.neighbour {
            self.known_neighbours.keep(neighbour);
        }
        self.act(now, actions, account);
    }

    /// Puts a packet that begins with its IP header into a frame to a station or a group.
    pub(crate) fn ethernet_output(
        &mut self,
        iface: IfIndex,
        dst: MacAddr,
        mut packet: Packet,
        account: Account,
    ) {
        let view = self.view();
        let Some(on) = view.iface(iface) else { return };
        let six = packet.pull(1).is_some_and(|first| first[0] >> 4 == 6);
        let ethertype = if six { EtherType::IPV6 } else { EtherType::IPV4 };
        EthernetHeader { dst, src: on.mac, ethertype }.prepend_to(&mut packet);
        self.enqueue(iface, packet, account);
    }

    /// RFC 1122 §3.3.6, RFC 919 §4: who sends to all is one of all.
    fn loop_back(&mut self, packet: &Packet, account: Account) {
        self.enqueue(IfIndex::LOOPBACK, packet.clone(), account);
    }

    /// What frames of an interface begin with.
    pub(crate) fn medium_of(&mut self, iface: IfIndex) -> Medium {
        self.view().iface(iface).map_or(Medium::Ip, |iface| iface.medium)
    }

    /// What waits for an interface.
    pub(crate) fn queue(&mut self, iface: IfIndex) -> &mut OutQueue {
        let slot = iface.0 as usize;
        if self.outs.len() <= slot {
            self.outs.resize_with(slot + 1, OutQueue::default);
        }
        &mut self.outs[slot]
    }
}

/// Has a packet a TTL, or hop limit, that lets it go to others?
fn leaves_host(packet: &mut Packet) -> bool {
    let is_over = |at: usize, packet: &mut Packet| packet.pull(at + 1).is_some_and(|h| h[at] == 0);
    match packet.pull(1).map(|first| first[0] >> 4) {
        Some(6) => !is_over(7, packet),
        _ => !is_over(8, packet),
    }
}
