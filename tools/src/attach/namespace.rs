//! `rumpnet attach-child`: makes the namespaces and the tap of an attached command.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};
use std::process::Command;

use clap::Args;
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{getegid, geteuid, getppid};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use virtif::{HostSide, Offloads, Virtif, VirtifConfig};

use super::{DeviceArgs, handover, relay};
use crate::fail::{Failure, Outcome, Status};

/// `rumpnet attach-child`.
#[derive(Args, Debug)]
pub struct ChildArgs {
    /// The descriptor over which the tap is handed over
    #[arg(long)]
    control: RawFd,
    /// The process that started this one
    #[arg(long)]
    parent: i32,
    #[command(flatten)]
    device: DeviceArgs,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    command: Vec<OsString>,
}

/// Runs the command in namespaces of its own; ends with its status.
///
/// # Errors
/// What is not allowed here, and what an administrator would do about it.
pub fn run(args: &ChildArgs) -> Outcome {
    die_with(args.parent)?;
    let control = virtif::inherited(args.control)
        .map_err(|error| Failure::doing("attach-child is started by attach alone", &error))?;
    let hidden = handover::keep_from_children(&control);
    hidden.map_err(|error| Failure::doing("cannot hide a descriptor", &error))?;
    enter(args.device.as_user)?;
    let tap = make_tap(&args.device)?;
    allow_common_things();
    let handed = handover::send(&control, tap.as_fd());
    handed.map_err(|error| Failure::doing("cannot hand the tap over", &error))?;
    drop(tap);
    if !handover::await_go(&control) {
        return Ok(Status::FAILED);
    }
    drop(control);
    run_init(args)
}

/// Has the kernel kill this process when its parent dies, as it may have just now.
fn die_with(parent: i32) -> Result<(), Failure> {
    set_pdeathsig(Signal::SIGKILL)
        .map_err(|error| Failure::doing("cannot be tied to attach", &error))?;
    if getppid().as_raw() != parent {
        return Err(Failure::new("attach has gone"));
    }
    Ok(())
}

/// Enters namespaces of users, network, mounts and processes; root may do without the first.
fn enter(as_user: bool) -> Result<(), Failure> {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    let others = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID;
    match unshare(CloneFlags::CLONE_NEWUSER | others) {
        Ok(()) => {}
        Err(error) if uid == 0 && as_user => {
            // Without a namespace of users root has all of its rights, and would keep them.
            let message = format!("--as-user cannot be had: {}", no_namespaces(error));
            return Err(Failure::usage(message));
        }
        Err(_) if uid == 0 && unshare(others).is_ok() => return Ok(()),
        Err(error) => return Err(Failure::usage(no_namespaces(error))),
    }
    // A kernel without the file lets groups be mapped as they are.
    let _ = fs::write("/proc/self/setgroups", "deny");
    let (inner_uid, inner_gid) = if as_user { (uid, gid) } else { (0, 0) };
    fs::write("/proc/self/uid_map", format!("{inner_uid} {uid} 1"))
        .and_then(|()| fs::write("/proc/self/gid_map", format!("{inner_gid} {gid} 1")))
        .map_err(|error| Failure::doing("cannot map your user into a namespace", &error))
        .map_err(|failure| failure.with_status(Status::USAGE))
}

fn no_namespaces(error: Errno) -> String {
    let allow = match error {
        Errno::ENOSPC => "sysctl -w user.max_user_namespaces=10000",
        _ if fs::exists(UBUNTU).unwrap_or(false) => {
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
        }
        _ if fs::exists(DEBIAN).unwrap_or(false) => "sysctl -w kernel.unprivileged_userns_clone=1",
        Errno::EINVAL => "a kernel with CONFIG_USER_NS and CONFIG_NET_NS",
        _ => "sysctl -w user.max_user_namespaces=10000, or a container that may make them",
    };
    format!("no user namespaces here ({}): an administrator allows them by `{allow}`", error.desc())
}

const UBUNTU: &str = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns";
const DEBIAN: &str = "/proc/sys/kernel/unprivileged_userns_clone";

/// The command's only interface, up and with its addresses.
fn make_tap(device: &DeviceArgs) -> Result<OwnedFd, Failure> {
    let usage = |error: &dyn std::fmt::Display| Failure::usage(error.to_string());
    let mut config = VirtifConfig::default();
    if device.no_offload {
        config.offloads = Offloads::Off;
    }
    let tap = Virtif::open_with(&device.device, &config).map_err(|error| {
        // There the namespace is made, but has no rights.
        let restricted = fs::read_to_string(UBUNTU).is_ok_and(|text| text.trim() == "1");
        match error {
            virtif::OpenError::NotOurs { .. } if restricted => {
                Failure::usage(no_namespaces(Errno::EPERM))
            }
            error => usage(&error),
        }
    })?;
    let mut side = HostSide::new(device.addrs.clone());
    side.gateways.clone_from(&device.gateways);
    (side.mac, side.mtu) = (device.mac, device.mtu);
    side.apply(tap.device()).map_err(|error| usage(&error))?;
    virtif::loopback_up().map_err(|error| usage(&error))?;
    tap.into_fd().map_err(|error| usage(&error))
}

/// Low ports and ping sockets are for whoever is in a namespace of their own. It does without
/// where the kernel will not.
fn allow_common_things() {
    let _ = fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
    let gid = getegid().as_raw();
    let _ = fs::write("/proc/sys/net/ipv4/ping_group_range", format!("{gid} {gid}"));
}

/// Starts process 1 of the namespace; it knows by the socket that we are still there, and says
/// over it when it has caught signals. Those that come before wait here.
fn run_init(args: &ChildArgs) -> Outcome {
    let failed = |error: io::Error| Failure::doing("cannot start a process", &error);
    let signals = relay::Signals::catch().map_err(failed)?;
    let flags = SocketFlags::CLOEXEC;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
        .map_err(|error| failed(error.into()))?;
    handover::let_inherit(&theirs).map_err(failed)?;
    let mut init = Command::new("/proc/self/exe");
    init.arg("attach-init").arg(format!("--control={}", theirs.as_raw_fd()));
    let mut init = init.arg("--").args(&args.command).spawn().map_err(failed)?;
    drop(theirs);
    // If it has ended instead, its status says why.
    handover::await_go(&ours);
    Ok(relay::status_of(signals.wait_for(&mut init)))
}
