//! Passive opens: SYNs that come to listeners, and what becomes of them until they are connections.

use std::sync::Arc;

use libnet::{DropReason, IfIndex, Instant, Packet};

use super::fast_open::Grant;
use super::half_open::deferred_retries;
use super::{Place, Table};
use crate::tcp::auth::{ConnAuth, Isns};
use crate::tcp::config::{ConnOptions, SynCookies};
use crate::tcp::ctx::Ctx;
use crate::tcp::ecn::{EcnField, flags_kept, take_syn_again};
use crate::tcp::fast_open::{Offer, keys_of};
use crate::tcp::handshake::next_iss;
use crate::tcp::handshake::reflected;
use crate::tcp::listen::{Listener, Promotion, Room};
use crate::tcp::options::Extra;
use crate::tcp::path::{OutMeta, Path, PathInfo};
use crate::tcp::request::Request;
use crate::tcp::segment::{Flags, Header, Segment};
use crate::tcp::state::State;
use crate::tcp::syncookie;
use crate::tcp::tcb::{Connection, MIN_MSS, default_mss};

/// How a SYN is answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// It is remembered; its place in the listener's queue is taken.
    Request,
    /// Its answer remembers it.
    Cookie,
    /// Not at all.
    None,
}

impl Table {
    /// A SYN for a listener; `replaces`: the TIME-WAIT whose place the connection takes.
    pub(super) fn on_syn(
        &mut self,
        now: Instant,
        path: &mut dyn Path,
        (seg, packet): (&Segment, &Packet),
        (listener, auth): (Arc<Listener>, Option<Box<ConnAuth>>),
        replaces: Option<u32>,
    ) {
        if self.slots.is_full() {
            return self.ctx.dropped(DropReason::TcpTableFull);
        }
        if !self.has_memory() {
            return self.ctx.dropped(DropReason::TcpMemory);
        }
        let answer = self.answer_for(now, &listener, replaces.is_some());
        if answer == Answer::None {
            return self.ctx.dropped(DropReason::TcpListenOverflow);
        }
        // RFC 9293 §3.9.1.1 (MUST-45): the connection keeps the address that the SYN was sent to.
        let options = listener.options();
        let bound = seg.tuple.zone.iface().or(options.sharing.iface);
        let Ok(way) = path.route(Some(seg.tuple.local), seg.tuple.remote, bound) else {
            if answer == Answer::Request {
                listener.end_handshake(true);
            }
            return self.ctx.dropped(DropReason::NoRoute);
        };
        let grant = match answer {
            Answer::Request if auth.is_none() && replaces.is_none() => {
                self.grant_fast_open(now, (seg, packet), &listener, &options)
            }
            _ => Grant::Nothing,
        };
        if let Grant::Take { option } = grant {
            return self.open_fast(now, path, (seg, packet), listener, &way, option);
        }
        // RFC 9293 §3.10.7.2, third: the SYN is taken, data and FIN with it are not kept and come
        // again. ("Any other control or text may be queued": with Fast Open alone they are.)
        let mut request = Request::new(now, seg, listener);
        request.gives_cookie = grant == Grant::Cookie;
        (request.iface, request.bound, request.auth) = (way.iface, bound, auth);
        request.decide_offer(&self.ctx.config, &options);
        if answer == Answer::Cookie {
            return self.send_cookie(now, path, request, &options, &way);
        }
        request.iss = match replaces {
            Some(entry) => {
                let iss = next_iss(self.waits.get(entry).snd_nxt);
                self.ctx.counters.time_wait_reused += 1;
                self.forget_time_wait(now, entry);
                iss
            }
            None => self.ctx.secrets.initial_seq(&request.tuple, now),
        };
        self.send_syn_ack(now, path, &mut request, &options, &way);
        let hash = self.hash(&request.tuple);
        let entry = self.requests.insert(request);
        self.index.insert(hash, Place::Request(entry));
    }

    /// Is there room to remember a SYN, and if not, what then?
    fn answer_for(&mut self, now: Instant, listener: &Listener, converts: bool) -> Answer {
        let config = &self.ctx.config;
        let full = self.requests.len() >= config.syn_backlog_max
            || self.slots.len() + self.requests.len() >= config.connections_max;
        let cookies = config.syn_cookies;
        let room = match listener.begin_handshake() {
            Room::Taken if full || (cookies == SynCookies::Always && !converts) => {
                listener.end_handshake(true);
                Room::SynQueueFull
            }
            room => room,
        };
        match room {
            Room::Taken => Answer::Request,
            Room::Closed => Answer::None,
            Room::AcceptQueueFull => {
                self.ctx.counters.listen_overflows += 1;
                Answer::None
            }
            // The successor of a TIME-WAIT needs a number above its, which a cookie is not.
            Room::SynQueueFull if cookies == SynCookies::Never || converts => {
                self.ctx.counters.syn_queue_drops += 1;
                Answer::None
            }
            Room::SynQueueFull => {
                if listener.note_cookie(now) {
                    self.ctx.counters.syn_floods += 1;
                    tracing::debug!(listener = %listener.addr(), "SYN flood: sending cookies");
                }
                Answer::Cookie
            }
        }
    }

    /// RFC 4987 §3.6: all that is to be known comes back with the acknowledgement.
    fn send_cookie(
        &mut self,
        now: Instant,
        path: &mut dyn Path,
        mut request: Request,
        options: &ConnOptions,
        way: &PathInfo,
    ) {
        let mss = request.peer_mss.unwrap_or_else(|| default_mss(&request.tuple)).max(MIN_MSS);
        request.from_cookie = true;
        let Request { tuple, irs, .. } = request;
        request.iss = syncookie::make(&self.ctx.secrets, &tuple, irs, mss, now);
        self.ctx.counters.syn_cookies_sent += 1;
        self.send_syn_ack(now, path, &mut request, options, way);
    }

    pub(super) fn send_syn_ack(
        &mut self,
        now: Instant,
        path: &mut dyn Path,
        request: &mut Request,
        options: &ConnOptions,
        way: &PathInfo,
    ) {
        let header = request.syn_ack(now, &self.ctx, options, way);
        self.answer_request(now, path, request, options, &header);
    }

    pub(super) fn answer_request(
        &mut self,
        now: Instant,
        path: &mut dyn Path,
        request: &mut Request,
        options: &ConnOptions,
        header: &Header,
    ) {
        let mut extra = Extra::NONE;
        if request.gives_cookie && header.flags.has(Flags::SYN) {
            let ends = (request.tuple.remote, request.tuple.local);
            let Ctx { config, secrets, .. } = &self.ctx;
            let keys = keys_of(secrets, config, options, now);
            Offer::Cookie(keys.cookie(ends)).write(&mut extra);
        }
        let meta = OutMeta {
            src: request.tuple.local,
            dst: request.tuple.remote,
            iface: request.iface,
            bound: request.bound,
            ttl: (options.ttl > 0).then_some(options.ttl),
            // RFC 3168 §6.1.1: neither SYN-ACKs nor acknowledgements are ECN-capable.
            tos: reflected(&self.ctx.config, request.syn_dscp, options.tos),
            dont_fragment: true,
        };
        let mut packet = Packet::new();
        let isns = Isns { local: request.iss, remote: request.irs };
        match request.auth.as_deref_mut() {
            Some(auth) => auth.sign(header, &mut packet, &request.tuple, isns, extra),
            None => header.prepend_with(&mut packet, &request.tuple, 0, extra.bytes()),
        }
        self.ctx.counters.segments_out += 1;
        if path.output(now, &meta, packet).is_err() {
            self.ctx.dropped(DropReason::NoRoute);
        }
    }

    /// RFC 9293 §3.10.7.4 for a SYN-RECEIVED that a listener began.
    pub(super) fn on_request(
        &mut self,
        now: Instant,
        path: &mut dyn Path,
        entry: u32,
        seg: &Segment,
        packet: &Packet,
    ) {
        if !self.request_takes(entry, seg, packet) {
            return;
        }
        let Some(request) = self.requests.get(entry) else { return };
        let (irs, rcv_nxt, iss) = (request.irs, request.rcv_nxt(), request.iss);
        let is = |flag| seg.flags.has(flag);
        if is(Flags::SYN) && !is(Flags::RST | Flags::ACK) && seg.seq == irs {
            // The peer's SYN once more: our answer was lost.
            if let Some(request) = self.requests.get_mut(entry)
                && !take_syn_again(&self.ctx.config, request, seg)
            {
                self.ctx.dropped(DropReason::TcpChallenged);
                self.ctx.counters.attempt_fails += 1;
                self.forget_request(entry);
                return self.send_reset(now, path, seg);
            }
            if self.may_answer(now, entry) {
                self.requests.restart(now, entry);
                self.resend_syn_ack(now, path, entry);
            }
            return;
        }
        if !self.fits_request(entry, seg) {
            if !is(Flags::RST) && self.may_answer(now, entry) {
                self.acknowledge_request(now, path, entry);
            }
            return;
        }
        // Second: RST. RFC 5961 §3.2: exact, or challenged.
        if is(Flags::RST) {
            if seg.seq != rcv_nxt {
                self.ctx.dropped(DropReason::TcpChallenged);
                if self.ctx.allow_challenge(now) {
                    self.acknowledge_request(now, path, entry);
                }
                return;
            }
            self.ctx.counters.attempt_fails += 1;
            return self.forget_request(entry);
        }
        // Fourth: SYN. It returns to LISTEN; the peer's SYN comes again and begins anew.
        if is(Flags::SYN) {
            self.ctx.dropped(DropReason::TcpChallenged);
            self.ctx.counters.attempt_fails += 1;
            return self.forget_request(entry);
        }
        // Fifth: ACK.
        if !is(Flags::ACK) {
            return self.ctx.dropped(DropReason::TcpNoAck);
        }
        if seg.ack != iss + 1 {
            self.ctx.dropped(DropReason::TcpBadAck);
            return self.send_reset(now, path, seg);
        }
        self.finish_request(now, path, entry, seg, packet);
    }

    /// First: is the segment in the window, and no old duplicate (RFC 7323 §5.3)?
    fn fits_request(&mut self, entry: u32, seg: &Segment) -> bool {
        let Some(request) = self.requests.get(entry) else { return false };
        if request.timestamps && !seg.flags.has(Flags::RST) {
            let older = seg.options.timestamps.is_none_or(|timestamps| {
                (timestamps.value.wrapping_sub(request.ts_recent) as i32) < 0
            });
            if older {
                self.ctx.dropped(DropReason::TcpPaws);
                return false;
            }
        }
        let (first, wnd) = (request.rcv_nxt(), u32::from(request.rcv_wnd));
        let last = seg.seq + seg.len().saturating_sub(1);
        let covers = seg.seq.lt(first) && last.ge(first + wnd);
        if seg.seq.is_within(first, wnd)
            || (!seg.is_empty() && last.is_within(first, wnd))
            || covers
        {
            return true;
        }
        self.ctx.dropped(DropReason::TcpOutOfWindow);
        false
    }

    /// Not too often: two confused peers would answer each other for ever.
    fn may_answer(&mut self, now: Instant, entry: u32) -> bool {
        let interval = self.ctx.config.out_of_window_ack_interval;
        let Some(request) = self.requests.get_mut(entry) else { return false };
        let last = std::mem::replace(&mut request.answered_at, now);
        let allowed = last == Instant::ZERO || now.since(last) >= interval;
        if !allowed {
            request.answered_at = last;
        }
        allowed
    }

    /// The SYN-ACK is acknowledged: a connection, if there is room for one.
    fn finish_request(
        &mut self,
        now: Instant,
        path: &mut dyn Path,
        entry: u32,
        seg: &Segment,
        packet: &Packet,
    ) {
        let Some(request) = self.requests.get_mut(entry) else { return };
        request.acked = true;
        let listener = Arc::clone(&request.listener);
        // As on Linux, the listener waits for data as long as it has asked for.
        if seg.is_empty() && request.retries < deferred_retries(&self.ctx.config, &listener) {
            self.ctx.counters.deferred_accepts += 1;
            return;
        }
        if !self.may_finish(now, path, &listener, seg) {
            let resets = self.ctx.config.abort_on_overflow;
            if resets || listener.has_room() == Promotion::Closed {
                self.forget_request(entry);
            }
            return;
        }
        let Some(request) = self.take_request(entry) else { return };
        self.make_connection(now, path, request, seg, packet);
    }

    /// Is there room for another connection? If not, the segment was dropped, and answered if it
    /// is to be.
    fn may_finish(
        &mut self,
        now: Instant,
        path: &mut dyn Path,
        listener: &Listener,
        seg: &Segment,
    ) -> bool {
        if self.slots.is_full() {
            self.ctx.dropped(DropReason::TcpTableFull);
            return false;
        }
        match listener.has_room() {
            Promotion::Queued => return true,
            Promotion::Full => {
                self.ctx.dropped(DropReason::TcpListenOverflow);
                self.ctx.counters.listen_overflows += 1;
                // Otherwise, as Linux: it stays in SYN-RECEIVED, and our SYN-ACK comes again.
                if self.ctx.config.abort_on_overflow {
                    self.ctx.counters.aborts_on_overflow += 1;
                    self.send_reset(now, path, seg);
                }
            }
            Promotion::Closed => {
                self.ctx.dropped(DropReason::TcpNoConnection);
                self.send_reset(now, path, seg);
            }
        }
        false
    }

    fn make_connection(
        &mut self,
        now: Instant,
        path: &mut dyn Path,
        request: Request,
        seg: &Segment,
        packet: &Packet,
    ) {
        let mut options = request.listener.options();
        let tuple = request.tuple;
        let Ok(way) = path.route(Some(tuple.local), tuple.remote, request.bound) else {
            return self.ctx.dropped(DropReason::NoRoute);
        };
        options.tos = reflected(&self.ctx.config, request.syn_dscp, options.tos);
        let mut conn = Connection::from_request(now, &mut self.ctx, request, &way, options);
        conn.route_generation = path.route_generation();
        let id = self.insert(conn);
        self.on_connection(now, path, id.index, seg, packet);
    }

    /// An ACK for a listener: does it bring a cookie of ours back? `false` if it does not.
    pub(super) fn on_cookie(
        &mut self,
        now: Instant,
        path: &mut dyn Path,
        (seg, packet): (&Segment, &Packet),
        listener: &Arc<Listener>,
        auth: Option<Box<ConnAuth>>,
    ) -> bool {
        let always = self.ctx.config.syn_cookies == SynCookies::Always;
        let gives = always || listener.has_given_cookies(now);
        if self.ctx.config.syn_cookies == SynCookies::Never || !gives || seg.flags.has(Flags::SYN) {
            return false;
        }
        let (irs, iss) = (seg.seq - 1, seg.ack - 1);
        let request = syncookie::check(&self.ctx.secrets, &seg.tuple, irs, iss, now)
            .and_then(|mss| self.request_of_cookie(now, listener, seg, mss));
        let Some(mut request) = request else {
            self.ctx.counters.syn_cookies_failed += 1;
            return false;
        };
        request.auth = auth;
        self.ctx.counters.syn_cookies_received += 1;
        if self.may_finish(now, path, listener, seg) {
            self.make_connection(now, path, request, seg, packet);
        }
        true
    }

    /// What was asked for, as far as it came back; `None` if it cannot have been.
    fn request_of_cookie(
        &self,
        now: Instant,
        listener: &Arc<Listener>,
        seg: &Segment,
        mss: u16,
    ) -> Option<Request> {
        let mut request = Request::new(now, seg, Arc::clone(listener));
        (request.irs, request.iss) = (seg.seq - 1, seg.ack - 1);
        (request.syn_flags, request.syn_ecn) = (Flags::SYN, EcnField::NotEct);
        request.peer_mss = Some(mss);
        (request.peer_shift, request.sack) = (None, false);
        request.bound = seg.tuple.zone.iface().or(listener.options().sharing.iface);
        request.from_cookie = true;
        // As on Linux: nothing tells what the SYN-ACK said of them.
        request.decide_window(&self.ctx.config, &listener.options());
        let Some(timestamps) = seg.options.timestamps else { return Some(request) };
        let config = &self.ctx.config;
        let offset = self.ctx.secrets.timestamp_offset(seg.tuple.local, seg.tuple.remote);
        let kept = syncookie::kept_in(timestamps.echo.wrapping_sub(offset));
        // As on Linux: nobody agreed on what we do not do.
        if !config.timestamps || (kept.sack && !config.sack) {
            return None;
        }
        (request.peer_shift, request.sack) = (kept.shift, kept.sack);
        request.syn_flags |= flags_kept(config, kept.ecn, seg);
        Some(request)
    }

    pub(super) fn forget_request(&mut self, entry: u32) {
        if self.take_request(entry).is_some() {
            self.ctx.transitions.record(State::Listen, State::SynReceived);
            self.ctx.transitions.record(State::SynReceived, State::Closed);
        }
    }

    /// Takes a request out, to be a connection or nothing.
    fn take_request(&mut self, entry: u32) -> Option<Request> {
        let tuple = self.requests.get(entry)?.tuple;
        let hash = self.hash(&tuple);
        self.index.remove(hash, Place::Request(entry));
        let request = self.requests.remove(entry)?;
        request.listener.end_handshake(request.retries == 0);
        Some(request)
    }

    /// May a segment that came by `iface` be for it?
    pub(super) fn request_takes_from(&self, entry: u32, iface: IfIndex) -> bool {
        let request = self.requests.get(entry);
        request.is_some_and(|request| request.bound.is_none_or(|own| own == iface))
    }

    /// What is remembered of handshakes that listeners have begun; for tests.
    #[cfg(test)]
    pub(in crate::tcp) fn half_open(&self) -> Vec<Request> {
        self.requests.iter().map(|(_, request)| request.clone()).collect()
    }
}
