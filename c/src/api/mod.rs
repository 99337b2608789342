//! The functions of `rumpnet.h`.
//!
//! # Safety
//! Of all of them: a pointer is null where that is allowed, or leads to as many bytes as are said, which
//! nobody changes during the call.

pub mod epoll;
pub mod interfaces;
pub mod microscope;
pub mod options;
pub mod poll;
pub mod sockets;
pub mod stacks;
pub mod transfer;
