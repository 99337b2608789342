//! Where the two ends run: on one core, or on one each.

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use serde::Serialize;

/// A placement of two processes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    /// Both ends on core 0.
    OneCore,
    /// One end on core 0, the other on core 1.
    TwoCores,
}

impl Placement {
    /// Both.
    pub const ALL: [Placement; 2] = [Placement::OneCore, Placement::TwoCores];

    /// The core of the client (0) or the server (1).
    pub const fn core(self, end: usize) -> usize {
        match self {
            Placement::OneCore => 0,
            Placement::TwoCores => end,
        }
    }

    /// For tables.
    pub const fn name(self) -> &'static str {
        match self {
            Placement::OneCore => "one core",
            Placement::TwoCores => "one core each",
        }
    }
}

/// Pins this process, before it starts threads.
///
/// # Errors
/// When the machine has no such core.
pub fn pin(core: usize) -> nix::Result<()> {
    let mut set = CpuSet::new();
    set.set(core)?;
    sched_setaffinity(Pid::from_raw(0), &set)
}

/// CPU seconds that this process has used, user and system.
pub fn cpu_seconds() -> f64 {
    use nix::sys::resource::{UsageWho, getrusage};
    use nix::sys::time::TimeValLike;
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return f64::NAN };
    (usage.user_time() + usage.system_time()).num_microseconds() as f64 / 1e6
}
