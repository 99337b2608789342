//! Turns what `--if` says into a running stack.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use clap::Args;
use libnet::net::TcpStream;
use libnet::route::RouteSpec;
use libnet::{Family, Protocol, Ready, SockType, errno};
use rumpnet::sockin::Sockin;
use rumpnet::{InetConfig, Stack};

use crate::cli::{Interfaces, Sockets};
use crate::fail::{Failure, Status};
use crate::ifspec::IfSpec;
use crate::impair::Faults;
use crate::interface;
use crate::recording::Recording;
use crate::settle;
use crate::signals::Interrupts;
use crate::sysctl::settings::Settings;
use crate::zone::{self, Zoned};

/// Whether a bus that is not there is made without being asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Create {
    /// Only if the interface says `create`.
    IfAsked,
    /// Always.
    Always,
}

/// A stack over the given interfaces; `name` is what the buses list it as where the interface
/// does not say. `lo0` is always there.
///
/// # Errors
/// No bus there, or one that cannot be joined; status 2, as nothing could be tried.
pub fn start(interfaces: &[IfSpec], create: Create, name: &str) -> Result<Stack, Failure> {
    let interfaces = interfaces.to_vec();
    let interfaces = Interfaces { interfaces, routes: Vec::new(), sysctls: Vec::new() };
    start_with(&interfaces, create, name, InetConfig::default())
}

/// As [`start`], with routes, settings, bounds and times.
///
/// # Errors
/// As [`start`]; a route whose gateway or interface is not there.
pub fn start_with(
    interfaces: &Interfaces,
    create: Create,
    name: &str,
    mut config: InetConfig,
) -> Result<Stack, Failure> {
    let settings = Settings::read(&interfaces.sysctls)?;
    settings.configure(&mut config)?;
    let mut builder = Stack::builder().config(config);
    for spec in &interfaces.interfaces {
        builder = builder.interface(interface::interface(spec, create, name)?);
    }
    let stack = builder.start().map_err(|error| Failure::usage(error.to_string()))?;
    if let Some(inet) = stack.inet() {
        for route in &interfaces.routes {
            inet.add_static_route(route).map_err(|error| route_failure(route, &error))?;
        }
        settings.apply(inet)?;
    }
    Ok(stack)
}

fn route_failure(route: &RouteSpec, error: &io::Error) -> Failure {
    let hint = match error.kind() {
        io::ErrorKind::NetworkUnreachable => {
            ": no interface has the gateway's network; see addr= of --if"
        }
        io::ErrorKind::AlreadyExists => ": it is there already; another metric makes it another",
        io::ErrorKind::InvalidInput => ": say by what, as in @10.0.0.1 or @shmif0",
        _ if error.raw_os_error() == errno::no_device().raw_os_error() => {
            ": interfaces are named by their kind and a number, as in shmif0"
        }
        _ => "",
    };
    Failure::usage(format!("cannot add route {route}: {}{hint}", plain(error)))
}

/// What is said and written when a stack has ended; to be dropped after it.
#[derive(Debug, Default)]
pub struct Aftermath {
    _recording: Option<Recording>,
    _faults: Option<Faults>,
}

/// As [`start`], or over the host's own sockets if that was asked for; and what is to be dropped
/// after the stack. Waits for addresses that are to be found.
///
/// # Errors
/// As [`start`]; those of the host for its sockets.
pub fn start_sockets(
    sockets: &Sockets,
    create: Create,
    name: &str,
) -> Result<(Aftermath, Stack), Failure> {
    let recording = sockets.pcap.as_deref().map(Recording::create).transpose()?;
    if sockets.sockin {
        let stack = host_sockets_seen_by(recording.as_ref())?;
        return Ok((Aftermath { _recording: recording, _faults: None }, stack));
    }
    let stack = start_with(&sockets.interfaces, create, name, InetConfig::default())?;
    if let (Some(recording), Some(inet)) = (&recording, stack.inet()) {
        recording.watch(inet)?;
    }
    let faults = stack.inet().map(|inet| Faults::of(inet));
    if let Some(inet) = stack.inet() {
        settle::settle(inet, &sockets.interfaces.interfaces)?;
    }
    Ok((Aftermath { _recording: recording, _faults: faults }, stack))
}

/// A stack whose sockets are the host's own.
///
/// # Errors
/// Those of the host.
pub fn host_sockets() -> Result<Stack, Failure> {
    host_sockets_seen_by(None)
}

fn host_sockets_seen_by(recording: Option<&Recording>) -> Result<Stack, Failure> {
    let cannot = |error: io::Error| {
        Failure::doing("cannot use the host's sockets", &error).with_status(Status::USAGE)
    };
    let domain = Sockin::new().map_err(cannot)?;
    if let Some(recording) = recording {
        domain.taps().add(recording.tap("sockin", &Sockin::capture_link())?);
    }
    Stack::builder().domain(domain).start().map_err(cannot)
}

/// How long a blocked call sleeps before it looks whether the user has had enough.
const PATIENCE: Duration = Duration::from_millis(100);

/// Connects from `from` if that is given, at most for as long as `within` says.
///
/// # Errors
/// As `std::net::TcpStream` gives them; `Interrupted` when the user has had enough.
pub fn connect(
    stack: &Stack,
    from: Option<SocketAddr>,
    to: SocketAddr,
    within: Option<Duration>,
    interrupts: &Interrupts,
) -> io::Result<TcpStream> {
    let socket = stack.socket(Family::of(&to.ip()), SockType::Stream, Protocol::TCP)?;
    if let Some(from) = from {
        socket.bind(from)?;
    }
    socket.set_nonblocking(true);
    match socket.connect(to) {
        Err(error) if errno::is_in_progress(&error) => {}
        done => done?,
    }
    let began = Instant::now();
    loop {
        let ready = socket.wait_ready(Ready::WRITABLE, Some(PATIENCE))?;
        if let Some(error) = socket.take_error()? {
            return Err(error);
        }
        if ready.intersects(Ready::WRITABLE | Ready::HANGUP) {
            socket.set_nonblocking(false);
            return Ok(TcpStream::from_socket(socket));
        }
        if interrupts.is_stopped() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if within.is_some_and(|within| began.elapsed() >= within) {
            return Err(errno::timed_out());
        }
    }
}

/// The address at which all who reach the stack are heard: of both families where it has both.
pub fn any_address(stack: &Stack) -> IpAddr {
    let six = stack.socket(Family::Inet6, SockType::Datagram, Protocol::DEFAULT).is_ok();
    if six { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() }
}

/// An address as people write it, which at a socket of both families need not be how it came.
pub fn plain_addr(mut addr: SocketAddr) -> SocketAddr {
    addr.set_ip(addr.ip().to_canonical());
    addr
}

/// The family of addresses that a user asked for.
#[derive(Args, Clone, Copy, Debug)]
pub struct FamilyArgs {
    /// IPv4 only
    #[arg(short = '4', long = "ipv4", conflicts_with = "six")]
    four: bool,
    /// IPv6 only
    #[arg(short = '6', long = "ipv6")]
    six: bool,
}

impl FamilyArgs {
    /// The family, if one was asked for.
    pub fn wanted(self) -> Option<Family> {
        match (self.four, self.six) {
            (true, _) => Some(Family::Inet),
            (_, true) => Some(Family::Inet6),
            _ => None,
        }
    }

    /// The address that is meant: `localhost` has one in each family.
    ///
    /// # Errors
    /// An address of the other family.
    pub fn pick(self, addr: &Zoned) -> Result<Zoned, Failure> {
        match (self.wanted(), addr.ip) {
            (Some(Family::Inet6), IpAddr::V4(Ipv4Addr::LOCALHOST)) => {
                Ok(IpAddr::from(Ipv6Addr::LOCALHOST).into())
            }
            (Some(wanted), ip) if wanted != Family::of(&ip) => {
                let name = if wanted == Family::Inet6 { "IPv6" } else { "IPv4" };
                Err(Failure::usage(format!("{addr} is no {name} address")))
            }
            _ => Ok(addr.clone()),
        }
    }

    /// The wildcard address of the family that was asked for, if one was.
    pub fn any(self) -> Option<IpAddr> {
        self.wanted().map(Family::unspecified)
    }
}

/// The address that a user wrote: an IP address, or `localhost`. There is no name service here.
///
/// # Errors
/// Anything else.
pub fn parse_ip(text: &str) -> Result<IpAddr, String> {
    match text {
        "localhost" => Ok(IpAddr::from([127, 0, 0, 1])),
        text => text
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse()
            .map_err(|_| format!("`{text}` is not an IP address; names are not looked up")),
    }
}

/// Says why something could not be done with a peer, and what to look at.
pub fn peer_failure(stack: &Stack, what: &str, peer: SocketAddr, error: &io::Error) -> Failure {
    let hint = match error.kind() {
        io::ErrorKind::NetworkUnreachable => {
            ": give an interface an address in its network, or a gateway (gw=)"
        }
        io::ErrorKind::HostUnreachable => {
            ": is a node with that address on the bus? see rumpnet ls"
        }
        io::ErrorKind::ConnectionRefused => ": nothing listens there",
        _ => "",
    };
    let peer = zone::shown(stack, peer);
    Failure::new(format!("{what} {peer}: {}{hint}", plain(error))).with_status(Status::FAILED)
}

/// Says why nothing can be listened at, and what to do; `what` stands in front.
pub fn listen_failure(what: &str, at: SocketAddr, by_host: bool, error: &io::Error) -> Failure {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => ": take another port, or see who listens there",
        io::ErrorKind::PermissionDenied => {
            ": the host keeps ports below 1024 for its administrator: take another"
        }
        io::ErrorKind::AddrNotAvailable if by_host => ": it is no address of this host's",
        io::ErrorKind::AddrNotAvailable => ": it is no address of the stack's: see addr= of --if",
        _ => "",
    };
    Failure::usage(format!("{what}cannot listen at {at}: {}{hint}", plain(error)))
}

/// The error as C's `strerror` has it, without Rust's number behind.
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_localhost_are_hosts() {
        assert_eq!(parse_ip("localhost").unwrap().to_string(), "127.0.0.1");
        assert_eq!(parse_ip("[fd00::1]").unwrap().to_string(), "fd00::1");
        assert!(parse_ip("alice").unwrap_err().contains("`alice` is not an IP address"));
    }

    #[test]
    fn errors_lose_their_number() {
        let error = io::Error::from_raw_os_error(111);
        assert_eq!(plain(&error), "Connection refused");
    }
}
