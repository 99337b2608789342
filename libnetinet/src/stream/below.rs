//! What a shard does for its TCP: segments in and out, errors, timers, events.

use std::mem;
use std::net::IpAddr;

use libnet::iface::IfIndex;
use libnet::packet::{Checksum, Packet};
use libnet::socket::Protocol;
use libnet::time::Instant;
use libnet::wake::Ready;

use super::{NOBODY, socket_of};
use crate::hash::HashMap;
use crate::icmp::input::IcmpError;
use crate::icmp::message::{IcmpType, Unreachable};
use crate::ipv4::header::{HEADER_BYTES, Ipv4Header};
use crate::ipv4::input::IpMeta;
use crate::output::Account;
use crate::path::{NoPath, Path, Wanted};
use crate::shard::Shard;
use crate::tcp::{self, Event, FourTuple, IcmpErrorKind, OutMeta, PathError, PathInfo, SeqNumber};

/// Paths that a shard remembers for its segments; past it, it forgets all.
const PATHS: usize = 1024;

/// The ways of recent segments, by source and destination.
pub(crate) type Paths = HashMap<(IpAddr, IpAddr), Path>;

/// The layer below TCP, for the time of one call.
struct Below<'a> {
    shard: &'a mut Shard,
    now: Instant,
    account: Account,
}

impl Shard {
    /// Takes a segment; `packet` begins with its IP header.
    pub(crate) fn tcp_input(&mut self, now: Instant, meta: &IpMeta, mut packet: Packet) {
        packet.advance(meta.header_bytes);
        self.with_tcp(now, Account::Reply, |tcp, below| {
            tcp.on_packet(now, below, meta.src, meta.dst, packet);
        });
    }

    /// Takes an ICMP error about a segment of ours; whether it is about a connection.
    pub(crate) fn tcp_error(&mut self, now: Instant, error: &IcmpError, ports: [u8; 8]) -> bool {
        let Some(kind) = kind_of(error) else { return true };
        let [a, b, c, d, e, f, g, h] = ports;
        let error = tcp::IcmpError {
            kind,
            tuple: FourTuple {
                local: error.src,
                remote: error.dst,
                local_port: u16::from_be_bytes([a, b]),
                remote_port: u16::from_be_bytes([c, d]),
            },
            seq: SeqNumber::new(u32::from_be_bytes([e, f, g, h])),
            ip_bytes: u32::from(error.packet_bytes),
        };
        self.tcp_mut().on_icmp(now, &error)
    }

    /// Puts up to `budget` segments for an interface behind what waits for it.
    pub(crate) fn tcp_transmit(&mut self, now: Instant, iface: IfIndex, budget: usize) {
        if self.tcp().has_pending(iface) {
            self.with_tcp(now, Account::Sender, |tcp, below| {
                tcp.poll_transmit(now, below, iface, budget);
            });
        }
    }

    /// Tells the sockets what has happened to their connections and listeners.
    pub(crate) fn tcp_events(&mut self) {
        let mut events = mem::take(&mut self.tcp_events);
        self.tcp_mut().take_events(&mut events);
        for event in events.drain(..) {
            let (token, ready) = match event {
                Event::Conn { token, ready, .. } => (token, ready),
                Event::Accept { token } => (token, Ready::READABLE),
            };
            if token != NOBODY {
                self.wide.sockets.wake_stream(socket_of(token), ready, &mut self.wakes);
            }
        }
        self.tcp_events = events;
    }

    /// Calls into the shard's TCP with the layer below at hand.
    pub(crate) fn with_tcp<R>(
        &mut self,
        now: Instant,
        account: Account,
        call: impl FnOnce(&mut tcp::Table, &mut dyn tcp::Path) -> R,
    ) -> R {
        // The table and what it calls are both of the shard: apart for the time of the call.
        let mut tcp = self.tcp.take().expect("TCP is in its place between calls");
        let result = call(&mut tcp, &mut Below { shard: self, now, account });
        self.tcp = Some(tcp);
        result
    }

    /// The shard's TCP.
    pub(crate) fn tcp(&self) -> &tcp::Table {
        self.tcp.as_deref().expect("TCP is in its place between calls")
    }

    /// The shard's TCP, for what sends nothing by itself.
    pub(crate) fn tcp_mut(&mut self) -> &mut tcp::Table {
        self.tcp.as_deref_mut().expect("TCP is in its place between calls")
    }
}

impl tcp::Path for Below<'_> {
    fn route(&mut self, src: Option<IpAddr>, dst: IpAddr) -> Result<PathInfo, PathError> {
        let wanted = Wanted { dst, src, iface: None };
        let path = Path::find(&self.shard.wide, self.now, wanted).map_err(error_of)?;
        // Super-segments are cut where a link cannot take them, never before.
        let gso_max_bytes = MAX_IP_BYTES;
        Ok(PathInfo { src: path.src, iface: path.iface.index, mtu: path.mtu, gso_max_bytes })
    }

    fn route_generation(&self) -> u64 {
        self.shard.wide.generation()
    }

    fn output(&mut self, now: Instant, meta: &OutMeta, packet: Packet) -> Result<(), PathError> {
        let key = (meta.src, meta.dst);
        let kept = self.shard.tcp_paths.remove(&key);
        let mut path = match kept.filter(|path| path.is_valid(&self.shard.wide, now)) {
            Some(path) => path,
            None => {
                let wanted = Wanted { dst: meta.dst, src: Some(meta.src), iface: None };
                Path::find(&self.shard.wide, now, wanted).map_err(error_of)?
            }
        };
        if let Some(packet) = with_header(meta, packet) {
            self.shard.send_ip(now, &mut path, packet, self.account);
        }
        if self.shard.tcp_paths.len() >= PATHS {
            self.shard.tcp_paths.clear();
        }
        self.shard.tcp_paths.insert(key, path);
        Ok(())
    }

    fn negative_advice(&mut self, dst: IpAddr) {
        let _ = dst;
        // RFC 1122 §3.3.1.4: the next hop is asked again whether it is there, with every other.
        self.shard.tcp_paths.clear();
        self.shard.wide.touch();
    }
}

/// The largest IP packet. Source: RFC 791 §3.1.
const MAX_IP_BYTES: u32 = 65_535;

fn with_header(meta: &OutMeta, mut packet: Packet) -> Option<Packet> {
    let (IpAddr::V4(src), IpAddr::V4(dst)) = (meta.src, meta.dst) else { return None };
    let mut header = Ipv4Header::new(src, dst, Protocol::TCP);
    header.ttl = meta.ttl;
    header.tos = meta.tos;
    header.dont_fragment = meta.dont_fragment;
    if packet.len() + HEADER_BYTES > MAX_IP_BYTES as usize {
        return None;
    }
    if packet.checksum == Checksum::Unverified {
        packet.checksum = Checksum::Trusted;
    }
    header.prepend_to(&mut packet);
    Some(packet)
}

fn error_of(no_path: NoPath) -> PathError {
    match no_path {
        NoPath::NetUnreachable => PathError::NetUnreachable,
        NoPath::HostUnreachable | NoPath::Blackhole => PathError::HostUnreachable,
        NoPath::BadSource => PathError::BadSource,
    }
}

/// What an ICMP error means to a connection; `None`: nothing. Source: RFC 1122 §4.2.3.9.
fn kind_of(error: &IcmpError) -> Option<IcmpErrorKind> {
    Some(match (error.ty, Unreachable(error.code)) {
        (IcmpType::UNREACHABLE, Unreachable::PORT) => IcmpErrorKind::PortUnreachable,
        (IcmpType::UNREACHABLE, Unreachable::PROTOCOL) => IcmpErrorKind::ProtocolUnreachable,
        (IcmpType::UNREACHABLE, Unreachable::FRAGMENTATION_NEEDED) => {
            IcmpErrorKind::TooBig { mtu: u32::from(error.next_hop_mtu) }
        }
        (IcmpType::UNREACHABLE, Unreachable::NET | Unreachable::NET_UNKNOWN) => {
            IcmpErrorKind::NetUnreachable
        }
        (IcmpType::UNREACHABLE, Unreachable::NET_PROHIBITED | Unreachable::NET_TOS) => {
            IcmpErrorKind::NetUnreachable
        }
        (IcmpType::UNREACHABLE, _) => IcmpErrorKind::HostUnreachable,
        (IcmpType::TIME_EXCEEDED | IcmpType::PARAMETER_PROBLEM, _) => IcmpErrorKind::Transient,
        _ => return None,
    })
}
