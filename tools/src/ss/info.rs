//! What `ss -i` shows of a connection, in the words and the order of iproute2.

use std::fmt::Display;
use std::time::Duration;

use libnet::socket::{TcpAgreed, TcpInfo, TcpState};
use rumpnet::libnetinet::tcp::{EcnUse, TcpInfo as Snapshot};

/// `TCP_INFO` as a line; `more` is what only our stack tells.
pub(super) fn text(info: &TcpInfo, more: Option<&Snapshot>) -> String {
    let mut line = Line(Vec::new());
    line.agreed(info, more);
    line.path(info);
    line.traffic(info);
    line.rates(info);
    line.busy(info);
    line.losses(info);
    line.windows(info);
    if let Some(more) = more {
        line.ours(more);
    }
    line.0.join(" ")
}

struct Line(Vec<String>);

impl Line {
    fn word(&mut self, word: &str, is_said: bool) {
        if is_said {
            self.0.push(word.to_owned());
        }
    }

    fn say(&mut self, word: &str, value: impl Display) {
        self.0.push(format!("{word}:{value}"));
    }

    /// As `ss`: a number that is zero is not said.
    fn count(&mut self, word: &str, n: impl Into<u64>) {
        let n = n.into();
        if n > 0 {
            self.say(word, n);
        }
    }

    /// Milliseconds; nothing is said of none.
    fn millis(&mut self, word: &str, time: Duration) {
        if !time.is_zero() {
            self.say(word, general(millis(time)));
        }
    }

    /// Bits per second, of so many bytes.
    fn rate(&mut self, word: &str, bytes: u64) {
        self.0.push(format!("{word} {}bps", u128::from(bytes) * 8));
    }

    fn agreed(&mut self, info: &TcpInfo, more: Option<&Snapshot>) {
        let is_accurate = more.is_some_and(|more| more.ecn == EcnUse::Accurate);
        self.word("ts", info.options.has(TcpAgreed::TIMESTAMPS));
        self.word("sack", info.options.has(TcpAgreed::SACK));
        self.word("ecn", info.options.has(TcpAgreed::ECN) && !is_accurate);
        self.word("accecn", is_accurate);
        self.word("ecnseen", info.options.has(TcpAgreed::ECN_SEEN));
        self.word("fastopen", info.options.has(TcpAgreed::SYN_DATA));
        if let Some(more) = more {
            self.word(more.congestion_control.name(), true);
        }
        if info.options.has(TcpAgreed::WSCALE) {
            self.say("wscale", format!("{},{}", info.snd_wscale, info.rcv_wscale));
        }
    }

    fn path(&mut self, info: &TcpInfo) {
        self.millis("rto", info.rto);
        self.count("backoff", info.backoff);
        if !info.rtt.is_zero() {
            let both = format!("{}/{}", general(millis(info.rtt)), general(millis(info.rttvar)));
            self.say("rtt", both);
        }
        self.millis("ato", info.ato);
        self.count("mss", info.snd_mss_bytes);
        self.count("pmtu", info.pmtu_bytes);
        self.count("rcvmss", info.rcv_mss_bytes);
        self.count("advmss", info.advmss_bytes);
        self.count("cwnd", info.snd_cwnd_segments);
        if info.snd_ssthresh_segments < ENDLESS_SEGMENTS {
            self.count("ssthresh", info.snd_ssthresh_segments);
        }
    }

    fn traffic(&mut self, info: &TcpInfo) {
        self.count("bytes_sent", info.bytes_sent);
        self.count("bytes_retrans", info.bytes_retrans);
        self.count("bytes_acked", info.bytes_acked);
        self.count("bytes_received", info.bytes_received);
        self.count("segs_out", info.segs_out);
        self.count("segs_in", info.segs_in);
        self.count("data_segs_out", info.data_segs_out);
        self.count("data_segs_in", info.data_segs_in);
        if !info.rtt.is_zero() {
            let window = f64::from(info.snd_cwnd_segments) * f64::from(info.snd_mss_bytes);
            let bits = window * 8.0 / info.rtt.as_secs_f64();
            self.0.push(format!("send {bits:.0}bps"));
        }
        let ago = [
            ("lastsnd", info.last_data_sent),
            ("lastrcv", info.last_data_recv),
            ("lastack", info.last_ack_recv),
        ];
        for (word, time) in ago {
            self.count(word, time.as_millis() as u64);
        }
    }

    fn rates(&mut self, info: &TcpInfo) {
        if info.pacing_rate > 0 && info.pacing_rate < u64::MAX {
            self.rate("pacing_rate", info.pacing_rate);
            if let (Some(pace), true) = (self.0.last_mut(), info.max_pacing_rate < u64::MAX) {
                pace.push_str(&format!("/{}bps", u128::from(info.max_pacing_rate) * 8));
            }
        }
        if info.delivery_rate > 0 {
            self.rate("delivery_rate", info.delivery_rate);
        }
        self.count("delivered", info.delivered_segments);
        self.count("delivered_ce", info.delivered_ce_segments);
        self.word("app_limited", info.app_limited);
    }

    fn busy(&mut self, info: &TcpInfo) {
        if info.busy_time.is_zero() {
            return;
        }
        self.say("busy", format!("{}ms", info.busy_time.as_millis()));
        let held = [("rwnd_limited", info.rwnd_limited), ("sndbuf_limited", info.sndbuf_limited)];
        for (word, time) in held {
            if !time.is_zero() {
                let part = 100.0 * time.as_secs_f64() / info.busy_time.as_secs_f64();
                self.say(word, format!("{}ms({part:.1}%)", time.as_millis()));
            }
        }
    }

    fn losses(&mut self, info: &TcpInfo) {
        self.count("unacked", info.unacked_segments);
        if info.retrans_segments > 0 || info.total_retrans_segments > 0 {
            let both = format!("{}/{}", info.retrans_segments, info.total_retrans_segments);
            self.say("retrans", both);
        }
        self.count("lost", info.lost_segments);
        if info.state != TcpState::Listen {
            self.count("sacked", info.sacked_segments);
        }
        self.count("dsack_dups", info.dsack_dups);
        if info.reordering_segments != USUAL_REORDERING {
            self.count("reordering", info.reordering_segments);
        }
        self.count("reord_seen", info.reord_seen);
    }

    fn windows(&mut self, info: &TcpInfo) {
        self.millis("rcv_rtt", info.rcv_rtt);
        self.count("rcv_space", info.rcv_space_bytes);
        self.count("rcv_ssthresh", info.rcv_ssthresh_bytes);
        self.count("notsent", info.notsent_bytes);
        self.millis("minrtt", info.min_rtt);
        self.count("rcv_ooopack", info.rcv_ooopack);
        self.count("snd_wnd", info.snd_wnd_bytes);
        self.count("rcv_wnd", info.rcv_wnd_bytes);
    }

    /// What `ss` has no word for.
    fn ours(&mut self, more: &Snapshot) {
        self.count("rcv_ooo", more.reassembly_bytes as u64);
        let Some(accurate) = &more.accurate else { return };
        for (word, n) in [
            ("received_ce", accurate.received_ce),
            ("delivered_e0_bytes", accurate.delivered_ect0_bytes),
            ("delivered_ce_bytes", accurate.delivered_ce_bytes),
            ("received_e0_bytes", accurate.received_ect0_bytes),
            ("received_ce_bytes", accurate.received_ce_bytes),
        ] {
            self.count(word, n);
        }
    }
}

fn millis(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e6
}

/// As C's `%g`: six figures, no trailing zeros.
fn general(value: f64) -> String {
    let whole_figures = format!("{:.0}", value.trunc()).len();
    let text = format!("{value:.*}", 6_usize.saturating_sub(whole_figures).min(6));
    if !text.contains('.') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// What `ss` takes as no threshold.
const ENDLESS_SEGMENTS: u32 = 0xffff;
const USUAL_REORDERING: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_short_as_ss_has_them() {
        for (value, text) in [
            (204.0, "204"),
            (0.05, "0.05"),
            (1.2345, "1.2345"),
            (12_345.678_9, "12345.7"),
            (0.0, "0"),
            (7_200_000.0, "7200000"),
        ] {
            assert_eq!(general(value), text);
        }
    }

    #[test]
    fn what_is_known_is_said_in_the_order_of_ss() {
        let mut info = TcpInfo::default();
        info.state = TcpState::Established;
        info.options =
            TcpAgreed::TIMESTAMPS.with(TcpAgreed::SACK, true).with(TcpAgreed::WSCALE, true);
        (info.snd_wscale, info.rcv_wscale) = (7, 10);
        (info.rto, info.ato) = (Duration::from_millis(204), Duration::from_millis(40));
        (info.rtt, info.rttvar) = (Duration::from_micros(50), Duration::from_micros(20));
        (info.snd_mss_bytes, info.pmtu_bytes, info.snd_cwnd_segments) = (1448, 1500, 10);
        (info.snd_ssthresh_segments, info.reordering_segments) = (i32::MAX as u32, 3);
        (info.bytes_sent, info.bytes_acked, info.total_retrans_segments) = (5, 5, 2);
        info.last_data_sent = Duration::from_millis(12);
        (info.pacing_rate, info.max_pacing_rate) = (1_000, u64::MAX);
        (info.busy_time, info.rwnd_limited) =
            (Duration::from_millis(40), Duration::from_millis(10));
        assert_eq!(
            text(&info, None),
            "ts sack wscale:7,10 rto:204 rtt:0.05/0.02 ato:40 mss:1448 pmtu:1500 cwnd:10 bytes_sent:5 \
             bytes_acked:5 send 2316800000bps lastsnd:12 pacing_rate 8000bps busy:40ms \
             rwnd_limited:10ms(25.0%) retrans:0/2"
        );
    }
}
