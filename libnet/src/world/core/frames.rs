//! The way of a frame: from a stack's port over its wire and the medium to the other ports.

use std::collections::VecDeque;

use super::{State, What, Work};
use crate::capture::Direction;
use crate::ethernet::{EthernetHeader, MacAddr};
use crate::impair::{Delivery, Way};
use crate::link::Medium;
use crate::packet::{Checksum, Packet};
use crate::world::record::Seen;
use crate::world::segment::Plug;

impl State {
    /// A stack sends: what there is room for goes on its way, the rest stays in `queue`.
    pub(in crate::world) fn send(&mut self, number: usize, queue: &mut VecDeque<Packet>) -> usize {
        let now = self.now;
        let mut sent = 0;
        while !queue.is_empty() {
            let port = &mut self.ports[number];
            if port.egress.room_at(now) > now {
                port.stats.tx_waits += 1;
                port.wants_room = true;
                return sent;
            }
            let Some(packet) = queue.pop_front() else { return sent };
            let medium = self.segments[port.segment].config.medium;
            if self.ended || (medium == Medium::Ethernet && packet.len() < EthernetHeader::LEN) {
                port.stats.tx_refused += 1;
                continue;
            }
            sent += 1;
            self.trace.sent(now, number, &packet);
            self.note(number, Seen::Sent, &packet);
            match self.ports[number].plug {
                Plug::In => self.leave_port(number, packet),
                Plug::Pulled => self.note(number, Seen::Lost(PULLED.into()), &packet),
            }
        }
        sent
    }

    /// Puts a frame on the medium, harmed as a test asked for.
    pub(in crate::world) fn enter_medium(
        &mut self,
        segment: usize,
        from: Option<usize>,
        packet: Packet,
    ) {
        let mut out = std::mem::take(&mut self.scratch);
        self.segments[segment].medium.offer(self.now, packet, &mut out);
        self.note_lost_in_medium(segment, from);
        for Delivery { at, packet } in out.drain(..) {
            if at <= self.now {
                self.forward(segment, from, &packet);
            } else {
                self.schedule(at, What::Forward { segment, from, packet: Box::new(packet) });
            }
        }
        self.scratch = out;
    }

    fn leave_port(&mut self, number: usize, packet: Packet) {
        let mut out = std::mem::take(&mut self.scratch);
        self.ports[number].egress.offer(self.now, packet, &mut out);
        self.note_lost(number, Way::Out);
        self.leave_wire(number, &mut out);
        self.scratch = out;
        self.await_wire(number, Way::Out);
    }

    /// What has left a port's wire is on its way to the segment.
    fn leave_wire(&mut self, number: usize, out: &mut Vec<Delivery>) {
        let segment = self.ports[number].segment;
        for Delivery { at, packet } in out.drain(..) {
            self.schedule(at, What::Medium { segment, from: number, packet: Box::new(packet) });
        }
    }

    /// Sees to it that something happens when a frame has left a port's wire.
    fn await_wire(&mut self, number: usize, way: Way) {
        let port = &mut self.ports[number];
        let Some(at) = port.way(way).next_at() else { return };
        let due = &mut port.wire_at[way as usize];
        if due.is_none_or(|due| due > at) {
            *due = Some(at);
            self.schedule(at, What::Wire { port: number, way });
        }
    }

    /// Takes what has left a port's wire by now, and lets the next frame onto it.
    pub(in crate::world) fn serve_wire(&mut self, number: usize, way: Way) {
        let mut out = std::mem::take(&mut self.scratch);
        let port = &mut self.ports[number];
        port.wire_at[way as usize].take_if(|due| *due <= self.now);
        port.way(way).advance(self.now, &mut out);
        self.note_lost(number, way);
        match way {
            Way::Out => self.leave_wire(number, &mut out),
            Way::In => self.arrive(number, &mut out),
        }
        self.scratch = out;
        self.await_wire(number, way);
        let port = &mut self.ports[number];
        if way == Way::Out
            && std::mem::take(&mut port.wants_room)
            && let Some((host, iface, queue)) = port.owner
        {
            self.work.push_back(Work::Blocked { host, iface, queue });
        }
    }

    /// From the medium to every port that wants the frame.
    pub(super) fn forward(&mut self, segment: usize, from: Option<usize>, packet: &Packet) {
        let state = &self.segments[segment];
        for tap in &state.taps {
            tap.frame(self.now, Direction::Out, packet);
        }
        let mut dst = [0; 6];
        let ethernet = state.config.medium == Medium::Ethernet;
        if ethernet && packet.copy_to(0, &mut dst) < dst.len() {
            return;
        }
        let dst = MacAddr(dst);
        let owned = state.owns(dst);
        // Most frames have one receiver, however many ports there are.
        let direct = ethernet && owned && state.promiscuous_ports == 0;
        let count = if direct { state.ports_of(dst).len() } else { state.ports.len() };
        for i in 0..count {
            let state = &self.segments[segment];
            let number = if direct { state.ports_of(dst)[i] } else { state.ports[i] };
            let port = &mut self.ports[number];
            let wanted = !ethernet || port.accepts(dst, owned);
            if Some(number) == from || !wanted {
                continue;
            }
            match port.plug {
                Plug::In => self.enter_port(number, packet.clone()),
                Plug::Pulled => self.note(number, Seen::Lost(PULLED.into()), packet),
            }
        }
    }

    fn enter_port(&mut self, number: usize, packet: Packet) {
        let mut out = std::mem::take(&mut self.port_scratch);
        self.ports[number].ingress.offer(self.now, packet, &mut out);
        self.note_lost(number, Way::In);
        self.arrive(number, &mut out);
        self.port_scratch = out;
        self.await_wire(number, Way::In);
    }

    /// What has left the wire to a port reaches its stack.
    fn arrive(&mut self, number: usize, out: &mut Vec<Delivery>) {
        for Delivery { at, packet } in out.drain(..) {
            if at <= self.now {
                self.deliver(number, packet);
            } else {
                self.schedule(at, What::Deliver { port: number, packet: Box::new(packet) });
            }
        }
    }

    pub(super) fn deliver(&mut self, number: usize, mut packet: Packet) {
        let port = &mut self.ports[number];
        let config = &self.segments[port.segment].config;
        if port.rx.len() >= config.rx_queue_frames {
            port.stats.rx_missed += 1;
            return self.note(number, Seen::Lost("the receiver's queue was full".into()), &packet);
        }
        packet.rx_at = self.now;
        if !config.offload.partial_checksum {
            packet.checksum = Checksum::Unverified;
        }
        self.trace.received(self.now, number, &packet);
        self.note(number, Seen::Received, &packet);
        self.ports[number].rx.push_back(packet);
        self.queue_receive(number);
    }
}

/// Why a frame is lost at a port that is not plugged in.
const PULLED: &str = "the plug is pulled";
