//! Drives a stack by a clock that only its caller moves.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::ThreadId;
use std::time::Duration;

use super::{Driver, Signal};
use crate::errno;
use crate::iface::IfIndex;
use crate::link::Readiness;
use crate::sync::lock;
use crate::time::Instant;
use crate::world::Host;

/// A clock that stands until its caller moves it, and the stack that lives by it.
///
/// Nothing happens behind the caller's back: what an [injected](crate::callback) packet brings about
/// has happened when [`settle`](Self::settle) returns, what a timer does when
/// [`advance`](Self::advance) or [`step`](Self::step) does. A call that blocks does so on a thread of
/// its own until something wakes it, or until its time is over by this clock.
///
/// A stack is built on it, then [`attach`](Self::attach)ed; it is held weakly.
///
/// Lock rank: the turn before every lock of the stack's; the state is a leaf.
pub struct ManualDriver {
    clock: AtomicU64,
    /// Held by who delivers, so that frames keep their order.
    turn: Mutex<()>,
    state: Mutex<State>,
    /// A call began to block, went on, or ended.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    stack: Option<Weak<dyn Host>>,
    /// Queues that a caller did not get done with.
    unattended: Vec<(IfIndex, usize)>,
    asleep: Vec<Sleeper>,
    next_key: u64,
    /// Threads in a call, and not asleep in it.
    awake: Vec<ThreadId>,
    /// Who is delivering.
    at_turn: Option<ThreadId>,
}

struct Sleeper {
    key: u64,
    deadline: Option<Instant>,
    signal: Arc<Signal>,
}

impl ManualDriver {
    /// A clock that stands at its origin.
    pub fn new() -> Arc<Self> {
        Arc::new(ManualDriver {
            clock: AtomicU64::new(0),
            turn: Mutex::new(()),
            state: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    /// Begins to drive the stack, with all its interfaces, those too that it gets later.
    ///
    /// # Errors
    /// `EBUSY` if it has one already.
    pub fn attach<H: Host + 'static>(&self, stack: &Arc<H>) -> io::Result<()> {
        let mut state = lock(&self.state);
        if state.stack.is_some() {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        let stack: Weak<dyn Host> = Arc::downgrade(&(Arc::clone(stack) as Arc<dyn Host>));
        state.stack = Some(stack);
        Ok(())
    }

    /// Lets `duration` pass: every timer fires at its own time, and so does the end of every
    /// call's patience. Time does not go on before the [calls](Self::enter) that it woke have
    /// ended or block again. What the time is then.
    ///
    /// Not to be called out of a link's callback.
    pub fn advance(&self, duration: Duration) -> Instant {
        let until = self.now() + duration;
        while let Some(at) = self.next_deadline()
            && at <= until
        {
            self.move_to(at);
        }
        self.move_to(until);
        self.next_deadline();
        self.now()
    }

    /// Lets the time come that the next timer is for; what it is, or `None` if there is no timer.
    ///
    /// Not to be called out of a link's callback.
    pub fn step(&self) -> Option<Instant> {
        let at = self.next_deadline()?;
        self.move_to(at);
        self.next_deadline();
        Some(self.now())
    }

    /// When something happens next if nobody does anything: a timer, the end of a blocked call's
    /// patience. Does first what is to be done now.
    ///
    /// Not to be called out of a link's callback.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.settle();
        self.let_calls_end();
        let stack = self.stack().and_then(|stack| stack.next_deadline());
        let state = lock(&self.state);
        let asleep = state.asleep.iter().filter_map(|sleeper| sleeper.deadline).min();
        stack.into_iter().chain(asleep).min().map(|at| at.max(self.now()))
    }

    /// Does what is to be done at this instant: takes in what links hold, and sends.
    ///
    /// Not to be called out of a link's callback.
    pub fn settle(&self) {
        let own = std::thread::current().id();
        if lock(&self.state).at_turn == Some(own) {
            return;
        }
        let Some(stack) = self.stack() else { return };
        let _turn = lock(&self.turn);
        lock(&self.state).at_turn = Some(own);
        while self.deliver(&*stack) {}
        lock(&self.state).at_turn = None;
    }

    /// Tells that the calling thread is in a call until the guard is dropped: a thread that moves
    /// the clock waits while it is not asleep there. Without it, it waits only until the thread is awake.
    pub fn enter(self: &Arc<Self>) -> InCall {
        let thread = std::thread::current().id();
        lock(&self.state).awake.push(thread);
        InCall { driver: Arc::clone(self), thread }
    }

    /// One round; whether there was anything to do.
    fn deliver(&self, stack: &dyn Host) -> bool {
        let unattended = std::mem::take(&mut lock(&self.state).unattended);
        let mut progress = !unattended.is_empty();
        for (iface, queue) in unattended {
            stack.poll_blocked(iface, queue);
        }
        for (iface, queue, readiness) in stack.queues() {
            if let Readiness::Doorbell(bell) = readiness
                && bell.arm().is_some()
            {
                bell.disarm();
                continue;
            }
            while matches!(stack.poll_receive(iface, queue), Ok(n) if n > 0) {
                progress = true;
            }
        }
        progress
    }

    fn move_to(&self, at: Instant) {
        self.clock.fetch_max(at.as_nanos(), Ordering::SeqCst);
        let now = self.now();
        for sleeper in &lock(&self.state).asleep {
            if sleeper.deadline.is_some_and(|deadline| deadline <= now) {
                sleeper.signal.set();
            }
        }
        if let Some(stack) = self.stack() {
            stack.poll_timeouts();
        }
    }

    /// Waits until nobody that was woken is on the way any more.
    fn let_calls_end(&self) {
        let own = std::thread::current().id();
        let mut state = lock(&self.state);
        while state.awake.iter().any(|thread| *thread != own)
            || state.asleep.iter().any(|sleeper| sleeper.signal.is_set())
        {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn stack(&self) -> Option<Arc<dyn Host>> {
        lock(&self.state).stack.as_ref()?.upgrade()
    }

    /// Takes a thread out of those that are awake in a call; whether it was among them.
    fn leave(&self, state: &mut MutexGuard<'_, State>, thread: ThreadId) -> bool {
        let place = state.awake.iter().position(|awake| *awake == thread);
        if let Some(place) = place {
            state.awake.swap_remove(place);
        }
        self.changed.notify_all();
        place.is_some()
    }
}

impl Driver for ManualDriver {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.clock.load(Ordering::SeqCst))
    }

    /// Whoever moves the clock asks the stack.
    fn kick(&self, _at: Instant) {}

    fn kick_queue(&self, iface: IfIndex, queue: usize) {
        let mut state = lock(&self.state);
        if !state.unattended.contains(&(iface, queue)) {
            state.unattended.push((iface, queue));
        }
    }

    /// `EPERM` in the middle of a delivery: nobody else could go on with it.
    fn wait(&self, signal: &Arc<Signal>, deadline: Option<Instant>) -> io::Result<bool> {
        self.settle();
        let thread = std::thread::current().id();
        let mut state = lock(&self.state);
        if state.at_turn == Some(thread) {
            return Err(errno::not_permitted());
        }
        if signal.is_set() || deadline.is_some_and(|deadline| deadline <= self.now()) {
            return Ok(signal.take());
        }
        let key = state.next_key;
        state.next_key += 1;
        state.asleep.push(Sleeper { key, deadline, signal: Arc::clone(signal) });
        let in_call = self.leave(&mut state, thread);
        drop(state);
        signal.sleep_until_set();
        let mut state = lock(&self.state);
        state.asleep.retain(|sleeper| sleeper.key != key);
        if in_call {
            state.awake.push(thread);
        }
        let was_set = signal.take();
        self.changed.notify_all();
        Ok(was_set && deadline.is_none_or(|deadline| deadline > self.now()))
    }
}

impl std::fmt::Debug for ManualDriver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ManualDriver").field("now", &self.now()).finish_non_exhaustive()
    }
}

/// A thread is in a call; see [`ManualDriver::enter`].
#[derive(Debug)]
#[must_use = "the call ends when it is dropped"]
pub struct InCall {
    driver: Arc<ManualDriver>,
    thread: ThreadId,
}

impl Drop for InCall {
    fn drop(&mut self) {
        let mut state = lock(&self.driver.state);
        self.driver.leave(&mut state, self.thread);
    }
}
