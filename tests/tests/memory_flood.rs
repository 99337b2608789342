//! Whoever opens 100,000 connections and reads nothing, or sends what nobody reads, takes no more
//! memory than `TcpConfig::memory` says beside what a connection takes; one that is idle has no buffer.

use std::io::IoSlice;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use libnet::{Checksum, DropCounters, DropReason, IfIndex, Instant, Packet};
use libnetinet::tcp::{
    ConnId, ConnOptions, Flags, FourTuple, Header, InMeta, Linger, Listener, MemoryLimits, Options,
    OutMeta, Path, PathError, PathInfo, Secrets, Segment, SendError, SeqNumber, Table, TcpConfig,
    Timestamps, Zone,
};
use peak_alloc::PeakAlloc;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;
static TURN: Mutex<()> = Mutex::new(());

const CONNECTIONS: usize = 100_000;
/// Memory for all buffers.
const BUDGET: u64 = 32 << 20;
/// What is under way, and what a table keeps to be used again.
const SLACK: usize = 8 << 20;
/// The most that an idle connection may take: with its entries in tables, and all that `TCP_INFO`
/// counts.
const IDLE_BYTES: usize = 1_536;
const IFACE: IfIndex = IfIndex(2);
const US: [u8; 4] = [10, 0, 0, 1];
const MSS: u16 = 1_460;

/// Where what is sent goes: the last of it is kept.
#[derive(Default)]
struct Wire(Option<Packet>);

impl Path for Wire {
    fn route(
        &mut self,
        _: Option<IpAddr>,
        _: IpAddr,
        _: Option<IfIndex>,
    ) -> Result<PathInfo, PathError> {
        Ok(PathInfo { src: US.into(), iface: IFACE, mtu: 1_500, gso_max_bytes: 65_535 })
    }

    fn route_generation(&self) -> u64 {
        0
    }

    fn output(&mut self, _: Instant, _: &OutMeta, packet: Packet) -> Result<(), PathError> {
        self.0 = Some(packet);
        Ok(())
    }
}

/// A stack's TCP, with a listener, and peers that have no memory.
struct Flood {
    table: Table,
    wire: Wire,
    listener: Arc<Listener>,
    drops: Arc<DropCounters>,
    now: Instant,
    /// Memory before there was any of this.
    base: usize,
}

/// A peer's end of a connection.
struct Peer {
    id: ConnId,
    tuple: FourTuple,
    seq: SeqNumber,
    ack: SeqNumber,
    /// The last timestamp of ours.
    echo: u32,
}

impl Flood {
    fn new() -> Flood {
        let base = HEAP.current_usage();
        let mut config = TcpConfig::default();
        config.memory = MemoryLimits::of(BUDGET);
        let drops = Arc::new(DropCounters::new());
        let secrets = Secrets::from_seed([7; 32]);
        let mut table = Table::new(Arc::new(config), secrets, Arc::clone(&drops), 0);
        let addr = (IpAddr::from(US), 80).into();
        let listener = Arc::new(Listener::new(addr, 4, 1, ConnOptions::new()));
        table.add_listener(Arc::clone(&listener));
        let (wire, now) = (Wire::default(), Instant::from_millis(1_000));
        Flood { table, wire, listener, drops, now, base }
    }

    fn held(&self) -> usize {
        HEAP.current_usage().saturating_sub(self.base)
    }

    fn most(&self) -> usize {
        HEAP.peak_usage().saturating_sub(self.base)
    }

    /// A peer's segment, and what the stack says to it last.
    fn say(&mut self, tuple: &FourTuple, header: &Header, data: &Bytes) -> Option<Segment> {
        let mut packet = Packet::from_payload(data.clone());
        header.prepend_to(&mut packet, tuple, 0);
        let mut wire = Packet::received(packet.to_bytes(), self.now);
        wire.checksum = Checksum::Trusted;
        let meta = InMeta { src: tuple.local, dst: tuple.remote, iface: IFACE, tos: 0 };
        self.wire.0 = None;
        self.table.on_packet(self.now, &mut self.wire, &meta, wire);
        self.transmit();
        self.table.take_events(&mut Vec::new());
        let mut said = self.wire.0.take()?;
        said.checksum = Checksum::Trusted;
        Segment::parse(&mut said, IFACE, tuple.remote, tuple.local).ok()
    }

    fn transmit(&mut self) {
        while self.table.poll_transmit(self.now, &mut self.wire, IFACE, 64) > 0 {}
    }

    /// The nth peer connects.
    fn connect(&mut self, n: usize) -> Option<Peer> {
        let from = [10, 1, (n >> 8) as u8, n as u8];
        let tuple = FourTuple {
            local: from.into(),
            remote: US.into(),
            local_port: 1_024 + (n >> 16) as u16,
            remote_port: 80,
            zone: Zone::NONE,
        };
        let timestamps = Some(Timestamps { value: 1, echo: 0 });
        let options = Options {
            mss: Some(MSS),
            window_shift: Some(10),
            sack_permitted: true,
            timestamps,
            ..Options::default()
        };
        let seq = SeqNumber::new(n as u32);
        let mut header = Header {
            seq,
            ack: SeqNumber::new(0),
            flags: Flags::SYN,
            wnd: u16::MAX,
            urgent: 0,
            options,
        };
        let answer = self.say(&tuple, &header, &Bytes::new())?;
        let echo = answer.options.timestamps?.value;
        let timestamps = Some(Timestamps { value: 2, echo });
        (header.seq, header.ack, header.flags) = (seq + 1, answer.seq + 1, Flags::ACK);
        header.options = Options { timestamps, ..Options::default() };
        self.say(&tuple, &header, &Bytes::new());
        let id = self.listener.accept()?.id;
        Some(Peer { id, tuple, seq: seq + 1, ack: answer.seq + 1, echo })
    }

    /// A peer sends the next data; were they taken?
    fn send(&mut self, peer: &mut Peer, data: &Bytes) -> bool {
        let timestamps = Some(Timestamps { value: 3, echo: peer.echo });
        let header = Header {
            seq: peer.seq,
            ack: peer.ack,
            flags: Flags::ACK,
            wnd: u16::MAX,
            urgent: 0,
            options: Options { timestamps, ..Options::default() },
        };
        let before = self.drops.get(DropReason::TcpMemory);
        self.say(&peer.tuple, &header, data);
        let taken = self.drops.get(DropReason::TcpMemory) == before;
        if taken {
            peer.seq += data.len() as u32;
        }
        taken
    }

    /// All connect, and are idle: what each takes.
    fn connect_all(&mut self) -> (Vec<Peer>, usize) {
        let peers: Vec<Peer> =
            (0..CONNECTIONS).map(|n| self.connect(n).expect("nothing is short yet")).collect();
        self.now += std::time::Duration::from_secs(10);
        self.table.on_timer(self.now);
        self.transmit();
        assert_eq!(self.table.budget().granted_bytes(), 0, "idle connections hold no buffers");
        let each = (self.held() - peers.capacity() * size_of::<Peer>()) / CONNECTIONS;
        println!("an idle connection takes {each} bytes");
        assert!(each <= IDLE_BYTES, "{each} bytes");
        (peers, self.held())
    }
}

#[test]
fn a_receiver_that_opens_100_000_connections_and_reads_nothing_stays_within_the_budget() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut flood = Flood::new();
    let (peers, idle) = flood.connect_all();
    HEAP.reset_peak_usage();
    let data = vec![7; 1 << 16];
    let (mut sent, mut refused) = (0u64, 0);
    for peer in &peers {
        match flood.table.send(flood.now, peer.id, &[IoSlice::new(&data)]) {
            Ok(n) => sent += n as u64,
            Err(SendError::WouldBlock) => refused += 1,
            Err(error) => panic!("{error}"),
        }
        flood.transmit();
    }
    // They had their shares, and what was left went to who came first.
    assert!(sent > BUDGET / 2, "{sent} bytes were taken");
    assert!(refused > CONNECTIONS / 2, "{refused} were refused");
    assert!(flood.table.budget().granted_bytes() <= BUDGET + (64 << 10));
    let taken = flood.most() - idle;
    assert!(taken <= BUDGET as usize + SLACK, "{taken} bytes of memory");
    // A newcomer is not heard, and one of ours that ends gives back what it held.
    assert!(flood.connect(CONNECTIONS).is_none());
    for peer in &peers[..CONNECTIONS / 2] {
        flood.table.close(flood.now, peer.id, Linger::Abort);
        flood.transmit();
    }
    assert!(flood.connect(CONNECTIONS).is_some());
}

#[test]
fn senders_on_100_000_connections_that_nobody_reads_stay_within_the_budget() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut flood = Flood::new();
    let (mut peers, idle) = flood.connect_all();
    HEAP.reset_peak_usage();
    let data = Bytes::from(vec![7; usize::from(MSS) - 12]);
    let (mut taken, mut refused) = (0u64, 0);
    for _ in 0..2 {
        for peer in &mut peers {
            match flood.send(peer, &data) {
                true => taken += data.len() as u64,
                false => refused += 1,
            }
        }
    }
    assert!(taken > BUDGET / 2, "{taken} bytes were taken");
    assert!(refused > CONNECTIONS, "{refused} were refused");
    assert!(flood.table.budget().granted_bytes() <= BUDGET);
    let memory = flood.most() - idle;
    assert!(memory <= BUDGET as usize + SLACK, "{memory} bytes of memory");
    assert!(flood.table.counters().prune_calls > 0);
}
