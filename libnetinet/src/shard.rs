//! One shard: takes frames in, keeps what is to go out, and serves its timers.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::task::Waker;

use libnet::engine::{FilterChange, StackCore, Wakes};
use libnet::ethernet::{EtherType, EthernetHeader};
use libnet::iface::IfIndex;
use libnet::landing::Landing;
use libnet::link::Medium;
use libnet::packet::{Checksum, Packet};
use libnet::socket::Family;
use libnet::stats::{DropReason, Dropped};
use libnet::time::Instant;

use crate::address::{IfaceView, View};
use crate::config::InetConfig;
use crate::forward::paths::TransitPaths;
use crate::ip::input::Cause;
use crate::neighbour::KnownNeighbours;
use crate::output::OutQueue;
use crate::steer::COMMON;
use crate::stream::below::Paths;
use crate::tcp::{self, ConnId, TcpConfig};
use crate::wide::Wide;

/// One shard of a stack. The engine locks it; what shards share is locked beneath.
pub struct Shard {
    pub(crate) index: usize,
    pub(crate) wide: Arc<Wide>,
    /// The stack's, as this shard was last told.
    pub(crate) config: Arc<InetConfig>,
    /// What waits for each interface, by its number.
    pub(crate) outs: Vec<OutQueue>,
    pub(crate) wakes: Vec<Waker>,
    pub(crate) handoff: Vec<(IfIndex, Packet)>,
    /// Apart while it is called with the shard as the layer below it.
    pub(crate) tcp: Option<Box<tcp::Table>>,
    pub(crate) tcp_paths: Paths,
    pub(crate) known_neighbours: KnownNeighbours,
    pub(crate) transit_paths: TransitPaths,
    pub(crate) tcp_events: Vec<tcp::Event>,
    /// The family of the packet that is looked at.
    pub(crate) looked_at: Cell<Family>,
    /// Why the frame that is looked at was dropped, while somebody wants to see such frames.
    drop_notes: RefCell<Option<Vec<DropReason>>>,
    view: Arc<View>,
    view_generation: u64,
}

/// How a frame came to us on its link. Source: RFC 1122 §3.3.6.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LinkCast {
    /// To our own address, or on a medium without addresses.
    Unicast,
    /// To a group of stations.
    Group,
}

impl Shard {
    /// A shard without anything in it.
    pub(crate) fn new(index: usize, wide: Arc<Wide>) -> Self {
        Shard {
            tcp: Some(Box::new(wide.new_tcp(index))),
            tcp_paths: Paths::new(),
            known_neighbours: KnownNeighbours::new(),
            transit_paths: TransitPaths::new(),
            tcp_events: Vec::new(),
            index,
            config: wide.config(),
            wide,
            outs: Vec::new(),
            wakes: Vec::new(),
            handoff: Vec::new(),
            looked_at: Cell::new(Family::Inet),
            drop_notes: RefCell::new(None),
            view: Arc::new(View::default()),
            view_generation: 0,
        }
    }

    /// Interfaces and addresses as they are now.
    pub(crate) fn view(&mut self) -> Arc<View> {
        let generation = self.wide.view_generation();
        if generation != self.view_generation {
            self.view = self.wide.view();
            self.view_generation = generation;
        }
        Arc::clone(&self.view)
    }

    /// Lives by another configuration from now on.
    pub(crate) fn set_config(
        &mut self,
        now: Instant,
        config: &Arc<InetConfig>,
        tcp: &Arc<TcpConfig>,
    ) {
        self.config = Arc::clone(config);
        self.tcp_mut().set_config(now, Arc::clone(tcp));
    }

    /// Counts a drop.
    pub(crate) fn drop_packet(&self, reason: DropReason) {
        self.wide.drops.count(reason);
        if self.looked_at.get() == Family::Inet6 {
            self.wide.drops6.count(reason);
        }
        if let Some(notes) = self.drop_notes.borrow_mut().as_mut() {
            notes.push(reason);
        }
    }

    /// As [`drop_packet`](Self::drop_packet), of a packet that begins with its IP header and was to
    /// leave by `iface`.
    pub(crate) fn drop_outgoing(&self, reason: DropReason, iface: IfIndex, packet: &Packet) {
        self.wide.family_drops.outgoing(reason, Dropped::new(iface, Medium::Ip, packet));
    }

    /// Has a shard look at what is written down for it: an empty packet by `lo0`, which no link
    /// brings, tells it that there is something.
    pub(crate) fn nudge(&mut self, shard: usize) {
        let mut word = Packet::new();
        word.mark = shard as u32;
        self.handoff.push((IfIndex::LOOPBACK, word));
    }

    /// Takes a frame while somebody wants to see those that are dropped.
    fn watched_input(
        &mut self,
        now: Instant,
        view: &View,
        on: &IfaceView,
        packet: Packet,
        landing: Option<&Landing<'_>>,
    ) {
        let mut frame = packet.clone();
        self.drop_notes.replace(Some(Vec::new()));
        self.tcp().take_last_drop();
        self.frame_input(now, view, on, packet);
        let mut reasons = self.drop_notes.take().unwrap_or_default();
        reasons.extend(self.tcp().take_last_drop());
        if let Some(landing) = landing
            && !reasons.is_empty()
        {
            landing.take_back(&mut frame);
        }
        let dropped = Dropped::new(on.iface.index, on.medium, &frame);
        self.wide.drops.show(&reasons, dropped);
    }

    /// The view, made anew if the interface was configured behind our back.
    fn view_for(&mut self, index: IfIndex) -> Arc<View> {
        let view = self.view();
        if view.iface(index).is_none_or(IfaceView::is_current) {
            return view;
        }
        self.wide.refresh_view();
        self.view()
    }

    fn input(
        &mut self,
        now: Instant,
        iface: IfIndex,
        frames: &mut Vec<Packet>,
        mut landing: Option<&mut Landing<'_>>,
    ) {
        let view = self.view_for(iface);
        let Some(on) = view.iface(iface) else {
            self.wide.drops.add(DropReason::IfaceDown, frames.len() as u64);
            return frames.clear();
        };
        let watched = self.wide.drops.is_watched();
        for mut packet in frames.drain(..) {
            if let Some(landing) = &landing
                && let Some(range) = packet.landed_range()
                && !self.takes_landed(&view, on, landing, range.start)
            {
                landing.take_back(&mut packet);
            }
            match watched {
                true => self.watched_input(now, &view, on, packet, landing.as_deref()),
                false => self.frame_input(now, &view, on, packet),
            }
            if let Some(landing) = &mut landing {
                landing.take(self.tcp_mut().take_landed());
            }
        }
    }

    /// Will data that are `at` bytes into a landing go to the connection that it is for, and to nobody
    /// else?
    fn takes_landed(
        &mut self,
        view: &View,
        on: &IfaceView,
        landing: &Landing<'_>,
        at: usize,
    ) -> bool {
        let forecast = landing.forecast();
        let id = ConnId::from_bits(forecast.target);
        let is_to_us = |conn: &tcp::Connection| {
            view.is_local_on(on, conn.tuple().local)
                && conn.options().sharing.takes_from(on.iface.index)
        };
        at == landing.taken()
            && forecast.shard == self.index
            && self.wide.raw.is_empty()
            && self.tcp().get(id).is_some_and(is_to_us)
            && self.tcp_mut().expect_landed(id, landing.number_of(at))
    }

    fn frame_input(&mut self, now: Instant, view: &View, on: &IfaceView, packet: Packet) {
        if packet.is_empty() && on.loopback {
            return self.say_farewells(now);
        }
        if let Checksum::Partial { start, field } = packet.checksum
            && usize::from(start) + usize::from(field) + 2 > packet.len()
        {
            return self.drop_packet(DropReason::BadOffload);
        }
        let cause = Cause { now, view, on };
        self.looked_at.set(Family::Inet);
        match on.medium {
            Medium::Ethernet => self.ethernet_input(&cause, packet),
            _ => self.ip_input(&cause, packet),
        }
    }

    fn ethernet_input(&mut self, cause: &Cause<'_>, mut packet: Packet) {
        let header = packet.pull(EthernetHeader::LEN).and_then(EthernetHeader::parse);
        let Some(header) = header else { return self.drop_packet(DropReason::LinkMalformed) };
        let cast = match header.dst {
            dst if dst == cause.on.mac => LinkCast::Unicast,
            dst if dst.is_group() => LinkCast::Group,
            _ => return self.drop_packet(DropReason::NotForUs),
        };
        // IEEE 802.3: no station sends from a group address.
        if header.src.is_group() {
            return self.drop_packet(DropReason::LinkMalformed);
        }
        packet.advance(EthernetHeader::LEN);
        match header.ethertype {
            // The version that the header tells must agree: the parsers see to that.
            EtherType::IPV4 => self.ipv4_input(cause, packet, cast),
            EtherType::IPV6 => self.ipv6_input(cause, packet, cast),
            EtherType::ARP => self.arp_input(cause, packet),
            // RFC 1122 §2.3.1: what is not understood is dropped without a word.
            EtherType::VLAN => self.drop_packet(DropReason::VlanTagged),
            _ => self.drop_packet(DropReason::UnknownEtherType),
        }
    }

    fn ip_input(&mut self, cause: &Cause<'_>, mut packet: Packet) {
        match packet.pull(1).map(|first| first[0] >> 4) {
            Some(4) => self.ipv4_input(cause, packet, LinkCast::Unicast),
            Some(6) => self.ipv6_input(cause, packet, LinkCast::Unicast),
            Some(_) => self.drop_packet(DropReason::IpMalformed),
            None => self.drop_packet(DropReason::LinkMalformed),
        }
    }
}

impl StackCore for Shard {
    fn handle_input(&mut self, now: Instant, iface: IfIndex, frames: &mut Vec<Packet>) {
        self.input(now, iface, frames, None);
    }

    fn handle_landed(
        &mut self,
        now: Instant,
        iface: IfIndex,
        frames: &mut Vec<Packet>,
        landing: &mut Landing<'_>,
    ) {
        self.input(now, iface, frames, Some(landing));
    }

    fn poll_transmit(
        &mut self,
        now: Instant,
        iface: IfIndex,
        budget: usize,
        out: &mut VecDeque<Packet>,
    ) -> bool {
        let left = budget - self.take_frames(iface, budget, out);
        self.share_link(now, iface, left, out);
        let low = self.config.output_queue_packets / 2;
        let more = self.tcp().has_pending(iface);
        let Some(queue) = self.outs.get_mut(iface.0 as usize) else { return more };
        if queue.frames.len() <= low {
            for socket in mem::take(&mut queue.waiting) {
                socket.room_again(&mut self.wakes);
            }
        }
        more || !queue.is_empty()
    }

    fn poll_pending(&self, out: &mut Vec<IfIndex>) {
        for (index, queue) in self.outs.iter().enumerate() {
            if !queue.is_empty() {
                out.push(IfIndex(index as u32));
            }
        }
        self.tcp().pending(out);
        out.sort_unstable();
        out.dedup();
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let mut first = self.wide.next_deadline();
        if self.index as u64 == COMMON {
            first = first.min(self.wide.common_deadline());
        }
        let first = first.min(self.tcp().next_deadline().unwrap_or(Instant::MAX));
        (first != Instant::MAX).then_some(first)
    }

    fn poll_exact_timeout(&self) -> Option<Instant> {
        self.tcp().next_exact_deadline()
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.tcp_mut().on_timer(now);
        let due = self.wide.due(now);
        if due.neighbours {
            self.expire_neighbours(now);
        }
        let is_common = self.index as u64 == COMMON;
        if is_common && due.claims {
            self.expire_claims(now);
        }
        if is_common && due.nd {
            self.expire_nd(now);
        }
        if due.reassembly {
            self.expire_fragments(now);
        }
        if due.groups {
            self.expire_groups(now);
        }
    }

    fn poll_wakes(&mut self, out: &mut Wakes) {
        self.tcp_events();
        out.extend(self.wakes.drain(..));
    }

    fn poll_handoff(&mut self, out: &mut Vec<(IfIndex, Packet)>) {
        out.append(&mut self.handoff);
    }

    fn has_news(&self) -> bool {
        !self.wakes.is_empty()
            || !self.handoff.is_empty()
            || self.tcp().has_news()
            || self.outs.iter().any(|queue| !queue.is_empty())
            || self.wide.has_filter_changes()
    }

    fn poll_filters(&mut self, out: &mut Vec<FilterChange>) {
        self.wide.take_filter_changes(out);
    }
}
