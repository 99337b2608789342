//! What is to be measured; both sides must agree on it.

use std::time::Duration;

use serde_json::{Value, json};

use super::MAX_STREAMS;
use super::datagrams::HEADER_BYTES;

/// What kind of traffic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    Tcp,
    Udp,
    RequestResponse,
    ConnectClose,
}

impl Mode {
    const ALL: [Mode; 4] = [Mode::Tcp, Mode::Udp, Mode::RequestResponse, Mode::ConnectClose];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Mode::Tcp => "TCP",
            Mode::Udp => "UDP",
            Mode::RequestResponse => "RR",
            Mode::ConnectClose => "CRR",
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Plan {
    pub(super) mode: Mode,
    pub(super) streams: u16,
    /// The server sends.
    pub(super) reverse: bool,
    pub(super) duration: Duration,
    /// Bytes of all streams together, instead of a duration.
    pub(super) bytes: Option<u64>,
    /// Bytes written at a time, or of a datagram, a request.
    pub(super) block_bytes: u64,
    /// Of each stream; 0: no limit.
    pub(super) bits_per_second: u64,
    /// Buffers are handed over, not copied.
    pub(super) zero_copy: bool,
}

/// Why a plan cannot be carried out.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum PlanError {
    #[error("a block of {bytes} bytes does not do: {low} to {high} bytes do")]
    Block { bytes: u64, low: u64, high: u64 },
    #[error("{0} streams do not do: 1 to {MAX_STREAMS} do")]
    Streams(u16),
    #[error("a measurement takes more than 0 seconds and at most a day")]
    Duration,
    #[error("the other side asked for something that this version does not know")]
    Unknown,
}

impl Plan {
    /// Is it something that can be done?
    pub(super) fn check(&self) -> Result<(), PlanError> {
        let (low, high) = match self.mode {
            Mode::Tcp => (1, 16 << 20),
            Mode::Udp => (HEADER_BYTES as u64, 65_507),
            Mode::RequestResponse | Mode::ConnectClose => (1, 64 << 10),
        };
        if !(low..=high).contains(&self.block_bytes) {
            return Err(PlanError::Block { bytes: self.block_bytes, low, high });
        }
        if !(1..=MAX_STREAMS).contains(&self.streams) {
            return Err(PlanError::Streams(self.streams));
        }
        let day = Duration::from_secs(86_400);
        if self.bytes.is_none() && (self.duration.is_zero() || self.duration > day) {
            return Err(PlanError::Duration);
        }
        Ok(())
    }

    /// Bytes that each stream is to send, if there is a number.
    pub(super) fn bytes_per_stream(&self) -> u64 {
        self.bytes.map_or(u64::MAX, |bytes| bytes.div_ceil(u64::from(self.streams)))
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "mode": self.mode.name(), "streams": self.streams, "reverse": self.reverse,
            "duration_ms": u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX),
            "bytes": self.bytes, "block_bytes": self.block_bytes,
            "bits_per_second": self.bits_per_second, "zero_copy": self.zero_copy,
        })
    }

    /// Reads what the other side sent, and trusts nothing in it.
    pub(super) fn from_json(value: &Value) -> Result<Self, PlanError> {
        let number = |key: &str| value[key].as_u64().ok_or(PlanError::Unknown);
        let name = value["mode"].as_str().ok_or(PlanError::Unknown)?;
        let mode = Mode::ALL.into_iter().find(|mode| mode.name() == name);
        let plan = Plan {
            mode: mode.ok_or(PlanError::Unknown)?,
            streams: u16::try_from(number("streams")?).map_err(|_| PlanError::Unknown)?,
            reverse: value["reverse"].as_bool().ok_or(PlanError::Unknown)?,
            duration: Duration::from_millis(number("duration_ms")?),
            bytes: value["bytes"].as_u64(),
            block_bytes: number("block_bytes")?,
            bits_per_second: number("bits_per_second")?,
            zero_copy: value["zero_copy"].as_bool().unwrap_or(false),
        };
        plan.check()?;
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan {
            mode: Mode::Tcp,
            streams: 4,
            reverse: true,
            duration: Duration::from_secs(10),
            bytes: None,
            block_bytes: 131_072,
            bits_per_second: 0,
            zero_copy: false,
        }
    }

    #[test]
    fn a_plan_crosses_the_control_connection() {
        for mode in Mode::ALL {
            let plan = Plan { mode, block_bytes: 1000, bytes: Some(7), ..plan() };
            assert_eq!(Plan::from_json(&plan.to_json()), Ok(plan));
        }
    }

    #[test]
    fn plans_beyond_the_bounds_are_refused() {
        let refused = |plan: Plan| Plan::from_json(&plan.to_json()).unwrap_err();
        assert_eq!(refused(Plan { streams: 0, ..plan() }), PlanError::Streams(0));
        assert_eq!(refused(Plan { streams: 1000, ..plan() }), PlanError::Streams(1000));
        assert_eq!(refused(Plan { duration: Duration::ZERO, ..plan() }), PlanError::Duration);
        let huge = Plan { block_bytes: 1 << 40, ..plan() };
        assert!(refused(huge).to_string().contains("1 to 16777216 bytes do"));
        assert_eq!(Plan::from_json(&json!({"mode": "XYZ"})), Err(PlanError::Unknown));
        assert_eq!(Plan::from_json(&json!(3)), Err(PlanError::Unknown));
    }

    #[test]
    fn bytes_are_shared_out_among_streams() {
        assert_eq!(Plan { bytes: Some(10), ..plan() }.bytes_per_stream(), 3);
    }
}
