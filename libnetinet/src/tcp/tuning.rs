//! Decides how much a connection's buffers may hold: twice what the application reads in a round
//! trip, and twice what the congestion window lets out.

use std::time::Duration;

use libnet::Instant;

use super::cc::CongestionControl;
use super::config::{ConnOptions, TcpConfig};
use super::options::Timestamps;
use super::seq::SeqNumber;
use super::tcb::Connection;

/// What a connection's buffers may hold, and what that is learned from.
///
/// ```text
///  began_at          ends_at     data
///     |----- rtt ------|-----------+        read in this time: `best_bytes`, if it is the most yet
///     ^ read_upto                  ^ rcv_nxt - unread
/// ```
#[derive(Debug)]
pub(super) struct Tuning {
    /// Bytes that the receive buffer may hold.
    pub(super) receive_limit: u32,
    /// Bytes that the send buffer may hold.
    pub(super) send_limit: u32,
    /// The receiver's own idea of the round trip, microseconds; 0: none yet.
    pub(super) rtt_micros: u32,
    /// The most that the application has read in one of them, bytes (`tcpi_rcv_space`).
    pub(super) best_bytes: u32,
    read_upto: SeqNumber,
    began_at: Instant,
    ends_at: Instant,
}

/// What a round of reading tells.
#[derive(Debug, PartialEq, Eq)]
struct Round {
    /// Bytes a round trip.
    bytes: u32,
    /// Or it goes on until its rate is known.
    is_over: bool,
}

impl Tuning {
    /// The limits of a connection before it is established.
    pub(super) fn new(config: &TcpConfig, options: &ConnOptions) -> Self {
        let or = |own: u32, default: u32| if own > 0 { own } else { default };
        let own = (options.receive_buffer_bytes, options.send_buffer_bytes);
        Tuning {
            receive_limit: clamp(or(own.0, config.receive_buffer_bytes)),
            send_limit: clamp(or(own.1, config.send_buffer_bytes)),
            rtt_micros: 0,
            best_bytes: 0,
            read_upto: SeqNumber::default(),
            began_at: Instant::ZERO,
            ends_at: Instant::MAX,
        }
    }

    /// Takes over what the application has set; what it has not set stays as it has grown, but has
    /// room for what a reader waits for.
    pub(super) fn set(&mut self, options: &ConnOptions, config: &TcpConfig) {
        let low = options.receive_low_water_bytes.saturating_mul(2);
        let low = low.min(config.receive_buffer_max_bytes);
        self.receive_limit = self.receive_limit.max(low);
        if options.receive_buffer_bytes > 0 {
            self.receive_limit = clamp(options.receive_buffer_bytes);
        }
        if options.send_buffer_bytes > 0 {
            self.send_limit = clamp(options.send_buffer_bytes);
        }
    }

    fn begin_round(&mut self, now: Instant, read_upto: SeqNumber) {
        let rtt = match self.rtt_micros {
            0 => UNKNOWN_RTT,
            micros => Duration::from_micros(micros.into()),
        };
        (self.read_upto, self.began_at, self.ends_at) = (read_upto, now, now + rtt);
    }

    /// Bytes that count of `read`, which took `elapsed`. Where a round trip is short the reader's
    /// own pauses and bursts are longer, and a buffer for all that came in one would not fit a cache:
    /// beyond what costs nothing, only the rate counts, over a time that has room for both.
    fn bytes_of_round(&self, read: u32, elapsed: Duration, low_rtt: Duration) -> Round {
        if self.rtt() >= low_rtt || read <= LOCAL_BYTES / 2 {
            return Round { bytes: read, is_over: true };
        }
        let scaled = u64::from(read) * u64::from(self.rtt_micros) / micros(elapsed).max(1) as u64;
        let is_over = elapsed >= low_rtt;
        let bytes = if is_over { scaled as u32 } else { 0 };
        Round { bytes: bytes.max(LOCAL_BYTES / 2), is_over }
    }

    /// What the buffer has to hold when `bytes` were read in a round trip, more than ever before.
    ///
    /// Twice that: the acknowledgement of these bytes lets go what comes a round trip later, and a
    /// loss takes another one to repair. As much again as the rate has grown, up to the doubling of
    /// slow start, and that for two round trips.
    fn wanted(&self, bytes: u32, mss: u32, low_rtt: Duration) -> u64 {
        let base = 2 * u64::from(bytes) + SPARE_SEGMENTS * u64::from(mss);
        if self.rtt() < low_rtt {
            let part = low_rtt.as_micros().max(1) as u64;
            return base + base * u64::from(self.rtt_micros) / part;
        }
        let grown = u64::from(bytes - self.best_bytes);
        base + 2 * (base * grown / u64::from(self.best_bytes).max(1)).min(base)
    }

    fn rtt(&self) -> Duration {
        Duration::from_micros(self.rtt_micros.into())
    }
}

impl Connection {
    /// The handshake is over: the first round trip begins.
    pub(super) fn begin_tuning(&mut self, now: Instant, config: &TcpConfig) {
        let mss = u32::from(self.mss);
        let first_window = self.tx.cc.cwnd_bytes();
        let supers = u32::from(self.super_bytes).max(first_window);
        let srtt = self.rtt.srtt().unwrap_or_default();
        let (read_upto, told) = (self.rcv_nxt, self.rcv_wnd());
        let fixed = self.cold.options.send_buffer_bytes > 0;
        let tuning = &mut self.cold.tuning;
        tuning.rtt_micros = micros(srtt);
        tuning.best_bytes = told.min(FIRST_SEGMENTS * mss).max(1);
        tuning.begin_round(now, read_upto);
        if !fixed {
            // One super-segment is filled while the other is under way.
            let most = config.send_buffer_max_bytes.max(tuning.send_limit);
            tuning.send_limit = clamp(tuning.send_limit.max(2 * supers).min(most));
        }
    }

    /// Dynamic right-sizing: data in order have come. Within a round trip this is one comparison.
    pub(super) fn tune_receive_buffer(
        &mut self,
        now: Instant,
        config: &TcpConfig,
        timestamps: Option<Timestamps>,
    ) {
        if now >= self.cold.tuning.ends_at {
            self.end_round(now, config, timestamps);
        }
    }

    fn end_round(&mut self, now: Instant, config: &TcpConfig, timestamps: Option<Timestamps>) {
        let read_upto = self.rcv_nxt - self.buffered_to_read();
        let read = read_upto.saturating_since(self.cold.tuning.read_upto);
        if read >= self.cold.tuning.best_bytes / 2 {
            // Little was read: the echo may be as old as the pause.
            self.measure_receiver_rtt(now, config, timestamps);
        }
        let mss = u32::from(self.mss);
        let may_grow = config.receive_buffer_grows
            && self.cold.options.receive_buffer_bytes == 0
            && !self.mode.pressed;
        let low_rtt = config.receive_buffer_low_rtt;
        let tuning = &mut self.cold.tuning;
        let Round { bytes, is_over } =
            tuning.bytes_of_round(read, now.since(tuning.began_at), low_rtt);
        if bytes > tuning.best_bytes {
            let wanted = tuning.wanted(bytes, mss, low_rtt);
            let wanted = wanted.min(config.receive_buffer_max_bytes.into()) as u32;
            if may_grow && wanted > tuning.receive_limit {
                tuning.receive_limit = clamp(wanted);
            }
            tuning.best_bytes = bytes;
        }
        match is_over {
            true => tuning.begin_round(now, read_upto),
            false => tuning.ends_at = tuning.began_at + low_rtt,
        }
    }

    /// What the peer echoes of our timestamps, in milliseconds; below two of them they tell nothing,
    /// and what our own segments have measured counts. A path that got shorter is believed at once,
    /// one that got longer bit by bit: it may be a pause of the peer's.
    /// On a short path they would measure the queue that this window is for.
    fn measure_receiver_rtt(
        &mut self,
        now: Instant,
        config: &TcpConfig,
        timestamps: Option<Timestamps>,
    ) {
        let Some(timestamps) = timestamps.filter(|_| self.mode.timestamps) else { return };
        let sample = self.timestamp(now).wrapping_sub(timestamps.echo);
        let own = self.rtt.srtt().map_or(u32::MAX, micros);
        let is_short = self.is_short(config, Duration::from_millis(sample.into()));
        let known = &mut self.cold.tuning.rtt_micros;
        if sample > MAX_RTT_MS {
            // Not an echo of ours.
            return;
        }
        let sample = match sample {
            _ if is_short => own.min(1_000),
            0..=1 => own.min(1_000),
            ms => ms * 1_000,
        };
        *known = match *known {
            0 => sample,
            rtt if sample <= rtt => sample,
            rtt => rtt + (sample.min(rtt.saturating_mul(2)) - rtt).div_ceil(8),
        };
    }

    /// Its shortest round trip is that of a host next door, and `rtt` is that with a queue.
    fn is_short(&self, config: &TcpConfig, rtt: Duration) -> bool {
        let own = [self.tx.rack.min_rtt(), self.rtt.srtt().unwrap_or_default()];
        let shortest = own.into_iter().filter(|rtt| !rtt.is_zero()).min();
        shortest.is_some_and(|rtt| rtt < config.receive_buffer_low_rtt) && rtt < LONG_RTT
    }

    /// Lets the send buffer hold twice the congestion window, if its writer waits for room: more
    /// than what costs nothing only where all that it held has left, so that it is the buffer that
    /// holds the sender back; and on a short path only as long as that is not for a longer queue.
    /// What is SACKed waits in the buffer for a hole to be filled and is in no window: were it
    /// counted, a recovery would stop sending, and make up for it in a burst.
    pub(super) fn grow_send_buffer(&mut self, config: &TcpConfig) {
        let cwnd = self.tx.cc.cwnd_bytes();
        let useful = match self.rtt.srtt() {
            Some(srtt) if self.is_short(config, srtt) => {
                // The variation: what is queued grows faster than the mean follows.
                useful_bytes(
                    cwnd.min(self.send_limit()),
                    srtt + self.rtt.rttvar(),
                    self.tx.rack.min_rtt(),
                )
            }
            _ => u32::MAX,
        };
        let wanted = cwnd.saturating_mul(2).saturating_add(self.tx.board.sacked_bytes());
        let wanted = wanted.min(config.send_buffer_max_bytes).min(useful);
        if self.cold.options.send_buffer_bytes > 0 || wanted <= self.send_limit() {
            return;
        }
        let unsent = (self.snd_una + self.buffered_to_send()).saturating_since(self.snd_nxt);
        let holds_back = unsent < u32::from(self.super_bytes.max(self.mss));
        let wanted = if holds_back { wanted } else { wanted.min(LOCAL_BYTES) };
        let tuning = &mut self.cold.tuning;
        tuning.send_limit = tuning.send_limit.max(clamp(wanted));
    }
}

/// What a send buffer is good for. What is under way, `flight` bytes, takes `rtt` to cross the path,
/// which without its queue takes `min_rtt`: in the pipe is as much of it as their ratio says. On a
/// short path, where the peer reads as fast as its copies are, a queue beyond a few times that is
/// memory that no cache has.
fn useful_bytes(flight: u32, rtt: Duration, min_rtt: Duration) -> u32 {
    let pipe = u64::from(flight) * u64::from(micros(min_rtt)) / u64::from(micros(rtt)).max(1);
    u32::try_from(QUEUE_PIPES * pipe).unwrap_or(u32::MAX).max(LOCAL_BYTES)
}

fn clamp(limit: u32) -> u32 {
    limit.clamp(MIN_BUFFER_BYTES, MAX_BUFFER_BYTES)
}

fn micros(rtt: Duration) -> u32 {
    u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX).max(u32::from(!rtt.is_zero()))
}

const MIN_BUFFER_BYTES: u32 = 2_304;
const MAX_BUFFER_BYTES: u32 = 1 << 30;
/// What a buffer may hold on the shortest of paths: it fits a cache.
const LOCAL_BYTES: u32 = 1 << 20;
/// A path that once was short and has this round trip now has another way, not a longer queue.
const LONG_RTT: Duration = Duration::from_millis(32);
/// How many times what is in the pipe the send buffer of a short path may hold: the queue beside a
/// flow of another's may be as long.
const QUEUE_PIPES: u64 = 4;
/// A sender's first window. Source: RFC 6928 §2.
const FIRST_SEGMENTS: u32 = 10;
/// What the window has beside twice the bytes of a round trip, as Linux has it.
const SPARE_SEGMENTS: u64 = 16;
/// A round trip while none is known.
const UNKNOWN_RTT: Duration = Duration::from_millis(200);
/// Longer echoes are none.
const MAX_RTT_MS: u32 = 120_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn tuning(rtt_micros: u32, best_bytes: u32) -> Tuning {
        let mut tuning = Tuning::new(&TcpConfig::default(), &ConnOptions::new());
        (tuning.rtt_micros, tuning.best_bytes) = (rtt_micros, best_bytes);
        tuning
    }

    const LOW: Duration = Duration::from_millis(1);

    #[test]
    fn a_rate_that_doubles_gets_six_times_what_was_read() {
        let wanted = tuning(50_000, 100_000).wanted(200_000, 1_000, LOW);
        assert_eq!(wanted, 3 * (2 * 200_000 + 16_000));
        // One that grows by more than slow start does gets no more for it.
        assert_eq!(tuning(50_000, 1).wanted(200_000, 1_000, LOW), wanted);
        // One that stands gets twice what was read, and a little.
        let steady = tuning(50_000, 199_999).wanted(200_000, 1_000, LOW);
        assert!((416_000..417_000).contains(&steady), "{steady}");
    }

    #[test]
    fn a_short_paths_send_buffer_does_not_grow_for_its_queue() {
        let us = Duration::from_micros;
        // A pipe of 50,000 bytes, and 20 times that in a queue: what a cache holds.
        assert_eq!(useful_bytes(1_000_000, us(400), us(20)), LOCAL_BYTES);
        // A pipe of 1 MB may have a queue.
        assert_eq!(useful_bytes(4_000_000, us(2_000), us(500)), 4_000_000);
        assert_eq!(useful_bytes(2_000_000, us(500), us(500)), 8_000_000);
    }

    #[test]
    fn a_reader_that_paused_on_a_short_path_counts_by_its_rate() {
        let tuning = tuning(200, 100_000);
        let round = |read, micros| {
            let Round { bytes, is_over } =
                tuning.bytes_of_round(read, Duration::from_micros(micros), LOW);
            (bytes, is_over)
        };
        let (read, cached) = (8 << 20, LOCAL_BYTES / 2);
        // What is read in a burst tells no rate yet.
        assert_eq!(round(read, 300), (cached, false));
        assert_eq!(round(read, 1_000), (read / 5, true));
        assert_eq!(round(read, 1_000_000), (cached, true));
        assert_eq!(round(400_000, 300), (400_000, true));
        assert_eq!(round(400_000, 1_000_000), (400_000, true));
    }
}
