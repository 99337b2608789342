//! Probes with a small time to live, and what routers and the destination say of them: what
//! `traceroute` and `tracepath` share.

pub(crate) mod quote;

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use libnet::checksum::{Sum, checksum};
use libnet::net::Socket;
use libnet::socket::{MtuDiscovery, SendControl, SocketOption};
use libnet::{Family, Instant, Protocol, SockType};
use rumpnet::Stack;

use crate::fail::Failure;
use crate::host;
use quote::{Kind, Quoted};

/// What probes are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Method {
    /// Datagrams to ports that nobody listens on, from this one on.
    Udp(u16),
    /// Echo requests, numbered from this on.
    Icmp(u16),
    /// The first segments of connections to this port.
    Tcp(u16),
}

/// What came back of a probe.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// A router let it end.
    Passed,
    /// The destination answered.
    Reached,
    /// Somebody refused it, in traceroute's letters.
    Refused(String),
    /// It is longer than the next link takes, bytes.
    TooBig(u32),
}

/// An answer to a probe.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// Which probe, counted from 0.
    pub(crate) number: u16,
    /// Who answered.
    pub(crate) from: IpAddr,
    /// The time to live that the answer had left; 0 where it is not known.
    pub(crate) ttl: u8,
    /// When it came.
    pub(crate) at: Instant,
    pub(crate) outcome: Outcome,
}

/// What probes are sent with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Habits {
    pub(crate) from: Option<SocketAddr>,
    pub(crate) device: Option<String>,
    pub(crate) tos: Option<u8>,
    /// Never cut a probe.
    pub(crate) dont_fragment: bool,
}

/// Sends probes to one destination.
pub(crate) struct Tracer {
    stack: Stack,
    /// Where to; the port is the probe's.
    to: SocketAddr,
    method: Method,
    /// Sends the probes.
    probes: Socket,
    /// Receives what is said of them.
    messages: Socket,
    /// Our end: the address for checksums, the port or identifier that tells ours from others'.
    source: SocketAddr,
    buffer: Vec<u8>,
}

impl Tracer {
    /// Opens the sockets.
    ///
    /// # Errors
    /// No such sockets, or no way there.
    pub(crate) fn open(
        stack: &Stack,
        to: SocketAddr,
        method: Method,
        habits: &Habits,
    ) -> Result<Self, Failure> {
        let family = Family::of(&to.ip());
        let icmp = if to.is_ipv4() { Protocol::ICMP } else { Protocol::ICMPV6 };
        let cannot = |error: io::Error| {
            Failure::new(format!("cannot make a socket: {}", host::plain(&error)))
        };
        let messages = stack.socket(family, SockType::Raw, icmp).map_err(cannot)?;
        let probes = match method {
            Method::Udp(_) => stack.socket(family, SockType::Datagram, Protocol::UDP),
            Method::Icmp(_) => stack.socket(family, SockType::Raw, icmp),
            Method::Tcp(_) => stack.socket(family, SockType::Raw, Protocol::TCP),
        };
        let probes = probes.map_err(cannot)?;
        let mut options = vec![SocketOption::ReceiveTtl(true), SocketOption::ReceiveTime(true)];
        options.extend(habits.tos.map(SocketOption::Tos));
        options.extend(habits.device.clone().map(SocketOption::BindToDevice));
        if habits.dont_fragment {
            options.push(SocketOption::MtuDiscovery(MtuDiscovery::Probe));
        }
        for option in options {
            let what = format!("cannot set {option:?}");
            for socket in [&probes, &messages] {
                // Datagrams have no use for some of them, and messages for others.
                let set = socket.set_option(option.clone());
                if matches!(option, SocketOption::BindToDevice(_)) {
                    set.map_err(|error| Failure::doing(&what, &host::plain(&error)))?;
                }
            }
        }
        let source = source_for(stack, to, habits.from)
            .map_err(|error| Failure::new(format!("connect: {}", host::plain(&error))))?;
        if let Method::Udp(_) = method {
            let bound = probes.bind(source);
            bound.map_err(|error| Failure::doing("cannot send", &host::plain(&error)))?;
        } else if habits.from.is_some() {
            let mut from = source;
            from.set_port(0);
            let bound = probes.bind(from);
            bound.map_err(|error| Failure::doing("cannot send", &host::plain(&error)))?;
        }
        let buffer = vec![0; 1 << 16];
        Ok(Tracer { stack: stack.clone(), to, method, probes, messages, source, buffer })
    }

    /// The time on the stack's clock.
    pub(crate) fn now(&self) -> Instant {
        self.stack.sockets().driver().now()
    }

    /// The address that probes come from.
    pub(crate) const fn source(&self) -> IpAddr {
        self.source.ip()
    }

    /// Sends probe `number`, which may pass `ttl` routers, as a packet of `bytes` with its headers.
    ///
    /// # Errors
    /// The socket's: no route, longer than the link takes.
    pub(crate) fn send(&self, number: u16, ttl: u8, bytes: usize) -> io::Result<()> {
        let ip_bytes = if self.to.is_ipv4() { 20 } else { 40 };
        let (message, port) = match self.method {
            Method::Udp(first) => {
                let payload = vec![0x40; bytes.saturating_sub(ip_bytes + 8)];
                (payload, first.wrapping_add(number))
            }
            Method::Icmp(first) => {
                let payload = vec![0x48; bytes.saturating_sub(ip_bytes + 8)];
                let (id, seq) = (self.source.port(), first.wrapping_add(number));
                (echo(self.to.is_ipv4(), id, seq, &payload), 0)
            }
            Method::Tcp(port) => (self.syn(number, port), 0),
        };
        let mut to = self.to;
        to.set_port(port);
        let mut control = SendControl::to(Some(to));
        control.ttl = Some(ttl);
        self.probes.send_with(&[IoSlice::new(&message)], control).map(drop)
    }

    /// Waits for an answer, at most `patience`.
    pub(crate) fn receive(&mut self, patience: Duration) -> Option<Answer> {
        if matches!(self.method, Method::Tcp(_))
            && let Some(answer) = self.segment()
        {
            return Some(answer);
        }
        // Two sockets may have something: neither is waited for long.
        let patience = match self.method {
            Method::Tcp(_) => patience.min(Duration::from_millis(5)),
            _ => patience,
        };
        let patience = patience.max(Duration::from_micros(1));
        self.messages.set_read_timeout(Some(patience)).ok()?;
        let mut buffer = std::mem::take(&mut self.buffer);
        let received = self.messages.recv_msg(&mut [IoSliceMut::new(&mut buffer)]);
        let answer = received.ok().and_then(|received| {
            let from = received.from.map_or(self.to.ip(), |from| from.ip());
            let at = if received.rx_at == Instant::ZERO { self.now() } else { received.rx_at };
            let bytes = &buffer[..received.bytes.min(buffer.len())];
            let quoted = Quoted::read(bytes, self.to.ip())?;
            let (number, outcome) = self.meant(&quoted, from)?;
            Some(Answer { number, from, ttl: received.ttl, at, outcome })
        });
        self.buffer = buffer;
        answer
    }

    /// What was sent and could not leave: nobody on the link answers for the next hop.
    pub(crate) fn is_unreachable(&self) -> bool {
        let error = self.probes.take_error().ok().flatten();
        error.is_some_and(|error| error.kind() == io::ErrorKind::HostUnreachable)
    }

    /// Which of our probes a message is about, and what it says.
    fn meant(&self, quoted: &Quoted<'_>, from: IpAddr) -> Option<(u16, Outcome)> {
        let number = match (self.method, &quoted.kind) {
            (Method::Icmp(first), Kind::EchoReply { id, seq }) => {
                let ours = *id == self.source.port() && from == self.to.ip();
                return ours.then(|| (seq.wrapping_sub(first), Outcome::Reached));
            }
            (_, Kind::EchoReply { .. }) => return None,
            (Method::Icmp(first), _) => {
                let id = quoted.inner_u16(4).filter(|id| *id == self.source.port())?;
                let _ = id;
                quoted.inner_u16(6)?.wrapping_sub(first)
            }
            (Method::Udp(first), _) => {
                quoted.inner_u16(0).filter(|port| *port == self.source.port())?;
                quoted.inner_u16(2)?.wrapping_sub(first)
            }
            (Method::Tcp(port), _) => {
                quoted.inner_u16(2).filter(|other| *other == port)?;
                quoted.inner_u16(0)?.wrapping_sub(self.source.port())
            }
        };
        let of_protocol = quoted.protocol
            == match (self.method, self.to.ip()) {
                (Method::Udp(_), _) => 17,
                (Method::Tcp(_), _) => 6,
                (Method::Icmp(_), IpAddr::V4(_)) => 1,
                (Method::Icmp(_), IpAddr::V6(_)) => 58,
            };
        if !of_protocol || quoted.dst != self.to.ip() {
            return None;
        }
        let outcome = match &quoted.kind {
            Kind::TimeExceeded => Outcome::Passed,
            Kind::TooBig(mtu) => Outcome::TooBig(*mtu),
            Kind::Unreachable { is_port: true, .. } if from == self.to.ip() => Outcome::Reached,
            Kind::Unreachable { letters, .. } => Outcome::Refused(letters.clone()),
            Kind::EchoReply { .. } => return None,
        };
        Some((number, outcome))
    }

    /// An answer to a segment, if one waits.
    fn segment(&mut self) -> Option<Answer> {
        let Method::Tcp(port) = self.method else { return None };
        self.probes.set_read_timeout(Some(Duration::from_micros(1))).ok()?;
        let mut buffer = std::mem::take(&mut self.buffer);
        let received = self.probes.recv_msg(&mut [IoSliceMut::new(&mut buffer)]);
        let answer = received.ok().and_then(|received| {
            let from = received.from?.ip();
            let at = if received.rx_at == Instant::ZERO { self.now() } else { received.rx_at };
            let bytes = &buffer[..received.bytes.min(buffer.len())];
            let segment = quote::without_ip(bytes, self.to.ip());
            let word = |at: usize| {
                segment.get(at..at + 2).map(|word| u16::from_be_bytes([word[0], word[1]]))
            };
            let ours = from == self.to.ip() && word(0) == Some(port);
            let number = word(2)?.wrapping_sub(self.source.port());
            ours.then_some(Answer {
                number,
                from,
                ttl: received.ttl,
                at,
                outcome: Outcome::Reached,
            })
        });
        self.buffer = buffer;
        answer
    }

    /// RFC 9293 §3.1: the first segment of a connection, from a port of its own.
    fn syn(&self, number: u16, port: u16) -> Vec<u8> {
        let mut segment = vec![0; 20];
        segment[..2].copy_from_slice(&self.source.port().wrapping_add(number).to_be_bytes());
        segment[2..4].copy_from_slice(&port.to_be_bytes());
        segment[4..8].copy_from_slice(&u32::from(number).to_be_bytes());
        segment[12] = 5 << 4;
        segment[13] = 0x02;
        segment[14..16].copy_from_slice(&5840u16.to_be_bytes());
        let sum = transport_sum(self.source.ip(), self.to.ip(), 6, &segment).to_be_bytes();
        segment[16..18].copy_from_slice(&sum);
        segment
    }
}

/// The checksum of a transport's message with its pseudo-header (RFC 793 §3.1, RFC 8200 §8.1).
pub(crate) fn transport_sum(src: IpAddr, dst: IpAddr, protocol: u8, message: &[u8]) -> u16 {
    let mut sum = Sum::new();
    for addr in [src, dst] {
        match addr {
            IpAddr::V4(addr) => sum.add(&addr.octets()),
            IpAddr::V6(addr) => sum.add(&addr.octets()),
        }
    }
    sum.add_u16(u16::from(protocol));
    sum.add_u16(u16::try_from(message.len()).unwrap_or(u16::MAX));
    sum.add(message);
    sum.finish()
}

fn echo(is_v4: bool, id: u16, seq: u16, payload: &[u8]) -> Vec<u8> {
    let mut message = vec![if is_v4 { 8 } else { 128 }, 0, 0, 0];
    message.extend(id.to_be_bytes());
    message.extend(seq.to_be_bytes());
    message.extend(payload);
    if is_v4 {
        let sum = checksum(&message).to_be_bytes();
        message[2..4].copy_from_slice(&sum);
    }
    message
}

/// Our address on the way to `dst`, and a port that nobody else has.
fn source_for(
    stack: &Stack,
    mut to: SocketAddr,
    from: Option<SocketAddr>,
) -> io::Result<SocketAddr> {
    let family = Family::of(&to.ip());
    let socket = stack.socket(family, SockType::Datagram, Protocol::UDP)?;
    socket.bind(from.unwrap_or(SocketAddr::new(family.unspecified(), 0)))?;
    to.set_port(9);
    socket.connect(to)?;
    socket.local_addr()
}
