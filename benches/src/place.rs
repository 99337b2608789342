//! Where the two ends run: on one core, or on one each.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

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
    /// Where the kernel puts them.
    Anywhere,
}

impl Placement {
    /// Those that pin.
    pub const ALL: [Placement; 2] = [Placement::OneCore, Placement::TwoCores];

    /// Where the client (0) or the server (1) is put.
    pub const fn core(self, end: usize) -> Core {
        match self {
            Placement::OneCore => Core(Some(0)),
            Placement::TwoCores => Core(Some(end)),
            Placement::Anywhere => Core(None),
        }
    }

    /// For tables.
    pub const fn name(self) -> &'static str {
        match self {
            Placement::OneCore => "one core",
            Placement::TwoCores => "one core each",
            Placement::Anywhere => "not placed",
        }
    }
}

/// The number of a core, or any: a word of a command line.
#[derive(Clone, Copy, Debug)]
pub struct Core(Option<usize>);

impl fmt::Display for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(core) => core.fmt(f),
            None => f.write_str("any"),
        }
    }
}

impl FromStr for Core {
    type Err = ParseIntError;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        if word == "any" { Ok(Core(None)) } else { word.parse().map(|core| Core(Some(core))) }
    }
}

/// Pins this process, before it starts threads.
///
/// # Errors
/// When the machine has no such core.
pub fn pin(core: Core) -> nix::Result<()> {
    let Some(core) = core.0 else { return Ok(()) };
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
