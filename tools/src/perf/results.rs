//! What both sides tell each other at the end, in iperf3's JSON.

use serde_json::{Value, json};

use super::counters::Figures;
use super::cpu::Load;
use super::plan::{Mode, Plan};

/// Which end of a stream figures are of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    Sender,
    Receiver,
}

/// One side's results.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Results {
    pub(super) seconds: f64,
    pub(super) streams: Vec<Figures>,
    pub(super) load: Load,
}

/// The number by which iperf3 knows its stream: 1, 3, 4, 5 …
const fn id(at: usize) -> usize {
    if at == 0 { 1 } else { at + 2 }
}

impl Results {
    pub(super) fn to_json(&self, plan: &Plan, role: Role) -> Value {
        let stream = |(at, figures): (usize, &Figures)| {
            // A receiver counts what it should have got.
            let packets = match role {
                Role::Sender => figures.packets,
                Role::Receiver => figures.packets.saturating_add(figures.lost),
            };
            json!({
                "id": id(at), "bytes": figures.bytes,
                "retransmits": figures.retransmits.map_or(-1, |n| i64::try_from(n).unwrap_or(i64::MAX)),
                "jitter": figures.jitter_ns as f64 / 1e9, "errors": figures.lost,
                "omitted_errors": 0, "packets": packets, "omitted_packets": 0,
                "start_time": 0, "end_time": self.seconds,
            })
        };
        let streams: Vec<Value> = self.streams.iter().enumerate().map(stream).collect();
        let mut value = json!({
            "cpu_util_total": self.load.total(), "cpu_util_user": self.load.user,
            "cpu_util_system": self.load.system,
            "sender_has_retransmits": u8::from(self.have_retransmits(role)),
            "streams": streams,
        });
        if plan.mode.is_rounds() {
            value["rumpnet"] = json!({"mode": plan.mode.name()});
        }
        value
    }

    /// Does a sender know how often it sent again?
    fn have_retransmits(&self, role: Role) -> bool {
        role == Role::Sender && self.streams.iter().all(|one| one.retransmits.is_some())
    }

    /// Of the other side, which had `role`. Nothing in it is trusted; what is missing is 0.
    pub(super) fn from_json(value: &Value, plan: &Plan, role: Role) -> Results {
        let number = |key: &str| value[key].as_f64().unwrap_or(0.0);
        let load = Load { user: number("cpu_util_user"), system: number("cpu_util_system") };
        let all = value["streams"].as_array().map(Vec::as_slice).unwrap_or_default();
        let find =
            |at: usize| all.iter().find(|stream| stream["id"].as_u64() == Some(id(at) as u64));
        let mut seconds = 0.0_f64;
        let streams = (0..usize::from(plan.streams)).map(|at| {
            let Some(stream) = find(at) else { return Figures::default() };
            let float = |key: &str| stream[key].as_f64().unwrap_or(0.0).max(0.0);
            seconds = seconds.max(float("end_time") - float("start_time"));
            let known = role == Role::Sender && value["sender_has_retransmits"] == 1;
            let retransmits = stream["retransmits"].as_u64().filter(|_| known);
            Figures { retransmits, ..figures(stream, plan.mode, role) }
        });
        let streams = streams.collect();
        Results { seconds, streams, load }
    }
}

fn figures(stream: &Value, mode: Mode, role: Role) -> Figures {
    // cJSON writes large numbers with an exponent.
    let number = |key: &str| {
        stream[key].as_u64().unwrap_or_else(|| stream[key].as_f64().unwrap_or(0.0).max(0.0) as u64)
    };
    let lost = number("errors").saturating_sub(number("omitted_errors"));
    let packets = number("packets").saturating_sub(number("omitted_packets"));
    let udp_receiver = mode == Mode::Udp && role == Role::Receiver;
    Figures {
        bytes: number("bytes"),
        packets: if udp_receiver { packets.saturating_sub(lost) } else { packets },
        lost,
        out_of_order: 0,
        jitter_ns: (stream["jitter"].as_f64().unwrap_or(0.0).max(0.0) * 1e9) as u64,
        ..Figures::default()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn plan(mode: Mode) -> Plan {
        Plan { mode, streams: 3, ..Plan::new(Duration::from_secs(1)) }
    }

    #[test]
    fn results_cross_the_control_connection() {
        let one =
            Figures { bytes: 7 << 40, packets: 9, lost: 2, jitter_ns: 5000, ..Figures::default() };
        let receiver = (Mode::Udp, Role::Receiver, None);
        let senders = [None, Some(0), Some(17)].map(|again| (Mode::Tcp, Role::Sender, again));
        for (mode, role, retransmits) in senders.into_iter().chain([receiver]) {
            let one = Figures { retransmits, ..one };
            let results = Results {
                seconds: 1.5,
                streams: vec![one; 3],
                load: Load { user: 1.0, system: 2.0 },
            };
            let plan = plan(mode);
            let read = Results::from_json(&results.to_json(&plan, role), &plan, role);
            assert_eq!(read, results);
        }
    }

    #[test]
    fn streams_are_known_by_iperf3s_numbers() {
        let results = Results { streams: vec![Figures::default(); 3], ..Results::default() };
        let json = results.to_json(&plan(Mode::Tcp), Role::Sender);
        let ids: Vec<u64> =
            json["streams"].as_array().unwrap().iter().map(|s| s["id"].as_u64().unwrap()).collect();
        assert_eq!(ids, [1, 3, 4]);
    }

    #[test]
    fn anything_is_read_and_nothing_believed() {
        for text in ["3", "{}", r#"{"streams":[{"id":1,"bytes":-4,"packets":"x","errors":1e300}]}"#]
        {
            let value = serde_json::from_str(text).unwrap();
            let read = Results::from_json(&value, &plan(Mode::Udp), Role::Receiver);
            assert_eq!(read.streams.len(), 3);
        }
    }
}
