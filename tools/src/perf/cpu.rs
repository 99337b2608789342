//! How much processor time a measurement took, as iperf3 reports it.

use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;

/// Processor time in percent of the time that passed.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Load {
    pub(super) user: f64,
    pub(super) system: f64,
}

impl Load {
    pub(super) fn total(self) -> f64 {
        self.user + self.system
    }
}

/// Measures from when it is made.
pub(super) struct Meter {
    started: Instant,
    user: Duration,
    system: Duration,
}

impl Meter {
    pub(super) fn start() -> Self {
        let (user, system) = used();
        Meter { started: Instant::now(), user, system }
    }

    pub(super) fn read(&self) -> Load {
        let passed = self.started.elapsed().as_secs_f64();
        let (user, system) = used();
        let percent = |used: Duration, before: Duration| {
            used.saturating_sub(before).as_secs_f64() * 100.0 / passed.max(1e-9)
        };
        Load { user: percent(user, self.user), system: percent(system, self.system) }
    }
}

/// Of this process so far, in user and kernel mode. Zero where the system does not say.
fn used() -> (Duration, Duration) {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return Default::default() };
    let micros = |micros: i64| Duration::from_micros(u64::try_from(micros).unwrap_or(0));
    (micros(usage.user_time().num_microseconds()), micros(usage.system_time().num_microseconds()))
}
