//! What a measurement prints: iperf3's lines, or a document with iperf3's keys.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::counters::{Counters, Figures, Standing};
use super::histogram::Histogram;
use super::plan::{Mode, Plan};
use super::results::{Results, Role};
use crate::fail::Failure;
use crate::output::Output;
use crate::units;

/// Prints while a measurement runs, and at its end.
pub(super) struct Report {
    plan: Plan,
    role: Role,
    peer: SocketAddr,
    /// Each stream's local and remote address.
    ends: Vec<(Option<SocketAddr>, SocketAddr)>,
    json: bool,
    output: Output,
    intervals: Vec<Value>,
    last: (Duration, Vec<Figures>),
    /// What does not count is still passing.
    omitting: bool,
    /// When counting began.
    zero: Duration,
    began: Duration,
    /// Of each sender of ours, how its connection stood at each report.
    stood: Vec<Stood>,
    /// Is there a heading over the reports?
    headed: bool,
}

/// How a connection stood, all reports together, as iperf3 sums them up.
#[derive(Clone, Copy, Default)]
struct Stood {
    max_cwnd_bytes: u32,
    max_snd_wnd_bytes: u32,
    min_rtt: Option<Duration>,
    max_rtt: Duration,
    rtts: Duration,
    reports: u32,
}

impl Stood {
    fn add(&mut self, now: &Standing) {
        self.max_cwnd_bytes = self.max_cwnd_bytes.max(now.cwnd_bytes);
        self.max_snd_wnd_bytes = self.max_snd_wnd_bytes.max(now.snd_wnd_bytes);
        self.min_rtt = Some(self.min_rtt.map_or(now.rtt, |rtt| rtt.min(now.rtt)));
        self.max_rtt = self.max_rtt.max(now.rtt);
        self.rtts += now.rtt;
        self.reports += 1;
    }

    /// Adds iperf3's keys.
    fn write(&self, value: &mut Value) {
        let mean = self.rtts.checked_div(self.reports).unwrap_or_default();
        value["max_snd_cwnd"] = self.max_cwnd_bytes.into();
        value["max_snd_wnd"] = self.max_snd_wnd_bytes.into();
        value["max_rtt"] = micros(self.max_rtt).into();
        value["min_rtt"] = micros(self.min_rtt.unwrap_or_default()).into();
        value["mean_rtt"] = micros(mean).into();
    }
}

/// Whole microseconds, as iperf3 has them.
fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// What there is to say at the end.
pub(super) struct Ended<'a> {
    pub(super) ours: Results,
    pub(super) theirs: Results,
    pub(super) counters: &'a [Arc<Counters>],
}

impl Report {
    pub(super) fn new(
        plan: &Plan,
        role: Role,
        peer: SocketAddr,
        ends: Vec<(Option<SocketAddr>, SocketAddr)>,
        json: bool,
    ) -> Self {
        let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let last = (Duration::ZERO, vec![Figures::default(); ends.len()]);
        let (plan, output, intervals) = (plan.clone(), Output::new(), Vec::new());
        let omitting = !plan.omit.is_zero();
        let (zero, stood) = (Duration::ZERO, vec![Stood::default(); ends.len()]);
        Report {
            plan,
            role,
            peer,
            ends,
            json,
            output,
            intervals,
            last,
            omitting,
            zero,
            began,
            stood,
            headed: false,
        }
    }

    /// Prints there, instead of to standard output.
    pub(super) fn print_to(&mut self, output: Output) {
        self.output = output;
    }

    pub(super) fn begin(&mut self) -> Result<(), Failure> {
        if self.json {
            return Ok(());
        }
        self.output.line(format!(
            "Connecting to host {}, port {}",
            self.peer.ip(),
            self.peer.port()
        ))?;
        if self.plan.reverse {
            self.output.line(format!("Reverse mode, remote host {} is sending", self.peer.ip()))?;
        }
        for (at, (local, remote)) in self.ends.iter().enumerate() {
            if let Some(local) = local {
                self.output.line(format!(
                    "[{:3}] local {} port {} connected to {} port {}",
                    id(at),
                    local.ip(),
                    local.port(),
                    remote.ip(),
                    remote.port()
                ))?;
            }
        }
        self.output.flush()
    }

    /// The figures at `now`, from which on it counts.
    pub(super) fn omitted(&mut self, now: Duration, figures: &[Figures]) -> Result<(), Failure> {
        self.interval(now, figures)?;
        self.last = (now, figures.to_vec());
        (self.omitting, self.zero) = (false, now);
        Ok(())
    }

    /// The figures up to `now` since the start.
    pub(super) fn interval(&mut self, now: Duration, figures: &[Figures]) -> Result<(), Failure> {
        let (before, earlier) = std::mem::replace(&mut self.last, (now, figures.to_vec()));
        let since_zero = |time: Duration| time.saturating_sub(self.zero).as_secs_f64();
        let span = Span { from: since_zero(before), to: since_zero(now) };
        let tail = if self.omitting { "  (omitted)" } else { "" };
        if span.seconds() < 0.001 {
            return Ok(());
        }
        let steps: Vec<Figures> =
            figures.iter().zip(earlier).map(|(now, earlier)| now.since(earlier)).collect();
        let sum = Figures::sum(&steps);
        let role = self.role;
        let reported = steps.iter().zip(&mut self.stood).filter(|_| !self.omitting);
        reported.for_each(|(step, stood)| step.standing.iter().for_each(|now| stood.add(now)));
        if self.json {
            let mut streams: Vec<Value> = steps
                .iter()
                .enumerate()
                .map(|(at, step)| self.stream_json(Some(at), span, *step, role))
                .collect();
            let mut sum = self.stream_json(None, span, sum, role);
            for one in streams.iter_mut().chain([&mut sum]) {
                one["omitted"] = self.omitting.into();
            }
            self.intervals.push(json!({"streams": streams, "sum": sum}));
            return Ok(());
        }
        if !std::mem::replace(&mut self.headed, true) {
            let first = steps.first().copied().unwrap_or_default();
            self.output.line(heading(self.plan.mode, role, &first))?;
        }
        for (at, step) in steps.iter().enumerate() {
            self.output.line(line(self.plan.mode, Some(at), span, *step, role, tail))?;
        }
        if steps.len() > 1 {
            self.output.line(line(self.plan.mode, None, span, sum, role, tail))?;
            self.output.line(RULE)?;
        }
        self.output.flush()
    }

    pub(super) fn end(&mut self, ended: &Ended<'_>) -> Result<(), Failure> {
        if self.json {
            let document = self.document(ended);
            self.output.json_pretty(&document)?;
            return self.output.flush();
        }
        let mode = self.plan.mode;
        if mode.is_rounds() {
            self.end_of_rounds(ended)?;
            return self.output.flush();
        }
        self.output.line(RULE)?;
        let (sent, received) = self.sides(ended);
        let first = sent.0.first().copied().unwrap_or_default();
        self.output.line(heading(mode, Role::Receiver, &first))?;
        for at in 0..sent.0.len() {
            self.output.line(line(mode, Some(at), sent.1, sent.0[at], Role::Sender, "  sender"))?;
            if let Some(figures) = received.0.get(at) {
                self.output.line(line(
                    mode,
                    Some(at),
                    received.1,
                    *figures,
                    Role::Receiver,
                    "  receiver",
                ))?;
            }
        }
        if sent.0.len() > 1 {
            let (all_sent, all_received) = (Figures::sum(&sent.0), Figures::sum(&received.0));
            self.output.line(line(mode, None, sent.1, all_sent, Role::Sender, "  sender"))?;
            self.output.line(line(
                mode,
                None,
                received.1,
                all_received,
                Role::Receiver,
                "  receiver",
            ))?;
        }
        self.output.line("\nrumpnet perf done.")?;
        self.output.flush()
    }

    fn end_of_rounds(&mut self, ended: &Ended<'_>) -> Result<(), Failure> {
        let all = merged(ended.counters);
        let sum = Figures::sum(&ended.ours.streams);
        let what =
            if self.plan.mode == Mode::ConnectClose { "connections" } else { "transactions" };
        self.output.line(RULE)?;
        self.output.line(format!(
            "{} {what} in {:.2} s: {:.0}/s",
            sum.packets,
            ended.ours.seconds,
            sum.packets as f64 / ended.ours.seconds
        ))?;
        self.output.line(format!(
            "latency min {} mean {} p50 {} p90 {} p99 {} max {}",
            units::duration(all.min()),
            units::duration(all.mean()),
            units::duration(all.percentile(50.0)),
            units::duration(all.percentile(90.0)),
            units::duration(all.percentile(99.0)),
            units::duration(all.max())
        ))?;
        self.output.line("\nrumpnet perf done.")
    }

    /// What was sent and what was received, each with its time.
    fn sides(&self, ended: &Ended<'_>) -> ((Vec<Figures>, Span), (Vec<Figures>, Span)) {
        let side = |of: &Results| (of.streams.clone(), Span { from: 0.0, to: of.seconds });
        let (ours, theirs) = (side(&ended.ours), side(&ended.theirs));
        if self.role == Role::Receiver { (theirs, ours) } else { (ours, theirs) }
    }

    fn document(&self, ended: &Ended<'_>) -> Value {
        let (sent, received) = self.sides(ended);
        let streams: Vec<Value> = (0..self.ends.len())
            .map(|at| {
                let of = |side: &(Vec<Figures>, Span), role| {
                    side.0.get(at).map(|figures| self.stream_json(Some(at), side.1, *figures, role))
                };
                match self.plan.mode {
                    Mode::Udp => json!({"udp": of(&received, Role::Receiver)}),
                    _ => {
                        let mut sender = of(&sent, Role::Sender);
                        let stood = self.stood.get(at).filter(|stood| stood.reports > 0);
                        sender
                            .iter_mut()
                            .zip(stood)
                            .for_each(|(sender, stood)| stood.write(sender));
                        json!({"sender": sender, "receiver": of(&received, Role::Receiver)})
                    }
                }
            })
            .collect();
        let mut end = json!({
            "streams": streams,
            "sum_sent": self.stream_json(None, sent.1, Figures::sum(&sent.0), Role::Sender),
            "sum_received":
                self.stream_json(None, received.1, Figures::sum(&received.0), Role::Receiver),
            "cpu_utilization_percent": {
                "host_total": ended.ours.load.total(), "host_user": ended.ours.load.user,
                "host_system": ended.ours.load.system, "remote_total": ended.theirs.load.total(),
                "remote_user": ended.theirs.load.user, "remote_system": ended.theirs.load.system,
            },
        });
        if self.plan.mode == Mode::Udp {
            end["sum"] = end["sum_received"].clone();
        }
        if self.plan.mode.is_rounds() {
            end["latency"] = rounds_json(ended);
        }
        json!({"start": self.start_json(), "intervals": self.intervals, "end": end})
    }

    fn start_json(&self) -> Value {
        let connected: Vec<Value> = self
            .ends
            .iter()
            .enumerate()
            .map(|(at, (local, remote))| {
                json!({
                    "socket": id(at),
                    "local_host": local.map(|addr| addr.ip().to_string()),
                    "local_port": local.map(|addr| addr.port()),
                    "remote_host": remote.ip().to_string(), "remote_port": remote.port(),
                })
            })
            .collect();
        json!({
            "connected": connected,
            "version": concat!("rumpnet ", env!("CARGO_PKG_VERSION")),
            "system_info": std::env::consts::OS,
            "timestamp": {"timesecs": self.began.as_secs()},
            "connecting_to": {"host": self.peer.ip().to_string(), "port": self.peer.port()},
            "test_start": {
                "protocol": self.plan.mode.name(), "num_streams": self.plan.streams,
                "blksize": self.plan.block_bytes, "omit": self.plan.omit.as_secs_f64(),
                "duration": self.plan.duration.as_secs_f64(),
                "bytes": self.plan.bytes.unwrap_or(0), "blocks": 0,
                "reverse": u8::from(self.plan.reverse), "tos": 0,
                "target_bitrate": self.plan.bits_per_second,
            },
        })
    }

    fn stream_json(&self, at: Option<usize>, span: Span, figures: Figures, role: Role) -> Value {
        let mut value = json!({
            "start": span.from, "end": span.to, "seconds": span.seconds(),
            "bytes": figures.bytes, "bits_per_second": span.bits_per_second(figures.bytes),
            "omitted": false, "sender": role == Role::Sender,
        });
        if let Some(at) = at {
            value["socket"] = id(at).into();
        }
        match (self.plan.mode, role) {
            (Mode::Tcp, _) => {
                if let Some(again) = figures.retransmits {
                    value["retransmits"] = again.into();
                }
                if let Some(now) = figures.standing {
                    value["snd_cwnd"] = now.cwnd_bytes.into();
                    value["snd_wnd"] = now.snd_wnd_bytes.into();
                    value["rtt"] = micros(now.rtt).into();
                    value["rttvar"] = micros(now.rttvar).into();
                    value["pmtu"] = now.path_mtu_bytes.into();
                }
            }
            (Mode::Udp, Role::Sender) => value["packets"] = figures.packets.into(),
            (Mode::Udp, Role::Receiver) => {
                let total = figures.packets.saturating_add(figures.lost);
                value["packets"] = total.into();
                value["jitter_ms"] = (figures.jitter_ns as f64 / 1e6).into();
                value["lost_packets"] = figures.lost.into();
                value["lost_percent"] = percent(figures.lost, total).into();
                value["out_of_order"] = figures.out_of_order.into();
            }
            (Mode::RequestResponse | Mode::ConnectClose, _) => {
                value["transactions"] = figures.packets.into();
                value["transactions_per_second"] =
                    (figures.packets as f64 / span.seconds().max(1e-9)).into();
            }
        }
        value
    }
}

fn rounds_json(ended: &Ended<'_>) -> Value {
    let all = merged(ended.counters);
    let sum = Figures::sum(&ended.ours.streams);
    let micros = |duration: Duration| duration.as_nanos() as f64 / 1000.0;
    json!({
        "transactions": sum.packets,
        "transactions_per_second": sum.packets as f64 / ended.ours.seconds.max(1e-9),
        "min_us": micros(all.min()), "mean_us": micros(all.mean()),
        "p50_us": micros(all.percentile(50.0)), "p90_us": micros(all.percentile(90.0)),
        "p99_us": micros(all.percentile(99.0)), "max_us": micros(all.max()),
    })
}

fn merged(counters: &[Arc<Counters>]) -> Histogram {
    let all = Histogram::default();
    counters.iter().for_each(|one| all.merge(&one.latency));
    all
}

/// The lines of a server's report about one client.
pub(super) fn server_lines(plan: &Plan, ours: &Results) -> Vec<String> {
    if plan.mode.is_rounds() {
        return vec![format!("{} test done", plan.mode.name())];
    }
    let role = plan.server_role();
    let span = Span { from: 0.0, to: ours.seconds };
    let tail = if role == Role::Sender { "  sender" } else { "  receiver" };
    let first = ours.streams.first().copied().unwrap_or_default();
    let mut lines = vec![heading(plan.mode, role, &first).to_owned()];
    for (at, one) in ours.streams.iter().enumerate() {
        lines.push(line(plan.mode, Some(at), span, *one, role, tail));
    }
    if ours.streams.len() > 1 {
        lines.push(line(plan.mode, None, span, Figures::sum(&ours.streams), role, tail));
    }
    lines
}

/// From when to when, in seconds since the start.
#[derive(Clone, Copy)]
struct Span {
    from: f64,
    to: f64,
}

impl Span {
    fn seconds(self) -> f64 {
        self.to - self.from
    }

    fn bits_per_second(self, bytes: u64) -> f64 {
        bytes as f64 * 8.0 / self.seconds().max(1e-9)
    }
}

const RULE: &str = "- - - - - - - - - - - - - - - - - - - - - - - - -";

/// As iperf3, which shows its descriptors: a number that tells streams apart.
const fn id(at: usize) -> usize {
    5 + 2 * at
}

/// `figures` are one stream's: what nobody knows has no column.
fn heading(mode: Mode, role: Role, figures: &Figures) -> &'static str {
    match (mode, role) {
        (Mode::Tcp, _) if figures.standing.is_some() => {
            "[ ID] Interval           Transfer     Bitrate         Retr  Cwnd"
        }
        (Mode::Tcp, _) if figures.retransmits.is_some() => {
            "[ ID] Interval           Transfer     Bitrate         Retr"
        }
        (Mode::Tcp, _) => "[ ID] Interval           Transfer     Bitrate",
        (Mode::Udp, Role::Sender) => {
            "[ ID] Interval           Transfer     Bitrate         Total Datagrams"
        }
        (Mode::Udp, Role::Receiver) => {
            "[ ID] Interval           Transfer     Bitrate         Jitter    Lost/Total Datagrams"
        }
        (Mode::RequestResponse, _) => "[ ID] Interval           Transactions  Rate",
        (Mode::ConnectClose, _) => "[ ID] Interval           Connections   Rate",
    }
}

fn line(
    mode: Mode,
    at: Option<usize>,
    span: Span,
    figures: Figures,
    role: Role,
    tail: &str,
) -> String {
    let id = at.map_or("SUM".to_owned(), |at| format!("{:3}", id(at)));
    let interval = format!("[{id}] {:6.2}-{:<6.2} sec", span.from, span.to);
    let rate = span.bits_per_second(figures.bytes);
    let transfer = format!("{}  {}", amount(figures.bytes as f64), speed(rate));
    match (mode, role) {
        (Mode::Tcp, _) => {
            let again = figures.retransmits.map_or_else(String::new, |n| format!("  {n:3}"));
            let window = match (figures.standing, figures.retransmits) {
                (Some(now), _) => format!("   {}     ", amount(now.cwnd_bytes.into())),
                (None, Some(_)) => " ".repeat(11),
                (None, None) => String::new(),
            };
            format!("{interval}  {transfer}{again}{window}{tail}").trim_end().to_owned()
        }
        (Mode::Udp, Role::Sender) => format!("{interval}  {transfer}  {}{tail}", figures.packets),
        (Mode::Udp, Role::Receiver) => {
            let total = figures.packets.saturating_add(figures.lost);
            format!(
                "{interval}  {transfer}  {:.3} ms  {}/{total} ({:.2}%){tail}",
                figures.jitter_ns as f64 / 1e6,
                figures.lost,
                percent(figures.lost, total)
            )
        }
        _ => {
            let per_second = figures.packets as f64 / span.seconds().max(1e-9);
            format!("{interval}  {:<12}  {per_second:.0}/s{tail}", figures.packets)
        }
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

/// iperf3's `1.10 GBytes`, in 1,024s.
fn amount(bytes: f64) -> String {
    figures(bytes, 1024.0, ["Bytes", "KBytes", "MBytes", "GBytes", "TBytes"])
}

/// iperf3's `9.41 Gbits/sec`, in 1,000s.
fn speed(bits_per_second: f64) -> String {
    figures(
        bits_per_second,
        1000.0,
        ["bits/sec", "Kbits/sec", "Mbits/sec", "Gbits/sec", "Tbits/sec"],
    )
}

fn figures(mut value: f64, thousand: f64, units: [&str; 5]) -> String {
    let mut unit = 0;
    while value >= thousand && unit + 1 < units.len() {
        value /= thousand;
        unit += 1;
    }
    match value {
        v if v < 9.995 => format!("{v:4.2} {}", units[unit]),
        v if v < 99.95 => format!("{v:4.1} {}", units[unit]),
        v => format!("{v:4.0} {}", units[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_a_sender_has_iperf3s_columns_and_keys() {
        let standing = Standing {
            cwnd_bytes: 1_290_000,
            snd_wnd_bytes: 3_000_000,
            rtt: Duration::from_micros(1_500),
            rttvar: Duration::from_micros(20),
            path_mtu_bytes: 1_500,
        };
        let (bytes, retransmits) = (1_181_116_006, Some(7));
        let ended = Figures { bytes, retransmits, ..Figures::default() };
        let figures = Figures { standing: Some(standing), ..ended };
        let span = Span { from: 0.0, to: 1.0 };
        assert_eq!(
            heading(Mode::Tcp, Role::Sender, &figures),
            "[ ID] Interval           Transfer     Bitrate         Retr  Cwnd"
        );
        assert_eq!(
            line(Mode::Tcp, Some(0), span, figures, Role::Sender, ""),
            "[  5]   0.00-1.00   sec  1.10 GBytes  9.45 Gbits/sec    7   1.23 MBytes"
        );
        assert_eq!(
            line(Mode::Tcp, Some(0), span, ended, Role::Sender, "  sender"),
            "[  5]   0.00-1.00   sec  1.10 GBytes  9.45 Gbits/sec    7             sender"
        );
        let mut stood = Stood::default();
        stood.add(&Standing { rtt: Duration::from_micros(500), cwnd_bytes: 9, ..standing });
        stood.add(&standing);
        let mut value = json!({});
        stood.write(&mut value);
        assert_eq!(
            value,
            json!({"max_snd_cwnd": 1_290_000, "max_snd_wnd": 3_000_000, "max_rtt": 1_500,
                "min_rtt": 500, "mean_rtt": 1_000})
        );
    }

    #[test]
    fn lines_are_iperf3s() {
        let figures = Figures { bytes: 1_181_116_006, ..Figures::default() };
        let span = Span { from: 0.0, to: 1.0 };
        assert_eq!(
            line(Mode::Tcp, Some(0), span, figures, Role::Sender, ""),
            "[  5]   0.00-1.00   sec  1.10 GBytes  9.45 Gbits/sec"
        );
        assert_eq!(
            line(Mode::Tcp, None, Span { from: 9.0, to: 10.0 }, figures, Role::Sender, "  sender"),
            "[SUM]   9.00-10.00  sec  1.10 GBytes  9.45 Gbits/sec  sender"
        );
        let udp = Figures { bytes: 146_000, packets: 100, lost: 1, jitter_ns: 12_000, ..figures };
        assert_eq!(
            line(Mode::Udp, Some(0), span, udp, Role::Receiver, ""),
            "[  5]   0.00-1.00   sec   143 KBytes  1.17 Mbits/sec  0.012 ms  1/101 (0.99%)"
        );
    }
}
