//! TCP, RFC 9293, as pure protocol code: time, packets and calls go in; packets, events and the
//! next deadline come out. [`Table`] is a shard's TCP, [`Connection`] one connection of it.

mod auth;
mod budget;
mod cc;
mod chrono;
mod clamp;
mod config;
mod congestion;
mod ctx;
mod ecn;
mod error;
mod fast_open;
mod handshake;
mod held;
mod icmp;
mod info;
mod input;
mod landing;
mod listen;
mod memory;
mod mtu;
mod offer;
mod options;
mod output;
mod pacing;
mod path;
mod rate;
mod rcvbuf;
mod reassembly;
mod records;
mod recovery;
mod request;
mod rtt;
mod sack;
mod scoreboard;
mod secrets;
mod segment;
mod seq;
mod slab;
mod sndbuf;
mod state;
mod syncookie;
mod table;
mod tcb;
#[cfg(test)]
mod tests;
mod timers;
mod timewait;
mod tuning;
mod urgent;
mod user;

pub use crate::family::Zone;
pub use auth::{AuthKeys, KeyError};
pub use budget::Budget;
pub use cc::{
    Ack, Begin, CongestionAlgorithm, CongestionControl, ControllerFactory, Controllers, Lost,
    NoSuchAlgorithm, Sample,
};
pub(crate) use clamp::{Clamped, lower_mss};
pub use config::{
    ConnOptions, MemoryLimits, MtuProbing, RackWait, SynCookies, TcpConfig, TimeWaitReuse,
};
pub use ctx::{Ctx, TcpCounters};
pub use ecn::{
    AccurateInfo, ByteOrder, EcnField, EcnOption, EcnPolicy, EcnUse, MarkedBytes, NoSuchPolicy,
};
pub use error::{ConnError, ConnectError, NotConnected, RecvError, SendError};
pub use fast_open::FastOpen;
pub use icmp::{IcmpError, IcmpErrorKind};
pub use info::{TcpInfo, TimerKind};
pub use input::Disposition;
pub use listen::{Accepted, Listener};
pub use options::{Extra, MAX_OPTIONS_BYTES, MAX_WINDOW_SHIFT, OptionAt, Options, Timestamps};
pub use output::Outgoing;
pub use path::{InMeta, OutMeta, Path, PathError, PathInfo};
pub use sack::{SackBlock, SackBlocks};
pub use secrets::Secrets;
pub(crate) use segment::MAX_HEADER_BYTES;
pub use segment::{Flags, FourTuple, Header, MIN_HEADER_BYTES, Segment};
pub use seq::SeqNumber;
pub use state::{State, TRANSITIONS, TransitionCounts};
pub use table::{ConnId, ConnectFrom, Event, Ownerless, PortSharing, Table, defer_accept_time};
pub use tcb::Connection;
pub(crate) use tcb::NOBODY;
pub use user::{Linger, RecvInto};
