//! What the stack itself wrote down of a connection: lines of JSON with congestion windows and
//! round trips.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;

use super::flow::Flow;
use crate::fail::Failure;

/// What is drawn beside what the capture shows; times are the connection's.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Overlay {
    /// Bytes.
    pub(super) cwnd: Vec<(f64, f64)>,
    /// Seconds.
    pub(super) rtt: Vec<(f64, f64)>,
}

impl Overlay {
    /// The lines of a file that are about a direction of a connection.
    pub(super) fn read(path: &Path, flow: &Flow, way: usize) -> Result<Overlay, Failure> {
        let cannot = |error: &dyn std::fmt::Display| {
            Failure::doing(format_args!("cannot read {}", path.display()), error)
        };
        let text = super::read_text(path).map_err(|error| cannot(&error))?;
        let overlay = Overlay::parse(&text, flow, way).map_err(|wrong| cannot(&wrong))?;
        if overlay.cwnd.is_empty() && overlay.rtt.is_empty() {
            return Err(cannot(&format_args!(
                "nothing in it is about the sender {}: \"local\" and \"remote\" are its ends, and \"t\" \
                 counts as the capture's times do",
                flow.ends()[way]
            )));
        }
        Ok(overlay)
    }

    /// # Errors
    /// Which line is wrong, and why.
    pub(super) fn parse(text: &str, flow: &Flow, way: usize) -> Result<Overlay, String> {
        let (local, remote) = (flow.ends()[way], flow.ends()[1 - way]);
        let mut overlay = Overlay::default();
        for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
            let value: Value = serde_json::from_str(line)
                .map_err(|error| format!("line {number} is no JSON: {error}"))?;
            let is = |key: &str, end: SocketAddr| match value[key].as_str() {
                Some(text) => text.parse().is_ok_and(|named: SocketAddr| named == end),
                None => value[key].is_null(),
            };
            if !is("local", local) || !is("remote", remote) {
                continue;
            }
            let at =
                value["t"].as_f64().ok_or_else(|| format!("line {number} has no number \"t\""))?;
            let at = at - flow.began().as_secs_f64();
            if let Some(bytes) = value["cwnd"].as_f64() {
                overlay.cwnd.push((at, bytes.max(0.0)));
            }
            if let Some(micros) = value["rtt_us"].as_f64() {
                overlay.rtt.push((at, micros.max(0.0) / 1e6));
            }
        }
        Ok(overlay)
    }
}
