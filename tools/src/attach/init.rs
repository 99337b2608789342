//! `rumpnet attach-init`: process 1 of an attached command's namespace.

use std::ffi::OsString;
use std::os::fd::{AsFd, RawFd};
use std::process::Command;

use clap::Args;
use nix::mount::{MsFlags, mount};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{handover, not_started, relay};
use crate::fail::{Failure, Outcome, Status};

/// `rumpnet attach-init`.
#[derive(Args, Debug)]
pub struct InitArgs {
    /// The descriptor over which the parent is told that signals are caught
    #[arg(long)]
    control: RawFd,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    command: Vec<OsString>,
}

/// Runs the command, and takes in what it leaves behind; ends with its status.
///
/// # Errors
/// A command that is not there or cannot be run.
pub fn run(args: &InitArgs) -> Outcome {
    let control = virtif::inherited(args.control)
        .map_err(|error| Failure::doing("attach-init is started by attach alone", &error))?;
    let tied = set_pdeathsig(Signal::SIGKILL);
    tied.map_err(|error| Failure::doing("cannot be tied to attach", &error))?;
    if has_hung_up(&control) {
        return Ok(Status::FAILED);
    }
    let hidden = handover::keep_from_children(&control);
    hidden.map_err(|error| Failure::doing("cannot hide a descriptor", &error))?;
    show_own_processes();
    let signals =
        relay::Signals::catch().map_err(|error| Failure::doing("cannot catch signals", &error))?;
    // A signal that process 1 has not caught is lost; from now on none is.
    handover::say_go(&control).map_err(|error| Failure::doing("cannot go on", &error))?;
    let (program, rest) = args.command.split_first().expect("clap asks for one");
    let child =
        Command::new(program).args(rest).spawn().map_err(|error| not_started(program, &error))?;
    Ok(signals.wait_as_init(&child))
}

/// Is the other end closed? Asked for after the kernel was told whom to die with.
fn has_hung_up(pipe: impl AsFd) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut fds = [PollFd::new(&pipe, PollFlags::IN)];
    poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
}

/// A `/proc` of the new namespace of processes, where we may have one; else the old one stays.
fn show_own_processes() {
    let none: Option<&str> = None;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    if mount(none, "/", none, private, none).is_ok() {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        let _ = mount(Some("proc"), "/proc", Some("proc"), flags, none);
    }
}
