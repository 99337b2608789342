//! The stacks of the process, and which of them a thread uses.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, Weak};

use libnet::callback::Injector;
use libnet::driver::manual::{InCall, ManualDriver};
use libnet::{IfIndex, InterfaceSpec};
use nix::libc;
use rumpnet::{Inet, Stack};

use crate::error::errno;
use crate::table::{self, lock};

/// A stack that C has a handle of. It starts with the first call that needs it.
pub(crate) struct Machine {
    /// Guards the start; rank: before the stack's locks.
    phase: Mutex<Phase>,
    /// Interfaces that have a name, and no link yet.
    pub(crate) planned: Mutex<BTreeMap<String, ()>>,
    /// Where to inject, by interface.
    pub(crate) injectors: Mutex<BTreeMap<String, Injector>>,
}

enum Phase {
    Planned { seed: Option<u64>, clock: Option<Arc<ManualDriver>> },
    Running { stack: Stack, clock: Option<Arc<ManualDriver>> },
    Freed,
}

/// All stacks, and the one of threads that have chosen none. Guards that alone; a leaf.
static STACKS: Mutex<Stacks> = Mutex::new(Stacks { all: Vec::new(), common: None });

struct Stacks {
    all: Vec<Arc<Machine>>,
    common: Option<Weak<Machine>>,
}

thread_local! {
    static CHOSEN: RefCell<Option<Weak<Machine>>> = const { RefCell::new(None) };
    static IN_CALLBACK: Cell<bool> = const { Cell::new(false) };
}

impl Machine {
    /// A stack that is not started, under a handle of its own.
    pub(crate) fn create() -> Arc<Machine> {
        let machine = Arc::new(Machine {
            phase: Mutex::new(Phase::Planned { seed: None, clock: None }),
            planned: Mutex::default(),
            injectors: Mutex::default(),
        });
        lock(&STACKS).all.push(Arc::clone(&machine));
        machine
    }

    /// The stack of threads that have chosen none; made if there is none.
    pub(crate) fn common() -> Arc<Machine> {
        if let Some(common) = lock(&STACKS).common.as_ref().and_then(Weak::upgrade) {
            return common;
        }
        let machine = Machine::create();
        lock(&STACKS).common = Some(Arc::downgrade(&machine));
        machine
    }

    /// The stack that has this handle.
    pub(crate) fn of_handle(handle: *const Machine) -> io::Result<Arc<Machine>> {
        let stacks = lock(&STACKS);
        let found = stacks.all.iter().find(|machine| std::ptr::eq(Arc::as_ptr(machine), handle));
        found.cloned().ok_or_else(|| errno(libc::EINVAL))
    }

    /// The calling thread's stack.
    pub(crate) fn current() -> io::Result<Arc<Machine>> {
        let used = match CHOSEN.with_borrow(Clone::clone) {
            Some(chosen) => chosen.upgrade(),
            None => lock(&STACKS).common.as_ref().and_then(Weak::upgrade),
        };
        used.ok_or_else(|| errno(libc::ENXIO))
    }

    /// Makes it the calling thread's; `None`: the common one is.
    pub(crate) fn choose(machine: Option<&Arc<Machine>>) {
        CHOSEN.set(machine.map(Arc::downgrade));
    }

    /// Gives it up, with its descriptors.
    pub(crate) fn free(self: Arc<Self>) {
        table::close_all_of(&self);
        let phase = std::mem::replace(&mut *lock(&self.phase), Phase::Freed);
        lock(&STACKS).all.retain(|machine| !Arc::ptr_eq(machine, &self));
        // Ends threads, which may be in a callback: outside every lock.
        drop(phase);
    }

    /// Sets what must be known before it starts.
    ///
    /// # Errors
    /// `EBUSY` once it runs.
    pub(crate) fn plan(
        &self,
        change: impl FnOnce(&mut Option<u64>, &mut Option<Arc<ManualDriver>>),
    ) -> io::Result<()> {
        match &mut *lock(&self.phase) {
            Phase::Planned { seed, clock } => {
                change(seed, clock);
                Ok(())
            }
            _ => Err(errno(libc::EBUSY)),
        }
    }

    /// The stack, started.
    ///
    /// # Errors
    /// Those of its start; `ENXIO` once it is freed.
    pub(crate) fn stack(&self) -> io::Result<Stack> {
        let mut phase = lock(&self.phase);
        let (seed, clock) = match &*phase {
            Phase::Running { stack, .. } => return Ok(stack.clone()),
            Phase::Freed => return Err(errno(libc::ENXIO)),
            Phase::Planned { seed, clock } => (*seed, clock.clone()),
        };
        let mut builder = Stack::builder();
        if let Some(seed) = seed {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&seed.to_le_bytes());
            builder = builder.seed(bytes);
        }
        let stack = match &clock {
            Some(clock) => builder.start_manual(clock)?,
            None => builder.start()?,
        };
        *phase = Phase::Running { stack: stack.clone(), clock };
        Ok(stack)
    }

    /// Its protocols.
    pub(crate) fn inet(&self) -> io::Result<Arc<Inet>> {
        Ok(Arc::clone(self.stack()?.inet().expect("it is of our own protocols")))
    }

    /// The clock that the program moves.
    ///
    /// # Errors
    /// `EINVAL` if it has none; as [`stack`](Self::stack).
    pub(crate) fn clock(&self) -> io::Result<Arc<ManualDriver>> {
        self.stack()?;
        self.hand_clock().ok_or_else(|| errno(libc::EINVAL))
    }

    fn hand_clock(&self) -> Option<Arc<ManualDriver>> {
        match &*lock(&self.phase) {
            Phase::Running { clock, .. } | Phase::Planned { clock, .. } => clock.clone(),
            Phase::Freed => None,
        }
    }

    /// Begins a call on it.
    ///
    /// # Errors
    /// `EDEADLK` out of a callback.
    pub(crate) fn enter(&self) -> io::Result<Call> {
        refuse_callbacks()?;
        let clock = self.hand_clock();
        let inside = clock.as_ref().map(ManualDriver::enter);
        Ok(Call { clock, _inside: inside })
    }

    /// Adds an interface; its number.
    pub(crate) fn add_interface(&self, spec: InterfaceSpec) -> io::Result<IfIndex> {
        self.stack()?.add_interface(spec)
    }

    /// An interface by its name.
    ///
    /// # Errors
    /// `ENXIO` if there is none, as rump has it.
    pub(crate) fn interface(&self, name: &str) -> io::Result<IfIndex> {
        let entries = self.inet()?.interfaces();
        let found = entries.iter().find(|entry| entry.name == name).map(|entry| entry.index);
        found.ok_or_else(|| errno(libc::ENXIO))
    }
}

/// A call on a stack. A clock that the program moves does not go on in it; what links hold is taken
/// in at its end.
pub(crate) struct Call {
    clock: Option<Arc<ManualDriver>>,
    _inside: Option<InCall>,
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(clock) = &self.clock {
            clock.settle();
        }
    }
}

/// `EDEADLK` in a callback, which is called with locks of the stack held.
pub(crate) fn refuse_callbacks() -> io::Result<()> {
    if IN_CALLBACK.get() { Err(errno(libc::EDEADLK)) } else { Ok(()) }
}

/// Is the calling thread in a callback?
pub(crate) fn is_in_callback() -> bool {
    IN_CALLBACK.get()
}

/// Calls out of the library, on whichever thread, for a stack that is the thread's meanwhile.
pub(crate) fn call_back(machine: &Weak<Machine>, callback: impl FnOnce()) {
    let before = (IN_CALLBACK.replace(true), CHOSEN.replace(Some(Weak::clone(machine))));
    callback();
    IN_CALLBACK.set(before.0);
    CHOSEN.set(before.1);
}
