//! How a connection begins: active and passive open, what SYNs agree on, and ESTABLISHED.

use std::sync::Arc;

use libnet::{Instant, Ready};

use super::cc::Controller;
use super::config::ConnOptions;
use super::ctx::Ctx;
use super::ecn::EcnUse;
use super::listen::Listener;
use super::path::PathInfo;
use super::recovery::{self, Sender};
use super::segment::{FourTuple, Segment};
use super::seq::SeqNumber;
use super::state::State;
use super::tcb::{Connection, MIN_MSS, default_mss};

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
        conn.owed.syn = true;
        conn
    }

    /// An open, active or passive, over a TIME-WAIT of ours: the numbers go on above the old
    /// ones. Source: RFC 9293 §3.4.1 and §3.6.1 (MAY-2), RFC 6191 §2.
    pub(super) fn start_after(&mut self, old_snd_nxt: SeqNumber) {
        self.iss = old_snd_nxt + REUSE_GAP;
        (self.snd_una, self.snd_nxt, self.snd_max) = (self.iss, self.iss, self.iss);
        self.snd_small = self.iss;
    }

    /// Passive open: a SYN came to a listener, a SYN-ACK is owed.
    pub(super) fn accept(
        now: Instant,
        ctx: &mut Ctx,
        syn: &Segment,
        path: &PathInfo,
        listener: Arc<Listener>,
    ) -> Self {
        let options = listener.options();
        let mut conn = Connection::new(now, ctx, syn.tuple, path, options, State::Listen);
        // RFC 9293 §3.10.7.2, third: the SYN is taken, data and FIN with it are not kept and come
        // again. ("Any other control or text may be queued": none is.)
        conn.take_syn(now, ctx, syn);
        conn.transition(ctx, State::SynReceived);
        ctx.counters.passive_opens += 1;
        conn.mode.passive = true;
        conn.cold.listener = Some(listener);
        conn.owed.syn = true;
        conn
    }

    /// Takes in what the peer's SYN says.
    pub(super) fn take_syn(&mut self, now: Instant, ctx: &Ctx, syn: &Segment) {
        self.irs = syn.seq;
        self.rcv_nxt = syn.seq + 1;
        self.last_ack_sent = self.rcv_nxt;
        // RFC 7323 §2.2: the window of a SYN is never scaled, in either direction.
        let window = self.receive_limit().min(u32::from(u16::MAX));
        self.rcv_adv = self.rcv_nxt + window;
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
        self.recovery = recovery::NewReno::new(self.iss + 1);
        let algorithm = self.tx.cc.algorithm();
        let cc = Controller::new(algorithm, u32::from(self.mss), self.mode.syn_lost);
        *self.tx = Sender::new(now, self.iss + 1, cc);
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
        self.snd_una = self.iss + 1;
        self.snd_nxt = self.snd_nxt.max(self.snd_una);
        self.snd_max = self.snd_max.max(self.snd_una);
        self.snd_small = self.snd_una;
        self.deadlines.resend = Instant::MAX;
        self.owed.syn = false;
    }
}

/// Linux's distance between an old connection's numbers and its successor's.
const REUSE_GAP: u32 = 65_537;
