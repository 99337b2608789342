//! The harness: two nodes, a wire with delay and faults, and a log of all that was sent.

use std::collections::{BTreeMap, VecDeque};
use std::io::{IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use libnet::{DropCounters, DropReason, IfIndex, Instant, Packet, Ready};

use crate::tcp::*;

mod forge;

pub(super) use self::forge::Forged;

pub(super) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(super) fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Which node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Side {
    A,
    B,
}

impl Side {
    pub(super) fn other(self) -> Side {
        if self == Side::A { Side::B } else { Side::A }
    }
}

/// What the wire does with a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    Pass,
    Drop,
    Twice,
    Late(Duration),
    /// Congestion is told of: CE, or lost if it is not ECT.
    Mark,
    /// The network sets the ECN field to this, whatever it was.
    Bleach(EcnField),
}

/// A segment as it was put on the wire.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) at: Instant,
    pub(super) by: Side,
    pub(super) seg: Segment,
    pub(super) super_segment: bool,
}

impl Sent {
    pub(super) fn has(&self, flags: Flags) -> bool {
        self.seg.flags.has(flags)
    }
}

type Judge = Box<dyn FnMut(&Sent, u64) -> Fate>;

/// One end.
pub(super) struct Node {
    pub(super) table: Table,
    pub(super) path: TestPath,
    pub(super) events: Vec<Event>,
    pub(super) drops: Arc<DropCounters>,
}

/// The layer below.
pub(super) struct TestPath {
    pub(super) addr: IpAddr,
    pub(super) mtu: u32,
    pub(super) gso_max_bytes: u32,
    pub(super) generation: u64,
    pub(super) broken: Option<PathError>,
    pub(super) advice: u32,
    out: VecDeque<(OutMeta, Packet)>,
}

impl Path for TestPath {
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

    fn negative_advice(&mut self, _: IfIndex, _: IpAddr) {
        self.advice += 1;
    }
}

/// Two nodes and the wire.
pub(super) struct Net {
    pub(super) now: Instant,
    pub(super) a: Node,
    pub(super) b: Node,
    pub(super) log: Vec<Sent>,
    pub(super) delay: Duration,
    /// Cut super-segments before they meet the wire's faults.
    pub(super) cut: bool,
    judge: Judge,
    wire: BTreeMap<(Instant, u64), (Side, OutMeta, Packet)>,
    sequence: u64,
}

impl Net {
    pub(super) fn new() -> Self {
        Net::with(TcpConfig::default(), TcpConfig::default())
    }

    pub(super) fn with(a: TcpConfig, b: TcpConfig) -> Self {
        Net::at([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), a, b)
    }

    pub(super) fn at(addr_a: IpAddr, addr_b: IpAddr, a: TcpConfig, b: TcpConfig) -> Self {
        Net {
            now: Instant::from_millis(1_000),
            a: Node::new(addr_a, a, 1),
            b: Node::new(addr_b, b, 2),
            log: Vec::new(),
            delay: ms(1),
            cut: true,
            judge: Box::new(|_, _| Fate::Pass),
            wire: BTreeMap::new(),
            sequence: 0,
        }
    }

    /// Asks `judge` about every segment; it is also given the segment's number on the wire.
    pub(super) fn judge(&mut self, judge: impl FnMut(&Sent, u64) -> Fate + 'static) {
        self.judge = Box::new(judge);
    }

    pub(super) fn clean(&mut self) {
        self.judge(|_, _| Fate::Pass);
    }

    /// Drops the next `n` segments for which `is` holds.
    pub(super) fn drop_next(&mut self, mut n: usize, is: impl Fn(&Sent) -> bool + 'static) {
        self.judge(move |sent, _| {
            if n > 0 && is(sent) {
                n -= 1;
                return Fate::Drop;
            }
            Fate::Pass
        });
    }

    pub(super) fn node(&mut self, side: Side) -> &mut Node {
        match side {
            Side::A => &mut self.a,
            Side::B => &mut self.b,
        }
    }

    /// A listener on B's port 80.
    pub(super) fn listen(&mut self, backlog: u32) -> Arc<Listener> {
        self.listen_with(backlog, ConnOptions::new())
    }

    pub(super) fn listen_with(&mut self, backlog: u32, options: ConnOptions) -> Arc<Listener> {
        let addr = SocketAddr::new(self.b.path.addr, 80);
        let listener = Arc::new(Listener::new(addr, backlog, 7, options));
        self.b.table.add_listener(listener.clone());
        listener
    }

    /// A connect of A to B's port 80.
    pub(super) fn connect(&mut self) -> ConnId {
        self.connect_with(ConnOptions::new())
    }

    pub(super) fn connect_with(&mut self, options: ConnOptions) -> ConnId {
        self.connect_from(0, options).expect("a connect can begin")
    }

    pub(super) fn connect_from(
        &mut self,
        port: u16,
        options: ConnOptions,
    ) -> Result<ConnId, ConnectError> {
        let remote = SocketAddr::new(self.b.path.addr, 80);
        let from = ConnectFrom { port, options, ..ConnectFrom::default() };
        self.a.table.connect(self.now, &mut self.a.path, from, remote, &|_| true)
    }

    /// A connect of A to B's port 80 that tries Fast Open.
    pub(super) fn connect_fast(&mut self, data: &[u8]) -> ConnId {
        let remote = SocketAddr::new(self.b.path.addr, 80);
        let early_data = Bytes::copy_from_slice(data);
        let from = ConnectFrom { fast_open: true, early_data, ..ConnectFrom::default() };
        let begun = self.a.table.connect(self.now, &mut self.a.path, from, remote, &|_| true);
        begun.expect("a connect can begin")
    }

    /// A listener, a connection of A to it, and B's end of it.
    pub(super) fn established(&mut self) -> (ConnId, ConnId) {
        self.established_with(ConnOptions::new(), ConnOptions::new())
    }

    pub(super) fn established_with(&mut self, a: ConnOptions, b: ConnOptions) -> (ConnId, ConnId) {
        let listener = self.listen_with(8, b);
        let client = self.connect_with(a);
        self.run_for(self.delay * 4 + ms(2));
        let server = listener.accept().expect("the handshake is over").id;
        assert_eq!(self.state(Side::A, client), State::Established);
        assert_eq!(self.state(Side::B, server), State::Established);
        (client, server)
    }

    pub(super) fn state(&self, side: Side, id: ConnId) -> State {
        let node = if side == Side::A { &self.a } else { &self.b };
        node.table.get(id).map_or(State::Closed, Connection::state)
    }

    pub(super) fn info(&self, side: Side, id: ConnId) -> TcpInfo {
        let node = if side == Side::A { &self.a } else { &self.b };
        node.table.info(self.now, id).expect("the connection lives")
    }

    pub(super) fn send(&mut self, side: Side, id: ConnId, data: &[u8]) -> Result<usize, SendError> {
        let now = self.now;
        self.node(side).table.send(now, id, &[IoSlice::new(data)])
    }

    pub(super) fn recv(&mut self, side: Side, id: ConnId) -> Result<Vec<u8>, RecvError> {
        let now = self.now;
        let mut buffer = vec![0; 1 << 20];
        let into = &mut [IoSliceMut::new(&mut buffer)];
        let n = self.node(side).table.recv(now, id, RecvInto::Copy(into))?;
        buffer.truncate(n);
        Ok(buffer)
    }

    pub(super) fn close(&mut self, side: Side, id: ConnId) {
        let now = self.now;
        self.node(side).table.close(now, id, Linger::Drain);
    }

    pub(super) fn shutdown(&mut self, side: Side, id: ConnId) {
        let now = self.now;
        self.node(side).table.shutdown_write(now, id).expect("it is connected");
    }

    /// Moves all of `data` from one end to the other; the receiver reads as it comes.
    pub(super) fn transfer(
        &mut self,
        from: Side,
        tx: ConnId,
        rx: ConnId,
        data: &[u8],
        limit: Duration,
    ) {
        let (end, mut sent, mut got) = (self.now + limit, 0, Vec::with_capacity(data.len()));
        while got.len() < data.len() {
            assert!(self.now < end, "{} of {} bytes after {limit:?}", got.len(), data.len());
            if sent < data.len() {
                match self.send(from, tx, &data[sent..]) {
                    Ok(n) => sent += n,
                    Err(SendError::WouldBlock) => {}
                    Err(error) => panic!("send: {error}"),
                }
            }
            let before = got.len();
            match self.recv(from.other(), rx) {
                Ok(more) => got.extend(more),
                Err(RecvError::WouldBlock) => {}
                Err(error) => panic!("recv: {error}"),
            }
            if !self.step(end) && got.len() == before {
                self.now = end;
            }
        }
        assert!(got == data, "the bytes came changed");
    }

    /// Runs until nothing happens any more before `duration` is over, and to that time.
    pub(super) fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.step(end) {}
        self.now = end;
    }

    /// Sends what is to be sent and goes on to the next event; `false` if there is none by `end`.
    pub(super) fn step(&mut self, end: Instant) -> bool {
        self.pump(Side::A);
        self.pump(Side::B);
        let wire = self.wire.keys().next().map(|key| key.0);
        let deadlines = [self.a.table.next_deadline(), self.b.table.next_deadline()];
        let Some(next) = wire.into_iter().chain(deadlines.into_iter().flatten()).min() else {
            return false;
        };
        if next > end {
            return false;
        }
        self.now = self.now.max(next);
        self.deliver();
        let now = self.now;
        for node in [&mut self.a, &mut self.b] {
            node.table.on_timer(now);
            node.table.take_events(&mut node.events);
            node.table.check_invariants();
        }
        true
    }

    /// Puts on the wire what a node has to send.
    pub(super) fn pump(&mut self, side: Side) {
        let now = self.now;
        let node = self.node(side);
        while node.table.poll_transmit(now, &mut node.path, IFACE, 64) > 0 {}
        node.table.check_invariants();
        let out: Vec<_> = node.path.out.drain(..).collect();
        for (meta, packet) in out {
            let super_segment = packet.gso.is_some();
            let cut = self.cut;
            for piece in if cut { cut_up(&meta, packet) } else { vec![packet] } {
                self.put(side, meta, piece, super_segment);
            }
        }
    }

    fn put(&mut self, by: Side, mut meta: OutMeta, mut packet: Packet, super_segment: bool) {
        assert!(packet.complete_checksum(), "the checksum's place is in the packet");
        let mut wire = Packet::received(packet.to_bytes(), self.now);
        wire.gso = packet.gso;
        let mut seg = Segment::parse(&mut wire, IfIndex(2), meta.src, meta.dst)
            .expect("what we send is well-formed");
        (seg.ecn, seg.dscp) = (EcnField::of(meta.tos), meta.tos & !3);
        let sent = Sent { at: self.now, by, seg, super_segment };
        self.sequence += 1;
        assert!(self.log.len() < 1_000_000, "a storm: {sent:?}");
        let fate = (self.judge)(&sent, self.sequence);
        self.log.push(sent);
        let arrives = self.now + self.delay;
        match fate {
            Fate::Drop => {}
            Fate::Mark if EcnField::of(meta.tos) == EcnField::NotEct => {}
            Fate::Mark => {
                meta.tos |= EcnField::Ce as u8;
                self.queue(arrives, by, meta, wire);
            }
            Fate::Bleach(ecn) => {
                meta.tos = meta.tos & !3 | ecn as u8;
                self.queue(arrives, by, meta, wire);
            }
            Fate::Pass => self.queue(arrives, by, meta, wire),
            Fate::Late(more) => self.queue(arrives + more, by, meta, wire),
            Fate::Twice => {
                self.queue(arrives, by, meta, wire.clone());
                self.queue(arrives, by, meta, wire);
            }
        }
    }

    fn queue(&mut self, at: Instant, by: Side, meta: OutMeta, packet: Packet) {
        self.sequence += 1;
        self.wire.insert((at, self.sequence), (by, meta, packet));
    }

    fn deliver(&mut self) {
        while let Some(entry) = self.wire.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            let (by, meta, packet) = entry.remove();
            self.arrive(by.other(), meta.src, meta.dst, meta.tos, packet);
        }
    }

    /// A packet arrives at a node.
    pub(super) fn arrive(&mut self, side: Side, src: IpAddr, dst: IpAddr, tos: u8, packet: Packet) {
        let now = self.now;
        let node = self.node(side);
        let meta = InMeta { src, dst, iface: IFACE, tos };
        node.table.on_packet(now, &mut node.path, &meta, packet);
        node.table.take_events(&mut node.events);
    }

    /// Takes the next segment off the wire.
    pub(super) fn take_from_wire(&mut self) -> Option<(OutMeta, Packet)> {
        self.wire.pop_first().map(|(_, (_, meta, packet))| (meta, packet))
    }

    /// How many segments with any of `flags` a side has sent.
    pub(super) fn count(&self, by: Side, flags: Flags) -> usize {
        self.log.iter().filter(|sent| sent.by == by && sent.has(flags)).count()
    }

    /// How many bytes of data a side has sent, resent ones among them.
    pub(super) fn bytes(&self, by: Side) -> usize {
        self.log.iter().filter(|sent| sent.by == by).map(|sent| sent.seg.data_len as usize).sum()
    }

    pub(super) fn sent_by(&self, by: Side) -> Vec<&Sent> {
        self.log.iter().filter(|sent| sent.by == by).collect()
    }

    pub(super) fn dropped(&self, side: Side, reason: DropReason) -> u64 {
        let node = if side == Side::A { &self.a } else { &self.b };
        node.drops.get(reason)
    }
}

impl Node {
    fn new(addr: IpAddr, config: TcpConfig, seed: u8) -> Self {
        let drops = Arc::new(DropCounters::new());
        Node {
            table: Table::new(Arc::new(config), Secrets::from_seed([seed; 32]), drops.clone(), 0),
            path: TestPath {
                addr,
                mtu: 1500,
                gso_max_bytes: 65_535,
                generation: 0,
                broken: None,
                advice: 0,
                out: VecDeque::new(),
            },
            events: Vec::new(),
            drops,
        }
    }

    /// Everything that events have told since the last call.
    pub(super) fn told(&mut self) -> Ready {
        let mut all = Ready::NONE;
        for event in self.events.drain(..) {
            if let Event::Conn { ready, .. } = event {
                all |= ready;
            }
        }
        all
    }
}

/// What a link without segmentation offload makes of a super-segment.
fn cut_up(meta: &OutMeta, mut packet: Packet) -> Vec<Packet> {
    let Some(gso) = packet.gso else { return vec![packet] };
    let (size, swapped) = (usize::from(gso.segment_bytes.get()), (meta.dst, meta.src));
    let seg =
        Segment::parse(&mut packet, IfIndex(2), swapped.0, swapped.1).expect("ours is well-formed");
    let tuple = FourTuple {
        local: meta.src,
        remote: meta.dst,
        local_port: seg.tuple.remote_port,
        remote_port: seg.tuple.local_port,
        zone: Zone::NONE,
    };
    let data = packet.to_bytes().slice(seg.data_offset as usize..);
    let last = (data.len() - 1) / size;
    let pieces = data.chunks(size).enumerate().map(|(i, chunk)| {
        let only_last = Flags::PSH | Flags::FIN;
        let header = Header {
            seq: seg.seq + (i * size) as u32,
            ack: seg.ack,
            flags: {
                let flags = if i == last { seg.flags } else { seg.flags.without(only_last) };
                if i == 0 { flags } else { flags.without(Flags::CWR) }
            },
            wnd: seg.wnd,
            urgent: usize::from(seg.urgent).saturating_sub(i * size) as u16,
            options: seg.options,
        };
        let mut piece = Packet::from_payload(data.slice_ref(chunk));
        header.prepend_to(&mut piece, &tuple, 0);
        piece
    });
    pieces.collect()
}

pub(super) const IFACE: IfIndex = IfIndex(2);
