//! Threads in a world: one runs at a time, in seeded order, and a blocked call gives the turn away.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, ThreadId};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::Rng;

use super::core::{Shared, State, What};
use crate::driver::Signal;
use crate::errno;
use crate::time::Instant;

/// Everybody waits and nothing will happen, or not within the time that a world gives a call.
#[derive(Clone, Debug, thiserror::Error)]
#[error("nobody can go on at {at}: {waiting}")]
pub struct Stalled {
    at: Instant,
    waiting: String,
}

/// A thread of a world. Its result is [`join`](Self::join)ed; dropping it lets it run on.
#[must_use = "an actor that is not joined may not have ended"]
pub struct Actor<T> {
    shared: Arc<Shared>,
    name: String,
    done: Arc<Signal>,
    result: Arc<Mutex<Option<T>>>,
}

impl<T> Actor<T> {
    /// Waits, in virtual time, until it has ended; what it returned.
    ///
    /// # Panics
    /// When the actor panicked, or can never end: the message says who waits for what.
    pub fn join(self) -> T {
        if !self.is_finished()
            && let Err(error) = self.shared.wait(&self.done, None)
        {
            panic!("actor `{}` cannot be joined: {error}", self.name);
        }
        let result = self.result.lock().unwrap_or_else(PoisonError::into_inner).take();
        result.unwrap_or_else(|| panic!("actor `{}` panicked", self.name))
    }

    /// Has it ended?
    pub fn is_finished(&self) -> bool {
        self.result.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

impl<T> fmt::Debug for Actor<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Actor").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Whose turn it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// The thread that runs the world.
    Runner,
    Actor(usize),
}

enum Status {
    Starting,
    Running,
    Blocked { signal: Arc<Signal>, deadline: Option<Instant>, since: Instant },
}

struct Slot {
    name: String,
    thread: ThreadId,
    status: Status,
    wake: Arc<Condvar>,
    handle: JoinHandle<()>,
}

/// The actors of a world that have not ended, and whose turn it is.
pub(super) struct Actors {
    rng: ChaCha8Rng,
    runner: ThreadId,
    runner_wake: Arc<Condvar>,
    turn: Turn,
    slots: BTreeMap<usize, Slot>,
    next_id: usize,
    /// What an actor panicked with, for the runner.
    panic: Option<Box<dyn Any + Send>>,
    /// The thread that just ended, for the runner to join.
    ended: Option<JoinHandle<()>>,
}

/// Unwinds an actor whose world is gone. Not a panic: nothing is printed.
struct WorldEnded;

/// An actor that runs this long without a blocking call is named on stderr: it hangs the world.
const STUCK_AFTER: Duration = Duration::from_secs(30);
/// Virtual time that the runner lets pass in one blocking call without a deadline.
pub(super) const STALL_LIMIT: Duration = Duration::from_secs(24 * 3_600);

impl Actors {
    pub(super) fn new(rng: ChaCha8Rng) -> Self {
        Actors {
            rng,
            runner: std::thread::current().id(),
            runner_wake: Arc::new(Condvar::new()),
            turn: Turn::Runner,
            slots: BTreeMap::new(),
            next_id: 0,
            panic: None,
            ended: None,
        }
    }

    pub(super) fn all_ended(&self) -> bool {
        self.slots.is_empty()
    }

    /// The calling thread runs the world from now on, unless it is an actor of it.
    pub(super) fn set_runner(&mut self) {
        let me = std::thread::current().id();
        assert!(self.find(me).is_none(), "an actor cannot run its own world");
        self.runner = me;
    }

    /// Who waits, since when, until when.
    pub(super) fn waiting(&self) -> String {
        let lines: Vec<String> = self.slots.values().map(|slot| slot.describe()).collect();
        if lines.is_empty() { "no actor".to_owned() } else { lines.join("; ") }
    }

    fn find(&self, thread: ThreadId) -> Option<usize> {
        self.slots.iter().find(|(_, slot)| slot.thread == thread).map(|(&id, _)| id)
    }

    /// One of those that can go on, in seeded order.
    fn pick(&mut self, now: Instant) -> Option<usize> {
        let ready: Vec<usize> =
            self.slots.iter().filter(|(_, slot)| slot.is_ready(now)).map(|(&id, _)| id).collect();
        match ready.len() {
            0 => None,
            1 => ready.first().copied(),
            n => Some(ready[((u128::from(self.rng.next_u64()) * n as u128) >> 64) as usize]),
        }
    }
}

impl Slot {
    fn is_ready(&self, now: Instant) -> bool {
        match &self.status {
            Status::Starting | Status::Running => true,
            Status::Blocked { signal, deadline, .. } => {
                signal.is_set() || deadline.is_some_and(|at| at <= now)
            }
        }
    }

    fn describe(&self) -> String {
        match &self.status {
            Status::Starting => format!("`{}` has not started", self.name),
            Status::Running => format!("`{}` runs", self.name),
            Status::Blocked { deadline: None, since, .. } => {
                format!("`{}` waits since {since}", self.name)
            }
            Status::Blocked { deadline: Some(at), since, .. } => {
                format!("`{}` waits since {since} until {at}", self.name)
            }
        }
    }
}

impl Shared {
    pub(super) fn spawn<T: Send + 'static>(
        self: &Arc<Self>,
        name: &str,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> Actor<T> {
        let done = Signal::new();
        let result = Arc::new(Mutex::new(None));
        let wake = Arc::new(Condvar::new());
        let mut state = self.lock();
        let id = state.actors.next_id;
        state.actors.next_id += 1;
        let thread = {
            let (shared, wake) = (Arc::clone(self), Arc::clone(&wake));
            let (done, result) = (Arc::clone(&done), Arc::clone(&result));
            let run = move || {
                let outcome = shared.run_actor(id, &wake, body, &result);
                done.set();
                shared.end_actor(id, outcome);
            };
            std::thread::Builder::new().name(name.to_owned()).spawn(run)
        };
        let handle = thread.expect("the machine has room for another thread");
        let slot = Slot {
            name: name.to_owned(),
            thread: handle.thread().id(),
            status: Status::Starting,
            wake,
            handle,
        };
        state.actors.slots.insert(id, slot);
        drop(state);
        Actor { shared: Arc::clone(self), name: name.to_owned(), done, result }
    }

    /// Blocks the calling thread in virtual time: an actor gives its turn away, the runner runs
    /// the world.
    pub(super) fn wait(&self, signal: &Arc<Signal>, deadline: Option<Instant>) -> io::Result<bool> {
        let me = std::thread::current().id();
        let state = self.lock();
        if state.ended {
            drop(state);
            return ended();
        }
        if let Some(id) = state.actors.find(me) {
            return self.wait_actor(state, id, signal, deadline);
        }
        let is_runner = state.actors.runner == me;
        drop(state);
        if is_runner { self.wait_runner(signal, deadline) } else { Err(errno::not_permitted()) }
    }

    /// Gives turns to actors until all are blocked and no stack has anything to do right now.
    pub(super) fn run_ready_actors(&self) {
        loop {
            self.settle();
            let mut state = self.lock();
            let now = state.now;
            let Some(id) = state.actors.pick(now) else { return };
            let state = self.give_turn(state, id);
            self.after_turn(state);
        }
    }

    /// Unwinds every actor that has not ended, and joins its thread.
    pub(super) fn end_all(&self) {
        let mut state = self.lock();
        state.ended = true;
        while let Some(&id) = state.actors.slots.keys().next() {
            state = self.give_turn(state, id);
            let ended = state.actors.ended.take();
            drop(state);
            if let Some(handle) = ended {
                let _ = handle.join();
            }
            state = self.lock();
        }
    }

    fn run_actor<T>(
        &self,
        id: usize,
        wake: &Condvar,
        body: impl FnOnce() -> T,
        result: &Mutex<Option<T>>,
    ) -> Result<(), Box<dyn Any + Send>> {
        let mut state = self.wait_for_turn(self.lock(), id, wake);
        if state.ended {
            return Ok(());
        }
        if let Some(slot) = state.actors.slots.get_mut(&id) {
            slot.status = Status::Running;
        }
        drop(state);
        let value = catch_unwind(AssertUnwindSafe(body))?;
        *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        Ok(())
    }

    fn end_actor(&self, id: usize, outcome: Result<(), Box<dyn Any + Send>>) {
        let mut state = self.lock();
        if let Some(slot) = state.actors.slots.remove(&id) {
            if let Err(payload) = outcome
                && !payload.is::<WorldEnded>()
            {
                eprintln!("world: actor `{}` panicked at {}", slot.name, state.now);
                state.actors.panic.get_or_insert(payload);
            }
            state.actors.ended = Some(slot.handle);
        }
        state.actors.turn = Turn::Runner;
        state.actors.runner_wake.notify_one();
    }

    fn wait_actor(
        &self,
        mut state: MutexGuard<'_, State>,
        id: usize,
        signal: &Arc<Signal>,
        deadline: Option<Instant>,
    ) -> io::Result<bool> {
        let since = state.now;
        if signal.take() {
            return Ok(true);
        }
        if let Some(at) = deadline {
            if at <= since {
                return Ok(false);
            }
            state.schedule(at, What::Deadline);
        }
        let slot = state.actors.slots.get_mut(&id).expect("an actor that runs has a slot");
        slot.status = Status::Blocked { signal: Arc::clone(signal), deadline, since };
        let wake = Arc::clone(&slot.wake);
        state.actors.turn = Turn::Runner;
        state.actors.runner_wake.notify_one();
        let mut state = self.wait_for_turn(state, id, &wake);
        if let Some(slot) = state.actors.slots.get_mut(&id) {
            slot.status = Status::Running;
        }
        let has_ended = state.ended;
        drop(state);
        if has_ended { ended() } else { Ok(signal.take()) }
    }

    fn wait_runner(&self, signal: &Arc<Signal>, deadline: Option<Instant>) -> io::Result<bool> {
        let limit = deadline.unwrap_or_else(|| self.now() + STALL_LIMIT);
        loop {
            self.run_ready_actors();
            if signal.take() {
                return Ok(true);
            }
            if deadline.is_some_and(|at| at <= self.now()) {
                return Ok(false);
            }
            if !self.step_event(limit) {
                if deadline.is_none() {
                    return Err(io::Error::new(io::ErrorKind::Deadlock, self.stalled()));
                }
                self.pass_to(limit);
            }
        }
    }

    pub(super) fn stalled(&self) -> Stalled {
        let state = self.lock();
        Stalled { at: state.now, waiting: state.actors.waiting() }
    }

    /// Hands the turn to an actor and waits until it comes back.
    fn give_turn<'a>(&self, mut state: MutexGuard<'a, State>, id: usize) -> MutexGuard<'a, State> {
        let Some(slot) = state.actors.slots.get(&id) else { return state };
        let wake = Arc::clone(&slot.wake);
        let runner_wake = Arc::clone(&state.actors.runner_wake);
        state.actors.turn = Turn::Actor(id);
        wake.notify_one();
        while state.actors.turn != Turn::Runner {
            let waited = runner_wake.wait_timeout(state, STUCK_AFTER);
            let (guard, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = guard;
            if timeout.timed_out() && state.actors.turn != Turn::Runner {
                eprintln!("world: stuck in code that does not block: {}", state.actors.waiting());
            }
        }
        state
    }

    fn after_turn(&self, mut state: MutexGuard<'_, State>) {
        let ended = state.actors.ended.take();
        let panic = state.actors.panic.take();
        drop(state);
        if let Some(handle) = ended {
            let _ = handle.join();
        }
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }

    fn wait_for_turn<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        id: usize,
        wake: &Condvar,
    ) -> MutexGuard<'a, State> {
        while state.actors.turn != Turn::Actor(id) {
            state = wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state
    }
}

/// The world is gone: an actor unwinds; whoever unwinds already gets an error.
fn ended() -> io::Result<bool> {
    if std::thread::panicking() {
        return Err(errno::not_permitted());
    }
    resume_unwind(Box::new(WorldEnded))
}
