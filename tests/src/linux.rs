//! The host's kernel as the other side: network namespaces of a test's own, and what the kernel
//! says of itself.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use rumpnet::virtif::{HostSide, OpenError, Virtif, VirtifConfig};
use rumpnet::{Inet, Stack};

/// Nothing here takes longer, on any machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Both: IPv4, then IPv6, as tests index their addresses.
pub const FAMILIES: usize = 2;

/// An address.
///
/// # Panics
/// When it is none.
pub fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// An address and a port.
///
/// # Panics
/// When it is none.
pub fn at(text: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip(text), port)
}

/// A thread in a network namespace of its own, whose loopback is up.
pub struct Namespace {
    jobs: Sender<Box<dyn FnOnce() + Send>>,
    /// The thread's number, by which the namespace is told to others.
    thread: i32,
}

impl Namespace {
    /// `None`, and why on stderr, where that is not allowed.
    ///
    /// # Panics
    /// When no thread can be had.
    pub fn new() -> Option<Namespace> {
        let (jobs, inbox) = channel::<Box<dyn FnOnce() + Send>>();
        let (tell, made) = channel();
        thread::spawn(move || {
            let made = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET);
            let made = made.map(|()| rustix::thread::gettid().as_raw_nonzero().get());
            tell.send(made).expect("somebody waits");
            if made.is_ok() {
                inbox.into_iter().for_each(|job| job());
            }
        });
        match made.recv().expect("the thread tells") {
            Ok(thread) => {
                let namespace = Namespace { jobs, thread };
                namespace.run(rumpnet::virtif::loopback_up).ok()?;
                Some(namespace)
            }
            Err(error) => {
                eprintln!("skipped: no network namespace of our own: {error}");
                None
            }
        }
    }

    /// As many as are asked for, where `ip` can set them up.
    pub fn some<const N: usize>() -> Option<[Namespace; N]> {
        let ip = Command::new("ip").arg("-Version").stdout(Stdio::null()).status();
        if ip.is_err() {
            eprintln!("skipped: install iproute2");
            return None;
        }
        let mut all = Vec::new();
        for _ in 0..N {
            all.push(Namespace::new()?);
        }
        all.try_into().ok()
    }

    /// Does something there.
    ///
    /// # Panics
    /// When the job does.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, done) = channel();
        let job = move || {
            // Nobody waits any more when the test has failed.
            let _ = tell.send(job());
        };
        self.jobs.send(Box::new(job)).expect("the thread lives");
        done.recv().expect("the job did not panic")
    }

    /// Runs a command there; what it wrote, or `None` if there is no such command.
    pub fn command(&self, line: &str) -> Option<String> {
        let line = line.to_owned();
        let output = self.run(move || {
            let mut words = line.split(' ');
            Command::new(words.next().unwrap_or_default()).args(words).output()
        });
        let output = output.ok()?;
        Some(format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ))
    }

    /// Asks `ip` there.
    ///
    /// # Panics
    /// Without that command.
    pub fn ip(&self, args: &str) -> String {
        self.command(&format!("ip {args}")).expect("it was looked for")
    }

    /// Has `ip` change something.
    ///
    /// # Panics
    /// When it complains.
    pub fn set_up(&self, commands: &[&str]) {
        for command in commands {
            assert_eq!(self.ip(command), "", "ip {command}");
        }
    }

    /// Sets a variable below `/proc/sys/net`.
    ///
    /// # Panics
    /// When there is none of that name.
    pub fn set(&self, variable: &str, value: &str) {
        let (path, value) = (format!("/proc/sys/net/{variable}"), value.to_owned());
        let written = self.run({
            let path = path.clone();
            move || fs::write(path, value)
        });
        written.unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    /// What a file below `/proc/net` says there.
    ///
    /// # Panics
    /// When there is none of that name.
    pub fn proc_net(&self, name: &str) -> String {
        let path = format!("/proc/thread-self/net/{name}");
        self.run(move || fs::read_to_string(path)).expect("the kernel has it")
    }

    /// Passes packets on, over both families.
    pub fn forward(&self) {
        self.set("ipv4/ip_forward", "1");
        self.set("ipv6/conf/all/forwarding", "1");
    }

    /// A tap with the kernel's side set up; `None`, and why on stderr, where that is not allowed.
    ///
    /// # Panics
    /// When the kernel refuses something else.
    pub fn tap(
        &self,
        device: &'static str,
        config: &VirtifConfig,
        addrs: &[&str],
    ) -> Option<Virtif> {
        let config = config.clone();
        let addrs = addrs.iter().map(|addr| addr.parse().expect("an address")).collect();
        let opened = self.run(move || {
            let opened = Virtif::open_with(device, &config)?;
            HostSide::new(addrs).apply(device).expect("the kernel's side can be set up");
            Ok(opened)
        });
        match opened {
            Ok(opened) => Some(opened),
            Err(
                error @ (OpenError::NoDevice | OpenError::Permission | OpenError::NotOurs { .. }),
            ) => {
                eprintln!("skipped: {error}");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// A wire to another namespace: a device here and one there, both up.
    pub fn wire(&self, device: &str, other: &Namespace, there: &str, mtu: u32) {
        let (thread, mtu) = (other.thread, format!("mtu {mtu}"));
        self.set_up(&[
            &format!("link add {device} {mtu} type veth peer name {there} {mtu} netns {thread}"),
            &format!("link set {device} up"),
        ]);
        other.set_up(&[&format!("link set {there} up")]);
    }

    /// Gives a device an address that is usable at once.
    pub fn address(&self, device: &str, addr: &str) {
        let nodad = if addr.contains(':') { " nodad" } else { "" };
        self.set_up(&[&format!("addr add {addr} dev {device}{nodad}")]);
    }
}

/// Waits until something is so.
///
/// # Panics
/// When it does not become so.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match look() {
            Ok(found) => return found,
            Err(said) => assert!(Instant::now() < deadline, "{what}: {said}"),
        }
        thread::park_timeout(Duration::from_millis(5));
    }
}

/// The stack's own protocols.
///
/// # Panics
/// When they are the host's.
pub fn inet_of(stack: &Stack) -> &Inet {
    stack.inet().expect("a stack of its own")
}

/// The stack's counter of a name.
///
/// # Panics
/// When there is none.
pub fn count(stack: &Stack, name: &str) -> u64 {
    let all = inet_of(stack).counters().all();
    all.into_iter().find(|(other, _)| *other == name).expect("a counter").1
}

/// The link-local address of a stack's interface.
///
/// # Panics
/// When it has none.
pub fn link_local_of(stack: &Stack, interface: &str) -> Ipv6Addr {
    let interfaces = inet_of(stack).interfaces();
    let on = interfaces.iter().find(|on| on.name == interface).expect("the interface is there");
    let addrs = on.addresses.iter().map(|entry| entry.cidr.addr());
    let found = addrs.filter_map(|addr| match addr {
        IpAddr::V6(addr) if addr.is_unicast_link_local() => Some(addr),
        _ => None,
    });
    found.into_iter().next().expect("a link-local address")
}

/// Bytes from one end to the other of a connection, which must be what was sent.
///
/// # Panics
/// When they are not.
pub fn carry(sender: impl Write + Send, mut receiver: impl Read, len: usize) {
    let sent: Vec<u8> = (0..len).map(|i| (i * 7 + (i >> 8)) as u8).collect();
    thread::scope(|scope| {
        let (all, mut sender) = (&sent, sender);
        let writer = scope.spawn(move || sender.write_all(all));
        let mut got = vec![0; len];
        receiver.read_exact(&mut got).expect("all that was sent comes");
        assert!(got == sent, "other bytes than were sent");
        writer.join().expect("no panic").expect("the other end takes all");
    });
}
