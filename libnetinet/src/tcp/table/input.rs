//! Packets in: to a connection, a listener, a TIME-WAIT, or to nobody.

use std::net::IpAddr;
use std::sync::Arc;

use libnet::{DropReason, IfIndex, Instant, Packet};

use super::{Place, Table};
use crate::tcp::ecn::EcnField;
use crate::tcp::icmp::IcmpError;
use crate::tcp::input::Disposition;
use crate::tcp::listen::Listener;
use crate::tcp::options::{Extra, Options, Timestamps};
use crate::tcp::path::{InMeta, OutMeta, Path};
use crate::tcp::segment::{Flags, Header, Segment, reset_for};
use crate::tcp::tcb::timestamp;
use crate::tcp::timewait::Remembered;

impl Table {
    /// A packet whose first byte is the TCP header's and whose last is the segment's. Replies
    /// without a connection leave by `path` at once.
    pub fn on_packet(
        &mut self,
        now: Instant,
        path: &mut dyn Path,
        meta: &InMeta,
        mut packet: Packet,
    ) {
        let &InMeta { src, dst, iface, tos } = meta;
        self.ctx.counters.segments_in += 1;
        // RFC 9293 §3.9.2.3 (MUST-57, MUST-63): nothing from or to several.
        if !is_unicast(src) || !is_unicast(dst) {
            return self.ctx.dropped(DropReason::TcpMalformed);
        }
        let mut seg = match Segment::parse(&mut packet, iface, src, dst) {
            Ok(seg) => seg,
            Err(reason) => return self.ctx.dropped(reason),
        };
        (seg.ecn, seg.dscp) = (EcnField::of(tos), tos & !3);
        let receiver = self.find_receiver(&seg.tuple);
        if packet.landed_range().is_some() && !self.awaits_landed(&receiver) {
            // Its data are in the memory of whoever waits for another's.
            return self.ctx.dropped(DropReason::TcpNoConnection);
        }
        match receiver {
            Some(Place::Slot(index)) if self.takes_from(index, iface) => {
                self.on_connection(now, path, index, &seg, &packet);
            }
            Some(Place::TimeWait(entry)) => {
                self.on_time_wait(now, path, iface, entry, (&seg, &packet));
            }
            Some(Place::Request(entry)) if self.request_takes_from(entry, iface) => {
                self.on_request(now, path, entry, &seg, &packet);
            }
            _ => self.on_unconnected(now, path, iface, &seg, &packet),
        }
    }

    /// An ICMP error that quotes a segment of ours; `false` if it is about nothing we know.
    pub fn on_icmp(&mut self, now: Instant, error: &IcmpError) -> bool {
        let index = match self.find(&error.tuple) {
            Some(Place::Slot(index)) => index,
            Some(Place::Request(entry)) => return self.on_request_icmp(entry, error),
            _ => return false,
        };
        let Some(conn) = self.slots.at_mut(index) else { return false };
        let known = conn.on_icmp(now, &mut self.ctx, error);
        self.settle(now, index);
        known
    }

    pub(super) fn on_connection(
        &mut self,
        now: Instant,
        path: &mut dyn Path,
        index: u32,
        seg: &Segment,
        packet: &Packet,
    ) {
        let Some(conn) = self.slots.at_mut(index) else { return };
        let signed = conn.mode.signed || seg.options.signature.is_some();
        if signed && !conn.has_right_signature(&mut self.ctx, seg, packet) {
            return self.settle(now, index);
        }
        let disposition = conn.on_segment(now, &mut self.ctx, seg, packet);
        if matches!(disposition, Disposition::Reset(_)) {
            self.send_reset(now, path, seg);
        }
        self.settle(now, index);
        if self.ctx.wants_pruning {
            self.prune_others(now);
        }
    }

    /// RFC 9293 §3.10.7.1 and §3.10.7.2: CLOSED and LISTEN.
    fn on_unconnected(
        &mut self,
        now: Instant,
        path: &mut dyn Path,
        iface: IfIndex,
        seg: &Segment,
        packet: &Packet,
    ) {
        let Some(listener) = self.listener_for(seg, iface) else {
            self.ctx.dropped(DropReason::TcpNoConnection);
            return self.send_reset(now, path, seg);
        };
        // First: a RST is ignored. Nothing was sent that it could answer.
        if seg.flags.has(Flags::RST) {
            return self.ctx.dropped(DropReason::TcpNoConnection);
        }
        let Ok(auth) = self.listener_auth(&listener, seg, packet) else { return };
        // Second: any ACK is bad here, unless it brings a cookie back.
        if seg.flags.has(Flags::ACK) {
            if self.on_cookie(now, path, (seg, packet), &listener, auth) {
                return;
            }
            self.ctx.dropped(DropReason::TcpBadAck);
            return self.send_reset(now, path, seg);
        }
        // Third: SYN. Fourth: what is neither cannot get here with sense.
        if !seg.flags.has(Flags::SYN) {
            return self.ctx.dropped(DropReason::TcpNoAck);
        }
        self.on_syn(now, path, (seg, packet), (listener, auth), None);
    }

    /// RFC 9293 §3.10.7.4 for TIME-WAIT, with RFC 5961 and RFC 6191.
    fn on_time_wait(
        &mut self,
        now: Instant,
        path: &mut dyn Path,
        iface: IfIndex,
        entry: u32,
        (seg, packet): (&Segment, &Packet),
    ) {
        if !self.time_wait_takes(entry, seg, packet) {
            return;
        }
        let old = self.waits.get(entry);
        if seg.flags.has(Flags::RST) {
            return self.on_time_wait_reset(now, entry, seg);
        }
        if seg.flags.has(Flags::SYN) && !seg.flags.has(Flags::ACK) {
            return self.on_time_wait_syn(now, path, iface, entry, (seg, packet));
        }
        let fin_again = seg.flags.has(Flags::FIN) && (seg.seq + seg.len()) == old.rcv_nxt;
        if fin_again {
            // RFC 9293: the only thing that can arrive; our ACK was lost.
            self.waits.restart(now, entry);
            return self.acknowledge(now, path, &old);
        }
        let (reason, exact) = (DropReason::TcpOutOfWindow, seg.seq == old.rcv_nxt);
        self.ctx.dropped(reason);
        if !(seg.is_empty() && exact) && self.ctx.allow_wait_answer(now) {
            self.acknowledge(now, path, &old);
        }
    }

    /// RFC 6191 §2, RFC 9293 §3.6.1 (MAY-2): a SYN that is surely new takes the place,
    /// and our numbers go on above the old ones (RFC 1122 §4.2.2.13).
    fn on_time_wait_syn(
        &mut self,
        now: Instant,
        path: &mut dyn Path,
        iface: IfIndex,
        entry: u32,
        (seg, packet): (&Segment, &Packet),
    ) {
        let old = self.waits.get(entry);
        let newer_seq = seg.seq.gt(old.rcv_nxt);
        let fresh = match (seg.options.timestamps, old.ts_recent) {
            (Some(new), Some(recent)) => match new.value.wrapping_sub(recent) as i32 {
                // The same tick tells nothing: the sequence number decides.
                0 => newer_seq,
                delta => delta > 0,
            },
            _ => newer_seq,
        };
        if fresh && let Some(listener) = self.listener_for(seg, iface) {
            let Ok(auth) = self.listener_auth(&listener, seg, packet) else { return };
            return self.on_syn(now, path, (seg, packet), (listener, auth), Some(entry));
        }
        // RFC 5961 §4.2: a challenge; a peer that means it resets and comes again.
        self.ctx.dropped(DropReason::TcpChallenged);
        if self.ctx.allow_wait_answer(now) {
            self.acknowledge(now, path, &old);
        }
    }

    /// RFC 5961 §3.2: only an exact one is believed, and RFC 1337 §3 has that none is.
    fn on_time_wait_reset(&mut self, now: Instant, entry: u32, seg: &Segment) {
        if seg.seq != self.waits.get(entry).rcv_nxt {
            return self.ctx.dropped(DropReason::TcpOutOfWindow);
        }
        if self.ctx.config.rfc1337 {
            self.ctx.counters.time_wait_resets_ignored += 1;
            return self.ctx.dropped(DropReason::TcpNoConnection);
        }
        self.forget_time_wait(now, entry);
    }

    /// Is it the connection whose caller has the data?
    fn awaits_landed(&self, receiver: &Option<Place>) -> bool {
        matches!(receiver, Some(Place::Slot(index)) if self.landing_slot == Some(*index))
    }

    /// The connection that is bound to an interface hears by no other.
    fn takes_from(&self, index: u32, iface: IfIndex) -> bool {
        self.slots.at(index).is_some_and(|conn| conn.cold.options.sharing.takes_from(iface))
    }

    /// The first that covers the address, one address before the wildcard, one interface before
    /// any, its own family's wildcard before the other's.
    fn listener_for(&self, seg: &Segment, iface: IfIndex) -> Option<Arc<Listener>> {
        let at_port = self.listeners.get(&seg.tuple.local_port)?;
        let rank = |listener: &Listener| {
            let sharing = listener.sharing();
            let (own, addr) = (listener.addr().ip(), seg.tuple.local);
            let fits = sharing.covers(own, addr) && sharing.takes_from(iface);
            let worse = (own != addr, sharing.iface.is_none(), own.is_ipv4() != addr.is_ipv4());
            fits.then_some(worse)
        };
        let ranked = at_port.iter().filter_map(|listener| Some((rank(listener)?, listener)));
        let (best, first) = ranked.min_by_key(|(worse, _)| *worse)?;
        if at_port.len() == 1 || !first.sharing().reuse_port {
            return Some(Arc::clone(first));
        }
        // `socket(7)`, SO_REUSEPORT: connections are spread over those that share the port.
        let group = at_port.iter().filter(|other| rank(other) == Some(best));
        let group: Vec<&Arc<Listener>> = group.filter(|other| other.sharing().reuse_port).collect();
        let pick = (self.hash(&seg.tuple) >> 32) % group.len() as u64;
        Some(Arc::clone(group[pick as usize]))
    }

    pub(super) fn send_reset(&mut self, now: Instant, path: &mut dyn Path, seg: &Segment) {
        if let Some(header) = reset_for(seg) {
            self.ctx.counters.resets_out += 1;
            self.reply(now, path, seg.tuple, &header);
        }
    }

    /// The ACK of a TIME-WAIT.
    fn acknowledge(&mut self, now: Instant, path: &mut dyn Path, old: &Remembered) {
        let offset = self.ctx.secrets.timestamp_offset(old.tuple.local, old.tuple.remote);
        let timestamps =
            old.ts_recent.map(|echo| Timestamps { value: timestamp(now, offset), echo });
        let options = Options { timestamps, ..Options::default() };
        let (seq, ack) = (old.snd_nxt, old.rcv_nxt);
        let header = Header { seq, ack, flags: Flags::ACK, wnd: 0, urgent: 0, options };
        self.ctx.counters.pure_acks_out += 1;
        self.reply(now, path, old.tuple, &header);
    }

    fn reply(
        &mut self,
        now: Instant,
        path: &mut dyn Path,
        tuple: crate::tcp::FourTuple,
        header: &Header,
    ) {
        let Ok(way) = path.route(Some(tuple.local), tuple.remote, tuple.zone.iface()) else {
            return self.ctx.dropped(DropReason::NoRoute);
        };
        let mut packet = Packet::new();
        match self.signer_of(&tuple) {
            Some((mut auth, isns)) => {
                auth.sign(header, &mut packet, &tuple, isns, Extra::NONE);
            }
            None => header.prepend_to(&mut packet, &tuple, 0),
        }
        let meta = OutMeta {
            src: tuple.local,
            dst: tuple.remote,
            iface: way.iface,
            bound: tuple.zone.iface(),
            ttl: None,
            tos: 0,
            dont_fragment: true,
        };
        self.ctx.counters.segments_out += 1;
        if path.output(now, &meta, packet).is_err() {
            self.ctx.dropped(DropReason::NoRoute);
        }
    }
}

fn is_unicast(addr: IpAddr) -> bool {
    let broadcast = matches!(addr, IpAddr::V4(addr) if addr.is_broadcast());
    !(addr.is_unspecified() || addr.is_multicast() || broadcast)
}
