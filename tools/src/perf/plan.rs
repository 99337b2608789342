//! What is to be measured, and how iperf3's parameters say it.

use std::time::Duration;

use serde_json::{Value, json};

use super::MAX_STREAMS;
use super::control::Refusal;
use super::results::Role;

/// What a client of ours calls itself.
const VERSION: &str = concat!("rumpnet ", env!("CARGO_PKG_VERSION"));

/// What kind of traffic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    Tcp,
    Udp,
    RequestResponse,
    ConnectClose,
}

impl Mode {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Mode::Tcp => "TCP",
            Mode::Udp => "UDP",
            Mode::RequestResponse => "RR",
            Mode::ConnectClose => "CRR",
        }
    }

    /// Is it request and response, which iperf3 does not have?
    pub(super) const fn is_rounds(self) -> bool {
        matches!(self, Mode::RequestResponse | Mode::ConnectClose)
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Plan {
    pub(super) mode: Mode,
    pub(super) streams: u16,
    /// The server sends.
    pub(super) reverse: bool,
    /// What does not count, at the beginning.
    pub(super) omit: Duration,
    pub(super) duration: Duration,
    /// Bytes of all streams together, instead of a duration.
    pub(super) bytes: Option<u64>,
    /// Bytes written at a time, or of a datagram, a request.
    pub(super) block_bytes: u64,
    /// Of each stream; 0: no limit.
    pub(super) bits_per_second: u64,
    /// Buffers are handed over, not copied. Of our side only.
    pub(super) zero_copy: bool,
    /// `TCP_NODELAY` on the streams.
    pub(super) no_delay: bool,
    /// `TCP_CONGESTION` on the streams; `None`: the stack's.
    pub(super) congestion: Option<String>,
    /// Of UDP: the numbers have 64 bits.
    pub(super) wide_counters: bool,
    /// The other side closes its streams before it says that it is done, as ours does.
    pub(super) closes_first: bool,
}

/// Why a plan cannot be carried out.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum PlanError {
    #[error("a block of {bytes} bytes does not do: {low} to {high} bytes do")]
    Block { bytes: u64, low: u64, high: u64 },
    #[error("{0} streams do not do: 1 to {MAX_STREAMS} do")]
    Streams(u64),
    #[error("a measurement takes more than 0 seconds and at most a day")]
    Duration,
    #[error("the other side asked for {0}, which is not there")]
    NotThere(&'static str),
    #[error("the other side's parameters make no sense")]
    Unknown,
}

impl PlanError {
    /// How it is told to a client.
    pub(super) const fn refusal(&self) -> Refusal {
        match self {
            PlanError::Block { .. } => Refusal::Block,
            PlanError::Streams(_) => Refusal::Streams,
            PlanError::Duration => Refusal::Duration,
            PlanError::NotThere(_) => Refusal::Unimplemented,
            PlanError::Unknown => Refusal::Parameters,
        }
    }
}

impl Plan {
    /// One TCP stream to the server, for `duration`.
    pub(super) fn new(duration: Duration) -> Self {
        Plan {
            mode: Mode::Tcp,
            streams: 1,
            reverse: false,
            omit: Duration::ZERO,
            duration,
            bytes: None,
            block_bytes: super::TCP_BLOCK_BYTES,
            bits_per_second: 0,
            zero_copy: false,
            no_delay: false,
            congestion: None,
            wide_counters: true,
            closes_first: true,
        }
    }

    /// Is it something that can be done?
    pub(super) fn check(&self) -> Result<(), PlanError> {
        let (low, high) = match self.mode {
            Mode::Tcp => (1, 16 << 20),
            Mode::Udp => (self.header_bytes() as u64, 65_507),
            Mode::RequestResponse | Mode::ConnectClose => (1, 64 << 10),
        };
        if !(low..=high).contains(&self.block_bytes) {
            return Err(PlanError::Block { bytes: self.block_bytes, low, high });
        }
        if !(1..=MAX_STREAMS).contains(&self.streams) {
            return Err(PlanError::Streams(self.streams.into()));
        }
        let day = Duration::from_secs(86_400);
        let is_endless = self.bytes.is_none() && self.duration.is_zero();
        if is_endless || self.duration > day || self.omit > day {
            return Err(PlanError::Duration);
        }
        Ok(())
    }

    /// Bytes of a datagram's header.
    pub(super) const fn header_bytes(&self) -> usize {
        if self.wide_counters { 16 } else { 12 }
    }

    /// Bytes that each stream is to send, if there is a number. What may be lost, or does not count,
    /// cannot be numbered beforehand: then the client says when it is enough.
    pub(super) fn bytes_per_stream(&self) -> u64 {
        match self.bytes {
            Some(bytes) if self.omit.is_zero() && !(self.mode == Mode::Udp && self.reverse) => {
                bytes.div_ceil(u64::from(self.streams))
            }
            _ => u64::MAX,
        }
    }

    pub(super) const fn client_role(&self) -> Role {
        if self.reverse { Role::Receiver } else { Role::Sender }
    }

    pub(super) const fn server_role(&self) -> Role {
        if self.reverse { Role::Sender } else { Role::Receiver }
    }

    pub(super) fn to_json(&self) -> Value {
        let seconds = |duration: Duration| duration.as_secs_f64().ceil() as u64;
        let mut value = json!({
            "omit": seconds(self.omit),
            "time": if self.bytes.is_some() { 0 } else { seconds(self.duration) },
            "num": self.bytes.unwrap_or(0), "blockcount": 0, "parallel": self.streams,
            "len": self.block_bytes, "bandwidth": self.bits_per_second, "pacing_timer": 1000,
            "client_version": VERSION,
        });
        let protocol = if self.mode == Mode::Udp { "udp" } else { "tcp" };
        value[protocol] = true.into();
        if self.reverse {
            value["reverse"] = true.into();
        }
        if self.no_delay {
            value["nodelay"] = true.into();
        }
        if let Some(name) = &self.congestion {
            value["congestion"] = name.as_str().into();
        }
        if self.mode == Mode::Udp && self.wide_counters {
            value["udp_counters_64bit"] = 1.into();
        }
        if self.mode.is_rounds() {
            value["rumpnet"] = json!({"mode": self.mode.name()});
        }
        value
    }

    /// Reads what a client sent, and trusts nothing in it.
    pub(super) fn from_json(value: &Value) -> Result<Self, PlanError> {
        if !value.is_object() {
            return Err(PlanError::Unknown);
        }
        // iperf3 leaves out what is not set, and writes some numbers with a fraction or an exponent.
        let number = |key: &str| match &value[key] {
            Value::Null => Ok(0),
            given => given
                .as_u64()
                .or_else(|| given.as_f64().filter(|n| (0.0..1e18).contains(n)).map(|n| n as u64))
                .ok_or(PlanError::Unknown),
        };
        let is_set = |key: &str| match &value[key] {
            Value::Null => false,
            given => given.as_bool().unwrap_or_else(|| given.as_f64() != Some(0.0)),
        };
        for (key, what) in [
            ("bidirectional", "both directions at once"),
            ("sctp", "SCTP"),
            ("authtoken", "authentication"),
        ] {
            if is_set(key) {
                return Err(PlanError::NotThere(what));
            }
        }
        let block_bytes = number("len")?;
        let blocks = number("blockcount")?;
        let bytes = number("num")?.max(blocks.saturating_mul(block_bytes));
        let streams = number("parallel")?;
        let plan = Plan {
            mode: mode(value, is_set("udp"))?,
            streams: u16::try_from(streams).map_err(|_| PlanError::Streams(streams))?,
            reverse: is_set("reverse"),
            omit: Duration::from_secs(number("omit")?),
            duration: Duration::from_secs(number("time")?),
            bytes: Some(bytes).filter(|bytes| *bytes > 0),
            block_bytes,
            bits_per_second: number("bandwidth")?,
            zero_copy: false,
            no_delay: is_set("nodelay"),
            congestion: value["congestion"].as_str().map(str::to_owned),
            wide_counters: is_set("udp_counters_64bit"),
            closes_first: value["client_version"]
                .as_str()
                .is_some_and(|v| v.starts_with("rumpnet")),
        };
        plan.check()?;
        Ok(plan)
    }
}

fn mode(value: &Value, udp: bool) -> Result<Mode, PlanError> {
    match (&value["rumpnet"], udp) {
        (Value::Null, true) => Ok(Mode::Udp),
        (Value::Null, false) => Ok(Mode::Tcp),
        (ours, _) => match ours["mode"].as_str() {
            Some("RR") => Ok(Mode::RequestResponse),
            Some("CRR") => Ok(Mode::ConnectClose),
            _ => Err(PlanError::NotThere("a kind of test")),
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plan() -> Plan {
        Plan { streams: 4, reverse: true, ..Plan::new(Duration::from_secs(10)) }
    }

    #[test]
    fn a_plan_crosses_the_control_connection() {
        for mode in [Mode::Tcp, Mode::Udp, Mode::RequestResponse, Mode::ConnectClose] {
            let wide_counters = mode == Mode::Udp;
            let plan = Plan { mode, block_bytes: 1000, wide_counters, no_delay: true, ..plan() };
            assert_eq!(Plan::from_json(&plan.to_json()), Ok(plan));
        }
        let read = Plan::from_json(&Plan { bytes: Some(7), ..plan() }.to_json()).unwrap();
        assert_eq!(read.bytes, Some(7));
    }

    #[test]
    fn iperf3s_own_parameters_are_read() {
        let text = r#"{"tcp":true,"omit":0,"time":10,"num":0,"blockcount":0,"parallel":1,
            "len":131072,"pacing_timer":1000,"client_version":"3.12"}"#;
        let plan = Plan::from_json(&serde_json::from_str(text).unwrap()).unwrap();
        assert_eq!((plan.mode, plan.streams, plan.block_bytes), (Mode::Tcp, 1, 131_072));
        assert_eq!((plan.duration, plan.bytes), (Duration::from_secs(10), None));
        assert!(!plan.reverse && !plan.closes_first);
        let text = r#"{"udp":true,"omit":1,"time":5,"num":0,"blockcount":0,"parallel":2,
            "reverse":true,"len":1448,"bandwidth":1048576,"client_version":"3.12"}"#;
        let plan = Plan::from_json(&serde_json::from_str(text).unwrap()).unwrap();
        assert_eq!((plan.mode, plan.bits_per_second), (Mode::Udp, 1_048_576));
        assert!(plan.reverse && !plan.wide_counters);
        assert_eq!(plan.header_bytes(), 12);
    }

    #[test]
    fn plans_beyond_the_bounds_are_refused() {
        let refused = |plan: Plan| Plan::from_json(&plan.to_json()).unwrap_err();
        assert_eq!(refused(Plan { streams: 0, ..plan() }), PlanError::Streams(0));
        assert_eq!(refused(Plan { streams: 1000, ..plan() }), PlanError::Streams(1000));
        assert_eq!(refused(Plan { duration: Duration::ZERO, ..plan() }), PlanError::Duration);
        let huge = Plan { block_bytes: 1 << 40, ..plan() };
        assert!(refused(huge).to_string().contains("1 to 16777216 bytes do"));
        let mut value = plan().to_json();
        value["bidirectional"] = true.into();
        assert_eq!(Plan::from_json(&value).unwrap_err().refusal(), Refusal::Unimplemented);
        assert_eq!(Plan::from_json(&json!(3)), Err(PlanError::Unknown));
    }

    #[test]
    fn bytes_are_shared_out_among_streams() {
        assert_eq!(Plan { bytes: Some(10), ..plan() }.bytes_per_stream(), 3);
    }

    proptest! {
        #[test]
        fn any_numbers_are_read_or_refused(len: i64, time: f64, parallel: u64, num: u64, blocks: u64) {
            let value = json!({"len": len, "time": time, "parallel": parallel, "num": num,
                "blockcount": blocks, "tcp": true});
            let _ = Plan::from_json(&value);
        }
    }
}
