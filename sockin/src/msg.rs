//! Sends and receives.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;

use bytes::Bytes;
use libnet::capture::CaptureTaps;
use libnet::errno;
use libnet::socket::{Received, RecvMsg, SendControl, SendMsg};
use nix::libc;
use rustix::buffer::spare_capacity;
use rustix::net::{RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendFlags};

use crate::ancillary;
use crate::capture::Show;
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

pub(crate) fn send(
    taps: &CaptureTaps,
    entry: &Entry,
    msg: SendMsg<'_>,
    wait: Wait,
) -> io::Result<usize> {
    let (owned, slice);
    let none = SendFlags::empty();
    let (bufs, control, extra) = match msg {
        SendMsg::Copy(bufs) => (bufs, SendControl::to(None), none),
        SendMsg::CopyTo(bufs, to) => (bufs, SendControl::to(Some(to)), none),
        SendMsg::With(bufs, control) => (bufs, control, none),
        SendMsg::Urgent(bufs) => (bufs, SendControl::to(None), SendFlags::OOB),
        SendMsg::FastOpen(bufs, to) => (bufs, SendControl::to(Some(to)), FAST_OPEN),
        SendMsg::Owned(bytes) => {
            owned = bytes;
            slice = [IoSlice::new(&owned)];
            (&slice[..], SendControl::to(None), none)
        }
        SendMsg::OwnedTo(bytes, to) => {
            owned = bytes;
            slice = [IoSlice::new(&owned)];
            (&slice[..], SendControl::to(Some(to)), none)
        }
        _ => return Err(errno::not_supported()),
    };
    let flags = wait.send_flags() | extra;
    let sent = retry(|| match control == SendControl::to(control.to) {
        true => send_slices(entry, bufs, control.to, flags),
        false => ancillary::send(entry, bufs, control, flags),
    });
    if let Some(mut show) = Show::of(taps, entry) {
        match &sent {
            Ok(bytes) => show.sent(bufs, *bytes, control.to, extra == SendFlags::OOB),
            Err(error) => show.failed(error),
        }
    }
    if let Ok(bytes) = sent {
        entry.traffic.sent(bytes);
    }
    sent
}

/// `MSG_FASTOPEN`, which no crate names.
const FAST_OPEN: SendFlags = SendFlags::from_bits_retain(libc::MSG_FASTOPEN.cast_unsigned());

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

pub(crate) fn recv(
    taps: &CaptureTaps,
    entry: &Entry,
    msg: RecvMsg<'_, '_>,
    wait: Wait,
) -> io::Result<Received> {
    let received = recv_quietly(taps, entry, msg, wait.recv_flags());
    if let Err(error) = &received
        && let Some(mut show) = Show::of(taps, entry)
    {
        show.failed(error);
    }
    received
}

fn recv_quietly(
    taps: &CaptureTaps,
    entry: &Entry,
    msg: RecvMsg<'_, '_>,
    flags: RecvFlags,
) -> io::Result<Received> {
    let (bufs, flags) = match msg {
        RecvMsg::Copy(bufs) => (bufs, flags),
        RecvMsg::Urgent(bufs) => (bufs, flags | RecvFlags::OOB),
        // It stays where it is: nothing was received.
        RecvMsg::Peek(bufs) => return retry(|| recv_slices(entry, bufs, flags | RecvFlags::PEEK)),
        RecvMsg::Zero { max_bytes, out } => {
            let (buf, received) = match entry.is_stream() {
                true => retry(|| recv_piece(entry, max_bytes.min(MAX_MESSAGE_BYTES), flags))?,
                false => retry(|| recv_datagram(entry, flags))?,
            };
            took(taps, entry, max_bytes, || buf.clone(), &received);
            // An empty datagram is one all the same; the end of a stream is none.
            if received.bytes > 0 || !entry.is_stream() {
                out.push_back(Bytes::from(buf));
            }
            return Ok(received);
        }
        _ => return Err(errno::not_supported()),
    };
    let received = retry(|| recv_slices(entry, bufs, flags))?;
    let room_bytes = bufs.iter().map(|buf| buf.len()).sum();
    let data = || bufs.iter().flat_map(|buf| buf.iter().copied()).take(received.bytes).collect();
    took(taps, entry, room_bytes, data, &received);
    Ok(received)
}

/// Counts and shows what a receive with so much room brought.
fn took(
    taps: &CaptureTaps,
    entry: &Entry,
    room_bytes: usize,
    data: impl FnOnce() -> Vec<u8>,
    received: &Received,
) {
    let is_something = received.bytes > 0 || !entry.is_stream();
    if is_something {
        entry.traffic.received(received.bytes);
    }
    // Of a stream, nothing into some room is its end.
    if (is_something || room_bytes > 0)
        && let Some(mut show) = Show::of(taps, entry)
    {
        show.received(&data(), received);
    }
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
