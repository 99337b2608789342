//! `TCP_INFO`: a connection's snapshot in Linux's fields and units.

use libnet::socket::{TcpAgreed, TcpInfo, TcpState};

use crate::tcp::{EcnUse, Listener, State, TcpInfo as Snapshot};

/// What Linux would tell of a connection.
pub(crate) fn of_connection(info: &Snapshot) -> TcpInfo {
    let mut told = TcpInfo::default();
    state(info, &mut told);
    segments(info, &mut told);
    times(info, &mut told);
    bytes(info, &mut told);
    told
}

/// What Linux would tell of a listener.
pub(super) fn of_listener(listener: &Listener) -> TcpInfo {
    let mut told = of_state(State::Listen);
    told.unacked_segments = listener.waiting() as u32;
    told.sacked_segments = listener.backlog();
    told
}

/// What there is to tell of a socket in a state without a connection.
pub(super) fn of_state(state: State) -> TcpInfo {
    let mut told = TcpInfo::default();
    told.state = number(state);
    told
}

fn state(info: &Snapshot, told: &mut TcpInfo) {
    told.state = number(info.state);
    told.ca_state = info.ca_state;
    match info.in_flight_bytes {
        0 => told.probes = info.retries,
        _ => told.retransmits = info.retries,
    }
    told.backoff = info.backoff;
    told.options = TcpAgreed::default()
        .with(TcpAgreed::TIMESTAMPS, info.timestamps)
        .with(TcpAgreed::SACK, info.sack)
        .with(TcpAgreed::WSCALE, info.window_scaling)
        .with(TcpAgreed::ECN, info.ecn != EcnUse::Off)
        .with(TcpAgreed::ECN_SEEN, info.ecn_seen)
        .with(TcpAgreed::SYN_DATA, info.syn_data);
    (told.snd_wscale, told.rcv_wscale) = (info.snd_shift, info.rcv_shift);
    told.app_limited = info.delivery_rate_app_limited;
}

fn segments(info: &Snapshot, told: &mut TcpInfo) {
    let mss = u32::from(info.snd_mss_bytes.max(1));
    let count = |bytes: u32| bytes.div_ceil(mss);
    told.unacked_segments = count(info.in_flight_bytes);
    told.sacked_segments = count(info.sacked_bytes);
    told.lost_segments = count(info.lost_bytes);
    told.retrans_segments = count(info.resent_bytes);
    // As Linux tells of what has no end yet.
    let endless = info.ssthresh_bytes >= ENDLESS_BYTES;
    told.snd_ssthresh_segments = if endless { i32::MAX as u32 } else { info.ssthresh_bytes / mss };
    told.snd_cwnd_segments = info.cwnd_bytes / mss;
    told.reordering_segments = info.reordering_segments.into();
    told.total_retrans_segments = narrow(info.retransmits);
    (told.segs_in, told.segs_out) = (narrow(info.segments_in), narrow(info.segments_out));
    told.data_segs_in = narrow(info.data_segments_in);
    told.data_segs_out = narrow(info.data_segments_out);
    let syn = u64::from(info.state.is_synchronized());
    told.delivered_segments = narrow(info.delivered_bytes.div_ceil(mss.into()) + syn);
    let marked = info.accurate.as_ref().map_or(0, |accurate| accurate.delivered_ce);
    told.delivered_ce_segments = marked;
    told.dsack_dups = info.dsacks_in;
    told.reord_seen = info.reorderings.into();
    told.rcv_ooopack = info.out_of_order_in;
    told.total_rto = info.timeouts;
}

fn times(info: &Snapshot, told: &mut TcpInfo) {
    (told.rto, told.ato) = (info.rto, info.ack_delay);
    (told.rtt, told.rttvar) = (info.srtt.unwrap_or_default(), info.rttvar);
    (told.min_rtt, told.rcv_rtt) = (info.min_rtt, info.rcv_rtt);
    told.last_data_sent = info.since_data_sent;
    told.last_data_recv = info.since_data_received;
    told.last_ack_recv = info.since_heard;
    told.busy_time = info.busy_time;
    (told.rwnd_limited, told.sndbuf_limited) = (info.rwnd_limited, info.sndbuf_limited);
}

fn bytes(info: &Snapshot, told: &mut TcpInfo) {
    told.snd_mss_bytes = info.snd_mss_bytes.into();
    told.rcv_mss_bytes = info.rcv_mss_bytes.into();
    told.advmss_bytes = info.advertised_mss_bytes.into();
    told.pmtu_bytes = info.path_mtu_bytes;
    told.rcv_ssthresh_bytes = info.receive_limit_bytes;
    told.rcv_space_bytes = info.rcv_space_bytes;
    told.max_pacing_rate = if info.max_pacing_rate == 0 { u64::MAX } else { info.max_pacing_rate };
    told.pacing_rate = pacing_rate(info).min(told.max_pacing_rate);
    told.bytes_acked = info.bytes_acked;
    told.bytes_received = info.bytes_in;
    told.bytes_sent = info.bytes_out;
    told.bytes_retrans = info.bytes_resent;
    told.notsent_bytes = info.notsent_bytes;
    told.delivery_rate = info.delivery_rate;
    (told.snd_wnd_bytes, told.rcv_wnd_bytes) = (info.snd_wnd_bytes, info.rcv_wnd_bytes);
}

/// Where nothing is paced, Linux tells at which rate it would be: twice the window in a round trip in
/// slow start, six fifths of it later.
fn pacing_rate(info: &Snapshot) -> u64 {
    let micros = info.srtt.map_or(0, |srtt| srtt.as_micros() as u64);
    if info.pacing_rate > 0 || micros == 0 {
        return if info.pacing_rate > 0 { info.pacing_rate } else { u64::MAX };
    }
    let percent = if info.cwnd_bytes < info.ssthresh_bytes / 2 { 200 } else { 120 };
    u64::from(info.cwnd_bytes.max(info.in_flight_bytes)) * percent * 10_000 / micros
}

fn number(state: State) -> TcpState {
    match state {
        State::Established => TcpState::Established,
        State::SynSent => TcpState::SynSent,
        State::SynReceived => TcpState::SynReceived,
        State::FinWait1 => TcpState::FinWait1,
        State::FinWait2 => TcpState::FinWait2,
        State::TimeWait => TcpState::TimeWait,
        State::Closed => TcpState::Closed,
        State::CloseWait => TcpState::CloseWait,
        State::LastAck => TcpState::LastAck,
        State::Listen => TcpState::Listen,
        State::Closing => TcpState::Closing,
    }
}

fn narrow(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// A threshold from here on was never set.
const ENDLESS_BYTES: u32 = 1 << 30;
