//! TCP/IP without I/O.
#![forbid(unsafe_code)]

pub mod tcp;
