//! How a connection begins: active and passive open, what SYNs agree on, and ESTABLISHED.

use std::sync::Arc;

use libnet::{Instant, Packet, Ready};

use super::config::{ConnOptions, TcpConfig};
use super::ctx::Ctx;
use super::ecn::EcnUse;
use super::fast_open::{Asked, Attempt, FastOpen, Offer, Try};
use super::listen::Listener;
use super::options::MAX_OPTIONS_BYTES;
use super::path::PathInfo;
use super::recovery::{self, Sender};
use super::request::Request;
use super::segment::{Flags, FourTuple, Segment};
use super::seq::SeqNumber;
use super::state::State;
use super::tcb::{Connection, MIN_MSS, Owed, default_mss, fixed_header_bytes};

impl Connection {
    /// Active open: a SYN is owed. Source: RFC 9293 §3.10.1.
    pub fn connect(
        now: Instant,
        ctx: &mut Ctx,
        tuple: FourTuple,
        path: &PathInfo,
        options: ConnOptions,
    ) -> Self {
        let mut conn = Connection::new(now, ctx, tuple, path, options, State::Closed);
        conn.transition(ctx, State::SynSent);
        ctx.counters.active_opens += 1;
        conn.ask_for_ecn(&ctx.config);
        let auth = conn.cold.options.auth.as_ref().and_then(|keys| keys.for_peer(tuple.remote));
        conn.set_auth(auth.map(Box::new));
        conn.owed.syn = true;
        conn.promise_window(conn.first_window());
        conn
    }

    /// An active open over a TIME-WAIT of ours: the numbers go on above the old ones. Source: RFC 9293 §3.4.1 and §3.6.1 (MAY-2), RFC 6191 §2.
    pub(super) fn start_after(&mut self, old_snd_nxt: SeqNumber) {
        self.iss = next_iss(old_snd_nxt);
        (self.snd_una, self.snd_nxt, self.snd_max) = (self.iss, self.iss, self.iss);
        self.snd_small = self.iss;
    }

    /// A passive open whose SYN-ACK was sent and is acknowledged by the segment that comes next.
    pub(super) fn from_request(
        now: Instant,
        ctx: &mut Ctx,
        request: Request,
        path: &PathInfo,
        options: ConnOptions,
    ) -> Self {
        let mut conn = Connection::new(now, ctx, request.tuple, path, options, State::Listen);
        // What the SYN-ACK said stands, whatever was set since.
        conn.mode.scaling = request.peer_shift.is_some();
        (conn.mode.timestamps, conn.mode.sack) = (request.timestamps, request.sack);
        conn.rcv_shift = request.rcv_shift;
        conn.promise_window(request.rcv_wnd);
        conn.set_auth(request.auth.clone());
        conn.take_syn(request.created_at, ctx, &request.syn());
        conn.continue_ecn(&ctx.config, &request);
        conn.transition(ctx, State::SynReceived);
        conn.iss = request.iss;
        (conn.snd_una, conn.snd_small) = (request.iss, request.iss);
        (conn.snd_nxt, conn.snd_max) = (request.iss + 1, request.iss + 1);
        conn.cold.created_at = request.created_at;
        if !request.resent && !request.from_cookie {
            conn.rtt.start(conn.snd_nxt, request.created_at);
        }
        conn.retries = request.retries;
        conn.mode.syn_lost = request.retries > 0;
        conn.mode.passive = true;
        conn.restart_timeout(now);
        conn.cold.listener = Some(request.listener);
        ctx.counters.passive_opens += 1;
        conn
    }

    /// A passive open whose SYN brought a cookie of ours: its data are taken at once, and answered
    /// before the handshake is over. Our SYN's number counts as acknowledged from the start, so that
    /// what is sent is where it is in any other state. Source: RFC 7413 §4.2.2.
    pub(super) fn accept_fast_open(
        now: Instant,
        ctx: &mut Ctx,
        (syn, packet): (&Segment, &Packet),
        path: &PathInfo,
        listener: Arc<Listener>,
        option: Offer,
    ) -> Self {
        let mut options = listener.options();
        options.tos = reflected(&ctx.config, syn.dscp, options.tos);
        let mut conn = Connection::new(now, ctx, syn.tuple, path, options, State::Listen);
        conn.take_syn(now, ctx, syn);
        conn.transition(ctx, State::SynReceived);
        ctx.counters.passive_opens += 1;
        ctx.counters.fast_open_passive += 1;
        (conn.mode.passive, conn.mode.fast_open) = (true, true);
        conn.cold.listener = Some(listener);
        conn.cold.fast_open = Some(Box::new(Attempt { option, ..Attempt::default() }));
        let first = conn.iss + 1;
        (conn.snd_una, conn.snd_nxt, conn.snd_max, conn.snd_small) = (first, first, first, first);
        let cc = conn.first_controller(now, &ctx.config);
        *conn.tx = Sender::new(now, first, cc);
        conn.update_pace(&ctx.config);
        let mut data = *syn;
        data.trim_front(1);
        // A FIN comes again.
        data.flags = data.flags.without(Flags::FIN);
        conn.trim_to_window(ctx, &mut data);
        if data.data_len > 0 {
            conn.take_in_order(now, ctx, &data, packet);
            conn.cold.counts.syn_data = true;
        }
        // The SYN-ACK says it all.
        (conn.owed, conn.deadlines.ack) = (Owed { syn: true, ..Owed::default() }, Instant::MAX);
        conn
    }

    /// A connect that may send data with its SYN, as far as is known of the server.
    /// Source: RFC 7413 §4.1.3, §4.2.1.
    pub(super) fn try_fast_open(&mut self, now: Instant, ctx: &mut Ctx) {
        let mode = ctx.config.fast_open;
        let whole = self.path_mtu.min(u32::from(u16::MAX)) - fixed_header_bytes(&self.tuple);
        let room = |mss: u16| {
            let most = whole.min(u32::from(mss)) as u16;
            most.saturating_sub(MAX_OPTIONS_BYTES as u16)
        };
        let without = mode.has(FastOpen::CLIENT_NO_COOKIE) || self.cold.options.fast_open_no_cookie;
        let attempt = match ctx.cookies.look_up(self.tuple.remote, now) {
            // A signature leaves the option no room.
            _ if !mode.has(FastOpen::CLIENT) || self.mode.signed => return,
            Try::Not => return,
            // As on Linux: who needs none sends none, though one is known.
            Try::Send { mss, .. } if without => Attempt { room: room(mss), ..Attempt::default() },
            Try::Ask if without => {
                Attempt { room: room(default_mss(&self.tuple)), ..Attempt::default() }
            }
            Try::Send { cookie, mss } => {
                Attempt { option: Offer::Cookie(cookie), room: room(mss), sent: 0 }
            }
            Try::Ask => Attempt { option: Offer::Ask, ..Attempt::default() },
        };
        self.cold.fast_open = Some(Box::new(attempt));
    }

    /// The SYN-ACK of a connect that has tried Fast Open: what of its data arrived, and the cookie
    /// for the next time.
    pub(super) fn finish_fast_open(
        &mut self,
        now: Instant,
        ctx: &mut Ctx,
        seg: &Segment,
        packet: &Packet,
    ) {
        let Some(attempt) = self.cold.fast_open.take() else { return };
        let mut list = [0; MAX_OPTIONS_BYTES];
        let list_bytes = Segment::options_in(packet, &mut list);
        let body = seg.options.fast_open.find(&list[..list_bytes]).map(|(_, body)| body);
        let cookie = match Asked::read(body) {
            Asked::With(cookie) => Some(cookie),
            _ => None,
        };
        let acked = (seg.ack - (self.iss + 1)).min(u32::from(attempt.sent));
        let (server, most) = (self.tuple.remote, ctx.config.fast_open_servers_max);
        if attempt.sent > 0 && acked == 0 && cookie.is_none() {
            // RFC 7413 §4.1.3.1 (MUST): that a server does not take data is remembered, too.
            ctx.cookies.lost(server, now, most);
        } else if attempt.option != Offer::Nothing || acked > 0 {
            ctx.cookies.answered(server, cookie, self.cold.peer_mss, now, most);
        }
        if attempt.sent == 0 {
            return;
        }
        if acked > 0 {
            ctx.counters.fast_open_active += 1;
            self.cold.counts.syn_data = true;
            self.cold.bytes_out += u64::from(acked);
            ctx.cookies.works();
            if let Some(buffer) = &mut self.send_buffer {
                buffer.acknowledge(acked as usize);
                if buffer.is_empty() {
                    ctx.spare.keep_send(self.send_buffer.take());
                }
            }
        } else {
            ctx.counters.fast_open_active_fails += 1;
        }
        // What was not taken was never sent.
        let una = self.iss + 1 + acked;
        (self.snd_una, self.snd_nxt, self.snd_max, self.snd_small) = (una, una, una, una);
    }

    /// A SYN with the option, or with data, stayed without an answer: the next one has neither.
    pub(super) fn lose_fast_open(&mut self, now: Instant, ctx: &mut Ctx) {
        let Some(attempt) = &mut self.cold.fast_open else { return };
        if self.mode.passive {
            return;
        }
        let tried = std::mem::take(&mut attempt.option) != Offer::Nothing || attempt.sent > 0;
        attempt.room = 0;
        if tried && self.retries == 0 {
            ctx.cookies.lost(self.tuple.remote, now, ctx.config.fast_open_servers_max);
        }
        let first = ctx.config.fast_open_blackhole_timeout;
        if attempt.sent > 0 && self.retries == BLACK_HOLE_RETRIES && ctx.cookies.disable(now, first)
        {
            ctx.counters.fast_open_blackholes += 1;
        }
    }

    /// Takes in what the peer's SYN says.
    pub(super) fn take_syn(&mut self, now: Instant, ctx: &Ctx, syn: &Segment) {
        let window = self.first_window();
        self.irs = syn.seq;
        self.rcv_nxt = syn.seq + 1;
        self.last_ack_sent = self.rcv_nxt;
        // RFC 7323 §2.2: the window of a SYN is never scaled, in either direction.
        self.rcv_adv = self.rcv_nxt + u32::from(window);
        (self.snd_wnd, self.max_snd_wnd) = (u32::from(syn.wnd), u32::from(syn.wnd));
        (self.snd_wl1, self.snd_wl2) = (syn.seq, syn.ack);
        match syn.options.window_shift {
            Some(shift) if self.mode.scaling => self.snd_shift = shift,
            // RFC 7323 §2.2 (MUST): both sides scale or none does.
            _ => self.rcv_shift = 0,
        }
        // RFC 7323 §3.2 (MUST): timestamps only if both SYNs have them.
        match syn.options.timestamps {
            Some(timestamps) if self.mode.timestamps => {
                (self.ts_recent, self.ts_recent_at) = (timestamps.value, now);
            }
            _ => self.mode.timestamps = false,
        }
        // RFC 2018 §2: only if both SYNs permit it.
        self.mode.sack &= syn.options.sack_permitted;
        self.agree_on_ecn(&ctx.config, syn);
        // RFC 9293 §3.7.1 (MUST-14, MUST-15): the peer's MSS, or the default.
        let mss = syn.options.mss.unwrap_or_else(|| default_mss(&self.tuple));
        self.cold.peer_mss = mss.max(MIN_MSS);
        self.update_mss();
    }

    /// Our SYN was acknowledged and we have the peer's: data may flow.
    pub(super) fn establish(&mut self, now: Instant, ctx: &mut Ctx, seg: &Segment) {
        let to = if self.state == State::SynReceived && self.mode.fin_queued {
            // RFC 9293 §3.10.4: a CLOSE in SYN-RECEIVED; its FIN waited for the ACK of our SYN.
            State::FinWait1
        } else {
            State::Established
        };
        self.transition(ctx, to);
        ctx.counters.ecn_connections += u64::from(self.ecn.in_use != EcnUse::Off);
        self.acknowledge_syn(now, ctx, seg);
        if !self.mode.fast_open {
            self.recovery = recovery::NewReno::new(self.iss + 1, ctx.config.reordering);
            let cc = self.first_controller(now, &ctx.config);
            *self.tx = Sender::new(now, self.iss + 1, cc);
            self.update_pace(&ctx.config);
        } else if self.snd_max.gt(self.snd_una) {
            // Data were sent already, and the timer was the SYN-ACK's.
            self.restart_timeout(now);
        }
        self.answer_mark_on_syn();
        self.begin_mtu_search(now, &ctx.config);
        if self.mode.syn_lost {
            self.rtt.restart_after_lost_syn();
        }
        self.retries = 0;
        self.cold.soft_error = None;
        self.cold.stalled_since = now;
        self.last_heard_at = now;
        self.arm_keepalive(now, &ctx.config);
        self.begin_tuning(now, &ctx.config);
        self.wake |= Ready::WRITABLE;
    }

    fn acknowledge_syn(&mut self, now: Instant, ctx: &Ctx, seg: &Segment) {
        if let Some(rtt) = self.rtt.sample(seg.ack, now) {
            self.rtt.update(rtt, &ctx.config);
        }
        self.rtt.cancel();
        if !self.mode.fast_open {
            self.snd_una = self.iss + 1;
            self.snd_nxt = self.snd_nxt.max(self.snd_una);
            self.snd_max = self.snd_max.max(self.snd_una);
            self.snd_small = self.snd_una;
        }
        self.deadlines.resend = Instant::MAX;
        if std::mem::take(&mut self.owed.syn) {
            // It leaves no more: what it would have acknowledged were the data of the SYN.
            self.owed.ack |= self.mode.fast_open && self.last_ack_sent != self.rcv_nxt;
        }
    }
}

/// SYNs with data that stay without an answer one after the other before it is a black hole's doing.
const BLACK_HOLE_RETRIES: u8 = 2;

/// The first number of a connection that takes a TIME-WAIT's place.
pub(super) fn next_iss(old_snd_nxt: SeqNumber) -> SeqNumber {
    old_snd_nxt + REUSE_GAP
}

/// Linux's distance between an old connection's numbers and its successor's.
const REUSE_GAP: u32 = 65_537;

/// The traffic class of a listener's side of a connection, the ECN field left out: its own, or, where that
/// is asked for, the SYN's (`net.ipv4.tcp_reflect_tos`).
pub(super) fn reflected(config: &TcpConfig, syn_dscp: u8, own: u8) -> u8 {
    if config.reflect_tos { syn_dscp } else { own & !3 }
}
