//! Waits for a child, and passes on to it the signals that its waiter gets.

use std::io;
use std::process::{Child, ExitStatus};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};

use crate::fail::Status;

/// The signals of this process, caught from when it is made: before its child is.
pub(super) struct Signals(signal_hook::iterator::Signals);

impl Signals {
    pub(super) fn catch() -> io::Result<Self> {
        let all = [SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH];
        Ok(Signals(signal_hook::iterator::Signals::new(all)?))
    }

    /// Waits until the child has ended.
    pub(super) fn wait_for(mut self, child: &mut Child) -> io::Result<ExitStatus> {
        let pid = pid_of(child);
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            for signal in self.0.wait() {
                pass_on(pid, signal);
            }
        }
    }

    /// The same for process 1 of a namespace, which inherits every orphan in it; the status that
    /// a shell would show.
    pub(super) fn wait_as_init(mut self, child: &Child) -> Status {
        let pid = pid_of(child);
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(ended, code)) if ended == pid => {
                    return Status(u8::try_from(code & 0xff).unwrap_or(u8::MAX));
                }
                Ok(WaitStatus::Signaled(ended, signal, _)) if ended == pid => {
                    return killed_by(signal as i32);
                }
                Ok(WaitStatus::StillAlive) => {
                    for signal in self.0.wait() {
                        pass_on(pid, signal);
                    }
                }
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                // Nobody is left to wait for.
                Err(_) => return Status::FAILED,
            }
        }
    }
}

/// The exit status that a shell would show.
pub(super) fn status_of(ended: io::Result<ExitStatus>) -> Status {
    use std::os::unix::process::ExitStatusExt as _;
    match ended {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => Status(u8::try_from(code & 0xff).unwrap_or(u8::MAX)),
            (None, Some(signal)) => killed_by(signal),
            (None, None) => Status::FAILED,
        },
        Err(_) => Status::FAILED,
    }
}

fn killed_by(signal: i32) -> Status {
    Status(u8::try_from(signal).map_or(u8::MAX, |signal| signal.saturating_add(128)))
}

fn pass_on(pid: Pid, signal: i32) {
    if signal != SIGCHLD
        && let Ok(signal) = Signal::try_from(signal)
    {
        // It may have ended just now.
        let _ = kill(pid, signal);
    }
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}
