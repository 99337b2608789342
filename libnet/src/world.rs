//! Virtual time: stacks on simulated links, where a run is a pure function of its seed.

use std::sync::Arc;
use std::time::Duration;

use crate::driver::Signal;
use crate::time::Instant;

mod actor;
mod core;
mod failure;
mod host;
mod record;
mod segment;
mod trace;

pub use crate::impair::Way;
pub use actor::{Actor, Stalled};
pub use failure::{FAILURES_VARIABLE, SEED_VARIABLE, seeds};
pub use host::{Host, HostDriver};
pub use record::{Recording, Seen, SeenFrame};
pub use segment::{LinkConfig, Plug, PortId, Segment, WorldLink};

use self::core::Shared;

/// A world with its own clock: hosts, the segments between them, and threads that live in it.
///
/// Time stands still while anything has something to do, then jumps to the next event. Nothing
/// sleeps. The thread that made the world runs it: its blocking calls step the world, and
/// [`spawn`](Self::spawn)ed actors run one at a time, in an order that the seed gives. Any other
/// thread that blocks gets `EPERM`.
///
/// When a test panics, dropping the world prints its seed, where it stood, the command that repeats
/// the run, and where it wrote the last frames of each segment ([`Recording`]).
///
/// ```
/// use std::time::Duration;
/// use libnet::world::World;
/// let world = World::new(7);
/// let handle = world.handle();
/// let sleeper = world.spawn("sleeper", move || {
///     handle.sleep(Duration::from_secs(3_600)).unwrap();
///     handle.now()
/// });
/// assert_eq!(sleeper.join().as_millis(), 3_600_000);
/// ```
pub struct World {
    shared: Arc<Shared>,
}

impl World {
    /// An empty world at the clock's origin. A seed in the environment, as the command has it that
    /// a failed test prints ([`SEED_VARIABLE`]), takes the place of `seed`.
    pub fn new(seed: u64) -> Self {
        World { shared: Shared::new(failure::seed_asked_for().unwrap_or(seed)) }
    }

    /// What the run is a function of.
    pub fn seed(&self) -> u64 {
        self.shared.seed
    }

    /// The time.
    pub fn now(&self) -> Instant {
        self.shared.now()
    }

    /// A driver for a stack that is to live here: build the stack on it, then attach it.
    pub fn host(&self, name: impl Into<String>) -> Arc<HostDriver> {
        self.handle().host(name)
    }

    /// A new Ethernet segment, or with [`LinkConfig::bare_ip`] a medium of bare IP packets.
    pub fn segment(&self, config: LinkConfig) -> Segment {
        let number = self.shared.lock().add_segment(config);
        Segment { shared: Arc::clone(&self.shared), number }
    }

    /// A wire between two stacks: a segment with two ports.
    pub fn wire(&self, config: LinkConfig) -> (Segment, WorldLink, WorldLink) {
        let segment = self.segment(config);
        let (a, b) = (segment.next_link(), segment.next_link());
        (segment, a, b)
    }

    /// Starts a thread that lives in the world's time. It first runs when the world does.
    ///
    /// It must block only in calls to stacks of this world, [`WorldHandle::sleep`] and
    /// [`Actor::join`]; anything else that waits for another actor stops the world.
    pub fn spawn<T: Send + 'static>(
        &self,
        name: &str,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> Actor<T> {
        self.shared.spawn(name, body)
    }

    /// A handle for actors.
    pub fn handle(&self) -> WorldHandle {
        WorldHandle { shared: Arc::clone(&self.shared) }
    }

    /// Lets `duration` pass. Returns when everyone it woke has blocked again or ended.
    ///
    /// # Panics
    /// As an actor panicked.
    pub fn run_for(&self, duration: Duration) {
        self.be_runner();
        let until = self.now() + duration;
        loop {
            self.shared.run_ready_actors();
            if !self.shared.step_event(until) {
                return self.shared.pass_to(until);
            }
        }
    }

    /// Another name for [`run_for`](Self::run_for).
    pub fn advance(&self, duration: Duration) {
        self.run_for(duration);
    }

    /// Runs until `done` holds, at most for `limit`; whether it held. It is asked after every
    /// event.
    ///
    /// # Panics
    /// As an actor panicked.
    pub fn run_until(&self, mut done: impl FnMut() -> bool, limit: Duration) -> bool {
        self.be_runner();
        let until = self.now() + limit;
        loop {
            self.shared.run_ready_actors();
            if done() {
                return true;
            }
            if !self.shared.step_event(until) {
                self.shared.pass_to(until);
                return done();
            }
        }
    }

    /// Runs until every actor has ended.
    ///
    /// # Panics
    /// As an actor panicked; or when they never end, with a list of who waits.
    pub fn run(&self) {
        self.be_runner();
        let until = self.now() + actor::STALL_LIMIT;
        loop {
            self.shared.run_ready_actors();
            if self.shared.lock().actors.all_ended() {
                return;
            }
            assert!(self.shared.step_event(until), "{}", self.shared.stalled());
        }
    }

    /// Lets the next event happen, however far off; whether there was one.
    ///
    /// # Panics
    /// As an actor panicked.
    pub fn step(&self) -> bool {
        self.be_runner();
        self.shared.run_ready_actors();
        let stepped = self.shared.step_event(Instant::MAX);
        self.shared.run_ready_actors();
        stepped
    }

    /// A hash over every frame so far, and when it was sent and received. Equal seeds give equal
    /// hashes.
    pub fn trace_hash(&self) -> u64 {
        self.shared.lock().trace.value()
    }

    /// Frames that stacks have sent.
    pub fn frames(&self) -> u64 {
        self.shared.lock().trace.frames()
    }

    /// Names the faults that were asked for and never fired, with where.
    pub fn unfired_faults(&self) -> Vec<String> {
        self.shared.lock().unfired()
    }

    /// Fails a test whose faults did not happen.
    ///
    /// # Panics
    /// When a fault was asked for and never fired; names all of them.
    pub fn assert_faults_fired(&self) {
        let unfired = self.unfired_faults();
        assert!(unfired.is_empty(), "faults that never fired: {}", unfired.join("; "));
    }

    /// Keeps so much of each segment's frames from now on, for a test that fails.
    pub fn record(&self, recording: Recording) {
        self.shared.lock().recording = recording;
    }

    /// The seed, the time, the trace so far, who waits, and which faults never fired.
    pub fn report(&self) -> String {
        let state = self.shared.lock();
        let mut text = format!(
            "world: seed {:#x}, at {}, {} frames, trace {:016x}; {}",
            self.shared.seed,
            state.now,
            state.trace.frames(),
            state.trace.value(),
            state.actors.waiting()
        );
        for fault in state.unfired() {
            text.push_str("\nworld: a fault never fired: ");
            text.push_str(&fault);
        }
        text
    }

    fn be_runner(&self) {
        self.shared.lock().actors.set_runner();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() || !self.unfired_faults().is_empty() {
            eprintln!("{}", self.report());
        }
        if std::thread::panicking() {
            failure::explain(&self.shared);
        }
        self.shared.end_all();
        // Stacks call the world while they are dropped: outside its lock.
        let kept = std::mem::take(&mut self.shared.lock().kept);
        drop(kept);
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("seed", &self.seed()).field("now", &self.now()).finish()
    }
}

/// What actors need of their world. Cheap to clone and to send to another thread.
#[derive(Clone)]
pub struct WorldHandle {
    shared: Arc<Shared>,
}

impl WorldHandle {
    /// The time.
    pub fn now(&self) -> Instant {
        self.shared.now()
    }

    /// Sleeps in virtual time.
    ///
    /// # Errors
    /// `EPERM` on a thread that is not of this world.
    pub fn sleep(&self, duration: Duration) -> std::io::Result<()> {
        self.shared.wait(&Signal::new(), Some(self.now() + duration)).map(drop)
    }

    /// Starts another actor; see [`World::spawn`].
    pub fn spawn<T: Send + 'static>(
        &self,
        name: &str,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> Actor<T> {
        self.shared.spawn(name, body)
    }

    /// A driver for another stack; see [`World::host`].
    pub fn host(&self, name: impl Into<String>) -> Arc<HostDriver> {
        let name = name.into();
        let mut state = self.shared.lock();
        let host = state.hosts.len();
        state.hosts.push(host::HostSlot::new(name.clone()));
        drop(state);
        Arc::new(HostDriver { shared: Arc::clone(&self.shared), host, name })
    }
}

impl std::fmt::Debug for WorldHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorldHandle").field("now", &self.now()).finish()
    }
}

#[cfg(test)]
pub(crate) mod tests;
