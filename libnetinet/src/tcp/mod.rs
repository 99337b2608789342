//! TCP, RFC 9293, as pure protocol code: time, packets and calls go in; packets, events and the
//! next deadline come out. [`Table`] is a shard's TCP, [`Connection`] one connection of it.

mod cc;
mod config;
mod ctx;
mod error;
mod handshake;
mod icmp;
mod info;
mod input;
mod listen;
mod options;
mod output;
mod path;
mod rate;
mod rcvbuf;
mod reassembly;
mod records;
mod recovery;
mod rtt;
mod sack;
mod scoreboard;
mod secrets;
mod segment;
mod seq;
mod sndbuf;
mod state;
mod table;
mod tcb;
#[cfg(test)]
mod tests;
mod timers;
mod timewait;
mod urgent;
mod user;

pub use crate::family::Zone;
pub use cc::{Ack, CongestionAlgorithm, CongestionControl, NoSuchAlgorithm};
pub use config::{ConnOptions, TcpConfig};
pub use ctx::{Ctx, TcpCounters};
pub use error::{ConnError, ConnectError, NotConnected, RecvError, SendError};
pub use icmp::{IcmpError, IcmpErrorKind};
pub use info::{TcpInfo, TimerKind};
pub use input::Disposition;
pub use listen::{Accepted, Listener};
pub use options::{MAX_OPTIONS_BYTES, MAX_WINDOW_SHIFT, Options, Timestamps};
pub use output::Outgoing;
pub use path::{OutMeta, Path, PathError, PathInfo};
pub use sack::{SackBlock, SackBlocks};
pub use secrets::Secrets;
pub use segment::{Flags, FourTuple, Header, MIN_HEADER_BYTES, Segment};
pub use seq::SeqNumber;
pub use state::{State, TRANSITIONS, TransitionCounts};
pub use table::{ConnId, ConnectFrom, Event, Ownerless, PortSharing, Table};
pub use tcb::Connection;
pub(crate) use tcb::NOBODY;
pub use user::{Linger, RecvInto};
