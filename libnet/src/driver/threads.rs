//! Drives a stack with one thread per link queue, asleep on the link's own kind of readiness.

use std::io;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::Timespec;
use rustix::thread::set_current_timer_slack;
use rustix::time::{ClockId, clock_gettime};

use super::{Driver, Signal};
use crate::engine::{Engine, StackCore};
use crate::iface::IfIndex;
use crate::landing::Landing;
use crate::sync::lock;
use crate::time::Instant;

mod lead;

use super::bell::Bell;
use lead::{LONGEST_TICK, Lead, Look, Polled};

/// A sleep never lasts longer: a doorbell in a damaged bus must not be waited for forever.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// Batches received before timers and blocked frames get their turn.
const ROUNDS: usize = 16;

/// The machine's clock, and what a caller needs to reach the sleeping threads.
pub struct ThreadDriver {
    /// The thread that serves timers sleeps until then; `u64::MAX`: it has no deadline.
    sleeping_until: AtomicU64,
    timer_bell: Mutex<Option<Bell>>,
    /// What each queue's thread sleeps on.
    queue_bells: Mutex<Vec<((IfIndex, usize), Bell)>>,
    /// Queues without a thread (loopback) that someone ran out of patience with.
    unattended: Mutex<Vec<(IfIndex, usize)>>,
    /// The link that callers may wait on themselves: the one of the thread that serves timers.
    lead: OnceLock<Lead>,
    stop: AtomicBool,
}

impl ThreadDriver {
    /// A driver without threads yet.
    pub fn new() -> Arc<Self> {
        Arc::new(ThreadDriver {
            sleeping_until: AtomicU64::new(0),
            timer_bell: Mutex::new(None),
            queue_bells: Mutex::new(Vec::new()),
            unattended: Mutex::new(Vec::new()),
            lead: OnceLock::new(),
            stop: AtomicBool::new(false),
        })
    }

    fn wait_for(
        &self,
        signal: &Arc<Signal>,
        deadline: Option<Instant>,
        landing: Option<&mut Landing<'_>>,
    ) -> bool {
        let left = || deadline.map(|deadline| deadline.since(self.now()));
        match self.lead.get() {
            Some(lead) => lead.wait(signal, left, landing),
            None => signal.sleep(left()),
        }
    }

    fn ring_timers(&self) {
        if let Some(lead) = self.lead.get() {
            lead.wake_driver();
            if !lead.is_drivers() {
                return;
            }
        }
        if let Some(bell) = &*self.timer_bell.lock().unwrap_or_else(PoisonError::into_inner) {
            bell.ring();
        }
    }
}

impl Driver for ThreadDriver {
    fn now(&self) -> Instant {
        monotonic_now()
    }

    fn kick(&self, at: Instant) {
        if at.as_nanos() >= self.sleeping_until.load(Ordering::SeqCst) {
            return;
        }
        // Claim the kick, so that a burst of callers rings once.
        self.sleeping_until.store(0, Ordering::SeqCst);
        self.ring_timers();
    }

    fn kick_timer(&self, at: Instant) {
        // Whoever set the deadline stored it before this; the thread looks for deadlines after it
        // has stopped ticking.
        if !self.lead.get().is_some_and(|lead| lead.is_ticking() && !lead.is_drivers()) {
            self.kick(at);
        }
    }

    fn kick_queue(&self, iface: IfIndex, queue: usize) {
        let bells = self.queue_bells.lock().unwrap_or_else(PoisonError::into_inner);
        let bell = bells.iter().find(|(key, _)| *key == (iface, queue)).map(|(_, bell)| bell);
        if let Some(bell @ Bell::Descriptor { .. }) = bell {
            // A written eventfd stays readable: the thread cannot miss it.
            return bell.ring();
        }
        drop(bells);
        // A rung doorbell is missed by a thread that is about to arm it; the list is not.
        let mut list = self.unattended.lock().unwrap_or_else(PoisonError::into_inner);
        if !list.contains(&(iface, queue)) {
            list.push((iface, queue));
        }
        drop(list);
        self.ring_timers();
    }

    fn look(&self, landing: Option<&mut Landing<'_>>) -> bool {
        self.lead.get().is_some_and(|lead| lead.look(landing))
    }

    fn wait(&self, signal: &Arc<Signal>, deadline: Option<Instant>) -> io::Result<bool> {
        Ok(self.wait_for(signal, deadline, None))
    }

    fn wait_landing(
        &self,
        signal: &Arc<Signal>,
        deadline: Option<Instant>,
        landing: &mut Landing<'_>,
    ) -> io::Result<bool> {
        Ok(self.wait_for(signal, deadline, Some(landing)))
    }
}

/// The threads of one stack; dropping it ends and joins them.
pub struct Threads {
    driver: Arc<ThreadDriver>,
    /// Guards that alone; no thread of ours takes it but in a waker that adds an interface.
    crew: Mutex<Crew>,
}

#[derive(Default)]
struct Crew {
    handles: Vec<JoinHandle<()>>,
    /// Of the thread for timers alone, which goes when there is a link to sleep on: it is the only
    /// one, and goes if this is set.
    stand_in: Option<Arc<AtomicBool>>,
}

impl Threads {
    /// Starts a thread for each queue of each interface that can be waited for, and one for
    /// timers if there is none.
    ///
    /// # Errors
    /// When a thread or an eventfd cannot be made.
    pub fn start<C: StackCore + 'static>(
        driver: Arc<ThreadDriver>,
        engine: &Arc<Engine<C>>,
    ) -> io::Result<Threads> {
        let threads = Threads { driver, crew: Mutex::default() };
        for iface in engine.interfaces() {
            threads.serve(engine, iface.index)?;
        }
        let mut crew = lock(&threads.crew);
        if crew.handles.is_empty() {
            let over = Arc::default();
            crew.stand_in = Some(Arc::clone(&over));
            threads.spawn(&mut crew, engine, "timer", (None, Bell::private()), over)?;
        }
        drop(crew);
        Ok(threads)
    }

    /// Starts the threads of an interface that was added to the stack since.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn serve<C: StackCore + 'static>(
        &self,
        engine: &Arc<Engine<C>>,
        index: IfIndex,
    ) -> io::Result<()> {
        let name = engine.interface(index).map_or("", |iface| &iface.name);
        let mut crew = lock(&self.crew);
        for (queue, readiness) in engine.readiness(index).into_iter().enumerate() {
            let Some(bell) = Bell::of(readiness)? else { continue };
            self.relieve(&mut crew);
            self.spawn(&mut crew, engine, name, (Some((index, queue)), bell), Arc::default())?;
        }
        Ok(())
    }

    /// Ends the thread for timers alone: the next to start takes them, and has a link that callers
    /// may wait on, too.
    fn relieve(&self, crew: &mut Crew) {
        if crew.is_current() {
            return;
        }
        let Some(over) = crew.stand_in.take() else { return };
        over.store(true, Ordering::SeqCst);
        self.driver.ring_timers();
        for handle in crew.handles.drain(..) {
            let _ = handle.join();
        }
    }

    fn spawn<C: StackCore + 'static>(
        &self,
        crew: &mut Crew,
        engine: &Arc<Engine<C>>,
        name: &str,
        (queue, bell): (Option<(IfIndex, usize)>, Bell),
        over: Arc<AtomicBool>,
    ) -> io::Result<()> {
        let timers = crew.handles.is_empty();
        if timers {
            *self.driver.timer_bell.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(bell.clone());
        }
        if timers && let Some((index, number)) = queue {
            let engine = Arc::downgrade(engine);
            let poll = move |look, landing: Option<&mut Landing<'_>>| {
                engine
                    .upgrade()
                    .and_then(|engine| poll_queue(&engine, index, number, look, landing))
            };
            // Threads are started once for each driver.
            let _ = self.driver.lead.set(Lead::new(bell.clone(), Box::new(poll)));
        }
        if let Some(queue) = queue {
            let mut bells = self.driver.queue_bells.lock().unwrap_or_else(PoisonError::into_inner);
            bells.push((queue, bell.clone()));
        }
        let worker = Worker {
            driver: Arc::clone(&self.driver),
            engine: Arc::clone(engine),
            queue,
            bell: bell.clone(),
            timers,
            over,
            woke_all: false,
            is_late: false,
        };
        let builder = std::thread::Builder::new().name(format!("rump/{name}"));
        crew.handles.push(builder.spawn(move || worker.run())?);
        Ok(())
    }

    /// Is the calling thread one of them? It must not wait for what only they do.
    pub fn is_current(&self) -> bool {
        lock(&self.crew).is_current()
    }
}

impl Crew {
    fn is_current(&self) -> bool {
        let own = std::thread::current().id();
        self.handles.iter().any(|handle| handle.thread().id() == own)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.driver.stop.store(true, Ordering::SeqCst);
        for (_, bell) in &*self.driver.queue_bells.lock().unwrap_or_else(PoisonError::into_inner) {
            bell.ring();
        }
        self.driver.ring_timers();
        let own = std::thread::current().id();
        for handle in lock(&self.crew).handles.drain(..) {
            // The last socket may be dropped by a waker on a thread of ours.
            if handle.thread().id() != own {
                let _ = handle.join();
            }
        }
    }
}

struct Worker<C> {
    driver: Arc<ThreadDriver>,
    engine: Arc<Engine<C>>,
    queue: Option<(IfIndex, usize)>,
    bell: Bell,
    timers: bool,
    /// It is no longer needed.
    over: Arc<AtomicBool>,
    /// The last batches woke callers that were blocked.
    woke_all: bool,
    /// The kernel may end its sleeps late.
    is_late: bool,
}

/// Receives a batch and feeds what the link refused before; `None` if the link failed.
fn poll_queue<C: StackCore>(
    engine: &Engine<C>,
    index: IfIndex,
    queue: usize,
    look: Look,
    landing: Option<&mut Landing<'_>>,
) -> Option<Polled> {
    let received = match look {
        Look::Both => engine.poll_receive(index, queue, landing).ok()?,
        Look::Room => 0,
    };
    engine.poll_blocked(index, queue);
    let longest_sleep = until_arrival(engine, index, queue);
    Some(Polled { received, wants_room: engine.is_blocked(index, queue), longest_sleep })
}

/// How long a queue may be slept on: what its link delays comes without a sign.
fn until_arrival<C: StackCore>(engine: &Engine<C>, index: IfIndex, queue: usize) -> Duration {
    let due = engine.arrival_due(index, queue);
    due.map_or(LONGEST_SLEEP, |due| due.since(engine.driver().now()))
}

impl<C: StackCore> Worker<C> {
    fn run(mut self) {
        let driver = Arc::clone(&self.driver);
        let lead = driver.lead.get().filter(|_| self.timers);
        while !self.is_over() {
            if let Some(lead) = lead
                && !lead.is_drivers()
            {
                self.nap(lead);
                continue;
            }
            let blocked = lead.map_or(0, Lead::blocked);
            let received = self.receive();
            self.woke_all |= received > 0 && blocked > 0;
            if let Some((index, queue)) = self.queue {
                self.engine.poll_blocked(index, queue);
            }
            if self.timers {
                self.engine.poll_timeouts();
                self.serve_unattended();
            }
            if received > 0 {
                continue;
            }
            // A failed link is not left to callers: they would not see that it is gone.
            if let Some(lead) = lead
                && std::mem::take(&mut self.woke_all)
                && lead.blocked() == 0
                && self.queue.is_some()
            {
                lead.release();
                continue;
            }
            self.sleep();
        }
    }

    fn is_over(&self) -> bool {
        self.driver.stop.load(Ordering::SeqCst) || self.over.load(Ordering::SeqCst)
    }

    /// A caller holds the link, or one will soon: serve the timers and nap.
    fn nap(&mut self, lead: &Lead) {
        let word = lead.nap_word();
        self.engine.poll_timeouts();
        self.serve_unattended();
        let is_ticking = lead.is_ticking();
        let timeout = if is_ticking {
            self.publish(lead.tick(), || self.engine.next_exact_deadline())
        } else {
            self.publish(LONGEST_SLEEP, || self.engine.next_deadline())
        };
        self.may_be_late(is_ticking && timeout == lead.tick());
        if !timeout.is_zero() && !self.is_over() {
            lead.nap(timeout, word);
        }
        self.driver.sleeping_until.store(0, Ordering::SeqCst);
    }

    fn serve_unattended(&self) {
        let list = &self.driver.unattended;
        let queues = std::mem::take(&mut *list.lock().unwrap_or_else(PoisonError::into_inner));
        for (index, queue) in queues {
            self.engine.poll_blocked(index, queue);
        }
    }

    fn receive(&mut self) -> usize {
        let Some((index, queue)) = self.queue else { return 0 };
        let mut total = 0;
        for _ in 0..ROUNDS {
            match self.engine.poll_receive(index, queue, None) {
                Ok(0) => break,
                Ok(n) => total += n,
                Err(error) => {
                    tracing::error!(iface = index.0, %error, "the link failed; interface is down");
                    self.give_up_link(index, queue);
                    break;
                }
            }
        }
        total
    }

    /// The link is not asked again, nor slept on: its memory may be gone. Timers go on.
    fn give_up_link(&mut self, index: IfIndex, queue: usize) {
        self.queue = None;
        self.bell = Bell::private();
        if self.timers {
            let mut bell = self.driver.timer_bell.lock().unwrap_or_else(PoisonError::into_inner);
            *bell = Some(self.bell.clone());
        }
        let mut bells = self.driver.queue_bells.lock().unwrap_or_else(PoisonError::into_inner);
        let own = bells.iter_mut().find(|(key, _)| *key == (index, queue));
        if let Some((_, bell)) = own {
            *bell = self.bell.clone();
        }
    }

    fn sleep(&mut self) {
        let Some(armed) = self.bell.arm() else { return };
        // Publish first, then look: a caller that sets an earlier deadline either sees what we
        // published and rings, or we see its deadline.
        let mut timeout =
            self.queue.map_or(LONGEST_SLEEP, |(i, q)| until_arrival(&self.engine, i, q));
        if self.timers {
            timeout = timeout.min(self.publish(LONGEST_SLEEP, || self.engine.next_deadline()));
            let list = self.driver.unattended.lock().unwrap_or_else(PoisonError::into_inner);
            if !list.is_empty() {
                timeout = Duration::ZERO;
            }
        }
        if !timeout.is_zero() && !self.is_over() {
            let wants_room = self.queue.is_some_and(|(i, q)| self.engine.is_blocked(i, q));
            self.may_be_late(false);
            self.bell.sleep(armed, timeout, wants_room);
        }
        if self.timers {
            self.driver.sleeping_until.store(0, Ordering::SeqCst);
        }
        self.bell.disarm();
    }

    /// Publishes how long this thread sleeps: until the deadline, but `longest` at most.
    fn publish(&self, longest: Duration, deadline: impl Fn() -> Option<Instant>) -> Duration {
        let mut at = deadline();
        loop {
            let nanos = at.map_or(u64::MAX, Instant::as_nanos);
            self.driver.sleeping_until.store(nanos, Ordering::SeqCst);
            let again = deadline();
            if again == at {
                break;
            }
            at = again;
        }
        at.map_or(longest, |at| at.since(self.driver.now()).min(longest))
    }

    /// Lets the kernel end this thread's next sleeps late, by as much as they last at most, so that
    /// it can do so in a tick of its own: a timer's interrupt is dear in a virtual machine.
    fn may_be_late(&mut self, late: bool) {
        if std::mem::replace(&mut self.is_late, late) != late {
            let slack = if late { NonZeroU64::new(LONGEST_TICK.as_nanos() as u64) } else { None };
            // It is a courtesy: where it is refused, naps end on time.
            let _ = set_current_timer_slack(slack);
        }
    }
}

/// The time on the machine's monotonic clock.
pub(crate) fn monotonic_now() -> Instant {
    let now = clock_gettime(ClockId::Monotonic);
    Instant::from_nanos(now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64)
}

/// A time-out as the system calls take it.
pub(crate) fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

#[cfg(test)]
mod tests;
