//! The transmission control block: a connection's variables and what must hold between them.

use std::sync::Arc;
use std::time::Duration;

use libnet::{IfIndex, Instant, Ready, TimerHandle};

use super::auth::ConnAuth;
use super::cc::{Begin, Controller, initial_window};
use super::chrono::Chrono;
use super::config::{ConnOptions, TcpConfig};
use super::congestion;
use super::ctx::Ctx;
use super::ecn::{Accurate, Ecn};
use super::error::ConnError;
use super::fast_open::Attempt;
use super::info::Counts;
use super::listen::Listener;
use super::mtu::MtuSearch;
use super::offer::window_shift;
use super::path::PathInfo;
use super::rcvbuf::ReceiveBuffer;
use super::reassembly::Reassembly;
use super::recovery::{self, Sender};
use super::rtt::RttEstimator;
use super::sack::SackBlock;
use super::scoreboard::Scoreboard;
use super::segment::FourTuple;
use super::seq::SeqNumber;
use super::sndbuf::SendBuffer;
use super::state::State;
use super::tuning::Tuning;
use super::urgent::Urgent;

/// One connection: protocol only, no clock, no I/O.
///
/// ```text
///  send:     snd_una ……………… snd_nxt ……… snd_max        snd_una + snd_wnd
///            | sent, not acknowledged     |  may be sent  |
///            snd_nxt < snd_max only while a time-out sends again
///
///  receive:  rcv_nxt ………………………………………………… rcv_adv
///            | wanted; pieces beyond a hole wait in `reassembly`
/// ```
/// The hot half is here; what a segment in order does not touch is in `cold`, and buffers exist
/// only while they hold bytes.
#[derive(Debug)]
pub struct Connection {
    pub(super) tuple: FourTuple,
    pub(super) state: State,
    pub(super) snd_una: SeqNumber,
    pub(super) snd_nxt: SeqNumber,
    /// One past the last number ever sent.
    pub(super) snd_max: SeqNumber,
    pub(super) snd_wl1: SeqNumber,
    pub(super) snd_wl2: SeqNumber,
    /// End of the last segment sent that was smaller than the MSS (Minshall).
    pub(super) snd_small: SeqNumber,
    pub(super) snd_wnd: u32,
    /// MAX.SND.WND of RFC 5961 §5.2, and of RFC 9293 §3.8.6.2.1.
    pub(super) max_snd_wnd: u32,
    pub(super) iss: SeqNumber,
    pub(super) irs: SeqNumber,
    pub(super) rcv_nxt: SeqNumber,
    /// Right edge of the window that the peer was told.
    pub(super) rcv_adv: SeqNumber,
    /// Last.ACK.sent of RFC 7323 §4.3.
    pub(super) last_ack_sent: SeqNumber,
    /// Where the peer's FIN stands, once it is known.
    pub(super) peer_fin: Option<SeqNumber>,
    pub(super) snd_shift: u8,
    pub(super) rcv_shift: u8,
    /// Eff.snd.MSS of RFC 9293 §3.7.1: data bytes of a segment, options paid.
    pub(super) mss: u16,
    /// Data bytes of a super-segment at most; below two MSS there are none.
    pub(super) super_bytes: u16,
    pub(super) path_mtu: u32,
    pub(super) ts_recent: u32,
    pub(super) ts_offset: u32,
    pub(super) ts_recent_at: Instant,
    /// TSecr of the last acknowledgement of new data.
    pub(super) last_echo: u32,
    pub(super) rtt: RttEstimator,
    pub(super) recovery: recovery::NewReno,
    /// What is under way, and who resends what of it.
    pub(super) tx: Box<Sender>,
    pub(super) deadlines: Deadlines,
    /// The wheel's node, and when it fires: never later than the first deadline.
    pub(super) wheel: Option<TimerHandle>,
    pub(super) wheel_at: Instant,
    pub(super) last_sent_at: Instant,
    pub(super) last_heard_at: Instant,
    /// Retransmissions or probes since the peer last said something new.
    pub(super) retries: u8,
    pub(super) ack: AckState,
    pub(super) owed: Owed,
    pub(super) mode: Mode,
    pub(super) ecn: Ecn,
    pub(super) wake: Ready,
    pub(super) error: Option<ConnError>,
    /// Memory that the shard knows it holds, bytes.
    pub(super) charged: u32,
    pub(super) iface: IfIndex,
    pub(super) route_generation: u64,
    pub(super) send_buffer: Option<Box<SendBuffer>>,
    pub(super) receive_buffer: Option<Box<ReceiveBuffer>>,
    pub(super) reassembly: Option<Box<Reassembly>>,
    pub(super) cold: Box<Cold>,
}

/// When something is due; `Instant::MAX`: nothing. Few, so that one wheel node serves them all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadlines {
    /// Retransmission, or the persist timer: never both.
    pub(super) resend: Instant,
    /// Delayed acknowledgement.
    pub(super) ack: Instant,
    /// Keep-alive, or the end of an orphan's FIN-WAIT-2.
    pub(super) idle: Instant,
    /// Until then pacing keeps data back.
    pub(super) pace: Instant,
}

impl Deadlines {
    /// Nothing is due.
    pub(super) const NONE: Deadlines = Deadlines {
        resend: Instant::MAX,
        ack: Instant::MAX,
        idle: Instant::MAX,
        pace: Instant::MAX,
    };
}

/// When to acknowledge.
#[derive(Clone, Copy, Debug)]
pub(super) struct AckState {
    /// Bytes received in order since the last acknowledgement left.
    pub(super) unacked_bytes: u32,
    /// Size of the last segment that was longer than the MSS.
    pub(super) super_bytes: u32,
    /// When data last came, milliseconds of the clock.
    pub(super) data_at_ms: u32,
    /// How long the next acknowledgement is to wait, milliseconds; 0: no data came yet.
    pub(super) delay_ms: u16,
    /// Segments still to be acknowledged at once: at the start, after a loss, and after idleness.
    pub(super) quick: u8,
    /// Segments for which another large one is expected.
    pub(super) large: u8,
    /// An acknowledgement leaves when the application has read all there is.
    pub(super) at_read: bool,
    /// The connection asks and answers: an acknowledgement goes with the answer.
    pub(super) interactive: bool,
}

/// What has to be sent as soon as there is room.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Owed {
    /// An acknowledgement.
    pub(super) ack: bool,
    /// Acknowledgements that must not be merged: one for each segment out of order.
    pub(super) dup_acks: u8,
    /// SYN or SYN-ACK, by the state.
    pub(super) syn: bool,
    /// RST; the connection is over.
    pub(super) reset: bool,
    /// One has gone, for a peer that has not taken what is past its window.
    pub(super) reset_at_edge: bool,
    /// The first unacknowledged segment, whatever the windows say.
    pub(super) head: bool,
    /// A tail loss probe.
    pub(super) tail: bool,
    pub(super) window_probe: bool,
    pub(super) keepalive: bool,
}

/// What does not change with every segment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mode {
    /// Begun by a listener.
    pub(super) passive: bool,
    /// Window scaling is offered and taken.
    pub(super) scaling: bool,
    /// Segments are signed, and must be.
    pub(super) signed: bool,
    /// Begun with the data of a SYN, and the handshake is not over. Source: RFC 7413 §4.2.2.
    pub(super) fast_open: bool,
    /// Timestamps are in use.
    pub(super) timestamps: bool,
    /// Selective acknowledgements are in use.
    pub(super) sack: bool,
    /// The next acknowledgement tells of what came twice, `Cold::dsack`.
    pub(super) dsack_owed: bool,
    pub(super) nodelay: bool,
    pub(super) corked: bool,
    pub(super) keepalive: bool,
    /// The application has closed its sending side; the FIN follows the data.
    pub(super) fin_queued: bool,
    pub(super) fin_acked: bool,
    /// The application does not read any more.
    pub(super) read_shut: bool,
    /// The application has let go; nobody will read, write or ask.
    pub(super) orphan: bool,
    /// The `resend` deadline is the persist timer's.
    pub(super) persist: bool,
    /// A SYN or SYN-ACK was sent again.
    pub(super) syn_lost: bool,
    /// A send was refused; its caller waits for room.
    pub(super) writer_waits: bool,
    /// It was refused for want of memory.
    pub(super) starved: bool,
    /// Waits in the table's queue of those.
    pub(super) awaits_memory: bool,
    /// Memory was short when data came last: the window does not grow.
    pub(super) pressed: bool,
    /// There was none for what came next: the window is shut.
    pub(super) no_room: bool,
    /// Counted as one that its application has closed.
    pub(super) counted_orphan: bool,
    /// Waits in the table's queue of connections with something to send.
    pub(super) queued: bool,
    /// The table's index leads to it.
    pub(super) indexed: bool,
    /// R1 was reached and the IP layer has not been told yet.
    pub(super) advise: bool,
    /// The path's MTU is searched for.
    pub(super) searches_mtu: bool,
    /// New data was acknowledged and the IP layer has not been told yet.
    pub(super) progress: bool,
}

/// What a segment in order does not touch.
#[derive(Debug)]
pub(super) struct Cold {
    pub(super) options: ConnOptions,
    pub(super) listener: Option<Arc<Listener>>,
    pub(super) fast_open: Option<Box<Attempt>>,
    pub(super) auth: Option<Box<ConnAuth>>,
    /// An ICMP error that may pass; reported if the connection times out. RFC 9293 §3.9.2.2.
    pub(super) soft_error: Option<ConnError>,
    /// MSS option of the peer, or the default.
    pub(super) peer_mss: u16,
    /// MSS option that we send.
    pub(super) local_mss: u16,
    /// Largest IP packet that the interface cuts for us.
    pub(super) gso_max_bytes: u32,
    pub(super) out_of_window_ack_at: Instant,
    /// When the data at `snd_una` were first sent without an answer since.
    pub(super) stalled_since: Instant,
    /// The peer's urgent byte.
    pub(super) urgent: Option<Urgent>,
    /// What came twice and was not told of yet. Source: RFC 2883 §4.
    pub(super) dsack: Option<SackBlock>,
    /// The search for the path's MTU.
    pub(super) mtu_search: Option<Box<MtuSearch>>,
    /// What is counted in AccECN mode.
    pub(super) accurate: Option<Box<Accurate>>,
    /// What is before it leaves, cork or not: `TCP_NODELAY` was set meanwhile.
    pub(super) pushed: Option<SeqNumber>,
    /// One past our last urgent byte (SND.UP), until it is acknowledged.
    pub(super) snd_up: Option<SeqNumber>,
    pub(super) tuning: Tuning,
    pub(super) chrono: Chrono,
    pub(super) token: u64,
    pub(super) created_at: Instant,
    /// What is counted for [`TcpInfo`](super::info::TcpInfo) alone.
    pub(super) counts: Counts,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) segments_in: u64,
    pub(super) segments_out: u64,
    pub(super) retransmits: u64,
}

/// What the events of a connection carry that no socket has taken yet.
pub(crate) const NOBODY: u64 = u64::MAX;

impl Connection {
    /// A block in CLOSED or LISTEN, with nothing agreed yet.
    pub(super) fn new(
        now: Instant,
        ctx: &Ctx,
        tuple: FourTuple,
        path: &PathInfo,
        options: ConnOptions,
        state: State,
    ) -> Self {
        let config = &ctx.config;
        let iss = ctx.secrets.initial_seq(&tuple, now);
        let none = SeqNumber::default();
        let mut conn = Connection {
            tuple,
            state,
            snd_una: iss,
            snd_nxt: iss,
            snd_max: iss,
            snd_wl1: none,
            snd_wl2: none,
            snd_small: iss,
            snd_wnd: 0,
            max_snd_wnd: 0,
            iss,
            irs: none,
            rcv_nxt: none,
            rcv_adv: none,
            last_ack_sent: none,
            peer_fin: None,
            snd_shift: 0,
            rcv_shift: window_shift(config, &options),
            mss: default_mss(&tuple),
            super_bytes: 0,
            path_mtu: path.mtu,
            ts_recent: 0,
            ts_offset: ctx.secrets.timestamp_offset(tuple.local, tuple.remote),
            ts_recent_at: now,
            last_echo: 0,
            rtt: RttEstimator::new(config),
            recovery: recovery::NewReno::new(iss + 1, config.reordering),
            tx: Box::new(Sender::new(now, iss + 1, no_controller(config, &options, &tuple))),
            deadlines: Deadlines::NONE,
            wheel: None,
            wheel_at: Instant::MAX,
            last_sent_at: now,
            last_heard_at: now,
            retries: 0,
            ack: AckState {
                unacked_bytes: 0,
                super_bytes: 0,
                data_at_ms: 0,
                delay_ms: 0,
                quick: QUICK_ACKS,
                large: 0,
                at_read: false,
                interactive: !options.quick_ack,
            },
            owed: Owed::default(),
            mode: Mode {
                scaling: config.window_scaling,
                timestamps: config.timestamps,
                sack: config.sack,
                nodelay: options.nodelay,
                corked: options.cork,
                keepalive: options.keepalive,
                ..Mode::default()
            },
            ecn: Ecn::default(),
            wake: Ready::NONE,
            error: None,
            charged: 0,
            iface: path.iface,
            route_generation: 0,
            send_buffer: None,
            receive_buffer: None,
            reassembly: None,
            cold: Box::new(Cold {
                tuning: Tuning::new(config, &options),
                chrono: Chrono::new(now),
                options,
                listener: None,
                fast_open: None,
                auth: None,
                soft_error: None,
                peer_mss: default_mss(&tuple),
                local_mss: 0,
                gso_max_bytes: path.gso_max_bytes,
                out_of_window_ack_at: Instant::ZERO,
                stalled_since: now,
                urgent: None,
                dsack: None,
                mtu_search: None,
                accurate: None,
                pushed: None,
                snd_up: None,
                token: NOBODY,
                created_at: now,
                counts: Counts::default(),
                bytes_in: 0,
                bytes_out: 0,
                segments_in: 0,
                segments_out: 0,
                retransmits: 0,
            }),
        };
        conn.cold.local_mss = offered_mss(&conn.tuple, &conn.cold.options, path.mtu);
        conn.update_mss();
        conn
    }

    /// The one place where the state changes.
    pub(super) fn transition(&mut self, ctx: &mut Ctx, to: State) {
        ctx.transitions.record(self.state, to);
        tracing::trace!(tuple = ?self.tuple, from = %self.state, to = %to, "state");
        self.state = to;
    }

    /// Ends the connection: nothing more is sent or expected, what was received can be read.
    pub(super) fn finish(&mut self, ctx: &mut Ctx, error: Option<ConnError>) {
        self.transition(ctx, State::Closed);
        self.error = self.error.or(error);
        self.deadlines = Deadlines::NONE;
        self.owed = Owed { reset: self.owed.reset, ..Owed::default() };
        self.send_buffer = None;
        self.reassembly = None;
        self.tx.board = Scoreboard::default();
        self.wake |= Ready::ALL;
    }

    /// RFC 9293 §3.7.1 (MUST-16): Eff.snd.MSS is the peer's MSS or what the path carries, less
    /// the options that every segment has.
    pub(super) fn update_mss(&mut self) {
        let headers = fixed_header_bytes(&self.tuple);
        let timestamps = if self.mode.timestamps { TIMESTAMP_OPTION_BYTES } else { 0 };
        let options = timestamps + self.cold.auth.as_ref().map_or(0, |auth| auth.option_bytes());
        let path_mtu = self.path_mtu.min(self.searched_mtu());
        let by_path = path_mtu.min(MAX_IP_BYTES).saturating_sub(headers);
        let whole = by_path.min(u32::from(self.cold.peer_mss)).min(u32::from(self.cold.local_mss));
        let mss = whole.saturating_sub(options).max(u32::from(MIN_MSS) - TIMESTAMP_OPTION_BYTES);
        self.mss = mss as u16;
        let by_iface = self.cold.gso_max_bytes.min(MAX_IP_BYTES).saturating_sub(headers + options);
        // What is signed is cut before.
        let supers = if self.mode.signed { 0 } else { by_iface / mss };
        self.super_bytes = (supers * mss) as u16;
    }

    /// Bytes that the receive buffer may hold.
    pub(super) fn receive_limit(&self) -> u32 {
        self.cold.tuning.receive_limit
    }

    /// Bytes that the send buffer may hold.
    pub(super) fn send_limit(&self) -> u32 {
        self.cold.tuning.send_limit
    }

    /// How long data may stay unacknowledged; `None`: until the retries are used up.
    pub(super) fn user_timeout(&self) -> Option<Duration> {
        let timeout = self.cold.options.user_timeout;
        (!timeout.is_zero()).then_some(timeout)
    }

    /// Bytes in the send buffer.
    pub(super) fn buffered_to_send(&self) -> u32 {
        self.send_buffer.as_ref().map_or(0, |buffer| buffer.len() as u32)
    }

    /// Bytes that wait to be read.
    pub(super) fn buffered_to_read(&self) -> u32 {
        self.receive_buffer.as_ref().map_or(0, |buffer| buffer.len() as u32)
    }

    /// RCV.WND: what the peer was told that it may send.
    pub(super) fn rcv_wnd(&self) -> u32 {
        self.rcv_adv.saturating_since(self.rcv_nxt)
    }

    /// Numbers sent and not acknowledged.
    pub(super) fn flight(&self) -> u32 {
        self.snd_nxt.saturating_since(self.snd_una)
    }

    /// Was our FIN sent, at least once?
    pub(super) fn fin_sent(&self) -> bool {
        let data_end = self.snd_una + self.buffered_to_send();
        self.mode.fin_queued && !self.mode.fin_acked && self.snd_max.gt(data_end)
    }

    /// TSval: milliseconds, from an origin that only we know. Source: RFC 7323 §5.4.
    pub(super) fn timestamp(&self, now: Instant) -> u32 {
        timestamp(now, self.ts_offset)
    }

    /// Takes the readiness that changed since the last call.
    pub(super) fn take_wake(&mut self) -> Ready {
        std::mem::take(&mut self.wake)
    }

    /// Panics if the block's variables contradict each other; for tests.
    ///
    /// # Panics
    /// When an invariant does not hold.
    pub fn check_invariants(&self, config: &TcpConfig) {
        assert!(self.snd_una.le(self.snd_nxt), "snd_una {:?} {:?}", self.snd_una, self.snd_nxt);
        assert!(self.snd_nxt.le(self.snd_max), "snd_nxt {:?} {:?}", self.snd_nxt, self.snd_max);
        if self.state.is_synchronized() && self.state != State::TimeWait {
            let fin = u32::from(self.mode.fin_queued && !self.mode.fin_acked);
            let end = self.snd_una + self.buffered_to_send() + fin;
            assert!(self.snd_max.le(end), "sent beyond what there is to send");
            let window = 1u32 << MAX_RCV_WND_SHIFT;
            assert!(self.rcv_adv.saturating_since(self.rcv_nxt) <= window, "window");
            let (limit, held) = (self.receive_limit(), self.buffered_to_read());
            // What was promised stays so where an application makes its buffer smaller.
            let promised =
                self.cold.options.receive_buffer_bytes > 0 || held + self.rcv_wnd() <= limit;
            assert!(promised, "{held} held, {} promised", self.rcv_wnd());
        }
        self.tx.board.check_invariants(self.snd_una, self.snd_max);
        assert!(self.mss >= MIN_MSS - TIMESTAMP_OPTION_BYTES as u16, "mss {}", self.mss);
        assert!(!self.state.is_closing() || self.mode.fin_queued, "{} without a FIN", self.state);
        if let Some(reassembly) = &self.reassembly {
            assert!(reassembly.runs() <= usize::from(config.reassembly_runs));
            assert!(
                reassembly.bytes() as u64 <= u64::from(self.rcv_wnd()) + 1,
                "beyond the window"
            );
        }
        if self.state == State::Closed {
            assert_eq!(self.next_deadline(), None, "a closed connection waits for nothing");
        }
        self.check_timers();
    }

    /// Whoever waits for something that may never come has a deadline, or is about to send.
    fn check_timers(&self) {
        if self.wants_transmit() || self.state == State::Closed {
            return;
        }
        let Deadlines { resend, ack, idle, pace } = self.deadlines;
        let waiting = self.buffered_to_send() > 0 || (self.mode.fin_queued && !self.mode.fin_acked);
        let resends = resend != Instant::MAX;
        // A window probe whose window has opened since is sent again with what pacing keeps back.
        let comes = resends || pace != Instant::MAX;
        assert!(comes || self.snd_una == self.snd_max, "nobody sends again: {self:?}");
        if self.state.is_synchronized() && self.state != State::TimeWait {
            assert!(!waiting || comes, "stuck: {self:?}");
            let told = self.last_ack_sent == self.rcv_nxt || ack != Instant::MAX;
            assert!(told || self.ack.at_read, "never acknowledged: {self:?}");
        }
        let left = self.state == State::FinWait2 && self.mode.orphan;
        assert!(!left || idle != Instant::MAX, "stays for ever: {self:?}");
    }
}

/// The MSS option for an interface of this MTU: RFC 6691 §2, options are not subtracted.
pub(super) fn offered_mss(tuple: &FourTuple, options: &ConnOptions, mtu: u32) -> u16 {
    let room = mtu.min(MAX_IP_BYTES).saturating_sub(fixed_header_bytes(tuple));
    let wanted = options.max_segment_bytes;
    let mss = u16::try_from(room).unwrap_or(u16::MAX).max(MIN_MSS);
    if wanted > 0 { mss.min(wanted.max(MIN_MSS)) } else { mss }
}

/// The timestamp clock: 1 ms, within RFC 7323 §5.4's 1 ms to 1 s.
pub(super) fn timestamp(now: Instant, offset: u32) -> u32 {
    (now.as_millis() as u32).wrapping_add(offset)
}

/// RFC 9293 §3.7.1 (MUST-15): 536 for IPv4, 1220 for IPv6, without the option.
pub(super) fn default_mss(tuple: &FourTuple) -> u16 {
    if tuple.local.is_ipv4() { 536 } else { 1220 }
}

/// The IP header and the TCP header without options, bytes.
pub(super) fn fixed_header_bytes(tuple: &FourTuple) -> u32 {
    if tuple.local.is_ipv4() { 40 } else { 60 }
}

/// The controller before the MSS is agreed, which nobody asks.
fn no_controller(config: &TcpConfig, options: &ConnOptions, tuple: &FourTuple) -> Controller {
    let mss = u32::from(default_mss(tuple));
    let begin = Begin { mss, cwnd_bytes: initial_window(mss), ..Begin::default() };
    Controller::new(congestion::algorithm(config, options), &config.controllers, &begin)
}

/// An IP packet's length field ends here, whatever the MTU.
const MAX_IP_BYTES: u32 = 65_535;
/// A peer's MSS below this is taken as this: it would cost more headers than data.
pub(super) const MIN_MSS: u16 = 88;
pub(super) const TIMESTAMP_OPTION_BYTES: u32 = 12;
/// Segments acknowledged at once after the handshake or a loss.
pub(super) const QUICK_ACKS: u8 = 16;
const MAX_RCV_WND_SHIFT: u32 = 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hot_half_fits_its_budget() {
        assert!(size_of::<Connection>() <= 384, "{} bytes", size_of::<Connection>());
    }
}
