//! `rumpnet attach`: an unmodified command on the host kernel's own stack, put onto a bus.
//!
//! ```text
//!  rumpnet attach          rumpnet attach-child             rumpnet attach-init       CMD
//!  on the bus              makes the namespaces and         process 1 of them, reaps
//!                          the tap, sets it up
//!    │ starts ────────────────> │
//!    │ <───────── the tap's fd ─┤
//!    │ joins bus and tap        │
//!    │ "go" ──────────────────> │ starts ───────────────────> │ catches signals
//!    │                          │ <──────────────────── "go" ─┤ starts ──────────────> │
//!    │ <──────────── status ────┤ <────────── status ─────────┤ <────── status ────────┤
//! ```
//! Each has the kernel kill it when the one to its left dies, and with process 1 of a namespace
//! everything in it dies: whoever is killed, nothing is left.

use std::ffi::OsString;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command};

use clap::Args;
use libnet::driver::patch::{Patch, PatchConfig};
use libnet::link::{Link as _, LinkInfo};
use libnet::{IpCidr, MacAddr};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use virtif::{FdConfig, Virtif};

use crate::cli::Global;
use crate::fail::{Failure, Outcome, Status};
use crate::host::Create;
use crate::ifspec::{IfKind, IfSpec, parse_host_addr, parse_mtu, parse_station};
use crate::impair::{self, ImpairSpec};
use crate::interface;
use crate::schedule::Schedules;

mod handover;
pub mod init;
pub mod namespace;
mod relay;

/// `rumpnet attach`.
#[derive(Args, Debug)]
#[command(after_help = "\
The command sees one interface, whose other end is the bus, and the host's files as they are. It runs as
root of a user namespace of its own, which is you outside. When it ends, or attach does, so does everything
that it started. Exit status: the command's; 127 if it is not there, 126 if it cannot be run.

Needs user namespaces, and read and write on /dev/net/tun.

  rumpnet attach --bus my.bus --addr 10.0.0.5/24 -- ping 10.0.0.1
  rumpnet attach --bus my.bus --addr 10.0.0.6/24 -- iperf3 -s
  rumpnet attach --bus my.bus --addr 10.0.0.7/24 --impair loss=2%,delay=10ms -- bash")]
pub struct AttachArgs {
    /// The bus's file
    #[arg(long, value_name = "FILE")]
    bus: PathBuf,
    /// Make the bus if there is none
    #[arg(long)]
    create: bool,
    /// What `rumpnet ls` lists it as [default: the command's name]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    device: DeviceArgs,
    /// Harm frames in each direction, or in one (out.loss=2% for those of the command, in.loss=2% for
    /// those to it): loss=2%, delay=10ms, jitter=2ms, rate=10mbit, limit=100, queue=codel (ecn, red,
    /// red-ecn, fq-codel), reorder=5%, dup=1%, corrupt=0.1%, state=down (or down alone), schedule=FILE
    /// (how it changes as time goes on), seed=7; with commas between them
    #[arg(long, value_name = "KEY=VALUE,...")]
    impair: Option<ImpairSpec>,
    /// What becomes of each frame depends on this number and the frames alone, but for rate, which
    /// drops by when they come [default: random]
    #[arg(long, value_name = "NUMBER", requires = "impair")]
    seed: Option<u64>,
    /// What to run, and its arguments [default: $SHELL]
    #[arg(value_name = "CMD", trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// What the command's interface is to be.
#[derive(Args, Clone, Debug)]
pub struct DeviceArgs {
    /// The command's address on the bus, with its network; several may be given
    #[arg(long = "addr", value_name = "ADDRESS/BITS", value_parser = parse_host_addr)]
    addrs: Vec<IpCidr>,
    /// Gateway of its default route
    #[arg(long = "gw", value_name = "ADDRESS")]
    gateways: Vec<IpAddr>,
    /// The largest IP packet, in bytes [default: the bus's]
    #[arg(long, value_name = "BYTES", value_parser = parse_mtu)]
    mtu: Option<u32>,
    /// Its address on the wire [default: made up]
    #[arg(long, value_name = "ADDRESS", value_parser = parse_station)]
    mac: Option<MacAddr>,
    /// What the command's interface is called
    #[arg(long, value_name = "NAME", default_value = "eth0")]
    device: String,
    /// Cut and checksum every frame, instead of passing super-segments whole
    #[arg(long)]
    no_offload: bool,
    /// Run the command as yourself, without rights in its namespace, not as its root
    #[arg(long)]
    as_user: bool,
}

/// Runs the command on the bus; ends with its status.
///
/// # Errors
/// No bus that could be joined; no namespaces or no tap, and what an administrator would do.
pub fn run(args: &AttachArgs, global: &Global) -> Outcome {
    let command = command(args);
    let mut spec = IfSpec::new(IfKind::Shmif, &args.bus);
    spec.create = args.create;
    spec.mac = args.device.mac;
    spec.mtu = args.device.mtu;
    let name = args.name.clone().unwrap_or_else(|| name_of(&command));
    let bus = interface::link(&spec, Create::IfAsked, &name)?;
    let LinkInfo { mac, mtu, .. } = bus.info();
    let signals =
        relay::Signals::catch().map_err(|error| Failure::doing("cannot catch signals", &error))?;
    let (mut child, control) = start_child(args, &command, mac, mtu)
        .map_err(|error| Failure::doing("cannot start a process", &error))?;
    let patched = handover::receive(&control)
        .map_err(|error| Failure::doing("the interface was not handed over", &error))
        .and_then(|tap| tap.map(|tap| join(args, tap, bus, mtu)).transpose());
    let patch = match patched {
        Ok(Some(patch)) => patch,
        // It has said why.
        Ok(None) => return Ok(relay::status_of(child.wait())),
        Err(failure) => {
            let _ = child.kill();
            let _ = child.wait();
            return Err(failure);
        }
    };
    handover::say_go(&control).map_err(|error| Failure::doing("cannot go on", &error))?;
    drop(control);
    let status = relay::status_of(signals.wait_for(&mut child));
    if global.verbose > 0 {
        let [bus, tap] = patch.stats();
        tracing::info!(?bus, ?tap, "sent");
    }
    report_unfired(&patch);
    if let Some(error) = patch.take_failure() {
        // The status is the command's all the same.
        Failure::doing("the command was cut off from the bus before it ended", &error).report();
    }
    Ok(status)
}

fn report_unfired(patch: &Patch) {
    let [out, received] = patch.unfired_faults();
    let out = out.into_iter().map(|what| format!("out.{what}"));
    let received = received.into_iter().map(|what| format!("in.{what}"));
    impair::report_unfired(&out.chain(received).collect::<Vec<_>>());
}

fn command(args: &AttachArgs) -> Vec<OsString> {
    if !args.command.is_empty() {
        return args.command.clone();
    }
    vec![std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into())]
}

/// The last part of the command's path, as far as a bus has room for it.
fn name_of(command: &[OsString]) -> String {
    let path = PathBuf::from(command.first().cloned().unwrap_or_default());
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let end = (0..=name.len().min(crate::ifspec::NAME_BYTES)).rev();
    let end = end.into_iter().find(|&at| name.is_char_boundary(at)).unwrap_or(0);
    if end == 0 { "attach".to_owned() } else { name[..end].to_owned() }
}

fn start_child(
    args: &AttachArgs,
    command: &[OsString],
    mac: MacAddr,
    mtu: u32,
) -> io::Result<(Child, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    let DeviceArgs { addrs, gateways, mtu: _, mac: _, device, no_offload, as_user } = &args.device;
    // By this name it is the same program even if its file was replaced or moved.
    let mut child = Command::new("/proc/self/exe");
    child.arg("attach-child").arg(format!("--control={}", theirs.as_raw_fd()));
    child.arg(format!("--parent={}", std::process::id()));
    child.arg(format!("--mac={mac}")).arg(format!("--mtu={mtu}"));
    child.arg(format!("--device={device}"));
    child.args(addrs.iter().map(|addr| format!("--addr={addr}")));
    child.args(gateways.iter().map(|gateway| format!("--gw={gateway}")));
    child.args(no_offload.then_some("--no-offload"));
    child.args(as_user.then_some("--as-user"));
    child.arg("--").args(command);
    handover::let_inherit(&theirs)?;
    Ok((child.spawn()?, ours))
}

fn join(
    args: &AttachArgs,
    tap: OwnedFd,
    bus: Box<dyn libnet::link::Link>,
    mtu: u32,
) -> Result<Patch, Failure> {
    let mut config = FdConfig::default();
    config.mtu = Some(mtu);
    let tap = Virtif::from_fd(tap, &config).map_err(|error| Failure::usage(error.to_string()))?;
    let mut config = PatchConfig::default();
    if let Some(asked) = &args.impair {
        let mut spec = asked.clone();
        spec.seed = args.seed.or(spec.seed);
        config.seed = spec.full_seed()?;
        // What the command sends goes out on the bus.
        let schedules = Schedules::of(&spec)?;
        config.impair = [schedules.out, schedules.received];
    }
    Patch::join_with(bus, tap, &config).map_err(|error| Failure::usage(error.to_string()))
}

/// The status of a command that was not there or could not be run, as shells have it.
fn not_started(command: &OsString, error: &io::Error) -> Failure {
    let status = if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
    let what = format!("cannot run `{}`", command.to_string_lossy());
    Failure::doing(what, &crate::host::plain(error)).with_status(Status(status))
}
