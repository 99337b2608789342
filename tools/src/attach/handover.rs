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
///
/// # Errors
/// The system's; one if the descriptor was lost on the way, as it is where this process may have
/// no more of them.
pub(super) fn receive(control: impl AsFd) -> io::Result<Option<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 8];
    loop {
        let mut buffers = [IoSliceMut::new(&mut bytes)];
        match recvmsg(&control, &mut buffers, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(message) if message.bytes == 0 => return Ok(None),
            Ok(_) => break,
        }
    }
    let passed = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    passed.map(Some).ok_or_else(|| {
        io::Error::other("no room for its descriptor: more files must be allowed (ulimit -n)")
    })
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

#[cfg(test)]
mod tests {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    fn pair() -> (OwnedFd, OwnedFd) {
        let flags = SocketFlags::CLOEXEC;
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap()
    }

    #[test]
    fn a_descriptor_is_passed_or_known_not_to_be() {
        let (ours, theirs) = pair();
        send(&theirs, ours.as_fd()).unwrap();
        assert!(receive(&ours).unwrap().is_some());
        // As it comes where there is no room for the descriptor.
        say_go(&theirs).unwrap();
        assert!(receive(&ours).unwrap_err().to_string().contains("ulimit -n"));
        drop(theirs);
        assert!(receive(&ours).unwrap().is_none());
    }

    #[test]
    fn to_go_on_is_told_from_the_other_sides_end() {
        let (ours, theirs) = pair();
        say_go(&theirs).unwrap();
        drop(theirs);
        assert!(await_go(&ours));
        assert!(!await_go(&ours));
    }
}
