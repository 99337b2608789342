//! SIGINT and SIGTERM as events, so that a command leaves its bus before it ends.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

/// What a user asked for by a signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked {
    /// To stop (SIGINT, SIGTERM, SIGHUP). A second time the process ends at once.
    Stop,
    /// To say how it is going (SIGQUIT).
    Report,
}

/// The signals of this process.
#[derive(Clone, Debug)]
pub struct Interrupts {
    asked: Receiver<Asked>,
    /// The signal that asked to stop; 0: none has yet.
    stopped_by: Arc<AtomicI32>,
}

/// The other end of [`Interrupts::from_afar`].
#[derive(Clone, Debug)]
pub struct Asker {
    sender: Sender<Asked>,
    stopped_by: Arc<AtomicI32>,
}

impl Asker {
    /// Passes on what is asked for.
    pub fn ask(&self, what: Asked) {
        if what == Asked::Stop {
            self.stopped_by.store(SIGINT, Ordering::Release);
        }
        // A full channel holds enough to act on.
        let _ = self.sender.try_send(what);
    }
}

impl Interrupts {
    /// Catches the signals from now on.
    ///
    /// # Errors
    /// The system's.
    pub fn catch() -> io::Result<Self> {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGQUIT])?;
        let (sender, asked) = bounded(16);
        let stopped_by = Arc::new(AtomicI32::new(0));
        let first = Arc::clone(&stopped_by);
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for signal in signals.forever() {
                let what = if signal == SIGQUIT { Asked::Report } else { Asked::Stop };
                if what == Asked::Stop && first.swap(signal, Ordering::AcqRel) != 0 {
                    // Shells read 128 and the signal's number.
                    signal_hook::low_level::exit(128 + signal);
                }
                // A full channel holds enough to act on.
                let _ = sender.try_send(what);
            }
        })?;
        Ok(Interrupts { asked, stopped_by })
    }

    /// Those of somebody elsewhere: what the other end is told, this one is asked.
    pub fn from_afar() -> (Asker, Self) {
        let (sender, asked) = bounded(16);
        let stopped_by = Arc::new(AtomicI32::new(0));
        let asker = Asker { sender, stopped_by: Arc::clone(&stopped_by) };
        (asker, Interrupts { asked, stopped_by })
    }

    /// Was the process asked to stop?
    pub fn is_stopped(&self) -> bool {
        self.stopped_by().is_some()
    }

    /// The signal that asked the process to stop.
    pub fn stopped_by(&self) -> Option<i32> {
        Some(self.stopped_by.load(Ordering::Acquire)).filter(|signal| *signal != 0)
    }

    /// The events, for `select!`.
    pub const fn channel(&self) -> &Receiver<Asked> {
        &self.asked
    }

    /// Sleeps until something is asked for, at most `timeout`.
    pub fn sleep(&self, timeout: Duration) -> Option<Asked> {
        match self.asked.recv_timeout(timeout) {
            Ok(asked) => Some(asked),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Asked::Stop),
        }
    }

    /// Sleeps until the process is asked to stop.
    pub fn wait_for_stop(&self) {
        while self.asked.recv().is_ok_and(|asked| asked != Asked::Stop) {}
    }
}
