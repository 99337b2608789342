//! Readiness: `poll(2)` for a thread that waits itself, one epoll thread for wakers.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::thread::JoinHandle;
use std::time::Duration;

use libnet::errno;
use libnet::socket::SocketId;
use libnet::wake::{Ready, Registration};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvFlags, Shutdown};

use crate::table::{Entry, Table};

/// The thread that wakes, and the epoll descriptor that it sleeps on.
#[derive(Debug)]
pub(crate) struct Poller {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    epoll: OwnedFd,
    /// Written once, to end the thread.
    stop: OwnedFd,
}

impl Poller {
    pub(crate) fn start(table: Arc<Table>) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &stop, EventData::new_u64(STOP), EventFlags::IN)?;
        let shared = Arc::new(Shared { epoll, stop });
        let own = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("rump/sockin".into())
            .spawn(move || run(&own, &table))?;
        Ok(Poller { shared, thread: Some(thread) })
    }

    /// Adds a waker. Arming the descriptor anew reports what it is ready for already, so that an
    /// edge from before this call wakes too.
    pub(crate) fn register(
        &self,
        id: SocketId,
        entry: &Entry,
        interest: Ready,
        waker: &Waker,
    ) -> Registration {
        let registration = entry.wakers.register(interest, waker);
        if self.arm(id, entry).is_err() || entry.is_closed() {
            // The host has no room to watch it, or it is gone: the caller tries again rather than
            // sleep for ever.
            waker.wake_by_ref();
        }
        registration
    }

    fn arm(&self, id: SocketId, entry: &Entry) -> rustix::io::Result<()> {
        let data = EventData::new_u64(u64::from(id.generation) << 32 | u64::from(id.index));
        let flags =
            EventFlags::IN | EventFlags::PRI | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        let epoll = &self.shared.epoll;
        if !entry.watched.load(Ordering::Acquire) {
            match epoll::add(epoll, &entry.fd, data, flags) {
                // Another thread was first.
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error),
                Ok(()) => {
                    entry.watched.store(true, Ordering::Release);
                    return Ok(());
                }
            }
        }
        epoll::modify(epoll, &entry.fd, data, flags)
    }

    /// Stops watching: another descriptor of the socket may outlive ours.
    pub(crate) fn forget(&self, entry: &Entry) {
        if entry.watched.load(Ordering::Acquire) {
            // Closing it does the same, as long as there is no other descriptor.
            let _ = epoll::delete(&self.shared.epoll, &entry.fd);
        }
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        // Cannot fail: the counter is 0 and the descriptor is open.
        let _ = rustix::io::write(&self.shared.stop, &1_u64.to_ne_bytes());
        let Some(thread) = self.thread.take() else { return };
        // A waker may drop the last socket on the thread itself, which then ends by itself.
        if thread.thread().id() != std::thread::current().id() {
            let _ = thread.join();
        }
    }
}

fn run(shared: &Shared, table: &Table) {
    let mut events = Vec::with_capacity(EVENTS_AT_ONCE);
    let mut wakers = Vec::new();
    loop {
        events.clear();
        match epoll::wait(&shared.epoll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            // Only a closed or foreign descriptor gives another, and it is ours and open.
            Err(_) => return,
        }
        for event in &events {
            let (data, flags) = (event.data.u64(), event.flags);
            if data == STOP {
                return;
            }
            let id = SocketId { index: data as u32, generation: (data >> 32) as u32 };
            if let Ok(entry) = table.get(id) {
                entry.wakers.collect(ready_of(flags), &mut wakers);
            }
        }
        wakers.drain(..).for_each(Waker::wake);
    }
}

fn ready_of(flags: EventFlags) -> Ready {
    let table = [
        (EventFlags::IN, Ready::READABLE),
        (EventFlags::OUT, Ready::WRITABLE),
        (EventFlags::ERR, Ready::ERROR),
        (EventFlags::HUP, Ready::HANGUP),
        (EventFlags::RDHUP, Ready::READ_CLOSED),
        (EventFlags::PRI, Ready::URGENT),
    ];
    let set = table.into_iter().filter(|(flag, _)| flags.contains(*flag));
    set.fold(Ready::NONE, |ready, (_, bit)| ready | bit)
}

/// Sleeps until the socket is ready for any of `interest`, at most `timeout`; what it is ready for.
pub(crate) fn poll(entry: &Entry, interest: Ready, timeout: Option<Duration>) -> io::Result<Ready> {
    let mut wanted = PollFlags::empty();
    if interest.intersects(Ready::READABLE) {
        wanted |= PollFlags::IN;
    }
    if interest.intersects(Ready::WRITABLE) {
        wanted |= PollFlags::OUT;
    }
    if interest.intersects(Ready::READ_CLOSED) {
        wanted |= PollFlags::RDHUP;
    }
    if interest.intersects(Ready::URGENT) {
        wanted |= PollFlags::PRI;
    }
    let timeout = timeout.map(|timeout| Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    });
    let mut fds = [PollFd::new(&entry.fd, wanted)];
    match rustix::event::poll(&mut fds, timeout.as_ref()) {
        // The caller looks again, with what is left of its time.
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    // The bits of poll and epoll are the same. Source: poll(2), epoll_ctl(2).
    let flags = EventFlags::from_bits_truncate(u32::from(fds[0].revents().bits()));
    Ok(ready_of(flags))
}

/// As [`poll`], for a thread that would block.
pub(crate) fn wait(entry: &Entry, interest: Ready, timeout: Option<Duration>) -> io::Result<()> {
    let _asleep = Asleep::announce(entry)?;
    let ready = poll(entry, interest, timeout)?;
    if ready.contains(Ready::ERROR) {
        // With IP_RECVERR the queue of errors keeps the descriptor ready: a thread that does not
        // read it would never sleep. The error itself was, or will be, given by the call.
        drain_errors(entry);
    }
    // A datagram socket that was shut down polls as ready, and says EAGAIN to who does not block.
    let shut = interest.intersects(Ready::READABLE) && ready.intersects(Ready::READ_CLOSED);
    if shut && !entry.is_stream() && is_empty(entry) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

/// Is there nothing to receive, not even an error?
fn is_empty(entry: &Entry) -> bool {
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    rustix::net::recv(&entry.fd, &mut [0; 1], flags).is_err_and(|error| error == Errno::AGAIN)
}

/// A thread asleep in a call to the host, which a close of the socket wakes.
struct Asleep<'a>(&'a Entry);

impl<'a> Asleep<'a> {
    /// `EBADF` if it is closed already. Of this and [`interrupt`], one sees what the other wrote.
    fn announce(entry: &'a Entry) -> io::Result<Self> {
        entry.sleepers.fetch_add(1, Ordering::SeqCst);
        let asleep = Asleep(entry);
        if entry.is_closed() { Err(errno::bad_descriptor()) } else { Ok(asleep) }
    }
}

impl Drop for Asleep<'_> {
    fn drop(&mut self) {
        self.0.sleepers.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A send or receive that may sleep; `EBADF` if the socket is closed meanwhile.
pub(crate) fn asleep<T>(entry: &Entry, call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let _asleep = Asleep::announce(entry)?;
    let done = call();
    if entry.is_closed() { Err(errno::bad_descriptor()) } else { done }
}

/// Does a close of it reset the connection?
pub(crate) fn aborts(entry: &Entry) -> bool {
    let linger = || rustix::net::sockopt::socket_linger(&entry.fd);
    entry.is_stream() && linger().is_ok_and(|time| time == Some(Duration::ZERO))
}

/// Wakes whoever sleeps on a socket that was closed. The host does not: to it the descriptor that
/// they sleep on is open. Shutting down wakes them, and is what a close would do next.
pub(crate) fn interrupt(entry: &Entry) {
    if entry.sleepers.load(Ordering::SeqCst) == 0 {
        return;
    }
    // Both wake also where they fail, as on a datagram socket without a peer.
    let _ = match aborts(entry) {
        true => rustix::net::connect_unspec(&entry.fd),
        false => rustix::net::shutdown(&entry.fd, Shutdown::Both),
    };
}

/// Empties the queue of `MSG_ERRQUEUE`, at most as many as are there at once.
fn drain_errors(entry: &Entry) {
    for _ in 0..ERRORS_AT_ONCE {
        let mut control = [MaybeUninit::uninit(); 512];
        let mut control = RecvAncillaryBuffer::new(&mut control);
        let flags = RecvFlags::ERRQUEUE | RecvFlags::DONTWAIT;
        if rustix::net::recvmsg(&entry.fd, &mut [], &mut control, flags).is_err() {
            return;
        }
    }
}

/// No socket has it: indices are below the table's bound.
const STOP: u64 = u64::MAX;
const EVENTS_AT_ONCE: usize = 256;
const ERRORS_AT_ONCE: usize = 64;
