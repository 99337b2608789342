//! Waits for a child, and passes on to it the signals that its waiter is sent.
//!
//! Attach, its processes and the command share the terminal's process group, and each gets what
//! the terminal sends to all of that. So the kernel's own signals are passed on by nobody: the
//! command would hear one Ctrl-C several times.

use std::io;
use std::process::{Child, ExitStatus};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid, getsid};
use rustix::io::Errno;
use rustix::process::{WaitOptions, waitpid};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::{Cause, Origin};

use crate::fail::Status;

/// The signals of this process, caught from when it is made: before its child is.
pub(super) struct Signals(SignalsInfo<WithOrigin>);

impl Signals {
    pub(super) fn catch() -> io::Result<Self> {
        let all = [SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH];
        Ok(Signals(SignalsInfo::new(all)?))
    }

    /// Waits until the child has ended.
    pub(super) fn wait_for(mut self, child: &mut Child) -> io::Result<ExitStatus> {
        let pid = pid_of(child);
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            self.pass_on(pid);
        }
    }

    /// The same for process 1 of a namespace, which inherits every orphan in it; the status that
    /// a shell would show.
    pub(super) fn wait_as_init(mut self, child: &Child) -> Status {
        let pid = pid_of(child);
        loop {
            // Not nix's: that one knows no real-time signals, and a child that died of one is
            // reaped and yet an error.
            match waitpid(None, WaitOptions::NOHANG) {
                Ok(Some((ended, status))) if ended.as_raw_pid() == pid.as_raw() => {
                    return shown(status.exit_status(), status.terminating_signal());
                }
                Ok(None) => self.pass_on(pid),
                // Nobody is left to wait for.
                Err(Errno::CHILD) => return Status::FAILED,
                Ok(Some(_)) | Err(_) => {}
            }
        }
    }

    /// Waits for signals, and passes on those that are the command's.
    fn pass_on(&mut self, pid: Pid) {
        for origin in self.0.wait() {
            if is_for_the_command(&origin)
                && let Ok(signal) = Signal::try_from(origin.signal)
            {
                // It may have ended just now.
                let _ = kill(pid, signal);
            }
        }
    }
}

/// Was the signal sent to us alone, as far as that can be known?
fn is_for_the_command(origin: &Origin) -> bool {
    match (origin.signal, origin.cause) {
        (SIGCHLD, _) => false,
        (_, Cause::Sent(_)) => true,
        // Of a terminal that is gone the session's leader alone is told.
        (SIGHUP, Cause::Kernel) => getsid(None) == Ok(getpid()),
        _ => false,
    }
}

/// The exit status that a shell would show.
pub(super) fn status_of(ended: io::Result<ExitStatus>) -> Status {
    use std::os::unix::process::ExitStatusExt as _;
    ended.map_or(Status::FAILED, |ended| shown(ended.code(), ended.signal()))
}

/// What a shell would show: the code, or 128 and the signal's number.
fn shown(code: Option<i32>, signal: Option<i32>) -> Status {
    let status = code.or(signal.map(|signal| signal.saturating_add(128)));
    status.map_or(Status::FAILED, |status| Status(u8::try_from(status).unwrap_or(u8::MAX)))
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}
