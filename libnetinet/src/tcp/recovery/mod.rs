//! Who resends what: loss detection and recovery, apart from how much may fly.

mod newreno;

pub(crate) use newreno::{DupAck, Echo, NewAck, NewReno};
