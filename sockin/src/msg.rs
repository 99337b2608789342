//! Sends and receives.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;

use bytes::Bytes;
use libnet::errno;
use libnet::socket::{Received, RecvMsg, SendControl, SendMsg};
use rustix::buffer::spare_capacity;
use rustix::net::{RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendFlags};

use crate::ancillary;
use crate::table::Entry;

/// May a call sleep?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wait {
    /// `EAGAIN` instead.
    Never,
    /// Until it is done; the descriptor is a blocking one.
    Sleep,
}

impl Wait {
    fn send_flags(self) -> SendFlags {
        // A broken pipe is an error here, never a signal.
        match self {
            Wait::Never => SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
            Wait::Sleep => SendFlags::NOSIGNAL,
        }
    }

    fn recv_flags(self) -> RecvFlags {
        if self == Wait::Never { RecvFlags::DONTWAIT } else { RecvFlags::empty() }
    }
}

pub(crate) fn send(entry: &Entry, msg: SendMsg<'_>, wait: Wait) -> io::Result<usize> {
    let flags = wait.send_flags();
    let sent = match msg {
        SendMsg::Copy(bufs) => retry(|| send_slices(entry, bufs, None, flags)),
        SendMsg::Owned(bytes) => retry(|| send_slices(entry, &[IoSlice::new(&bytes)], None, flags)),
        SendMsg::CopyTo(bufs, addr) => retry(|| send_slices(entry, bufs, Some(addr), flags)),
        SendMsg::OwnedTo(bytes, to) => {
            retry(|| send_slices(entry, &[IoSlice::new(&bytes)], Some(to), flags))
        }
        SendMsg::With(bufs, control) if control == SendControl::to(control.to) => {
            retry(|| send_slices(entry, bufs, control.to, flags))
        }
        SendMsg::With(bufs, control) => retry(|| ancillary::send(entry, bufs, control, flags)),
        SendMsg::Urgent(bufs) => retry(|| send_slices(entry, bufs, None, flags | SendFlags::OOB)),
        _ => Err(errno::not_supported()),
    }?;
    entry.traffic.sent(sent);
    Ok(sent)
}

fn send_slices(
    entry: &Entry,
    bufs: &[IoSlice<'_>],
    to: Option<SocketAddr>,
    flags: SendFlags,
) -> io::Result<usize> {
    let fd = &entry.fd;
    Ok(match (bufs, to) {
        ([one], None) => rustix::net::send(fd, one, flags)?,
        ([one], Some(to)) => rustix::net::sendto(fd, one, flags, &to)?,
        (_, None) => rustix::net::sendmsg(fd, bufs, &mut SendAncillaryBuffer::default(), flags)?,
        (_, Some(to)) => {
            rustix::net::sendmsg_addr(fd, &to, bufs, &mut SendAncillaryBuffer::default(), flags)?
        }
    })
}

pub(crate) fn recv(entry: &Entry, msg: RecvMsg<'_, '_>, wait: Wait) -> io::Result<Received> {
    let flags = wait.recv_flags();
    let (received, is_consumed) = match msg {
        RecvMsg::Copy(bufs) => (retry(|| recv_slices(entry, bufs, flags))?, true),
        RecvMsg::Peek(bufs) => {
            (retry(|| recv_slices(entry, bufs, flags | RecvFlags::PEEK))?, false)
        }
        RecvMsg::Urgent(bufs) => {
            (retry(|| recv_slices(entry, bufs, flags | RecvFlags::OOB))?, true)
        }
        RecvMsg::Zero { max_bytes, out } => {
            let (buf, received) = match entry.is_stream() {
                true => retry(|| recv_piece(entry, max_bytes.min(MAX_MESSAGE_BYTES), flags))?,
                false => retry(|| recv_datagram(entry, flags))?,
            };
            // An empty datagram is one all the same; the end of a stream is none.
            if received.bytes > 0 || !entry.is_stream() {
                out.push_back(Bytes::from(buf));
            }
            (received, true)
        }
        _ => return Err(errno::not_supported()),
    };
    if is_consumed && (received.bytes > 0 || !entry.is_stream()) {
        entry.traffic.received(received.bytes);
    }
    Ok(received)
}

/// A signal ends no call, as with our own protocols.
fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

fn recv_slices(
    entry: &Entry,
    bufs: &mut [IoSliceMut<'_>],
    flags: RecvFlags,
) -> io::Result<Received> {
    let fd = &entry.fd;
    if entry.is_stream() {
        let bytes = match bufs {
            [one] => rustix::net::recv(fd, &mut **one, flags)?.1,
            _ => rustix::net::recvmsg(fd, bufs, &mut RecvAncillaryBuffer::default(), flags)?.bytes,
        };
        return Ok(Received::stream(bytes));
    }
    if !entry.asked_for.is_empty() {
        return ancillary::recv(entry, bufs, flags);
    }
    let room_bytes: usize = bufs.iter().map(|buf| buf.len()).sum();
    // The full length comes back, however short the buffers are. A stream would discard instead.
    let flags = flags | RecvFlags::TRUNC;
    let (message_bytes, from) = match bufs {
        [one] => {
            let (_, bytes, from) = rustix::net::recvfrom(fd, &mut **one, flags)?;
            (bytes, from)
        }
        _ => {
            let mut none = RecvAncillaryBuffer::default();
            let got = rustix::net::recvmsg(fd, bufs, &mut none, flags)?;
            (got.bytes, got.address)
        }
    };
    let mut received = Received::stream(message_bytes.min(room_bytes));
    received.message_bytes = message_bytes;
    received.from = from.and_then(|addr| SocketAddr::try_from(addr).ok());
    Ok(received)
}

/// Up to `room_bytes` of a stream, into memory that is not cleared before.
fn recv_piece(
    entry: &Entry,
    room_bytes: usize,
    flags: RecvFlags,
) -> io::Result<(Vec<u8>, Received)> {
    let mut buf = Vec::with_capacity(room_bytes);
    rustix::net::recv(&entry.fd, spare_capacity(&mut buf), flags)?;
    buf.shrink_to_fit();
    let received = Received::stream(buf.len());
    Ok((buf, received))
}

/// A datagram, as [`recv_piece`] gives a stream's bytes.
fn recv_datagram(entry: &Entry, flags: RecvFlags) -> io::Result<(Vec<u8>, Received)> {
    if !entry.asked_for.is_empty() {
        let mut buf = vec![0; MAX_MESSAGE_BYTES];
        let mut bufs = [IoSliceMut::new(&mut buf)];
        let received = ancillary::recv(entry, &mut bufs, flags)?;
        buf.truncate(received.bytes);
        buf.shrink_to_fit();
        return Ok((buf, received));
    }
    let mut buf = Vec::with_capacity(MAX_MESSAGE_BYTES);
    let (_, _, from) = rustix::net::recvfrom(&entry.fd, spare_capacity(&mut buf), flags)?;
    buf.shrink_to_fit();
    let mut received = Received::stream(buf.len());
    received.from = from.and_then(|addr| SocketAddr::try_from(addr).ok());
    Ok((buf, received))
}

/// The longest datagram there is.
const MAX_MESSAGE_BYTES: usize = 65_536;
