//! A memory-mapped file as an Ethernet bus for unprivileged processes.
//!
//! Any number of processes that share nothing but a file are stations on one segment. Each has a
//! ring in the file that only it writes and everyone may read, so that there is no lock to leave
//! behind: a member may be killed at any instruction, stopped, or started again, and the others
//! go on. Frames of up to 64 KiB cross whole, with their checksum and segmentation metadata.
//!
//! [`Shmif`] is the link to build a stack on, [`members`] tells who is there, and [`Observer`]
//! looks on without taking part. The file's format is written down in `docs/bus-format.md`.
//!
//! # What members trust each other with
//! Whoever can write the file can send any frame under any address, and can scribble over the
//! file. The worst that does is loss: everything read from it is copied out first and bounded,
//! so that no content of the file makes a member panic, hang or touch memory outside the map.
//! Truncating the file under a live map is the exception: see [`report_sigbus`].

mod bell;
mod bus;
mod claim;
mod error;
mod file;
mod frame;
mod layout;
mod link;
mod lock;
mod member;
mod members;
mod observer;
mod pair;
mod peers;
mod pos;
mod raw;
mod ring;
mod rx;
mod slot;
mod tx;
mod word;

pub use error::AttachError;
pub use layout::BusConfig;
pub use link::Shmif;
pub use members::{MemberInfo, MemberState, members};
pub use observer::{Captured, Observer};
pub use raw::report_sigbus;
