//! Sends and receives.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;

use bytes::Bytes;
use libnet::errno;
use libnet::socket::{Received, RecvMsg, SendMsg, SockType};
use rustix::net::{RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendFlags};

use crate::table::Entry;

pub(crate) fn send(entry: &Entry, msg: SendMsg<'_>) -> io::Result<usize> {
    match msg {
        SendMsg::Copy(bufs) => send_slices(entry, bufs, None),
        SendMsg::Owned(bytes) => send_slices(entry, &[IoSlice::new(&bytes)], None),
        SendMsg::CopyTo(bufs, addr) => send_slices(entry, bufs, Some(addr)),
        SendMsg::OwnedTo(bytes, addr) => send_slices(entry, &[IoSlice::new(&bytes)], Some(addr)),
        _ => Err(errno::not_supported()),
    }
}

fn send_slices(entry: &Entry, bufs: &[IoSlice<'_>], to: Option<SocketAddr>) -> io::Result<usize> {
    // A broken pipe is an error here, never a signal.
    let flags = SendFlags::NOSIGNAL;
    let mut control = SendAncillaryBuffer::default();
    let sent = match to {
        Some(addr) => rustix::net::sendmsg_addr(&entry.fd, &addr, bufs, &mut control, flags)?,
        None => rustix::net::sendmsg(&entry.fd, bufs, &mut control, flags)?,
    };
    Ok(sent)
}

pub(crate) fn recv(entry: &Entry, msg: RecvMsg<'_, '_>) -> io::Result<Received> {
    match msg {
        RecvMsg::Copy(bufs) => recv_slices(entry, bufs, RecvFlags::empty()),
        RecvMsg::Peek(bufs) => recv_slices(entry, bufs, RecvFlags::PEEK),
        RecvMsg::Zero { max_bytes, out } => {
            let room_bytes = match entry.ty {
                SockType::Stream => max_bytes.min(MAX_MESSAGE_BYTES),
                _ => MAX_MESSAGE_BYTES,
            };
            let mut buf = vec![0; room_bytes];
            let mut bufs = [IoSliceMut::new(&mut buf)];
            let received = recv_slices(entry, &mut bufs, RecvFlags::empty())?;
            buf.truncate(received.bytes);
            // An empty datagram is one all the same; the end of a stream is none.
            if received.bytes > 0 || entry.ty != SockType::Stream {
                buf.shrink_to_fit();
                out.push_back(Bytes::from(buf));
            }
            Ok(received)
        }
        _ => Err(errno::not_supported()),
    }
}

fn recv_slices(
    entry: &Entry,
    bufs: &mut [IoSliceMut<'_>],
    flags: RecvFlags,
) -> io::Result<Received> {
    let mut control = RecvAncillaryBuffer::default();
    if entry.ty == SockType::Stream {
        let got = rustix::net::recvmsg(&entry.fd, bufs, &mut control, flags)?;
        return Ok(Received::stream(got.bytes));
    }
    let room_bytes: usize = bufs.iter().map(|buf| buf.len()).sum();
    // The full length comes back, however short the buffers are. A stream would discard instead.
    let got = rustix::net::recvmsg(&entry.fd, bufs, &mut control, flags | RecvFlags::TRUNC)?;
    let bytes = got.bytes.min(room_bytes);
    let mut received = Received::stream(bytes);
    received.message_bytes = got.bytes;
    received.from = got.address.and_then(|addr| SocketAddr::try_from(addr).ok());
    Ok(received)
}

/// The longest datagram there is.
const MAX_MESSAGE_BYTES: usize = 65_536;
