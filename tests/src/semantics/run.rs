//! What a case does, step by step, and the transcript that comes of it.

use std::fmt::Debug;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use libnet::Ready;
use libnet::socket::{Family, OptionKey, SockType, SocketOption};

use super::net::{Got, How, Net, Side, Sock};
use super::observe::Sleeper;

/// Bounds every wait; only what goes wrong gets there.
pub const PATIENCE: Duration = Duration::from_secs(4);

/// A run of a case.
pub struct Run<'a> {
    net: &'a dyn Net,
    expected: Option<&'a [String]>,
    lines: Vec<String>,
    ports: Vec<u16>,
    /// Sockets that hold something until the case is over.
    held: Vec<S>,
}

/// A socket with the name that the transcript gives it.
pub struct S {
    /// As the case calls it.
    pub name: &'static str,
    sock: Box<dyn Sock>,
}

impl S {
    /// The socket.
    pub fn sock(&self) -> &dyn Sock {
        &*self.sock
    }

    /// Its local address. Of no interest to the transcript.
    pub fn addr(&self) -> SocketAddr {
        self.sock.local_addr().expect("an open socket has a local address")
    }
}

impl<'a> Run<'a> {
    pub(super) fn new(net: &'a dyn Net, expected: Option<&'a [String]>) -> Self {
        Run { net, expected, lines: Vec::new(), ports: Vec::new(), held: Vec::new() }
    }

    pub(super) fn finish(self) -> Vec<String> {
        self.lines
    }

    /// The net it runs over.
    pub fn net(&self) -> &'a dyn Net {
        self.net
    }

    /// Writes a line.
    pub fn note(&mut self, text: impl Into<String>) {
        self.lines.push(text.into());
    }

    /// Does the last line have a text?
    pub fn last_line_has(&self, text: &str) -> bool {
        self.lines.last().is_some_and(|line| line.contains(text))
    }

    fn log(&mut self, s: &S, call: &str, result: &str) {
        self.note(format!("{}: {call} -> {result}", s.name));
    }

    // What is made without a word, since the case is about something else.

    /// A socket of a type, bound to nothing. No call of it waits for ever.
    pub fn socket(&mut self, name: &'static str, side: Side, ty: SockType) -> S {
        let sock = self.net.socket(side, ty).expect("a socket");
        sock.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        sock.set_write_timeout(Some(PATIENCE)).expect("a time-out");
        S { name, sock }
    }

    /// A TCP socket.
    pub fn tcp(&mut self, name: &'static str, side: Side) -> S {
        self.socket(name, side, SockType::Stream)
    }

    /// A UDP socket.
    pub fn udp(&mut self, name: &'static str, side: Side) -> S {
        self.socket(name, side, SockType::Datagram)
    }

    /// A TCP socket that is bound to its side's address.
    pub fn tcp_bound(&mut self, side: Side) -> S {
        let s = self.tcp("bound", side);
        s.sock.bind(self.any_port(side)).expect("a port");
        s
    }

    /// A UDP socket that is bound to its side's address.
    pub fn udp_at(&mut self, name: &'static str, side: Side) -> S {
        let s = self.udp(name, side);
        s.sock.bind(self.any_port(side)).expect("a port");
        s
    }

    /// Two UDP sockets that are connected to each other.
    pub fn udp_pair(&mut self) -> (S, S) {
        let (a, b) = (self.udp_at("a", Side::A), self.udp_at("b", Side::B));
        a.sock.connect(b.addr()).expect("a datagram socket connects");
        b.sock.connect(a.addr()).expect("a datagram socket connects");
        (a, b)
    }

    /// A listener `l` at side B.
    pub fn listener(&mut self, backlog: u32) -> S {
        let l = self.tcp("l", Side::B);
        l.sock.bind(self.any_port(Side::B)).expect("a port");
        l.sock.listen(backlog).expect("a listener");
        l
    }

    /// A connection from `a` to `b`; its listener is gone.
    pub fn pair(&mut self) -> (S, S) {
        let (a, b, _) = self.pair_of_listener();
        (a, b)
    }

    /// A connection from `a` to `b`, and its listener `l`.
    pub fn pair_of_listener(&mut self) -> (S, S, S) {
        let l = self.listener(8);
        let a = self.tcp("a", Side::A);
        a.sock.connect(l.addr()).expect("a connection");
        let b = self.accepted(&l);
        (a, b, l)
    }

    /// The next connection of a listener, as `b`.
    pub fn accepted(&mut self, l: &S) -> S {
        let (sock, _) = l.sock.accept().expect("a connection waits");
        sock.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        sock.set_write_timeout(Some(PATIENCE)).expect("a time-out");
        S { name: "b", sock }
    }

    /// Any port of a side's address.
    pub fn any_port(&self, side: Side) -> SocketAddr {
        SocketAddr::new(self.net.addr(side), 0)
    }

    /// A port at side B that refuses connections and will go on doing so.
    pub fn closed_tcp(&mut self) -> SocketAddr {
        let holder = self.tcp("holder", Side::B);
        holder.sock.bind(self.any_port(Side::B)).expect("a port");
        let addr = holder.addr();
        self.held.push(holder);
        addr
    }

    /// A port of a side that nobody has.
    pub fn free_tcp(&mut self, side: Side) -> SocketAddr {
        self.tcp_bound(side).addr()
    }

    /// A port at side B that nobody has any more.
    pub fn closed_udp(&mut self) -> SocketAddr {
        self.udp_at("gone", Side::B).addr()
    }

    /// A listener at side B that answers no SYN any more: its backlog is full.
    pub fn silent_tcp(&mut self) -> SocketAddr {
        let l = self.listener(0);
        let addr = l.addr();
        let filler = self.tcp("filler", Side::A);
        filler.sock.connect(addr).expect("the backlog has one place");
        self.held.push(l);
        self.held.push(filler);
        addr
    }

    /// Keeps a socket until the case is over.
    pub fn hold(&mut self, s: S) {
        self.held.push(s);
    }

    /// Closes what was held until the case is over.
    pub fn release(&mut self) {
        self.held.clear();
    }

    /// Moves a socket into non-blocking mode.
    pub fn nonblocking(&mut self, s: &S) {
        s.sock.set_nonblocking(true).expect("a mode");
    }

    // What goes into the transcript.

    /// An address of IPv4 that a case has written down, in the net's family.
    pub fn here(&self, addr: SocketAddr) -> SocketAddr {
        let (Family::Inet6, IpAddr::V4(ip)) = (self.net.family(), addr.ip()) else { return addr };
        let ip = match ip {
            Ipv4Addr::UNSPECIFIED => Ipv6Addr::UNSPECIFIED,
            Ipv4Addr::LOCALHOST => Ipv6Addr::LOCALHOST,
            ip if ip.is_multicast() => Ipv6Addr::new(0xff0e, 0, 0, 0, 0, 0, 0, 0x101),
            // The networks of `Net::is_closed`, and one that is nowhere.
            ip => {
                let net = match ip.octets()[0] {
                    198 => 2,
                    203 => 3,
                    _ => 1,
                };
                Ipv6Addr::new(0x2001, 0xdb8, net, 0, 0, 0, 0, 1)
            }
        };
        SocketAddr::new(ip.into(), addr.port())
    }

    /// `bind`.
    pub fn bind(&mut self, s: &S, addr: SocketAddr) -> bool {
        let addr = self.here(addr);
        let result = s.sock.bind(addr);
        self.log(s, &format!("bind {}", self.show_ip(addr)), &outcome(&result));
        result.is_ok()
    }

    /// `listen`.
    pub fn listen(&mut self, s: &S, backlog: u32) -> bool {
        let result = s.sock.listen(backlog);
        self.log(s, "listen", &outcome(&result));
        result.is_ok()
    }

    /// `connect`.
    pub fn connect(&mut self, s: &S, addr: SocketAddr) -> bool {
        let addr = self.here(addr);
        let result = s.sock.connect(addr);
        self.log(s, &format!("connect {}", self.show_ip(addr)), &outcome(&result));
        result.is_ok()
    }

    /// `connect` of a non-blocking socket, waited for: what the attempt comes to.
    pub fn connect_later(&mut self, s: &S, addr: SocketAddr) {
        self.nonblocking(s);
        self.connect(s, addr);
        self.poll(s, Ready::WRITABLE);
        self.error(s);
    }

    /// `accept`; the connection gets the name `b`.
    pub fn accept(&mut self, l: &S) -> Option<S> {
        let result = l.sock.accept();
        let text = match &result {
            Ok((_, peer)) => format!("from {}", self.show_ip(*peer)),
            Err(error) => name_of(error),
        };
        self.log(l, "accept", &text);
        let (sock, _) = result.ok()?;
        sock.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        sock.set_write_timeout(Some(PATIENCE)).expect("a time-out");
        Some(S { name: "b", sock })
    }

    /// `send`.
    pub fn send(&mut self, s: &S, data: &[u8]) {
        let result = s.sock.send(data, How::Plain);
        self.log(s, &format!("send {}", show(data)), &count(&result));
    }

    /// `send` with `MSG_OOB`.
    pub fn send_urgent(&mut self, s: &S, data: &[u8]) {
        let result = s.sock.send(data, How::Urgent);
        self.log(s, &format!("send urgent {}", show(data)), &count(&result));
    }

    /// `sendto`.
    pub fn send_to(&mut self, s: &S, data: &[u8], addr: SocketAddr) {
        let addr = self.here(addr);
        let result = s.sock.send_to(data, addr);
        let call = format!("send {} to {}", show(data), self.show_ip(addr));
        self.log(s, &call, &count(&result));
    }

    /// `sendto` with `MSG_FASTOPEN`.
    pub fn send_fast_open(&mut self, s: &S, data: &[u8], addr: SocketAddr) {
        let addr = self.here(addr);
        let result = s.sock.send_fast_open(data, addr);
        let call = format!("send {} with the SYN to {}", show(data), self.show_ip(addr));
        self.log(s, &call, &count(&result));
    }

    /// `recv` of up to `bytes`.
    pub fn recv(&mut self, s: &S, bytes: usize) {
        self.receive(s, bytes, How::Plain, "recv");
    }

    /// `recv` with `MSG_PEEK`.
    pub fn peek(&mut self, s: &S, bytes: usize) {
        self.receive(s, bytes, How::Peek, "peek");
    }

    /// `recv` with `MSG_OOB`.
    pub fn recv_urgent(&mut self, s: &S, bytes: usize) {
        self.receive(s, bytes, How::Urgent, "recv urgent");
    }

    fn receive(&mut self, s: &S, bytes: usize, how: How, call: &str) {
        let mut buf = vec![0; bytes];
        let result = s.sock.recv(&mut buf, how);
        let text = self.received(&buf, &result);
        self.log(s, &format!("{call} {bytes}"), &text);
    }

    fn received(&self, buf: &[u8], result: &io::Result<Got>) -> String {
        let got = match result {
            Err(error) => return name_of(error),
            Ok(got) => got,
        };
        let mut text = show(&buf[..got.bytes]);
        if got.message_bytes > got.bytes {
            text += &format!(" of {}", got.message_bytes);
        }
        if let Some(from) = got.from {
            text += &format!(" from {}", self.show_ip(from));
        }
        text
    }

    /// Receives until `bytes` of a stream are there, or something else comes.
    pub fn recv_all(&mut self, s: &S, bytes: usize) {
        let (mut all, mut buf) = (Vec::new(), vec![0; bytes]);
        let end = loop {
            if all.len() >= bytes {
                break String::new();
            }
            match s.sock.recv(&mut buf[..bytes - all.len()], How::Plain) {
                Ok(Got { bytes: 0, .. }) => break " then the end".to_owned(),
                Ok(got) => all.extend_from_slice(&buf[..got.bytes]),
                Err(error) => break format!(" then {}", name_of(&error)),
            }
        };
        self.log(s, &format!("recv {bytes} in all"), &(show(&all) + &end));
    }

    /// Sends until that would block and nothing is under way any more: whether anything was
    /// taken, and what ended it. How many bytes.
    pub fn fill(&mut self, s: &S) -> usize {
        self.nonblocking(s);
        let (chunk, mut sent) = (vec![b'f'; 30_000], 0);
        // A peer that takes without end would keep us here.
        let end = loop {
            match s.sock.send(&chunk, How::Plain) {
                Ok(_) if sent > 64 << 20 => break "no end".to_owned(),
                Ok(n) => sent += n,
                Err(_) if !stalls(s) => {}
                Err(error) => break name_of(&error),
            }
        };
        let some = if sent > 0 { "some" } else { "nothing" };
        self.log(s, "send until it blocks", &format!("{some}, then {end}"));
        sent
    }

    /// Receives `bytes` of a stream without keeping them.
    pub fn drain(&mut self, s: &S, bytes: usize) {
        let (mut got, mut buf) = (0, vec![0; 65_536]);
        let end = loop {
            if got >= bytes {
                break "all".to_owned();
            }
            match s.sock.recv(&mut buf, How::Plain) {
                Ok(Got { bytes: 0, .. }) => break "the end".to_owned(),
                Ok(n) => got += n.bytes,
                Err(error) => break name_of(&error),
            }
        };
        self.log(s, "recv what was sent", &end);
    }

    /// `shutdown`.
    pub fn shutdown(&mut self, s: &S, how: Shutdown) {
        let result = s.sock.shutdown(how);
        self.log(s, &format!("shutdown {how:?}"), &outcome(&result));
    }

    /// `close`.
    pub fn close(&mut self, s: S) {
        self.note(format!("{}: close", s.name));
    }

    /// What it is ready for, once that is at least `wanted`.
    pub fn poll(&mut self, s: &S, wanted: Ready) {
        let seen = |s: &S| s.sock.ready().map_err(|error| name_of(&error));
        self.settle(
            |_| match seen(s) {
                Ok(ready) => format!("{}: poll -> {ready:?}", s.name),
                Err(error) => format!("{}: poll -> {error}", s.name),
            },
            |_| seen(s).is_ok_and(|ready| ready.contains(wanted)),
        );
    }

    /// Waits, without a word, until something can be received.
    pub fn arrives(&mut self, s: &S) {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline
            && !s.sock.ready().is_ok_and(|ready| ready.contains(Ready::READABLE))
        {
            thread::park_timeout(Duration::from_millis(1));
        }
    }

    /// Waits, without a word, until something is so.
    pub fn until(&mut self, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline && !is_so() {
            thread::park_timeout(Duration::from_millis(1));
        }
    }

    /// Waits, without a word, until the connection is over.
    pub fn gone(&mut self, s: &S) {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline && s.sock.peer_addr().is_ok() {
            thread::park_timeout(Duration::from_millis(1));
        }
    }

    /// `SO_ERROR`.
    pub fn error(&mut self, s: &S) {
        let text = match s.sock.take_error() {
            Ok(None) => "none".to_owned(),
            Ok(Some(error)) | Err(error) => name_of(&error),
        };
        self.log(s, "SO_ERROR", &text);
    }

    /// `setsockopt`.
    pub fn set(&mut self, s: &S, option: SocketOption) {
        let result = s.sock.set(option.clone());
        self.log(s, &format!("set {option:?}"), &outcome(&result));
    }

    /// `getsockopt`.
    pub fn get(&mut self, s: &S, key: OptionKey) {
        let text = match s.sock.get(key) {
            Ok(option) => format!("{option:?}"),
            Err(error) => name_of(&error),
        };
        self.log(s, "get", &text);
    }

    /// `getsockname`.
    pub fn local(&mut self, s: &S) {
        let text = match s.sock.local_addr() {
            Ok(addr) => self.show_addr(addr),
            Err(error) => name_of(&error),
        };
        self.log(s, "local address", &text);
    }

    /// `getpeername`.
    pub fn peer(&mut self, s: &S) {
        let text = match s.sock.peer_addr() {
            Ok(addr) => self.show_addr(addr),
            Err(error) => name_of(&error),
        };
        self.log(s, "peer address", &text);
    }

    /// Notes the result of a call that has no step of its own.
    pub fn result<T: Debug>(&mut self, s: &S, call: &str, result: io::Result<T>) {
        let text = result.map_or_else(|error| name_of(&error), |value| format!("{value:?}"));
        self.log(s, call, &text);
    }

    /// Whether an edge comes while `act` is done to the net, or after it.
    pub fn edge(&mut self, s: &S, interest: Ready, act: impl FnOnce(&mut Self)) {
        let mut watch = s.sock.watch(interest).expect("a watch");
        act(self);
        let came = watch.next(PATIENCE).expect("a watch waits");
        drop(watch);
        self.log(s, &format!("edge of {interest:?}"), if came { "came" } else { "none" });
    }

    /// Does `waiting` on another thread; once that is asleep in it, does `act` here.
    pub fn meanwhile<T: Send>(
        &mut self,
        waiting: impl FnOnce() -> T + Send,
        act: impl FnOnce(&mut Self),
    ) -> T {
        let sleeper = Sleeper::default();
        thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                sleeper.is_me();
                waiting()
            });
            if !sleeper.waits(PATIENCE) {
                self.note("the call did not wait");
            }
            act(self);
            waiter.join().expect("the waiting call returns")
        })
    }

    /// Observes until the line is the expected one, or, without one, until it is good enough.
    fn settle(&mut self, observe: impl Fn(&Self) -> String, enough: impl Fn(&Self) -> bool) {
        let wanted = self.expected.and_then(|lines| lines.get(self.lines.len()));
        let deadline = Instant::now() + PATIENCE;
        // A look may fall between two steps of a change: what is good is seen twice.
        let mut seen = None;
        let line = loop {
            let good = enough(self);
            let line = observe(self);
            let done = wanted.map_or(good && seen.as_ref() == Some(&line), |w| *w == line);
            if done || Instant::now() >= deadline {
                break line;
            }
            seen = Some(line);
            thread::park_timeout(Duration::from_millis(1));
        };
        self.note(line);
    }

    fn show_ip(&self, addr: SocketAddr) -> String {
        let ours = [Side::A, Side::B].map(|side| self.net.addr(side));
        match addr.ip() {
            // Over IPv6 one machine calls its own address from that address itself (RFC 6724 §5,
            // rule 1), two do not: which of the two it is must not matter.
            ip if ip.is_ipv6() && ours.contains(&ip) => "us".to_owned(),
            ip if ip == self.net.addr(Side::A) => "A".to_owned(),
            ip if ip == self.net.addr(Side::B) => "B".to_owned(),
            ip if ip.is_unspecified() => "*".to_owned(),
            ip => ip.to_string(),
        }
    }

    /// An address with its port, which gets a number by when it was first seen.
    fn show_addr(&mut self, addr: SocketAddr) -> String {
        let ip = self.show_ip(addr);
        if addr.port() == 0 {
            return format!("{ip}:0");
        }
        let known = self.ports.iter().position(|port| *port == addr.port());
        let at = known.unwrap_or_else(|| {
            self.ports.push(addr.port());
            self.ports.len() - 1
        });
        format!("{ip}:p{}", at + 1)
    }
}

/// Waits for what is on its way from a full socket: whether its peer takes no more. If not,
/// there is room again.
fn stalls(s: &S) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        // In this order: when it stalls no more room comes, but some may have come already.
        let stalled = s.sock.stalls().expect("a connection is there");
        if s.sock.ready().is_ok_and(|ready| ready.contains(Ready::WRITABLE)) {
            return false;
        }
        if stalled {
            return true;
        }
        thread::park_timeout(Duration::from_millis(1));
    }
    true
}

fn outcome(result: &io::Result<()>) -> String {
    result.as_ref().map_or_else(name_of, |()| "ok".to_owned())
}

fn count(result: &io::Result<usize>) -> String {
    result.as_ref().map_or_else(name_of, usize::to_string)
}

/// The name that `errno(3)` gives.
pub fn name_of(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => format!("{:?}", nix::errno::Errno::from_raw(number)),
        None => format!("{:?} without a number", error.kind()),
    }
}

fn show(data: &[u8]) -> String {
    if data.len() > 24 {
        return format!("{} bytes", data.len());
    }
    format!("{:?}", String::from_utf8_lossy(data))
}
