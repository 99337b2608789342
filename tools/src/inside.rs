//! Commands that run inside a node, for a client of its control socket, or beside a stack of their
//! own.

pub(crate) mod capture;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use clap::Parser as _;
use libnet::iface::IfIndex;
use libnet::socket::Family;
use rumpnet::{Inet, Stack};

use crate::bsd::{self, Bsd};
use crate::cli::{Cli, Command, Sockets};
use crate::fail::{Failure, Outcome, Status};
use crate::host::{self, Create};
use crate::output::Output;
use crate::signals::Interrupts;

/// What a command works with.
pub struct Inside {
    /// The stack that it looks at.
    pub stack: Stack,
    /// What the node is called.
    pub name: String,
    /// Its standard output.
    pub output: Output,
    /// Its standard error.
    pub errors: Box<dyn Write + Send>,
    /// What its user asks for meanwhile.
    pub interrupts: Interrupts,
}

impl Inside {
    /// Beside a stack of this process, with this process's own output.
    pub fn own(stack: Stack, name: &str, interrupts: Interrupts) -> Self {
        let (output, errors) = (Output::new(), Box::new(io::stderr()));
        Inside { stack, name: name.to_owned(), output, errors, interrupts }
    }

    /// Does a command's work with a stack of its own.
    ///
    /// # Errors
    /// No interface that could be attached; as the work gives them.
    pub fn alone(
        sockets: &Sockets,
        name: &str,
        work: impl FnOnce(&mut Inside) -> Outcome,
    ) -> Outcome {
        let (_aftermath, stack) = host::start_sockets(sockets, Create::IfAsked, name)?;
        let interrupts =
            Interrupts::catch().map_err(|error| Failure::doing("cannot catch signals", &error))?;
        work(&mut Inside::own(stack, name, interrupts))
    }

    /// The stack's Internet protocols.
    ///
    /// # Errors
    /// The stack is over the host's sockets.
    pub fn inet(&self) -> Result<Arc<Inet>, Failure> {
        let none = || Failure::usage("this is of stacks of our own: leave --sockin out");
        self.stack.inet().cloned().ok_or_else(none)
    }

    /// Says something on standard error.
    pub fn complain(&mut self, text: &str) {
        // Where it is closed nobody could read it anyway.
        let _ = self.errors.write_all(text.as_bytes());
    }
}

impl std::fmt::Debug for Inside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inside").field("name", &self.name).finish_non_exhaustive()
    }
}

/// An interface's name by its number.
pub fn name_of(inet: &Inet, index: IfIndex) -> String {
    let found = inet.engine().interface(index);
    found.map_or_else(|| format!("if{}", index.0), |iface| iface.name.clone())
}

/// An interface's number by its name.
pub fn index_of(inet: &Inet, name: &str) -> Option<IfIndex> {
    inet.engine().interfaces().find(|iface| iface.name == name).map(|iface| iface.index)
}

/// The name of the link that a socket's address is of.
pub fn zone_name(inet: &Inet, addr: SocketAddr) -> Option<String> {
    match addr {
        SocketAddr::V6(six) if six.scope_id() > 0 => Some(name_of(inet, IfIndex(six.scope_id()))),
        _ => None,
    }
}

/// A socket's address with the name of its link: `[fe80::1%shmif0]:80`.
pub fn endpoint(inet: &Inet, addr: SocketAddr) -> String {
    match zone_name(inet, addr) {
        Some(zone) => format!("[{}%{zone}]:{}", addr.ip(), addr.port()),
        None => addr.to_string(),
    }
}

/// Families whose entries a tool shows.
pub fn is_wanted(family: Option<Family>, addr: &std::net::IpAddr) -> bool {
    family.is_none_or(|family| family == Family::of(addr))
}

/// Runs a command line, without the program's name, in a node.
///
/// # Errors
/// As the command gives them; status 2 for what cannot be run here.
pub fn run(argv: &[String], inside: &mut Inside) -> Outcome {
    let words = std::iter::once("rumpnet").chain(argv.iter().map(String::as_str));
    let cli = match Cli::try_parse_from(words) {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            inside.complain(&error.render().to_string());
            return Ok(Status::USAGE);
        }
        Err(error) => {
            inside.output.text(error.render().to_string())?;
            return Ok(Status::DONE);
        }
    };
    let global = &cli.global;
    match &cli.command {
        Command::Ip(args) => crate::ip::inside(args, global, inside),
        Command::Ss(args) => crate::ss::inside(args, global, inside),
        Command::Netstat(args) => crate::netstat::inside(args, global, inside),
        Command::Sysctl(args) => crate::sysctl::inside(args, global, inside),
        Command::Impair(args) => crate::impairing::inside(args, global, inside),
        Command::Metrics(_) => crate::metrics::inside(inside),
        Command::Ping(args) => crate::ping::inside(args, global, inside),
        Command::Traceroute(args) => crate::traceroute::inside(args, global, inside),
        Command::Tracepath(args) => crate::tracepath::inside(args, global, inside),
        Command::Arping(args) => crate::arping::inside(args, global, inside),
        Command::Ndisc(args) => crate::ndisc::inside(args, global, inside),
        Command::Ifconfig(args) => bsd::inside(Bsd::Ifconfig, args, global, inside),
        Command::Route(args) => bsd::inside(Bsd::Route, args, global, inside),
        Command::Arp(args) => bsd::inside(Bsd::Arp, args, global, inside),
        Command::Ndp(args) => bsd::inside(Bsd::Ndp, args, global, inside),
        _ => Err(Failure::usage("this command cannot be run inside a node")),
    }
}
