//! What a capture shows of the calls: a conversation with headers made up, so that the tools that
//! read captures work here too. It tells what passed the calls, not what the wire carried.
//!
//! ```text
//! connect       SYN ->, and once it is known to be open: <- SYN ACK, ACK ->
//! accept        <- SYN, SYN ACK ->, <- ACK
//! send, recv    data in the pieces of the calls, each acknowledged at once
//! shutdown      FIN ->     the stream's end   <- FIN     reset   RST
//! ```

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Mutex, MutexGuard, PoisonError};

use libnet::capture::{CaptureTaps, Direction};
use libnet::packet::Packet;
use libnet::socket::{Family, Received, SockType};
use libnet::time::Instant;
use rustix::time::{ClockId, clock_gettime};

use crate::synth::{self, MAX_DATA_BYTES, Segment, flag};
use crate::table::Entry;

/// What a capture remembers of a socket. Its lock is a leaf but for the taps' own.
#[derive(Debug, Default)]
pub(crate) struct Story(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    flow: Option<Flow>,
    /// Where the host last sent from, and to whom.
    route: Option<(IpAddr, IpAddr)>,
}

/// A connection as it was shown so far; of each pair the first is ours.
#[derive(Debug)]
struct Flow {
    addrs: [SocketAddr; 2],
    /// The next sequence number.
    next: [u32; 2],
    /// It sent its FIN.
    ended: [bool; 2],
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// A SYN was shown.
    Opening,
    Open,
    /// Reset, or refused: nothing more is shown.
    Over,
}

const OURS: usize = 0;
const THEIRS: usize = 1;

/// Shows what one socket does.
pub(crate) struct Show<'a> {
    taps: &'a CaptureTaps,
    entry: &'a Entry,
    told: MutexGuard<'a, Told>,
    at: Instant,
}

impl<'a> Show<'a> {
    /// `None` if nobody looks.
    pub(crate) fn of(taps: &'a CaptureTaps, entry: &'a Entry) -> Option<Self> {
        if taps.is_empty() {
            return None;
        }
        let told = entry.story.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock_gettime(ClockId::Monotonic);
        let at = Instant::from_nanos(now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64);
        Some(Show { taps, entry, told, at })
    }

    /// A connect has begun.
    pub(crate) fn connecting(&mut self, peer: SocketAddr) {
        if !self.entry.is_stream() || self.told.flow.is_some() {
            return;
        }
        let Some(local) = self.local_addr() else { return };
        self.begin([local, canonical(peer)], OURS);
    }

    /// It is open: a connection that was accepted, or one whose connect has succeeded.
    pub(crate) fn opened_by(&mut self, peer: SocketAddr) {
        let Some(local) = self.local_addr() else { return };
        self.begin([local, canonical(peer)], THEIRS);
        self.answer_syn(THEIRS);
    }

    /// The socket was seen to be connected.
    pub(crate) fn is_open(&mut self) {
        if self.told.flow.as_ref().is_some_and(|flow| flow.phase == Phase::Opening) {
            self.answer_syn(OURS);
        }
    }

    /// A send took `bytes` of `bufs`.
    pub(crate) fn sent(
        &mut self,
        bufs: &[IoSlice<'_>],
        bytes: usize,
        to: Option<SocketAddr>,
        urgent: bool,
    ) {
        let data: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).take(bytes).collect();
        if self.entry.is_stream() {
            self.stream_data(OURS, &data, urgent);
            return;
        }
        let peer = to.map(canonical).or_else(|| self.peer_addr());
        let (Some(local), Some(peer)) = (self.local_addr(), peer) else { return };
        let from = SocketAddr::new(self.source(local.ip(), peer), local.port());
        self.datagram(Direction::Out, from, peer, &data);
    }

    /// A receive brought `data`; of a stream none is its end.
    pub(crate) fn received(&mut self, data: &[u8], received: &Received) {
        if self.entry.is_stream() {
            match data {
                [] => {
                    self.is_open();
                    self.finish(THEIRS);
                }
                data => self.stream_data(THEIRS, data, false),
            }
            return;
        }
        let from = received.from.map(canonical).or_else(|| self.peer_addr());
        let (Some(local), Some(from)) = (self.local_addr(), from) else { return };
        let to = received.to.unwrap_or_else(|| self.source(local.ip(), from));
        self.datagram(Direction::In, from, SocketAddr::new(to.to_canonical(), local.port()), data);
    }

    /// A call told of an error.
    pub(crate) fn failed(&mut self, error: &io::Error) {
        if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset)
        {
            self.reset(THEIRS);
        }
    }

    /// Our side was shut down.
    pub(crate) fn shut(&mut self) {
        self.finish(OURS);
    }

    /// It was given up; `abort`: by a reset.
    pub(crate) fn closed(&mut self, abort: bool) {
        if abort { self.reset(OURS) } else { self.finish(OURS) }
    }

    fn begin(&mut self, addrs: [SocketAddr; 2], opener: usize) {
        // RFC 9293 §3.4.1: numbers that move on with the clock, for a port that is used again.
        let first = self.at.as_micros() as u32;
        let next = [first, !first];
        self.told.flow = Some(Flow { addrs, next, ended: [false; 2], phase: Phase::Opening });
        self.segment(opener, flag::SYN, &[]);
    }

    /// Shows the rest of the handshake that `opener` began.
    fn answer_syn(&mut self, opener: usize) {
        self.segment(1 - opener, flag::SYN | flag::ACK, &[]);
        self.segment(opener, flag::ACK, &[]);
        if let Some(flow) = &mut self.told.flow {
            flow.phase = Phase::Open;
        }
    }

    /// The flow is open, now that something passed it; a capture may have begun after it.
    fn ensure_open(&mut self) -> bool {
        if self.told.flow.is_none() {
            let (Some(local), Some(peer)) = (self.local_addr(), self.peer_addr()) else {
                return false;
            };
            self.begin([local, peer], OURS);
        }
        self.is_open();
        self.told.flow.as_ref().is_some_and(|flow| flow.phase == Phase::Open)
    }

    fn stream_data(&mut self, from: usize, data: &[u8], urgent: bool) {
        if !self.ensure_open() {
            return;
        }
        let last = data.len().saturating_sub(1) / MAX_DATA_BYTES;
        for (number, piece) in data.chunks(MAX_DATA_BYTES).enumerate() {
            let urgent = if urgent && number == last { flag::URG } else { 0 };
            self.segment(from, flag::PSH | flag::ACK | urgent, piece);
            self.segment(1 - from, flag::ACK, &[]);
        }
    }

    fn finish(&mut self, from: usize) {
        let goes_on = |flow: &Flow| flow.phase == Phase::Open && !flow.ended[from];
        if !self.told.flow.as_ref().is_some_and(goes_on) {
            return;
        }
        self.segment(from, flag::FIN | flag::ACK, &[]);
        self.segment(1 - from, flag::ACK, &[]);
        if let Some(flow) = &mut self.told.flow {
            flow.ended[from] = true;
        }
    }

    fn reset(&mut self, from: usize) {
        self.segment(from, flag::RST | flag::ACK, &[]);
        if let Some(flow) = &mut self.told.flow {
            flow.phase = Phase::Over;
        }
    }

    fn segment(&mut self, from: usize, flags: u8, data: &[u8]) {
        let Some(flow) = self.told.flow.as_mut().filter(|flow| flow.phase != Phase::Over) else {
            return;
        };
        let acks = flags & flag::ACK != 0;
        // Whoever refuses has shown no number of its own yet.
        let refuses = flags & flag::RST != 0 && flow.phase == Phase::Opening;
        let segment = Segment {
            from: flow.addrs[from],
            to: flow.addrs[1 - from],
            seq: if refuses { 0 } else { flow.next[from] },
            ack: if acks { flow.next[1 - from] } else { 0 },
            flags,
            data,
        };
        let packet = synth::tcp(&segment);
        // RFC 9293 §3.4: SYN and FIN take a number each.
        let takes = data.len() as u32 + u32::from(flags & (flag::SYN | flag::FIN) != 0);
        flow.next[from] = flow.next[from].wrapping_add(takes);
        let direction = if from == OURS { Direction::Out } else { Direction::In };
        self.taps.show(self.at, direction, &packet);
    }

    fn datagram(&self, direction: Direction, from: SocketAddr, to: SocketAddr, data: &[u8]) {
        if let Some(packet) = self.packet(direction, from, to, data) {
            self.taps.show(self.at, direction, &packet);
        }
    }

    fn packet(
        &self,
        direction: Direction,
        from: SocketAddr,
        to: SocketAddr,
        data: &[u8],
    ) -> Option<Packet> {
        let kind = self.entry.kind;
        let is_out = direction == Direction::Out;
        match kind.ty {
            SockType::Raw if kind.family == Family::Inet => {
                let whole = !is_out || crate::sys::header_included(&self.entry.fd).unwrap_or(false);
                match whole {
                    // It comes with its header.
                    true => synth::whole_v4(data),
                    false => Some(synth::raw(from.ip(), to.ip(), kind.protocol, data, None)),
                }
            }
            SockType::Raw => Some(synth::raw(from.ip(), to.ip(), kind.protocol, data, None)),
            _ if kind.is_ping() => {
                let ident = is_out.then_some(from.port());
                Some(synth::raw(from.ip(), to.ip(), kind.protocol, data, ident))
            }
            _ => Some(synth::udp(from, to, data)),
        }
    }

    /// Our address to `peer`: the socket's, or the one that the host chooses.
    fn source(&mut self, local: IpAddr, peer: SocketAddr) -> IpAddr {
        if !local.is_unspecified() {
            return local;
        }
        if let Some((known, source)) = self.told.route
            && known == peer.ip()
        {
            return source;
        }
        let any: SocketAddr = match peer {
            SocketAddr::V4(_) => ([0; 4], 0).into(),
            SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
        };
        // Connecting sends nothing; a port of 0 would not be taken.
        let mut probe = peer;
        probe.set_port(9);
        let chosen = UdpSocket::bind(any).and_then(|socket| {
            socket.connect(probe)?;
            socket.local_addr()
        });
        let source = chosen.map_or(local, |addr| addr.ip());
        self.told.route = Some((peer.ip(), source));
        source
    }

    fn local_addr(&self) -> Option<SocketAddr> {
        let addr = rustix::net::getsockname(&self.entry.fd).ok()?;
        SocketAddr::try_from(addr).ok().map(canonical)
    }

    fn peer_addr(&self) -> Option<SocketAddr> {
        let addr = rustix::net::getpeername(&self.entry.fd).ok()??;
        SocketAddr::try_from(addr).ok().map(canonical)
    }
}

/// An IPv4 peer of an IPv6 socket is shown as what it is.
fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}
