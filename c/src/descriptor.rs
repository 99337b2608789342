//! A socket with its descriptor.

use std::ffi::c_int;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::{IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Wake, Waker};

use libnet::net::Socket;
use libnet::socket::{Received, RecvMsg, SendControl, SendMsg};
use libnet::{Family, Protocol, Ready, Registration, SockType, errno as number};
use nix::libc;
use rumpnet::libnetinet::snapshot::SocketEntry;
use rustix::net::SocketFlags;

use crate::error::errno;
use crate::gate::Gate;
use crate::machine::Machine;
use crate::message::Told;
use crate::table::{self, lock};

/// A socket; descriptors that are duplicates share it.
pub(crate) struct Descriptor {
    /// The socket. Before the gate and the stack: dropped first.
    pub(crate) socket: Socket,
    pub(crate) gate: Gate,
    pub(crate) machine: Arc<Machine>,
    pub(crate) kind: Kind,
    pub(crate) listens: AtomicBool,
    /// What control messages tell of received ones.
    pub(crate) told: Mutex<Told>,
    registration: Mutex<Option<Registration>>,
}

/// What a socket was made as.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) family: Family,
    pub(crate) ty: SockType,
    pub(crate) protocol: Protocol,
}

impl Descriptor {
    /// Gives a socket a descriptor; its number.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE`.
    pub(crate) fn open(
        machine: &Arc<Machine>,
        socket: Socket,
        kind: Kind,
        flags: c_int,
    ) -> io::Result<c_int> {
        socket.set_nonblocking(flags & libc::SOCK_NONBLOCK != 0);
        let cloexec = flags & libc::SOCK_CLOEXEC != 0;
        let (gate, end) =
            Gate::new(if cloexec { SocketFlags::CLOEXEC } else { SocketFlags::empty() })?;
        let descriptor = Arc::new(Descriptor {
            socket,
            gate,
            machine: Arc::clone(machine),
            kind,
            listens: AtomicBool::new(false),
            told: Mutex::default(),
            registration: Mutex::new(None),
        });
        let waker = Waker::from(Arc::new(Refresh(Arc::downgrade(&descriptor))));
        let socket = &descriptor.socket;
        let registration = socket.domain().register(socket.id(), Ready::ALL, &waker);
        *lock(&descriptor.registration) = Some(registration);
        descriptor.refresh();
        Ok(descriptor.install(end))
    }

    /// Gives it one more descriptor.
    pub(crate) fn install(self: Arc<Self>, end: OwnedFd) -> c_int {
        let fd = end.into_raw_fd();
        table::insert(fd, self);
        fd
    }

    /// Lets its descriptor show what it is ready for now.
    pub(crate) fn refresh(&self) {
        self.gate.show(|| self.ready());
    }

    /// What it is ready for.
    pub(crate) fn ready(&self) -> Ready {
        // A socket that is gone has an error for whoever asks.
        self.socket.ready().unwrap_or(Ready::ERROR | Ready::HANGUP)
    }

    /// Checks that an address is one of its family; an IPv6 socket takes one of IPv4 only to send to.
    ///
    /// # Errors
    /// `EAFNOSUPPORT`.
    pub(crate) fn check_family(&self, addr: SocketAddr) -> io::Result<SocketAddr> {
        if Family::of(&addr.ip()) == self.kind.family {
            return Ok(addr);
        }
        Err(number::family_not_supported())
    }

    /// Takes the next connection, under a descriptor of its own.
    pub(crate) fn accept(&self, flags: c_int) -> io::Result<(c_int, SocketAddr)> {
        let (socket, peer) = self.socket.accept()?;
        let fd = Descriptor::open(&self.machine, socket, self.kind, flags)?;
        Ok((fd, peer))
    }

    /// Sends a message.
    pub(crate) fn send(
        &self,
        bufs: &[IoSlice<'_>],
        mut control: SendControl,
        flags: c_int,
    ) -> io::Result<usize> {
        let is_stream = self.kind.ty == SockType::Stream;
        if flags & !KNOWN_SEND != 0 || (flags & libc::MSG_MORE != 0 && !is_stream) {
            return Err(number::not_supported());
        }
        let nonblocking = flags & libc::MSG_DONTWAIT != 0;
        if flags & libc::MSG_OOB != 0 {
            return self.send_now(SendMsg::Urgent(bufs));
        }
        if flags & libc::MSG_FASTOPEN != 0 {
            let to = control.to.ok_or_else(number::destination_required)?;
            return self.send_now(SendMsg::FastOpen(bufs, to));
        }
        if is_stream {
            // Linux, too, passes over the address of a stream's.
            control.to = None;
        }
        match (nonblocking, control == SendControl::default()) {
            (true, true) => self.send_now(SendMsg::Copy(bufs)),
            (true, false) => self.send_now(SendMsg::With(bufs, control)),
            (false, true) => self.socket.send_vectored(bufs),
            (false, false) => self.socket.send_with(bufs, control),
        }
    }

    fn send_now(&self, msg: SendMsg<'_>) -> io::Result<usize> {
        self.socket.domain().send(self.socket.id(), msg)
    }

    /// Receives a message.
    pub(crate) fn recv(&self, bufs: &mut [IoSliceMut<'_>], flags: c_int) -> io::Result<Received> {
        if flags & !KNOWN_RECV != 0 {
            return Err(number::not_supported());
        }
        if flags & libc::MSG_ERRQUEUE != 0 {
            // There is no such queue, and so nothing in it.
            return Err(number::would_block());
        }
        let recv_now = |msg| match self.socket.domain().recv(self.socket.id(), msg) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Received::stream(0)),
            done => done,
        };
        if flags & libc::MSG_OOB != 0 {
            return recv_now(RecvMsg::Urgent(bufs));
        }
        let nonblocking = flags & libc::MSG_DONTWAIT != 0;
        match (flags & libc::MSG_PEEK != 0, nonblocking) {
            (true, true) => recv_now(RecvMsg::Peek(bufs)),
            (true, false) => self.peek(bufs),
            (false, true) => recv_now(RecvMsg::Copy(bufs)),
            (false, false) if flags & libc::MSG_WAITALL != 0 => self.recv_all(bufs),
            (false, false) => self.socket.recv_msg(bufs),
        }
    }

    /// Looks at what would be received, into several buffers.
    fn peek(&self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<Received> {
        let room = bufs.iter().map(|buf| buf.len()).sum();
        let mut whole = vec![0; room];
        let received = self.socket.peek_msg(&mut whole)?;
        let mut rest = &whole[..received.bytes.min(room)];
        for buf in bufs {
            let (part, left) = rest.split_at(rest.len().min(buf.len()));
            buf[..part.len()].copy_from_slice(part);
            rest = left;
        }
        Ok(received)
    }

    /// Receives until the buffers are full, the stream ends or fails (`MSG_WAITALL`).
    fn recv_all(&self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<Received> {
        let mut received = self.socket.recv_msg(bufs)?;
        if self.kind.ty != SockType::Stream {
            return Ok(received);
        }
        let room: usize = bufs.iter().map(|buf| buf.len()).sum();
        while received.bytes < room && received.bytes > 0 {
            let mut rest: Vec<_> = bufs.iter_mut().map(|buf| IoSliceMut::new(buf)).collect();
            let mut rest = &mut rest[..];
            IoSliceMut::advance_slices(&mut rest, received.bytes);
            match self.socket.recv_vectored(rest) {
                Ok(0) | Err(_) => break,
                Ok(more) => received.bytes += more,
            }
        }
        received.message_bytes = received.bytes;
        Ok(received)
    }

    /// What the stack's tables have of it.
    pub(crate) fn entry(&self) -> io::Result<SocketEntry> {
        let entry = self.machine.inet()?.socket_by_id(self.socket.id());
        entry.ok_or_else(number::bad_descriptor)
    }

    /// What `FIONREAD` gives: of a stream all that waits, else the next message's size.
    pub(crate) fn readable_bytes(&self) -> io::Result<usize> {
        if self.kind.ty == SockType::Stream {
            let listens = if self.is_listening() { Err(number::invalid()) } else { Ok(()) };
            return listens.and_then(|()| Ok(self.entry()?.receive_bytes));
        }
        let next = self.socket.domain().recv(self.socket.id(), RecvMsg::Peek(&mut []));
        match next {
            Err(error) if number::is_would_block(&error) => Ok(0),
            next => next.map(|next| next.message_bytes),
        }
    }

    /// What `F_GETFL` gives.
    pub(crate) fn status_flags(&self) -> c_int {
        libc::O_RDWR | if self.socket.is_nonblocking() { libc::O_NONBLOCK } else { 0 }
    }

    /// Does it wait for connections?
    pub(crate) fn is_listening(&self) -> bool {
        self.listens.load(Ordering::Relaxed)
    }
}

/// What a socket's type is called in C, with the flags that may stand beside it.
///
/// # Errors
/// `EAFNOSUPPORT`, `EINVAL` for a type or a flag that is none, `ESOCKTNOSUPPORT`, `EPROTONOSUPPORT`.
pub(crate) fn kind_of(domain: c_int, ty: c_int, protocol: c_int) -> io::Result<Kind> {
    if ty & !(TYPE_MASK | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC) != 0 {
        return Err(number::invalid());
    }
    let family = match domain {
        libc::AF_INET => Family::Inet,
        libc::AF_INET6 => Family::Inet6,
        _ => return Err(number::family_not_supported()),
    };
    let ty = match ty & TYPE_MASK {
        libc::SOCK_STREAM => SockType::Stream,
        libc::SOCK_DGRAM => SockType::Datagram,
        libc::SOCK_RAW => SockType::Raw,
        libc::SOCK_RDM | libc::SOCK_SEQPACKET | libc::SOCK_DCCP => {
            return Err(errno(libc::ESOCKTNOSUPPORT));
        }
        _ => return Err(number::invalid()),
    };
    // Linux has numbers up to that of MPTCP.
    let protocol = u8::try_from(protocol).map_err(|_| match protocol {
        0..=262 => number::protocol_not_supported(),
        _ => number::invalid(),
    })?;
    Ok(Kind { family, ty, protocol: Protocol(protocol) })
}

const TYPE_MASK: c_int = 0xf;
/// Flags of a send that are obeyed, or mean nothing here. A broken pipe raises no signal, `MSG_NOSIGNAL` or not.
const KNOWN_SEND: c_int = libc::MSG_DONTWAIT
    | libc::MSG_NOSIGNAL
    | libc::MSG_OOB
    | libc::MSG_MORE
    | libc::MSG_EOR
    | libc::MSG_FASTOPEN;
const KNOWN_RECV: c_int = libc::MSG_DONTWAIT
    | libc::MSG_PEEK
    | libc::MSG_TRUNC
    | libc::MSG_WAITALL
    | libc::MSG_OOB
    | libc::MSG_ERRQUEUE
    | libc::MSG_NOSIGNAL
    | libc::MSG_CMSG_CLOEXEC;

/// Wakes a descriptor: shows what its socket is ready for.
struct Refresh(Weak<Descriptor>);

impl Wake for Refresh {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(descriptor) = self.0.upgrade() {
            descriptor.gate.show_soon(|| descriptor.ready());
        }
    }
}
