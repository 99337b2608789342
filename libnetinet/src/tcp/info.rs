//! What a connection tells of itself (`TCP_INFO`, `ss`).

use std::time::Duration;

use libnet::Instant;
use libnet::socket::CaState;

use super::cc::{CongestionAlgorithm, CongestionControl};
use super::ecn::{AccurateInfo, EcnUse};
use super::error::ConnError;
use super::recovery::Phase;
use super::segment::FourTuple;
use super::state::State;
use super::tcb::{Connection, MIN_MSS, TIMESTAMP_OPTION_BYTES};

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

/// What of a connection is counted to be told alone.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) bytes_resent: u64,
    pub(super) data_segments_in: u64,
    pub(super) data_segments_out: u64,
    pub(super) out_of_order_in: u32,
    pub(super) dsacks_in: u32,
    pub(super) timeouts: u16,
    /// Data bytes of the largest segment that came.
    pub(super) rcv_mss: u16,
    /// Data that went with our SYN arrived with it.
    pub(super) syn_data: bool,
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
    /// How often the time-out is doubled.
    pub backoff: u8,
    /// What the sender is about.
    pub ca_state: CaState,
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
    /// The peer's window shift.
    pub snd_shift: u8,
    /// Our window shift.
    pub rcv_shift: u8,
    /// Data bytes of a segment that the peer was told, options paid.
    pub advertised_mss_bytes: u16,
    /// Data bytes of the largest segment that came.
    pub rcv_mss_bytes: u16,
    /// Both sides scale their windows.
    pub window_scaling: bool,
    /// Data that went with our SYN arrived with it.
    pub syn_data: bool,
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
    /// How often it was seen to.
    pub reorderings: u16,
    /// By how many segments one may be overtaken before it counts as lost, until the path is known to
    /// reorder.
    pub reordering_segments: u8,
    /// The shortest round trip of the last minutes; zero before the first.
    pub min_rtt: Duration,
    /// Bytes delivered to the peer, as it says (`tcpi_delivered`, in segments there).
    pub delivered_bytes: u64,
    /// The last sample of the delivery rate, bytes per second; 0: none yet.
    pub delivery_rate: u64,
    /// Bytes of data per second at which it leaves at most; 0: it is not paced.
    pub pacing_rate: u64,
    /// The bound of that rate that the application has set; 0: none.
    pub max_pacing_rate: u64,
    /// That sample was limited by the application.
    pub delivery_rate_app_limited: bool,
    /// Urgent bytes that have not been received yet or not been passed: up to the mark.
    pub urgent_bytes: u32,
    /// Data bytes received in order.
    pub bytes_in: u64,
    /// Data bytes sent, resent ones among them.
    pub bytes_out: u64,
    /// Data bytes that were sent again.
    pub bytes_resent: u64,
    /// Data bytes that the peer has acknowledged.
    pub bytes_acked: u64,
    /// Segments with data received, a super-segment as so many.
    pub data_segments_in: u64,
    /// Segments with data sent, a super-segment as so many.
    pub data_segments_out: u64,
    /// Segments that came before others.
    pub out_of_order_in: u32,
    /// Duplicates that the peer told of.
    pub dsacks_in: u32,
    /// Retransmission time-outs, ever.
    pub timeouts: u16,
    /// How long an acknowledgement waits; zero: no data came yet.
    pub ack_delay: Duration,
    /// How long ago data were sent, or the connection begun.
    pub since_data_sent: Duration,
    /// How long ago data came, or the connection was begun.
    pub since_data_received: Duration,
    /// How long ago the peer was heard.
    pub since_heard: Duration,
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
        let counts = &self.cold.counts;
        TcpInfo {
            tuple: self.tuple,
            state: self.state,
            srtt: self.rtt.srtt(),
            rttvar: self.rtt.rttvar(),
            rto: self.rtt.rto(),
            retries: self.retries,
            backoff: self.rtt.backoff(),
            ca_state: self.ca_state(),
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
            snd_shift: self.snd_shift,
            rcv_shift: self.rcv_shift,
            advertised_mss_bytes: self.advertised_mss(),
            rcv_mss_bytes: counts.rcv_mss.max(MIN_MSS),
            window_scaling: self.mode.scaling && (self.snd_shift > 0 || self.rcv_shift > 0),
            syn_data: counts.syn_data,
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
            reorderings: self.tx.rack.reorderings(),
            reordering_segments: self.recovery.threshold(),
            min_rtt: self.tx.rack.min_rtt(),
            delivered_bytes: self.tx.rate.delivered(),
            delivery_rate: self.tx.rate.last().bytes_per_second(),
            pacing_rate: self.tx.pacer.rate().unwrap_or(0),
            max_pacing_rate: self.cold.options.max_pacing_rate,
            delivery_rate_app_limited: self.tx.rate.last().app_limited,
            urgent_bytes: self.urgent_unread(),
            bytes_in: self.cold.bytes_in,
            bytes_out: self.cold.bytes_out,
            bytes_resent: counts.bytes_resent,
            bytes_acked: self.bytes_acked(),
            data_segments_in: counts.data_segments_in,
            data_segments_out: counts.data_segments_out,
            out_of_order_in: counts.out_of_order_in,
            dsacks_in: counts.dsacks_in,
            timeouts: counts.timeouts,
            ack_delay: Duration::from_millis(self.ack.delay_ms.into()),
            since_data_sent: now.since(self.tx.data_sent_at),
            since_data_received: self.since_data_received(now),
            since_heard: now.since(self.last_heard_at),
            segments_in: self.cold.segments_in,
            segments_out: self.cold.segments_out,
            retransmits: self.cold.retransmits,
            timer: self.next_timer(),
            soft_error: self.cold.soft_error,
        }
    }

    fn ca_state(&self) -> CaState {
        match self.tx.phase {
            Phase::Loss(_) => CaState::Loss,
            Phase::Recovery => CaState::Recovery,
            Phase::Open if self.recovery.in_recovery() => CaState::Recovery,
            Phase::Open if self.is_reducing() => CaState::Cwr,
            Phase::Open if self.tx.board.sacked_bytes() > 0 => CaState::Disorder,
            Phase::Open => CaState::Open,
        }
    }

    fn advertised_mss(&self) -> u16 {
        let timestamps = if self.mode.timestamps { TIMESTAMP_OPTION_BYTES } else { 0 };
        self.cold.local_mss.saturating_sub(timestamps as u16)
    }

    /// Data bytes that were sent once, but those in flight.
    fn bytes_acked(&self) -> u64 {
        let once = self.cold.bytes_out.saturating_sub(self.cold.counts.bytes_resent);
        let in_flight = self.snd_max.saturating_since(self.snd_una).min(self.buffered_to_send());
        once.saturating_sub(in_flight.into())
    }

    fn since_data_received(&self, now: Instant) -> Duration {
        if self.ack.delay_ms == 0 {
            return now.since(self.cold.created_at);
        }
        Duration::from_millis((now.as_millis() as u32).wrapping_sub(self.ack.data_at_ms).into())
    }

    /// A segment with data came, or what was joined of several.
    pub(super) fn count_data_in(&mut self, bytes: u32) {
        let segments = self.segments_of(bytes);
        let most = self.advertised_mss();
        let counts = &mut self.cold.counts;
        counts.data_segments_in += segments;
        if bytes > counts.rcv_mss.into() {
            counts.rcv_mss = most.min(u16::try_from(bytes).unwrap_or(u16::MAX));
        }
        self.cold.segments_in += segments - 1;
    }

    /// A segment with data leaves, or one that will be cut into several.
    pub(super) fn count_data_out(&mut self, bytes: u32) {
        let segments = self.segments_of(bytes);
        self.cold.counts.data_segments_out += segments;
        self.cold.segments_out += segments - 1;
    }

    /// Segments of so many data bytes, one at least.
    fn segments_of(&self, bytes: u32) -> u64 {
        let mss = u32::from(self.mss);
        if bytes <= mss { 1 } else { bytes.div_ceil(mss).into() }
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
