//! What a connection tells of itself (`TCP_INFO`, `ss`).

use std::time::Duration;

use libnet::Instant;

use super::cc::{CongestionAlgorithm, CongestionControl};
use super::ecn::{AccurateInfo, EcnUse};
use super::error::ConnError;
use super::recovery::Phase;
use super::segment::FourTuple;
use super::state::State;
use super::tcb::Connection;

/// What a connection waits for with a deadline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum TimerKind {
    /// To send again what was not acknowledged.
    Resend,
    /// To ask whether a closed window has opened.
    Persist,
    /// To end, or to ask an idle peer whether it is still there.
    Idle,
}

/// A snapshot of a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct TcpInfo {
    /// Both ends.
    pub tuple: FourTuple,
    /// State.
    pub state: State,
    /// Smoothed round-trip time; `None` before the first sample.
    pub srtt: Option<Duration>,
    /// Its deviation.
    pub rttvar: Duration,
    /// Retransmission time-out, backed off.
    pub rto: Duration,
    /// Retransmissions or probes without an answer so far.
    pub retries: u8,
    /// Congestion window, bytes.
    pub cwnd_bytes: u32,
    /// Which congestion control.
    pub congestion_control: CongestionAlgorithm,
    /// Slow-start threshold, bytes.
    pub ssthresh_bytes: u32,
    /// Send window, bytes.
    pub snd_wnd_bytes: u32,
    /// Receive window that the peer was told, bytes.
    pub rcv_wnd_bytes: u32,
    /// Data bytes of a segment.
    pub snd_mss_bytes: u16,
    /// Data bytes of a super-segment at most; 0: the path takes none.
    pub snd_super_bytes: u16,
    /// The path's MTU as far as it is known, bytes.
    pub path_mtu_bytes: u32,
    /// Sent and not acknowledged, bytes.
    pub in_flight_bytes: u32,
    /// In the send buffer, those in flight among them, bytes.
    pub send_queue_bytes: u32,
    /// In the receive buffer, bytes.
    pub receive_queue_bytes: u32,
    /// Waiting for a hole to be filled, bytes.
    pub reassembly_bytes: usize,
    /// What the receive buffer may hold as it has grown, bytes.
    pub receive_limit_bytes: u32,
    /// What the send buffer may hold as it has grown, bytes.
    pub send_limit_bytes: u32,
    /// The round trip as the receiver knows it, which its buffer grows by; zero: not yet
    /// (`tcpi_rcv_rtt`).
    pub rcv_rtt: Duration,
    /// The most that the application has read in such a round trip, bytes (`tcpi_rcv_space`).
    pub rcv_space_bytes: u32,
    /// How long there was something to send or not acknowledged (`tcpi_busy_time`).
    pub busy_time: Duration,
    /// How long of it the peer's window held back what there was to send (`tcpi_rwnd_limited`).
    pub rwnd_limited: Duration,
    /// How long of it all that the send buffer held had left, and its writer waited for room
    /// (`tcpi_sndbuf_limited`).
    pub sndbuf_limited: Duration,
    /// Bytes in the send buffer that were never sent (`tcpi_notsent_bytes`).
    pub notsent_bytes: u32,
    /// Timestamps are in use.
    pub timestamps: bool,
    /// Both sides take selective acknowledgements.
    pub sack: bool,
    /// Which form of ECN is in use.
    pub ecn: EcnUse,
    /// What was counted, where the form is [`EcnUse::Accurate`].
    pub accurate: Option<AccurateInfo>,
    /// The network has carried marks, or what may be marked, to us (`TCPI_OPT_ECN_SEEN`).
    pub ecn_seen: bool,
    /// Fast recovery is on.
    pub in_recovery: bool,
    /// Bytes that the peer has beyond a hole, as it says (`tcpi_sacked`, in segments there).
    pub sacked_bytes: u32,
    /// Bytes taken as lost (`tcpi_lost`, in segments there).
    pub lost_bytes: u32,
    /// Bytes sent again and not acknowledged yet (`tcpi_retrans`, in segments there).
    pub resent_bytes: u32,
    /// Bytes likely to be in the network.
    pub pipe_bytes: u32,
    /// Records of what is under way.
    pub send_records: usize,
    /// The path has put segments out of order (RACK.reordering_seen).
    pub reordering_seen: bool,
    /// The shortest round trip of the last minutes; zero before the first.
    pub min_rtt: Duration,
    /// Bytes delivered to the peer, as it says (`tcpi_delivered`, in segments there).
    pub delivered_bytes: u64,
    /// The last sample of the delivery rate, bytes per second; 0: none yet.
    pub delivery_rate: u64,
    /// Bytes of data per second at which it leaves at most; 0: it is not paced.
    pub pacing_rate: u64,
    /// That sample was limited by the application.
    pub delivery_rate_app_limited: bool,
    /// Urgent bytes that have not been received yet or not been passed: up to the mark.
    pub urgent_bytes: u32,
    /// Data bytes received in order.
    pub bytes_in: u64,
    /// Data bytes sent, resent ones among them.
    pub bytes_out: u64,
    /// Segments received.
    pub segments_in: u64,
    /// Segments sent.
    pub segments_out: u64,
    /// Segments sent again.
    pub retransmits: u64,
    /// What happens next unless the peer does something, and when.
    pub timer: Option<(TimerKind, Instant)>,
    /// An ICMP error that may pass.
    pub soft_error: Option<ConnError>,
}

impl Connection {
    /// A snapshot.
    pub fn info(&self, now: Instant) -> TcpInfo {
        let times = self.cold.chrono.times(now);
        TcpInfo {
            tuple: self.tuple,
            state: self.state,
            srtt: self.rtt.srtt(),
            rttvar: self.rtt.rttvar(),
            rto: self.rtt.rto(),
            retries: self.retries,
            cwnd_bytes: self.tx.cc.cwnd_bytes(),
            congestion_control: self.tx.cc.algorithm(),
            ssthresh_bytes: self.tx.cc.ssthresh_bytes(),
            snd_wnd_bytes: self.snd_wnd,
            rcv_wnd_bytes: self.rcv_wnd(),
            snd_mss_bytes: self.mss,
            snd_super_bytes: self.super_bytes,
            path_mtu_bytes: self.path_mtu,
            in_flight_bytes: self.snd_max.saturating_since(self.snd_una),
            send_queue_bytes: self.buffered_to_send(),
            receive_queue_bytes: self.buffered_to_read(),
            reassembly_bytes: self.reassembly.as_ref().map_or(0, |r| r.bytes()),
            receive_limit_bytes: self.receive_limit(),
            send_limit_bytes: self.send_limit(),
            rcv_rtt: Duration::from_micros(self.cold.tuning.rtt_micros.into()),
            rcv_space_bytes: self.cold.tuning.best_bytes,
            busy_time: Duration::from_nanos(times.busy_nanos),
            rwnd_limited: Duration::from_nanos(times.receive_window_nanos),
            sndbuf_limited: Duration::from_nanos(times.send_buffer_nanos),
            notsent_bytes: self.notsent_bytes(),
            timestamps: self.mode.timestamps,
            sack: self.mode.sack,
            ecn: self.ecn_in_use(),
            accurate: self.accurate_info(),
            ecn_seen: self.ecn_seen(),
            in_recovery: self.recovery.in_recovery() || self.tx.phase == Phase::Recovery,
            sacked_bytes: self.tx.board.sacked_bytes(),
            lost_bytes: self.tx.board.lost_bytes(),
            resent_bytes: self.tx.board.resent_bytes(),
            pipe_bytes: self.pipe(),
            send_records: self.tx.board.len(),
            reordering_seen: self.tx.rack.reordering_seen(),
            min_rtt: self.tx.rack.min_rtt(),
            delivered_bytes: self.tx.rate.delivered(),
            delivery_rate: self.tx.rate.last().bytes_per_second(),
            pacing_rate: self.tx.pacer.rate().unwrap_or(0),
            delivery_rate_app_limited: self.tx.rate.last().app_limited,
            urgent_bytes: self.urgent_unread(),
            bytes_in: self.cold.bytes_in,
            bytes_out: self.cold.bytes_out,
            segments_in: self.cold.segments_in,
            segments_out: self.cold.segments_out,
            retransmits: self.cold.retransmits,
            timer: self.next_timer(),
            soft_error: self.cold.soft_error,
        }
    }

    fn next_timer(&self) -> Option<(TimerKind, Instant)> {
        let resend = if self.mode.persist { TimerKind::Persist } else { TimerKind::Resend };
        let both = [(resend, self.deadlines.resend), (TimerKind::Idle, self.deadlines.idle)];
        both.into_iter().filter(|(_, at)| *at != Instant::MAX).min_by_key(|(_, at)| *at)
    }

    /// The state.
    pub fn state(&self) -> State {
        self.state
    }

    /// Both ends.
    pub fn tuple(&self) -> &FourTuple {
        &self.tuple
    }

    /// What its events carry.
    pub fn token(&self) -> u64 {
        self.cold.token
    }
}
