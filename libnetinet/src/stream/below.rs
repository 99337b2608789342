//! What a shard does for its TCP: segments in and out, errors, timers, events.

use std::mem;
use std::net::IpAddr;
use std::sync::Arc;

use libnet::iface::IfIndex;
use libnet::packet::{Checksum, Packet};
use libnet::socket::{Family, Protocol};
use libnet::stats::DropReason;
use libnet::time::Instant;
use libnet::wake::Ready;

use super::socket_of;
use crate::address::Cast;
use crate::family::has_zone;
use crate::icmp::error::IcmpError;
use crate::ip::input::IpMeta;
use crate::ipv4::header::{self, Ipv4Header};
use crate::ipv6::header::{HEADER_BYTES as IPV6_BYTES, Ipv6Header};
use crate::neighbour::Neighbour;
use crate::output::Account;
use crate::path::{NoPath, Path, Reach, Wanted};
use crate::shard::Shard;
use crate::tcp::{self, Event, FourTuple, NOBODY, OutMeta, PathError, PathInfo, SeqNumber, Zone};
use crate::wide::Wide;

/// The ways of recent segments, found by a few bits of the destination: no hash, no lock.
pub(crate) struct Paths(Box<[Option<Box<Path>>]>);

/// Slots of [`Paths`]; two destinations that share one look their ways up in turn.
const PATHS: usize = 64;

impl Paths {
    /// None known.
    pub(crate) fn new() -> Self {
        Paths(vec![None; PATHS].into())
    }

    fn slot(&mut self, dst: IpAddr) -> &mut Option<Box<Path>> {
        let bits = match dst {
            IpAddr::V4(addr) => addr.to_bits(),
            IpAddr::V6(addr) => {
                let bits = addr.to_bits();
                (bits ^ (bits >> 64)) as u32
            }
        };
        let folded = bits ^ (bits >> 16);
        &mut self.0[((folded ^ (folded >> 8)) as usize) % PATHS]
    }
}

/// The layer below TCP, for the time of one call.
struct Below<'a> {
    shard: &'a mut Shard,
    now: Instant,
    account: Account,
}

impl Shard {
    /// Takes a segment; `packet` begins with its IP header.
    pub(crate) fn tcp_input(&mut self, now: Instant, meta: &IpMeta, mut packet: Packet) {
        // RFC 9293 §3.9.2.3 (MUST-57): a segment to many is dropped without a word.
        if meta.cast != Cast::Unicast {
            return self.drop_packet(DropReason::TcpMalformed);
        }
        packet.advance(meta.header_bytes);
        self.with_tcp(now, Account::Reply, |tcp, below| {
            let IpMeta { src, dst, iface, tos, .. } = *meta;
            tcp.on_packet(now, below, &tcp::InMeta { src, dst, iface, tos }, packet);
        });
    }

    /// Takes an ICMP error about a segment of ours; whether it is about a connection.
    pub(crate) fn tcp_error(&mut self, now: Instant, error: &IcmpError, ports: [u8; 8]) -> bool {
        let Some(kind) = error.segment else { return true };
        let [a, b, c, d, e, f, g, h] = ports;
        let error_of = |iface| tcp::IcmpError {
            kind,
            tuple: FourTuple {
                local: error.src,
                remote: error.dst,
                local_port: u16::from_be_bytes([a, b]),
                remote_port: u16::from_be_bytes([c, d]),
                zone: Zone::of(error.src, error.dst, iface),
            },
            seq: SeqNumber::new(u32::from_be_bytes([e, f, g, h])),
            ip_bytes: error.packet_bytes,
        };
        if error.iface != IfIndex::LOOPBACK || !has_zone(error.dst) {
            return self.tcp_mut().on_icmp(now, &error_of(error.iface));
        }
        // Ours, about a neighbour that did not answer: which link it is of does not show in it.
        let view = self.view();
        let links = view.ifaces().filter(|on| on.addrs.iter().any(|of| of.addr() == error.src));
        let mut links = links.map(|on| on.iface.index);
        links.any(|iface| self.tcp_mut().on_icmp(now, &error_of(iface)))
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
    fn route(
        &mut self,
        src: Option<IpAddr>,
        dst: IpAddr,
        iface: Option<IfIndex>,
    ) -> Result<PathInfo, PathError> {
        let wanted = Wanted { dst, src, iface };
        let path = Path::find(&self.shard.wide, self.now, wanted).map_err(error_of)?;
        // RFC 9293 §3.9.2.3 (MUST-46): TCP has one peer.
        if matches!(path.reach, Reach::Broadcast | Reach::Multicast) {
            return Err(PathError::NetUnreachable);
        }
        // Super-segments are cut where a link cannot take them, never before.
        let gso_max_bytes = MAX_IP_BYTES;
        let mtu = path.mtu.min(MAX_IP_BYTES);
        Ok(PathInfo { src: path.src, iface: path.iface.index, mtu, gso_max_bytes })
    }

    fn route_generation(&self) -> u64 {
        self.shard.wide.generation()
    }

    fn output(&mut self, now: Instant, meta: &OutMeta, packet: Packet) -> Result<(), PathError> {
        let wide = &self.shard.wide;
        let kept = self.shard.tcp_paths.slot(meta.dst).take();
        let is_it = |path: &Path| {
            (path.src, path.dst, path.iface.index) == (meta.src, meta.dst, meta.iface)
                && (path.zone.is_none() || path.zone == meta.bound)
                && path.is_valid(wide, now)
        };
        let mut path = match kept.filter(|path| is_it(path)) {
            Some(path) => path,
            None => {
                let wanted = Wanted { dst: meta.dst, src: Some(meta.src), iface: meta.bound };
                Box::new(Path::find(&self.shard.wide, now, wanted).map_err(error_of)?)
            }
        };
        if let Some(packet) = with_header(&self.shard.wide, &path, meta, packet) {
            self.shard.send_ip(now, &mut path, packet, self.account);
        }
        *self.shard.tcp_paths.slot(meta.dst) = Some(path);
        Ok(())
    }

    fn positive_advice(&mut self, now: Instant, iface: IfIndex, dst: IpAddr) {
        if let Some(neighbour) = self.next_hop(iface, dst) {
            neighbour.confirm(now);
        }
    }

    fn negative_advice(&mut self, iface: IfIndex, dst: IpAddr) {
        // RFC 1122 §3.3.1.4: whether the next hop is still there is asked again.
        if let Some(neighbour) = self.next_hop(iface, dst) {
            neighbour.suspect();
        }
    }
}

impl Below<'_> {
    /// Whom packets to `dst` by an interface were handed last.
    fn next_hop(&mut self, iface: IfIndex, dst: IpAddr) -> Option<Arc<Neighbour>> {
        let is_it = |path: &&Path| (path.iface.index, path.dst) == (iface, dst);
        let path = self.shard.tcp_paths.slot(dst).as_deref().filter(is_it)?;
        path.neighbour.clone()
    }
}

/// The largest IP packet. Source: RFC 791 §3.1.
const MAX_IP_BYTES: u32 = 65_535;

fn with_header(wide: &Wide, path: &Path, meta: &OutMeta, mut packet: Packet) -> Option<Packet> {
    let ip_bytes = if meta.src.is_ipv4() { header::HEADER_BYTES } else { IPV6_BYTES };
    if packet.len() + ip_bytes > MAX_IP_BYTES as usize {
        return None;
    }
    if packet.checksum == Checksum::Unverified {
        packet.checksum = Checksum::Trusted;
    }
    match (meta.src, meta.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let mut header = Ipv4Header::new(src, dst, Protocol::TCP);
            header.ttl = meta.ttl.unwrap_or_else(|| wide.usual_hops(Family::Inet));
            header.tos = meta.tos;
            header.dont_fragment = meta.dont_fragment && !wide.lets_fragment();
            if !header.dont_fragment {
                // RFC 6864 §4.3: only what can be fragmented needs an identification.
                header.ident = wide.identifiers.next(src, dst, Protocol::TCP);
            }
            header.prepend_to(&mut packet);
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let mut header = Ipv6Header::new(src, dst, Protocol::TCP);
            header.hop_limit =
                meta.ttl.or(path.hop_limit).unwrap_or_else(|| wide.usual_hops(Family::Inet6));
            header.traffic_class = meta.tos;
            let ports = packet.head().first_chunk().copied().unwrap_or_default();
            header.flow_label = path.label_seed.label(ports);
            header.prepend_to(&mut packet);
        }
        _ => return None,
    }
    Some(packet)
}

fn error_of(no_path: NoPath) -> PathError {
    match no_path {
        NoPath::NetUnreachable => PathError::NetUnreachable,
        NoPath::HostUnreachable => PathError::HostUnreachable,
        NoPath::Blackhole => PathError::Blackhole,
        NoPath::BadSource | NoPath::BadDestination => PathError::BadSource,
    }
}
