//! What passed a mapping, and how it is told.

use serde_json::{Value, json};

use super::Served;
use super::mapping::Kind;
use crate::serve::{Accepting, Counter};

/// The counters of a mapping. "There" is towards the target, "back" from it.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Connections, or flows of datagrams.
    pub(super) accepting: Accepting,
    /// The target refused.
    pub(super) refused: Counter,
    /// The target could not be reached.
    pub(super) failed: Counter,
    /// Ended by a reset of either side.
    pub(super) reset: Counter,
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
        let (c, a) = (&self.counters, &self.counters.accepting);
        let [begun, at_limit, refused, reset, there, back] =
            [&a.begun, &a.at_limit, &c.refused, &c.reset, &c.there_bytes, &c.back_bytes]
                .map(Counter::get);
        let (open, failed) = (a.open(), a.failed.get() + c.failed.get());
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
        let (c, a) = (&self.counters, &self.counters.accepting);
        let mut report = json!({
            "mapping": self.mapping.text, "protocol": self.mapping.kind.to_string(),
            "begun": a.begun.get(), "open": a.open(),
            "refused": c.refused.get(), "failed": a.failed.get() + c.failed.get(), "reset": c.reset.get(),
            "at_limit": a.at_limit.get(),
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
