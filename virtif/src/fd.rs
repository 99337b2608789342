//! The one unsafe step: a raw descriptor becomes an owned one.
#![allow(unsafe_code)]

use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};

/// Takes the descriptor out of an open device.
pub(crate) fn take(iface: tun_tap::Iface) -> OwnedFd {
    // SAFETY: `into_raw_fd` gives up an open descriptor that nobody else owns.
    unsafe { OwnedFd::from_raw_fd(iface.into_raw_fd()) }
}
