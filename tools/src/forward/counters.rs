//! What passed a mapping, and how it is told.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use super::Served;
use super::mapping::Kind;

/// A number that only grows, but for `open`.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, n: usize) {
        self.0.fetch_add(n as u64, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters of a mapping. "There" is towards the target, "back" from it.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Connections accepted, or flows of datagrams begun.
    pub(super) begun: Counter,
    /// Of those, the ones that are over, however they ended.
    pub(super) over: Counter,
    /// The target refused.
    pub(super) refused: Counter,
    /// The target could not be reached, or a connection could not be accepted.
    pub(super) failed: Counter,
    /// Ended by a reset of either side.
    pub(super) reset: Counter,
    /// Times that `--max-connections` made somebody wait, or cost a datagram.
    pub(super) at_limit: Counter,
    pub(super) there_bytes: Counter,
    pub(super) back_bytes: Counter,
    pub(super) there_datagrams: Counter,
    pub(super) back_datagrams: Counter,
    /// Datagrams that could not be passed on.
    pub(super) dropped: Counter,
}

impl Served {
    /// The counters on one line, for people.
    pub(super) fn line(&self) -> String {
        let c = &self.counters;
        let [begun, refused, failed, reset, at_limit, there, back] =
            [&c.begun, &c.refused, &c.failed, &c.reset, &c.at_limit, &c.there_bytes, &c.back_bytes]
                .map(Counter::get);
        let open = begun.saturating_sub(c.over.get());
        let text = &self.mapping.text;
        match self.mapping.kind {
            Kind::Tcp => format!(
                "{text}: {begun} connections, {open} open, {refused} refused, {failed} failed, \
                 {reset} reset, {at_limit} times at the limit; {there} bytes there, {back} bytes back"
            ),
            Kind::Udp => format!(
                "{text}: {begun} flows, {open} open; {} datagrams with {there} bytes there, {} with \
                 {back} bytes back; {} dropped, {refused} refused, {at_limit} at the limit",
                c.there_datagrams.get(),
                c.back_datagrams.get(),
                c.dropped.get(),
            ),
        }
    }

    /// The counters for programs.
    pub(super) fn report(&self) -> Value {
        let c = &self.counters;
        let mut report = json!({
            "mapping": self.mapping.text, "protocol": self.mapping.kind.to_string(),
            "begun": c.begun.get(), "open": c.begun.get().saturating_sub(c.over.get()),
            "refused": c.refused.get(), "failed": c.failed.get(), "reset": c.reset.get(),
            "at_limit": c.at_limit.get(),
            "there_bytes": c.there_bytes.get(), "back_bytes": c.back_bytes.get(),
        });
        if self.mapping.kind == Kind::Udp {
            report["there_datagrams"] = c.there_datagrams.get().into();
            report["back_datagrams"] = c.back_datagrams.get().into();
            report["dropped"] = c.dropped.get().into();
        }
        report
    }
}
