//! Membership in groups, for both families: what sockets and the stack itself want is merged by
//! interface, told to the routers, and to the link.
//!
//! ```text
//!  sockets, neighbour discovery …      want(iface, group, who, filter)
//!        │                             leave, close
//!        ▼
//!  table: who wants what ──> filter: merged ──> listener: reports, answers ──> igmp, mld
//!        └────────────────────────────────────> the link's filter: groups' MAC addresses
//! ```

pub(crate) mod filter;
pub(crate) mod input;
pub(crate) mod listener;
pub(crate) mod message;
pub(crate) mod option;
pub(crate) mod table;
