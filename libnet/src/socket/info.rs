//! What a connection tells of itself: Linux's `struct tcp_info`.

use std::fmt;
use std::time::Duration;

/// What is known of a TCP connection (`TCP_INFO`), as Linux fills it; the name there, less its
/// `tcpi_`, is in parentheses. Segments are such as the wire carries, whatever a super-segment holds.
/// Source: `tcp(7)`, `linux/tcp.h`.
///
/// What a domain does not know is zero.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct TcpInfo {
    /// The connection's state (`state`).
    pub state: TcpState,
    /// What its sender is about (`ca_state`).
    pub ca_state: CaState,
    /// Retransmission time-outs since the peer acknowledged something new (`retransmits`).
    pub retransmits: u8,
    /// Probes of a shut window or of a silent peer without an answer (`probes`).
    pub probes: u8,
    /// How often the time-out is doubled (`backoff`).
    pub backoff: u8,
    /// What both sides have agreed on (`options`).
    pub options: TcpAgreed,
    /// The peer's window shift, 0..=14 (`snd_wscale`).
    pub snd_wscale: u8,
    /// Our window shift, 0..=14 (`rcv_wscale`).
    pub rcv_wscale: u8,
    /// The delivery rate was limited by what the application sent (`delivery_rate_app_limited`).
    pub app_limited: bool,
    /// Retransmission time-out, backed off (`rto`).
    pub rto: Duration,
    /// How long an acknowledgement waits for company (`ato`).
    pub ato: Duration,
    /// Data bytes of a segment that is sent (`snd_mss`).
    pub snd_mss_bytes: u32,
    /// Data bytes of a segment that is received, as far as is known (`rcv_mss`).
    pub rcv_mss_bytes: u32,
    /// Segments under way; of a listener, connections that wait to be accepted (`unacked`).
    pub unacked_segments: u32,
    /// Of these, segments that the peer has beyond a hole; of a listener, how many may wait
    /// (`sacked`).
    pub sacked_segments: u32,
    /// Segments taken as lost (`lost`).
    pub lost_segments: u32,
    /// Segments sent again that are under way (`retrans`).
    pub retrans_segments: u32,
    /// How long ago data were sent (`last_data_sent`).
    pub last_data_sent: Duration,
    /// How long ago data came (`last_data_recv`).
    pub last_data_recv: Duration,
    /// How long ago an acknowledgement came (`last_ack_recv`).
    pub last_ack_recv: Duration,
    /// The path's MTU, bytes (`pmtu`).
    pub pmtu_bytes: u32,
    /// The largest window that the peer may be told now, bytes (`rcv_ssthresh`).
    pub rcv_ssthresh_bytes: u32,
    /// Smoothed round trip; zero: none was measured (`rtt`).
    pub rtt: Duration,
    /// Its deviation (`rttvar`).
    pub rttvar: Duration,
    /// Where slow start ends, segments; [`i32::MAX`]: nowhere yet (`snd_ssthresh`).
    pub snd_ssthresh_segments: u32,
    /// Congestion window, segments (`snd_cwnd`).
    pub snd_cwnd_segments: u32,
    /// Data bytes of a segment that the peer was told (`advmss`).
    pub advmss_bytes: u32,
    /// By how many segments one may be overtaken before it counts as lost (`reordering`).
    pub reordering_segments: u32,
    /// The round trip as the receiver measures it; zero: not yet (`rcv_rtt`).
    pub rcv_rtt: Duration,
    /// The most that the application has read in such a round trip, bytes (`rcv_space`).
    pub rcv_space_bytes: u32,
    /// Segments sent again, ever (`total_retrans`).
    pub total_retrans_segments: u32,
    /// The pace of sending, bytes per second; [`u64::MAX`]: it is not paced (`pacing_rate`).
    pub pacing_rate: u64,
    /// The bound of it, bytes per second; [`u64::MAX`]: none (`max_pacing_rate`).
    pub max_pacing_rate: u64,
    /// Data bytes that the peer has acknowledged (`bytes_acked`).
    pub bytes_acked: u64,
    /// Data bytes received in order (`bytes_received`).
    pub bytes_received: u64,
    /// Segments sent (`segs_out`).
    pub segs_out: u32,
    /// Segments received (`segs_in`).
    pub segs_in: u32,
    /// Data bytes that wait to be sent for the first time (`notsent_bytes`).
    pub notsent_bytes: u32,
    /// The shortest round trip of the last minutes; zero: none was measured (`min_rtt`).
    pub min_rtt: Duration,
    /// Segments with data received (`data_segs_in`).
    pub data_segs_in: u32,
    /// Segments with data sent (`data_segs_out`).
    pub data_segs_out: u32,
    /// The last sample of what the path delivers, bytes per second; 0: none yet (`delivery_rate`).
    pub delivery_rate: u64,
    /// How long there were data to send or to be acknowledged (`busy_time`).
    pub busy_time: Duration,
    /// Of this, how long the peer's window held them back (`rwnd_limited`).
    pub rwnd_limited: Duration,
    /// Of this, how long the writer waited for room in a send buffer that had sent all (`sndbuf_limited`).
    pub sndbuf_limited: Duration,
    /// Segments that the peer has, the SYN and those beyond a hole among them (`delivered`).
    pub delivered_segments: u32,
    /// Of these, segments that came marked, as it says (`delivered_ce`).
    pub delivered_ce_segments: u32,
    /// Data bytes sent, those sent again among them (`bytes_sent`).
    pub bytes_sent: u64,
    /// Data bytes sent again (`bytes_retrans`).
    pub bytes_retrans: u64,
    /// Duplicates that the peer told of (`dsack_dups`).
    pub dsack_dups: u32,
    /// How often it was seen that the path puts segments out of order (`reord_seen`).
    pub reord_seen: u32,
    /// Segments that came before others (`rcv_ooopack`).
    pub rcv_ooopack: u32,
    /// The window that the peer has told, bytes (`snd_wnd`).
    pub snd_wnd_bytes: u32,
    /// The window that the peer was told, bytes (`rcv_wnd`).
    pub rcv_wnd_bytes: u32,
    /// Retransmission time-outs, ever (`total_rto`).
    pub total_rto: u16,
}

/// A connection's state, by Linux's numbers (`linux/tcp_states.h`). Source: RFC 9293 §3.3.2.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[expect(missing_docs, reason = "each is the state of its name")]
#[non_exhaustive]
pub enum TcpState {
    Established = 1,
    SynSent = 2,
    SynReceived = 3,
    FinWait1 = 4,
    FinWait2 = 5,
    TimeWait = 6,
    #[default]
    Closed = 7,
    CloseWait = 8,
    LastAck = 9,
    Listen = 10,
    Closing = 11,
}

impl TcpState {
    const ALL: [TcpState; 11] = [
        TcpState::Established,
        TcpState::SynSent,
        TcpState::SynReceived,
        TcpState::FinWait1,
        TcpState::FinWait2,
        TcpState::TimeWait,
        TcpState::Closed,
        TcpState::CloseWait,
        TcpState::LastAck,
        TcpState::Listen,
        TcpState::Closing,
    ];
}

/// What a sender is about, by Linux's numbers (`TCP_CA_*`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum CaState {
    /// Nothing is known to be lost or out of order.
    #[default]
    Open = 0,
    /// Something was overtaken; it may be lost.
    Disorder = 1,
    /// The window comes down in answer to a mark of congestion.
    Cwr = 2,
    /// Losses were found, and acknowledgements still come.
    Recovery = 3,
    /// A time-out showed them.
    Loss = 4,
}

impl CaState {
    const ALL: [CaState; 5] =
        [CaState::Open, CaState::Disorder, CaState::Cwr, CaState::Recovery, CaState::Loss];
}

/// What both sides of a connection have agreed on, as Linux's bits (`TCPI_OPT_*`).
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct TcpAgreed(pub u8);

impl TcpAgreed {
    /// Timestamps (RFC 7323 §3).
    pub const TIMESTAMPS: TcpAgreed = TcpAgreed(1);
    /// Selective acknowledgements (RFC 2018).
    pub const SACK: TcpAgreed = TcpAgreed(2);
    /// Window scaling (RFC 7323 §2).
    pub const WSCALE: TcpAgreed = TcpAgreed(4);
    /// Explicit congestion notification (RFC 3168).
    pub const ECN: TcpAgreed = TcpAgreed(8);
    /// The network has carried marks, or what may be marked, to us.
    pub const ECN_SEEN: TcpAgreed = TcpAgreed(16);
    /// Data went with the SYN, ours or the peer's, and were taken (RFC 7413).
    pub const SYN_DATA: TcpAgreed = TcpAgreed(32);

    const NAMES: [(TcpAgreed, &'static str); 6] = [
        (TcpAgreed::TIMESTAMPS, "timestamps"),
        (TcpAgreed::SACK, "sack"),
        (TcpAgreed::WSCALE, "wscale"),
        (TcpAgreed::ECN, "ecn"),
        (TcpAgreed::ECN_SEEN, "ecn_seen"),
        (TcpAgreed::SYN_DATA, "syn_data"),
    ];

    /// Is all of `what` among it?
    pub fn has(self, what: TcpAgreed) -> bool {
        self.0 & what.0 == what.0
    }

    /// With `what`, or without it.
    #[must_use]
    pub fn with(self, what: TcpAgreed, agreed: bool) -> Self {
        if agreed { TcpAgreed(self.0 | what.0) } else { TcpAgreed(self.0 & !what.0) }
    }
}

impl fmt::Debug for TcpAgreed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = TcpAgreed::NAMES.iter().filter(|(bit, _)| self.has(*bit));
        f.debug_set().entries(named.map(|(_, name)| name)).finish()
    }
}

impl TcpInfo {
    /// Reads Linux's `struct tcp_info`, in this machine's byte order; what an older kernel does not
    /// tell is zero, what a newer one adds is passed over.
    pub fn from_linux(bytes: &[u8]) -> Self {
        let bytes = Structure(bytes);
        let mut info = TcpInfo::default();
        info.read_words(&bytes);
        info.read_counts(&bytes);
        info
    }

    /// What is there since Linux 2.6.
    fn read_words(&mut self, bytes: &Structure<'_>) {
        let numbered = |at: usize| usize::from(bytes.u8(at));
        self.state = TcpState::ALL.get(numbered(0).wrapping_sub(1)).copied().unwrap_or_default();
        self.ca_state = CaState::ALL.get(numbered(1)).copied().unwrap_or_default();
        (self.retransmits, self.probes, self.backoff) = (bytes.u8(2), bytes.u8(3), bytes.u8(4));
        self.options = TcpAgreed(bytes.u8(5));
        let (first, second) = bytes.bit_fields(6, 4);
        (self.snd_wscale, self.rcv_wscale) = (first, second);
        self.app_limited = bytes.bit_fields(7, 1).0 != 0;
        (self.rto, self.ato) = (bytes.micros(8), bytes.micros(12));
        (self.snd_mss_bytes, self.rcv_mss_bytes) = (bytes.u32(16), bytes.u32(20));
        (self.unacked_segments, self.sacked_segments) = (bytes.u32(24), bytes.u32(28));
        (self.lost_segments, self.retrans_segments) = (bytes.u32(32), bytes.u32(36));
        let millis = |at| Duration::from_millis(bytes.u32(at).into());
        (self.last_data_sent, self.last_data_recv) = (millis(44), millis(52));
        self.last_ack_recv = millis(56);
        (self.pmtu_bytes, self.rcv_ssthresh_bytes) = (bytes.u32(60), bytes.u32(64));
        (self.rtt, self.rttvar) = (bytes.micros(68), bytes.micros(72));
        (self.snd_ssthresh_segments, self.snd_cwnd_segments) = (bytes.u32(76), bytes.u32(80));
        (self.advmss_bytes, self.reordering_segments) = (bytes.u32(84), bytes.u32(88));
        (self.rcv_rtt, self.rcv_space_bytes) = (bytes.micros(92), bytes.u32(96));
        self.total_retrans_segments = bytes.u32(100);
    }

    /// What was added from Linux 3.15 on.
    fn read_counts(&mut self, bytes: &Structure<'_>) {
        (self.pacing_rate, self.max_pacing_rate) = (bytes.u64(104), bytes.u64(112));
        (self.bytes_acked, self.bytes_received) = (bytes.u64(120), bytes.u64(128));
        (self.segs_out, self.segs_in) = (bytes.u32(136), bytes.u32(140));
        (self.notsent_bytes, self.min_rtt) = (bytes.u32(144), bytes.micros(148));
        (self.data_segs_in, self.data_segs_out) = (bytes.u32(152), bytes.u32(156));
        self.delivery_rate = bytes.u64(160);
        let micros = |at| Duration::from_micros(bytes.u64(at));
        (self.busy_time, self.rwnd_limited) = (micros(168), micros(176));
        self.sndbuf_limited = micros(184);
        (self.delivered_segments, self.delivered_ce_segments) = (bytes.u32(192), bytes.u32(196));
        (self.bytes_sent, self.bytes_retrans) = (bytes.u64(200), bytes.u64(208));
        (self.dsack_dups, self.reord_seen) = (bytes.u32(216), bytes.u32(220));
        self.rcv_ooopack = bytes.u32(224);
        (self.snd_wnd_bytes, self.rcv_wnd_bytes) = (bytes.u32(228), bytes.u32(232));
        self.total_rto = bytes.u16(240);
    }
}

impl TcpInfo {
    /// Bytes of Linux's `struct tcp_info` as [`to_linux`](Self::to_linux) writes it.
    pub const LINUX_BYTES: usize = 248;

    /// Writes Linux's `struct tcp_info`, in this machine's byte order; what is not known is zero.
    pub fn to_linux(&self) -> [u8; Self::LINUX_BYTES] {
        let mut bytes = Writer([0; Self::LINUX_BYTES]);
        self.write_words(&mut bytes);
        self.write_counts(&mut bytes);
        bytes.0
    }

    fn write_words(&self, bytes: &mut Writer) {
        let scales = bit_fields((self.snd_wscale, self.rcv_wscale), 4);
        let limited = bit_fields((self.app_limited.into(), 0), 1);
        let state = [self.state as u8, self.ca_state as u8, self.retransmits, self.probes];
        bytes.put(0, state);
        bytes.put(4, [self.backoff, self.options.0, scales, limited]);
        let millis = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        bytes.words(8, &[micros(self.rto), micros(self.ato), self.snd_mss_bytes]);
        bytes.words(20, &[self.rcv_mss_bytes, self.unacked_segments, self.sacked_segments]);
        bytes.words(32, &[self.lost_segments, self.retrans_segments]);
        bytes.words(44, &[millis(self.last_data_sent)]);
        bytes.words(52, &[millis(self.last_data_recv), millis(self.last_ack_recv)]);
        bytes.words(60, &[self.pmtu_bytes, self.rcv_ssthresh_bytes]);
        bytes.words(68, &[micros(self.rtt), micros(self.rttvar), self.snd_ssthresh_segments]);
        bytes.words(80, &[self.snd_cwnd_segments, self.advmss_bytes, self.reordering_segments]);
        bytes.words(92, &[micros(self.rcv_rtt), self.rcv_space_bytes]);
        bytes.words(100, &[self.total_retrans_segments]);
    }

    fn write_counts(&self, bytes: &mut Writer) {
        bytes.longs(104, &[self.pacing_rate, self.max_pacing_rate]);
        bytes.longs(120, &[self.bytes_acked, self.bytes_received]);
        bytes.words(136, &[self.segs_out, self.segs_in, self.notsent_bytes]);
        bytes.words(148, &[micros(self.min_rtt), self.data_segs_in, self.data_segs_out]);
        let long = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        bytes.longs(160, &[self.delivery_rate, long(self.busy_time), long(self.rwnd_limited)]);
        bytes.longs(184, &[long(self.sndbuf_limited)]);
        bytes.words(192, &[self.delivered_segments, self.delivered_ce_segments]);
        bytes.longs(200, &[self.bytes_sent, self.bytes_retrans]);
        bytes.words(216, &[self.dsack_dups, self.reord_seen, self.rcv_ooopack]);
        bytes.words(228, &[self.snd_wnd_bytes, self.rcv_wnd_bytes]);
        bytes.put(240, self.total_rto.to_ne_bytes());
    }
}

/// The bytes of a C structure that is written.
struct Writer([u8; TcpInfo::LINUX_BYTES]);

impl Writer {
    fn put<const N: usize>(&mut self, at: usize, bytes: [u8; N]) {
        self.0[at..at + N].copy_from_slice(&bytes);
    }

    fn words(&mut self, at: usize, words: &[u32]) {
        for (number, word) in words.iter().enumerate() {
            self.put(at + 4 * number, word.to_ne_bytes());
        }
    }

    fn longs(&mut self, at: usize, longs: &[u64]) {
        for (number, long) in longs.iter().enumerate() {
            self.put(at + 8 * number, long.to_ne_bytes());
        }
    }
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

/// Two bit fields as [`Structure::bit_fields`] reads them.
fn bit_fields((first, second): (u8, u8), bits: u32) -> u8 {
    let little = cfg!(target_endian = "little");
    if little { first | second << bits } else { first << (8 - bits) | second }
}

/// A C structure's bytes; zeros beyond their end.
struct Structure<'a>(&'a [u8]);

impl Structure<'_> {
    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        self.0.get(at..at + N).and_then(|part| part.try_into().ok()).unwrap_or([0; N])
    }

    fn u8(&self, at: usize) -> u8 {
        self.array::<1>(at)[0]
    }

    fn u16(&self, at: usize) -> u16 {
        u16::from_ne_bytes(self.array(at))
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_ne_bytes(self.array(at))
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_ne_bytes(self.array(at))
    }

    fn micros(&self, at: usize) -> Duration {
        Duration::from_micros(self.u32(at).into())
    }

    /// Two bit fields of one octet, the first `bits` wide: it has the low bits where the byte order is
    /// little-endian, else the high ones.
    fn bit_fields(&self, at: usize, bits: u32) -> (u8, u8) {
        let octet = self.u8(at);
        let low_bits = if cfg!(target_endian = "little") { bits } else { 8 - bits };
        let (low, high) = (octet & !(0xff << low_bits), octet >> low_bits);
        if cfg!(target_endian = "little") { (low, high) } else { (high, low) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structure_of_linux_is_read_as_far_as_it_goes() {
        let mut bytes = [0u8; 248];
        bytes[..8].copy_from_slice(&[8, 3, 1, 0, 2, 0b1_0111, 0, 1]);
        bytes[6] = if cfg!(target_endian = "little") { 0xa7 } else { 0x7a };
        bytes[68..72].copy_from_slice(&25_500u32.to_ne_bytes());
        bytes[160..168].copy_from_slice(&9_000_000_000u64.to_ne_bytes());
        bytes[240..242].copy_from_slice(&3u16.to_ne_bytes());
        let info = TcpInfo::from_linux(&bytes);
        assert_eq!((info.state, info.ca_state), (TcpState::CloseWait, CaState::Recovery));
        assert_eq!((info.retransmits, info.backoff), (1, 2));
        let agreed = r#"{"timestamps", "sack", "wscale", "ecn_seen"}"#;
        assert_eq!(format!("{:?}", info.options), agreed);
        assert_eq!((info.snd_wscale, info.rcv_wscale), (7, 10));
        assert_eq!(info.rtt, Duration::from_micros(25_500));
        assert_eq!((info.delivery_rate, info.total_rto), (9_000_000_000, 3));
        // An older kernel's is shorter.
        let short = TcpInfo::from_linux(&bytes[..104]);
        assert_eq!((short.rtt, short.delivery_rate, short.total_rto), (info.rtt, 0, 0));
        assert_eq!(TcpInfo::from_linux(&[]), TcpInfo::default());
    }

    #[test]
    fn the_structure_of_linux_comes_back_as_it_was_read() {
        let mut bytes: [u8; TcpInfo::LINUX_BYTES] = std::array::from_fn(|at| at as u8);
        // What is between the fields that are known, and those of fewer values than bits.
        for unknown in [40..44, 48..52, 236..240, 242..248] {
            bytes[unknown].fill(0);
        }
        bytes[..2].copy_from_slice(&[4, 2]);
        bytes[7] = if cfg!(target_endian = "little") { 1 } else { 0x80 };
        assert_eq!(TcpInfo::from_linux(&bytes).to_linux(), bytes);
    }

    #[test]
    fn what_is_agreed_on_is_a_set() {
        let both = TcpAgreed::default().with(TcpAgreed::SACK, true).with(TcpAgreed::ECN, true);
        assert!(both.has(TcpAgreed::SACK) && !both.has(TcpAgreed::TIMESTAMPS));
        assert_eq!(both.with(TcpAgreed::SACK, false), TcpAgreed::ECN);
    }
}
