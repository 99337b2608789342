//! Passes an open tap from the process in the namespace to the one on the bus.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, FdFlags};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// What goes with the descriptor, and back.
const GO: &[u8] = b"go";

/// Lets the next program that this process starts have a descriptor.
pub(super) fn let_inherit(fd: impl AsFd) -> io::Result<()> {
    Ok(rustix::io::fcntl_setfd(fd, FdFlags::empty())?)
}

/// Keeps it from the next ones.
pub(super) fn keep_from_children(fd: impl AsFd) -> io::Result<()> {
    Ok(rustix::io::fcntl_setfd(fd, FdFlags::CLOEXEC)?)
}

/// Sends a descriptor.
pub(super) fn send(control: impl AsFd, fd: BorrowedFd<'_>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds = [fd];
    if !ancillary.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    sendmsg(control, &[IoSlice::new(GO)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Waits for a descriptor; `None`: the other side has gone without one.
pub(super) fn receive(control: impl AsFd) -> io::Result<Option<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 8];
    loop {
        let mut buffers = [IoSliceMut::new(&mut bytes)];
        match recvmsg(&control, &mut buffers, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => break,
        }
    }
    let passed = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    Ok(passed)
}

/// Tells the other side to go on.
pub(super) fn say_go(control: impl AsFd) -> io::Result<()> {
    rustix::net::send(control, GO, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Waits until the other side says so; `false`: it has gone.
pub(super) fn await_go(control: impl AsFd) -> bool {
    let mut bytes = [0; 8];
    loop {
        match rustix::net::recv(&control, &mut bytes, RecvFlags::empty()) {
            Err(Errno::INTR) => {}
            Ok((n, _)) => return n > 0,
            Err(_) => return false,
        }
    }
}
