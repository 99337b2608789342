//! The table of sockets: bounded, and a stale id is an error.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use libnet::errno;
use libnet::socket::{Family, Protocol, SockType, SocketId};
use libnet::wake::WakeSet;

use crate::capture::Story;

/// What a [`Sockin`](crate::Sockin) did and refused since its start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct SockinCounters {
    /// Sockets opened, accepted ones among them.
    pub opened: u64,
    /// Sockets refused because the table was full.
    pub refused: u64,
    /// Calls that the host refused, other than by `EAGAIN`, `EINPROGRESS` and `EALREADY`.
    pub errors: u64,
    /// What the sockets carried, closed ones too.
    pub traffic: SocketTraffic,
}

/// What sockets carried. A send or receive that moved data counts as one message: a datagram, or
/// a piece of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct SocketTraffic {
    /// Bytes that the host took.
    pub sent_bytes: u64,
    /// Sends that the host took.
    pub sent_messages: u64,
    /// Bytes that the host gave.
    pub received_bytes: u64,
    /// Receives that brought something.
    pub received_messages: u64,
}

/// A socket's own counters, so that threads on different sockets do not share a cache line.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    sent_bytes: AtomicU64,
    sent_messages: AtomicU64,
    received_bytes: AtomicU64,
    received_messages: AtomicU64,
}

impl Traffic {
    pub(crate) fn sent(&self, bytes: usize) {
        self.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.sent_messages.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn received(&self, bytes: usize) {
        self.received_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.received_messages.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> SocketTraffic {
        SocketTraffic {
            sent_bytes: self.sent_bytes.load(Ordering::Relaxed),
            sent_messages: self.sent_messages.load(Ordering::Relaxed),
            received_bytes: self.received_bytes.load(Ordering::Relaxed),
            received_messages: self.received_messages.load(Ordering::Relaxed),
        }
    }
}

impl SocketTraffic {
    fn add(&mut self, other: SocketTraffic) {
        let SocketTraffic { sent_bytes, sent_messages, received_bytes, received_messages } = other;
        self.sent_bytes += sent_bytes;
        self.sent_messages += sent_messages;
        self.received_bytes += received_bytes;
        self.received_messages += received_messages;
    }
}

/// What of each datagram the caller asked to be told; a set.
#[derive(Debug, Default)]
pub(crate) struct AskedFor(AtomicU8);

impl AskedFor {
    pub(crate) const TTL: u8 = 1;
    pub(crate) const TOS: u8 = 2;
    pub(crate) const PACKET_INFO: u8 = 4;
    pub(crate) const TIME: u8 = 8;

    pub(crate) fn set(&self, what: u8, on: bool) {
        if on {
            self.0.fetch_or(what, Ordering::Relaxed);
        } else {
            self.0.fetch_and(!what, Ordering::Relaxed);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

/// A socket: its descriptor, and who waits for it.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) fd: OwnedFd,
    pub(crate) kind: Kind,
    pub(crate) wakers: WakeSet,
    pub(crate) traffic: Traffic,
    pub(crate) asked_for: AskedFor,
    pub(crate) story: Story,
    /// Known to the epoll descriptor.
    pub(crate) watched: AtomicBool,
    /// Given up by its owner; calls that hold it still end soon.
    pub(crate) closed: AtomicBool,
    /// How the host sees it; its transitions change the descriptor's flags under the lock, which
    /// is a leaf.
    mode: Mutex<Mode>,
    /// Has it the mode [`Mode::Blocking`]? Read without the lock.
    blocking: AtomicBool,
    /// Threads asleep in a call to the host. Only then does a close have to wake them.
    pub(crate) sleepers: AtomicU32,
}

/// How the host sees a descriptor. Sends and receives that must not sleep say so themselves
/// (`MSG_DONTWAIT`), so that those that may need no second call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// `O_NONBLOCK`, as long as a connect or an accept may be asked of it.
    NonBlocking,
    /// Not so: a connection, which never connects or accepts again, or a datagram socket.
    Blocking,
    /// `O_NONBLOCK` for good: the caller has a descriptor of it.
    NeverBlocking,
}

/// What a socket speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Kind {
    pub(crate) family: Family,
    pub(crate) ty: SockType,
    pub(crate) protocol: Protocol,
}

impl Kind {
    /// Does it speak ICMP echoes, with the identifier as its port?
    pub(crate) fn is_ping(self) -> bool {
        self.ty == SockType::Datagram && matches!(self.protocol, Protocol::ICMP | Protocol::ICMPV6)
    }
}

impl Entry {
    pub(crate) fn new(fd: OwnedFd, kind: Kind, mode: Mode) -> Self {
        Entry {
            fd,
            kind,
            mode: Mutex::new(mode),
            blocking: AtomicBool::new(mode == Mode::Blocking),
            wakers: WakeSet::new(),
            traffic: Traffic::default(),
            asked_for: AskedFor::default(),
            story: Story::default(),
            watched: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            sleepers: AtomicU32::new(0),
        }
    }

    pub(crate) fn is_stream(&self) -> bool {
        self.kind.ty == SockType::Stream
    }

    /// May a send or receive sleep in the host's own call? From now on it may, if a connect or
    /// an accept could not: those must never.
    pub(crate) fn may_block(&self) -> bool {
        if self.blocking.load(Ordering::Acquire) {
            return true;
        }
        let mut mode = self.mode.lock().unwrap_or_else(PoisonError::into_inner);
        let is_connected = || rustix::net::getpeername(&self.fd).is_ok();
        if *mode != Mode::NonBlocking || !is_connected() || self.set_flag(false).is_err() {
            return *mode == Mode::Blocking;
        }
        *mode = Mode::Blocking;
        self.blocking.store(true, Ordering::Release);
        true
    }

    /// The descriptor is non-blocking from now on, for good.
    pub(crate) fn never_block(&self) -> io::Result<()> {
        let mut mode = self.mode.lock().unwrap_or_else(PoisonError::into_inner);
        if *mode == Mode::Blocking {
            self.set_flag(true)?;
        }
        *mode = Mode::NeverBlocking;
        self.blocking.store(false, Ordering::Release);
        Ok(())
    }

    fn set_flag(&self, nonblocking: bool) -> io::Result<()> {
        Ok(rustix::io::ioctl_fionbio(&self.fd, nonblocking)?)
    }

    pub(crate) fn is_closed(&self) -> bool {
        // SeqCst: see `sleepers`, whose two sides look at each other's word.
        self.closed.load(Ordering::SeqCst)
    }
}

/// All sockets of a `Sockin`. Its lock guards the slots, is a leaf, and is never held over a call
/// to the host.
#[derive(Debug)]
pub(crate) struct Table {
    slots: RwLock<Slots>,
    max_sockets: u32,
    opened: AtomicU64,
    refused: AtomicU64,
    errors: AtomicU64,
}

#[derive(Debug, Default)]
struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// What sockets carried that are closed now.
    carried: SocketTraffic,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    entry: Option<Arc<Entry>>,
}

impl Table {
    pub(crate) fn new(max_sockets: u32) -> Self {
        Table {
            slots: RwLock::default(),
            max_sockets,
            opened: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            errors: AtomicU64::new(0),
        }
    }

    /// `EMFILE` when no more fit, so that nothing is taken from the host in vain.
    pub(crate) fn check_room(&self) -> io::Result<()> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        if slots.has_room(self.max_sockets) { Ok(()) } else { Err(self.refuse()) }
    }

    pub(crate) fn insert(&self, entry: Entry) -> io::Result<SocketId> {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        if !slots.has_room(self.max_sockets) {
            return Err(self.refuse());
        }
        self.opened.fetch_add(1, Ordering::Relaxed);
        let entry = Some(Arc::new(entry));
        if let Some(index) = slots.free.pop() {
            let slot = &mut slots.slots[index as usize];
            slot.entry = entry;
            return Ok(SocketId { index, generation: slot.generation });
        }
        let index = u32::try_from(slots.slots.len()).map_err(|_| errno::too_many())?;
        slots.slots.push(Slot { generation: 0, entry });
        Ok(SocketId { index, generation: 0 })
    }

    pub(crate) fn get(&self, id: SocketId) -> io::Result<Arc<Entry>> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.slots.get(id.index as usize);
        let current = slot.filter(|slot| slot.generation == id.generation);
        current.and_then(|slot| slot.entry.clone()).ok_or_else(errno::bad_descriptor)
    }

    pub(crate) fn remove(&self, id: SocketId) -> Option<Arc<Entry>> {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.slots.get_mut(id.index as usize)?;
        if slot.generation != id.generation {
            return None;
        }
        let entry = slot.entry.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        slots.free.push(id.index);
        slots.carried.add(entry.traffic.read());
        Some(entry)
    }

    pub(crate) fn counters(&self) -> SockinCounters {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let mut traffic = slots.carried;
        for entry in slots.slots.iter().filter_map(|slot| slot.entry.as_ref()) {
            traffic.add(entry.traffic.read());
        }
        SockinCounters {
            opened: self.opened.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
            traffic,
        }
    }

    /// Counts what the host refused; the result as it is.
    pub(crate) fn count<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result
            && !errno::is_would_block(error)
            && !errno::is_under_way(error)
        {
            self.errors.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    fn refuse(&self) -> io::Error {
        self.refused.fetch_add(1, Ordering::Relaxed);
        errno::too_many()
    }
}

impl Slots {
    fn has_room(&self, max_sockets: u32) -> bool {
        !self.free.is_empty() || self.slots.len() < max_sockets as usize
    }
}
