//! Two ends of TCP, the wire between them, and what a stranger on it has learned.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use libnet::{DropCounters, IfIndex, Instant, Packet};
use libnetinet::tcp::{
    Accepted, ConnId, ConnOptions, Event, FourTuple, InMeta, Listener, OutMeta, Path, PathError,
    PathInfo, Secrets, Segment, Table, TcpConfig, Zone,
};

use super::watch::{Flow, Flows};

/// Which end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Side {
    /// Connects.
    A,
    /// Listens.
    B,
}

impl Side {
    pub(super) const fn other(self) -> Side {
        match self {
            Side::A => Side::B,
            Side::B => Side::A,
        }
    }

    /// The end that the lowest bit means.
    pub(super) const fn of(bits: u8) -> Side {
        if bits & 1 == 0 { Side::A } else { Side::B }
    }
}

/// One end: its TCP, and the layer below.
pub(super) struct End {
    pub(super) table: Table,
    pub(super) below: Below,
    /// The bound of its memory, and what it held when that was set, or less since: bytes.
    bound: (u64, u64),
}

/// The layer below, which takes everything unless it is broken.
pub(super) struct Below {
    pub(super) addr: IpAddr,
    pub(super) mtu: u32,
    pub(super) gso_max_bytes: u32,
    pub(super) generation: u64,
    pub(super) broken: Option<PathError>,
    out: VecDeque<(OutMeta, Packet)>,
}

impl Path for Below {
    fn route(
        &mut self,
        src: Option<IpAddr>,
        _dst: IpAddr,
        _iface: Option<IfIndex>,
    ) -> Result<PathInfo, PathError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        let (mtu, gso_max_bytes) = (self.mtu, self.gso_max_bytes);
        Ok(PathInfo { src: src.unwrap_or(self.addr), iface: IFACE, mtu, gso_max_bytes })
    }

    fn route_generation(&self) -> u64 {
        self.generation
    }

    fn output(&mut self, _: Instant, meta: &OutMeta, packet: Packet) -> Result<(), PathError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        self.out.push_back((*meta, packet));
        Ok(())
    }
}

/// A packet on its way.
#[derive(Clone)]
pub(super) struct Flying {
    to: Side,
    meta: InMeta,
    packet: Packet,
}

/// What becomes of a segment on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    /// It arrives.
    Arrives,
    /// It does not.
    Lost,
    /// It arrives twice.
    Twice,
    /// It arrives, and the youngest segment before it.
    Overtaken,
    /// It arrives marked (CE).
    Marked,
    /// Another arrives again that came before.
    Replayed,
}

impl Fate {
    pub(super) const ALL: [Fate; 6] =
        [Fate::Arrives, Fate::Lost, Fate::Twice, Fate::Overtaken, Fate::Marked, Fate::Replayed];
}

/// Both ends.
pub(super) struct Ends {
    pub(super) now: Instant,
    pub(super) a: End,
    pub(super) b: End,
    pub(super) listener: Option<Arc<Listener>>,
    /// With which A connects.
    pub(super) client_options: ConnOptions,
    /// Connections that programs hold, some of them no longer.
    pub(super) held: Vec<(Side, ConnId)>,
    pub(super) flows: Flows,
    wire: VecDeque<Flying>,
    /// Those that arrived last.
    past: VecDeque<Flying>,
    timers: u32,
    events: Vec<Event>,
}

impl Ends {
    /// Nothing has happened yet.
    pub(super) fn new(addrs: [IpAddr; 2], configs: [TcpConfig; 2], gso_max_bytes: u32) -> Self {
        let [config_a, config_b] = configs;
        let stranger = if addrs[0].is_ipv4() {
            IpAddr::from([10, 0, 0, 9])
        } else {
            IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 9])
        };
        let strangers = |to: Side, local_port| FourTuple {
            local: addrs[usize::from(to == Side::B)],
            remote: stranger,
            local_port,
            remote_port: 7_000,
            zone: Zone::NONE,
        };
        let known = [
            Flow::new(Side::B, strangers(Side::B, PORT)),
            Flow::new(Side::A, strangers(Side::A, 9)),
        ];
        Ends {
            now: Instant::from_millis(1_000),
            a: End::new(addrs[0], config_a, gso_max_bytes, 1),
            b: End::new(addrs[1], config_b, gso_max_bytes, 2),
            listener: None,
            client_options: ConnOptions::new(),
            held: Vec::new(),
            flows: Flows::new(known),
            wire: VecDeque::new(),
            past: VecDeque::new(),
            timers: 0,
            events: Vec::new(),
        }
    }

    pub(super) fn end(&mut self, side: Side) -> &mut End {
        match side {
            Side::A => &mut self.a,
            Side::B => &mut self.b,
        }
    }

    /// A new listener takes the place of the one before.
    pub(super) fn listen(&mut self, backlog: u32, options: ConnOptions) {
        self.stop_listening();
        let addr = SocketAddr::new(self.b.below.addr, PORT);
        let listener = Arc::new(Listener::new(addr, backlog, 7, options));
        self.b.table.add_listener(Arc::clone(&listener));
        self.listener = Some(listener);
    }

    /// As a program closes a listener.
    pub(super) fn stop_listening(&mut self) {
        let Some(listener) = self.listener.take() else { return };
        self.b.table.remove_listener(&listener);
        for Accepted { id, .. } in listener.close() {
            self.b.table.abort(self.now, id);
        }
    }

    /// Takes all that wait to be accepted.
    pub(super) fn accept(&mut self) {
        let Some(listener) = self.listener.clone() else { return };
        while let Some(accepted) = listener.accept() {
            self.hold(Side::B, accepted.id);
        }
    }

    /// A program has a connection; one of those that it had long is let go for it.
    pub(super) fn hold(&mut self, side: Side, id: ConnId) {
        if self.held.len() >= HELD_MAX {
            let (side, id) = self.held.remove(0);
            let now = self.now;
            self.end(side).table.abort(now, id);
        }
        self.held.push((side, id));
    }

    /// Lets time pass in which nothing arrives.
    pub(super) fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        self.settle();
        while let Some(due) = self.next_deadline().filter(|due| *due <= end) {
            self.tick(due);
        }
        self.now = end;
        self.settle();
    }

    /// Lets time pass on a wire of one millisecond that loses nothing.
    pub(super) fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        self.settle();
        while self.now < end {
            let arrives = if self.wire.is_empty() { end } else { end.min(self.now + ONE_WAY) };
            match self.next_deadline().filter(|due| *due < arrives) {
                Some(due) => self.tick(due),
                None => {
                    self.now = arrives;
                    self.deliver(self.wire.len(), Fate::Arrives);
                    self.settle();
                }
            }
        }
    }

    /// To the next deadline; whether there is one.
    pub(super) fn skip(&mut self) -> bool {
        let due = self.next_deadline();
        due.is_some_and(|due| {
            self.tick(due);
            true
        })
    }

    /// The oldest segments on the wire meet their fate.
    pub(super) fn deliver(&mut self, count: usize, fate: Fate) {
        for _ in 0..count.min(self.wire.len()) {
            let first = if fate == Fate::Overtaken { self.wire.pop_back() } else { None };
            let next = match fate {
                Fate::Replayed => self.past.front().cloned(),
                _ => self.wire.pop_front(),
            };
            for flying in first.into_iter().chain(next) {
                self.meet(flying, fate);
            }
        }
    }

    /// A packet arrives at an end.
    pub(super) fn arrive(&mut self, to: Side, meta: &InMeta, packet: Packet) {
        let now = self.now;
        let End { table, below, .. } = self.end(to);
        table.on_packet(now, below, meta, packet);
    }

    /// Does what is due, and puts on the wire what there is to send.
    pub(super) fn settle(&mut self) {
        let now = self.now;
        for side in [Side::A, Side::B] {
            let End { table, below, .. } = self.end(side);
            table.on_timer(now);
            while table.poll_transmit(now, below, IFACE, 64) > 0 {
                assert!(below.out.len() < STORM_PACKETS, "a storm of segments");
            }
            let out = std::mem::take(&mut below.out);
            for (meta, packet) in out {
                self.put(side, &meta, packet);
            }
            let End { table, .. } = if side == Side::A { &self.a } else { &self.b };
            self.flows.saw_all(side, self.now, table);
        }
        self.check();
    }

    /// Everything on its way is lost.
    pub(super) fn cut(&mut self) {
        self.wire.clear();
    }

    fn next_deadline(&self) -> Option<Instant> {
        let due = [self.a.table.next_deadline(), self.b.table.next_deadline()];
        due.into_iter().flatten().min()
    }

    fn tick(&mut self, due: Instant) {
        self.timers += 1;
        assert!(self.timers < STORM_TIMERS, "timers that lead to nothing");
        self.now = self.now.max(due);
        self.settle();
        let late = self.next_deadline().is_some_and(|next| next <= due);
        assert!(!late, "a deadline that stays when it is over");
    }

    fn meet(&mut self, mut flying: Flying, fate: Fate) {
        let times = match fate {
            Fate::Lost => 0,
            Fate::Twice => 2,
            _ => 1,
        };
        // RFC 3168 §5: only what may be marked is.
        if fate == Fate::Marked && flying.meta.tos & 3 != 0 {
            flying.meta.tos |= 3;
        }
        for _ in 0..times {
            let Flying { to, meta, packet } = flying.clone();
            self.arrive(to, &meta, packet);
        }
        if self.past.len() >= PAST_MAX {
            self.past.pop_front();
        }
        self.past.push_back(flying);
    }

    /// Puts a packet on the wire, as it looks when its checksum is complete.
    fn put(&mut self, from: Side, meta: &OutMeta, mut packet: Packet) {
        assert!(packet.complete_checksum(), "the checksum's place is in the packet");
        let mut flying = Packet::received(packet.to_bytes(), self.now);
        flying.gso = packet.gso;
        let seg = Segment::parse(&mut flying.clone(), IFACE, meta.src, meta.dst)
            .expect("what is sent is well-formed");
        let End { table, below, .. } = if from == Side::A { &self.a } else { &self.b };
        let header = if meta.src.is_ipv4() { 20 } else { 40 };
        let whole = header + packet.len() as u32;
        let largest = if packet.gso.is_some() { below.gso_max_bytes } else { below.mtu };
        assert!(whole <= largest, "{whole} bytes for a path of {largest}: {seg:?}");
        self.flows.saw(from, self.now, table, &seg);
        let to = from.other();
        if meta.dst == self.end(to).below.addr && self.wire.len() < WIRE_MAX {
            let meta = InMeta { src: meta.src, dst: meta.dst, iface: IFACE, tos: meta.tos };
            self.wire.push_back(Flying { to, meta, packet: flying });
        }
    }

    fn check(&mut self) {
        for side in [Side::A, Side::B] {
            let mut events = std::mem::take(&mut self.events);
            let End { table, bound, .. } = self.end(side);
            table.take_events(&mut events);
            table.check_invariants();
            let (most, granted) =
                (table.config().memory.high_bytes, table.budget().granted_bytes());
            // One that was lowered gives nothing back.
            let held = if bound.0 == most { bound.1.min(granted) } else { granted };
            *bound = (most, held);
            assert!(granted <= held.max(most) + OVERDRAFT_BYTES, "{granted} bytes of {most}");
            let config = table.config();
            assert!(table.requests() <= config.syn_backlog_max, "half-open connections");
            events.clear();
            self.events = events;
        }
    }
}

impl End {
    fn new(addr: IpAddr, config: TcpConfig, gso_max_bytes: u32, seed: u8) -> Self {
        let drops = Arc::new(DropCounters::new());
        End {
            table: Table::new(Arc::new(config), Secrets::from_seed([seed; 32]), drops, 0),
            below: Below {
                addr,
                mtu: 1_500,
                gso_max_bytes,
                generation: 0,
                broken: None,
                out: VecDeque::new(),
            },
            bound: (0, 0),
        }
    }
}

/// Where the listener is.
pub(super) const PORT: u16 = 80;
pub(super) const IFACE: IfIndex = IfIndex(2);
const ONE_WAY: Duration = Duration::from_millis(1);
const HELD_MAX: usize = 32;
const WIRE_MAX: usize = 1_024;
const PAST_MAX: usize = 16;
const STORM_PACKETS: usize = 50_000;
const STORM_TIMERS: u32 = 200_000;
/// What is copied or kept may turn out a little more than was foreseen, and what is sent is kept book of.
const OVERDRAFT_BYTES: u64 = 64 << 10;
