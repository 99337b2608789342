//! TCP/IP stacks as plain values.
//!
//! A [`Stack`] is built over links — a bus in a file ([`Shmif`]) is one — and gives sockets in the
//! shape of `std::net`:
//!
//! ```no_run
//! use std::io::Write;
//! use rumpnet::{Shmif, Stack};
//!
//! let stack = Stack::builder().interface(Shmif::attach("my.bus")?.addr("10.0.0.2/24")).start()?;
//! let mut stream = stack.tcp_connect("10.0.0.1:9000")?;
//! stream.write_all(b"hello")?;
//! # std::io::Result::Ok(())
//! ```
//!
//! # Dropping a stack
//! `Stack` is a handle: clones share the stack, and every socket holds it too, so that open
//! connections go on when only sockets are left. When the last of them is gone, connections that
//! were closed but have not delivered everything, and datagrams that wait for a neighbour's
//! address, get up to [`Builder::linger`] (5 s by default); then what is left is reset or dropped,
//! the links are given back and the threads end. A stack in a world that still has something to
//! deliver is kept by the world.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Weak};
use std::time::Duration;

use libnet::driver::manual::ManualDriver;
use libnet::driver::threads::{ThreadDriver, Threads};
use libnet::driver::{Driver, Signal};
use libnet::iface::{IfIndex, Interface};
use libnet::net::SocketLayer;
use libnet::route::RouteSpec;
use libnet::socket::{Domain, Family, Protocol, SockType};
use libnet::world::HostDriver;
use libnetinet::sysctl::SysctlError;

pub use libnet;
pub use libnet::net::{Incoming, Socket, TcpListener, TcpStream, UdpSocket};
pub use libnet::{InterfaceSpec, IpCidr};
pub use libnetinet;
pub use libnetinet::{Forwarding, Inet, InetConfig};
#[cfg(feature = "shmif")]
pub use shmif::{self, BusConfig, Shmif};
#[cfg(feature = "sockin")]
pub use sockin;
#[cfg(feature = "virtif")]
pub use virtif;

/// A running stack: interfaces, routes, and sockets over them. Clones share it.
#[derive(Clone)]
pub struct Stack {
    layer: SocketLayer,
    inet: Option<Arc<Inet>>,
    driven: Driven,
}

/// Who has to hear of a new interface.
#[derive(Clone)]
enum Driven {
    /// Nobody: whoever moves the clock asks for the interfaces.
    ByHand,
    ByThreads(Weak<Threads>),
    InWorld(Arc<HostDriver>),
}

/// Builds a [`Stack`]. Made by [`Stack::builder`].
#[must_use]
pub struct Builder {
    domains: Vec<Arc<dyn Domain>>,
    interfaces: Vec<InterfaceSpec>,
    routes: Vec<String>,
    config: InetConfig,
    sysctls: Vec<(String, String)>,
    shards: usize,
    linger: Duration,
    seed: Option<[u8; 32]>,
}

impl std::fmt::Debug for Stack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stack").field("layer", &self.layer).finish_non_exhaustive()
    }
}

impl Stack {
    /// A builder without interfaces but `lo0`, with one shard and the default bounds.
    pub fn builder() -> Builder {
        Builder {
            domains: Vec::new(),
            interfaces: Vec::new(),
            routes: Vec::new(),
            config: InetConfig::default(),
            sysctls: Vec::new(),
            shards: 1,
            linger: Duration::from_secs(5),
            seed: None,
        }
    }

    /// The socket layer, which makes sockets of every family and type.
    pub fn sockets(&self) -> &SocketLayer {
        &self.layer
    }

    /// The Internet protocols under it: addresses, routes, neighbours, counters. `None` where
    /// [`Builder::domain`] gave the families another provider.
    pub fn inet(&self) -> Option<&Arc<Inet>> {
        self.inet.as_ref()
    }

    /// Adds an interface while it runs; its number.
    ///
    /// # Errors
    /// As [`Inet::add_interface`], and what the interface was given and cannot be understood;
    /// `EOPNOTSUPP` where [`inet`](Self::inet) is `None`; of a thread for it. The interface is there
    /// then, without a thread.
    pub fn add_interface(&self, interface: impl Into<InterfaceSpec>) -> io::Result<IfIndex> {
        let inet = self.inet.as_ref().ok_or_else(libnet::errno::not_supported)?;
        let index = inet.add_interface(interface.into())?;
        match &self.driven {
            Driven::ByHand => {}
            Driven::ByThreads(threads) => {
                if let Some(threads) = threads.upgrade() {
                    threads.serve(inet.engine(), index)?;
                }
            }
            Driven::InWorld(host) => host.attach(inet.engine())?,
        }
        Ok(index)
    }

    /// Connects a TCP stream; see [`SocketLayer::tcp_connect`].
    ///
    /// # Errors
    /// Refused, timed out, unreachable: as the kernel gives them.
    pub fn tcp_connect(&self, addr: impl ToSocketAddrs) -> io::Result<TcpStream> {
        self.layer.tcp_connect(addr)
    }

    /// Connects a TCP stream, waiting at most `timeout`.
    ///
    /// # Errors
    /// `TimedOut` after `timeout`, `InvalidInput` if it is zero.
    pub fn tcp_connect_timeout(
        &self,
        addr: &SocketAddr,
        timeout: Duration,
    ) -> io::Result<TcpStream> {
        self.layer.tcp_connect_timeout(addr, timeout)
    }

    /// Connects a TCP stream whose first bytes are `data`, with TCP Fast Open; see
    /// [`SocketLayer::tcp_connect_with`].
    ///
    /// # Errors
    /// What is known at once: no route, no free port.
    pub fn tcp_connect_with(&self, addr: SocketAddr, data: &[u8]) -> io::Result<TcpStream> {
        self.layer.tcp_connect_with(addr, data)
    }

    /// Listens for TCP connections; see [`SocketLayer::tcp_listen`].
    ///
    /// # Errors
    /// `EADDRINUSE`, `EADDRNOTAVAIL`.
    pub fn tcp_listen(&self, addr: impl ToSocketAddrs) -> io::Result<TcpListener> {
        self.layer.tcp_listen(addr)
    }

    /// Binds a UDP socket.
    ///
    /// # Errors
    /// `EADDRINUSE`, `EADDRNOTAVAIL`.
    pub fn udp_bind(&self, addr: impl ToSocketAddrs) -> io::Result<UdpSocket> {
        self.layer.udp_bind(addr)
    }

    /// Makes a socket of any family, type and protocol; raw and ping sockets are made so.
    ///
    /// # Errors
    /// `EAFNOSUPPORT`, `EPROTONOSUPPORT`.
    pub fn socket(&self, family: Family, ty: SockType, protocol: Protocol) -> io::Result<Socket> {
        self.layer.socket(family, ty, protocol)
    }
}

impl Builder {
    /// Adds an interface.
    pub fn interface(mut self, interface: impl Into<InterfaceSpec>) -> Self {
        self.interfaces.push(interface.into());
        self
    }

    /// Adds a route, as [`RouteSpec`] is written: `10.2.0.0/16@10.0.0.1`,
    /// once all interfaces are there. Text that is none is an error when the stack starts.
    pub fn route(mut self, route: impl Into<String>) -> Self {
        self.routes.push(route.into());
        self
    }

    /// Passes packets of both families on between interfaces, as a router does; see
    /// [`ForwardingConfig`](libnetinet::ForwardingConfig). Turned on and off while it runs by
    /// [`Inet::set_forwarding`].
    pub fn forwarding(mut self, forwarding: Forwarding) -> Self {
        self.config.forwarding.ipv4 = forwarding == Forwarding::On;
        self.config.forwarding.ipv6 = forwarding == Forwarding::On;
        self
    }

    /// Lets `domain` serve its families in place of our own Internet protocols, which then serve
    /// none: the host's sockets, by `sockin::Sockin`.
    pub fn domain(mut self, domain: impl Domain + 'static) -> Self {
        self.domains.push(Arc::new(domain));
        self
    }

    /// As [`domain`](Self::domain), of one that the caller keeps: for its counters or its taps.
    pub fn shared_domain(mut self, domain: Arc<dyn Domain>) -> Self {
        self.domains.push(domain);
        self
    }

    /// Sets bounds and times.
    pub fn config(mut self, config: InetConfig) -> Self {
        self.config = config;
        self
    }

    /// Sets what Linux calls `name`, as `net.ipv4.tcp_sack`, to a value as Linux's `sysctl` takes it;
    /// the last of a name counts, whatever [`config`](Self::config) says. Those of an interface are
    /// set when it is there. [`sysctl::all`](libnetinet::sysctl::all) has them all. What cannot be set
    /// is an error when the stack starts.
    ///
    /// ```
    /// use rumpnet::Stack;
    ///
    /// let stack = Stack::builder().sysctl("net.ipv4.tcp_sack", "0").start()?;
    /// let inet = stack.inet().expect("it is of our own protocols");
    /// inet.set_sysctl("net.ipv4.tcp_keepalive_time", "60").map_err(|error| error.to_io())?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn sysctl(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.sysctls.push((name.into(), value.into()));
        self
    }

    /// Sets the number of shards, at least 1. A connection belongs to one of them.
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = shards.max(1);
        self
    }

    /// Sets how long dropping the stack waits for closed connections to deliver what they hold.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// Sets the seed of everything random: sequence numbers, ports, hashes. For tests; without
    /// it the machine's entropy is used.
    pub fn seed(mut self, seed: [u8; 32]) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Starts the stack on threads of its own, one per link queue.
    ///
    /// # Errors
    /// What an interface was given and cannot be understood; a link's, a thread's, and the
    /// entropy source's own errors. `InvalidInput`, saying so, for interfaces beside a domain and
    /// for two domains of one family.
    pub fn start(self) -> io::Result<Stack> {
        let driver = ThreadDriver::new();
        if !self.domains.is_empty() {
            return self.start_over_domains(driver);
        }
        let linger = self.linger;
        let inet = self.build(driver.clone())?;
        let threads = Arc::new(Threads::start(driver.clone(), inet.engine())?);
        let driven = Driven::ByThreads(Arc::downgrade(&threads));
        let machine = Machine { inet: Arc::clone(&inet), driver: driver.clone(), threads, linger };
        let running = Running(Some(machine));
        let layer = SocketLayer::new(vec![inet.clone()], driver, Box::new(running))?;
        Ok(Stack { layer, inet: Some(inet), driven })
    }

    /// Starts the stack as a host of a world, in virtual time, without threads. Its seed is the
    /// host's unless one was set.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_in(mut self, host: &Arc<HostDriver>) -> io::Result<Stack> {
        self.refuse_domains()?;
        self.seed.get_or_insert(host.seed());
        let inet = self.build(host.clone())?;
        host.attach(inet.engine())?;
        let inhabitant = Inhabitant { inet: Arc::clone(&inet), host: Arc::clone(host) };
        let layer = SocketLayer::new(vec![inet.clone()], host.clone(), Box::new(inhabitant))?;
        Ok(Stack { layer, inet: Some(inet), driven: Driven::InWorld(Arc::clone(host)) })
    }

    /// Starts the stack by a clock that only its caller moves, without threads; set a
    /// [`seed`](Self::seed), too, and equal calls make equal packets. What it has not delivered when
    /// it is dropped is lost: time cannot pass for it any more.
    ///
    /// ```
    /// use std::io::Write;
    /// use std::time::Duration;
    /// use rumpnet::Stack;
    /// use rumpnet::libnet::InterfaceSpec;
    /// use rumpnet::libnet::callback::{CallbackConfig, callback_link};
    /// use rumpnet::libnet::driver::manual::ManualDriver;
    ///
    /// let clock = ManualDriver::new();
    /// let (link, injector) = callback_link(&CallbackConfig::default(), |at, packet| {
    ///     println!("{at}: {packet:02x?}");
    /// });
    /// let stack = Stack::builder()
    ///     .interface(InterfaceSpec::new(link).addr("10.0.0.1/24"))
    ///     .seed([7; 32])
    ///     .start_manual(&clock)?;
    /// let socket = stack.udp_bind("10.0.0.1:5000")?;
    /// socket.send_to(b"hello", "10.0.0.2:5000")?; // is printed with the time 0
    /// injector.inject(&[0x45, 0])?;
    /// clock.settle(); // it was too short to be a packet
    /// clock.advance(Duration::from_millis(200));
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// As [`start`](Self::start); `EBUSY` if the clock has a stack already.
    pub fn start_manual(self, clock: &Arc<ManualDriver>) -> io::Result<Stack> {
        self.refuse_domains()?;
        let inet = self.build(clock.clone())?;
        clock.attach(inet.engine())?;
        let layer = SocketLayer::new(vec![inet.clone()], clock.clone(), Box::new(()))?;
        Ok(Stack { layer, inet: Some(inet), driven: Driven::ByHand })
    }

    fn refuse_domains(&self) -> io::Result<()> {
        if self.domains.is_empty() {
            return Ok(());
        }
        Err(invalid(
            "another domain (the host's sockets) would not keep a time that is not the host's",
        ))
    }

    fn start_over_domains(self, driver: Arc<ThreadDriver>) -> io::Result<Stack> {
        if !self.interfaces.is_empty() || !self.routes.is_empty() {
            return Err(invalid(
                "interfaces and another domain (the host's sockets) would serve the same families: \
                 give the builder the one or the other",
            ));
        }
        let layer = SocketLayer::new(self.domains, driver, Box::new(()))?;
        Ok(Stack { layer, inet: None, driven: Driven::ByHand })
    }

    fn build(mut self, driver: Arc<dyn Driver>) -> io::Result<Arc<Inet>> {
        let mut of_interfaces = Vec::new();
        for (name, value) in self.sysctls {
            match self.config.set_sysctl(&name, &value) {
                Err(SysctlError::OfInterface) => of_interfaces.push((name, value)),
                set => set.map_err(|error| sysctl_failure(&name, &value, &error))?,
            }
        }
        let mut seed = [0; 32];
        match self.seed {
            Some(given) => seed = given,
            None => getrandom::fill(&mut seed).map_err(io::Error::other)?,
        }
        let inet = Arc::new(Inet::new(self.config, seed, driver, self.shards)?);
        for interface in self.interfaces {
            inet.add_interface(interface)?;
        }
        for route in self.routes {
            let spec: Result<RouteSpec, _> = route.parse();
            let spec = spec.map_err(|error| invalid(&error.to_string()))?;
            inet.add_static_route(&spec)?;
        }
        for (name, value) in of_interfaces {
            let set = inet.set_sysctl(&name, &value);
            set.map_err(|error| sysctl_failure(&name, &value, &error))?;
        }
        Ok(inet)
    }
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let families: Vec<_> = self.domains.iter().flat_map(|domain| domain.families()).collect();
        f.debug_struct("Builder")
            .field("other_families", &families)
            .field("interfaces", &self.interfaces)
            .finish_non_exhaustive()
    }
}

fn sysctl_failure(name: &str, value: &str, error: &SysctlError) -> io::Error {
    invalid(&format!("cannot set {name} to `{value}`: {error}"))
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

/// What lives as long as any handle or socket of the stack.
struct Running(Option<Machine>);

impl Drop for Running {
    /// Lets closed connections deliver what they hold. The last socket may be dropped by a waker
    /// on a thread of the stack itself, which cannot wait for what only it would do.
    fn drop(&mut self) {
        let Some(machine) = self.0.take() else { return };
        if machine.threads.is_current() {
            // Without a thread to wait in, the machine is dropped, and what it holds with it.
            let _ = std::thread::Builder::new()
                .name("rump/linger".into())
                .spawn(move || machine.wind_down());
        } else {
            machine.wind_down();
        }
    }
}

/// How long a dropped stack waits for room for its resets, once its time to deliver is over.
const RESETS_LEAVE_WITHIN: Duration = Duration::from_millis(250);

struct Machine {
    inet: Arc<Inet>,
    driver: Arc<ThreadDriver>,
    /// Dropped, and so ended, after the connections are.
    threads: Arc<Threads>,
    linger: Duration,
}

impl Machine {
    /// Lets closed connections deliver what they hold, at most `linger`; the threads end after.
    fn wind_down(self) {
        let wait_while = |busy: &dyn Fn() -> bool, longest: Duration| {
            let pause = Signal::new();
            let deadline = self.driver.now() + longest;
            while busy() && self.driver.now() < deadline {
                pause.sleep(Some(Duration::from_millis(1)));
            }
        };
        // Hosts are to look for another router at once.
        self.inet.stop_advertising();
        wait_while(&|| self.inet.undelivered() > 0 || self.has_frames_left(), self.linger);
        self.inet.reset_all();
        // The resets spare the peers a long wait, if they get out: a link that is full just now has
        // room soon.
        wait_while(&|| self.has_frames_left(), RESETS_LEAVE_WITHIN);
    }

    /// Frames have not left by a link yet: the last acknowledgement of a connection may be among them.
    fn has_frames_left(&self) -> bool {
        let engine = self.inet.engine();
        let left = |iface: &Arc<Interface>| {
            let queues = engine.readiness(iface.index).len();
            (0..queues).any(|queue| !engine.is_drained(iface.index, queue))
        };
        engine.interfaces().any(left)
    }
}

/// What lives as long as any handle or socket of a stack in a world.
struct Inhabitant {
    inet: Arc<Inet>,
    host: Arc<HostDriver>,
}

impl Drop for Inhabitant {
    /// Nobody can wait here for virtual time to pass: the world keeps what is not delivered.
    fn drop(&mut self) {
        // Hosts are to look for another router at once.
        self.inet.stop_advertising();
        if self.inet.undelivered() > 0 {
            self.host.keep(Arc::clone(&self.inet) as Arc<dyn std::any::Any + Send + Sync>);
        }
    }
}
