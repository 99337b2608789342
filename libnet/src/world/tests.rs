//! Small stacks that send, echo and count, in worlds.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;

use bytes::Bytes;

use super::*;
use crate::capture::{CaptureTap, Direction};
use crate::driver::Driver;
use crate::engine::{Engine, EngineConfig, StackCore, Steer, Wakes};
use crate::ethernet::{EtherType, EthernetHeader, MacAddr};
use crate::iface::{IfIndex, IfaceConfig, Interface};
use crate::impair::{Fault, Impairments, QueueLimit, Which};
use crate::link::{Link, RxFilter};
use crate::loopback::Loopback;
use crate::packet::Packet;
use crate::pair::{PairConfig, pair};
use crate::stats::DropCounters;

mod impaired;
mod recorded;

const MS: Duration = Duration::from_millis(1);
const PING: EtherType = EtherType(0x88b5);
const PONG: EtherType = EtherType(0x88b6);

/// A stack that answers pings, keeps pongs, and may send a ping each millisecond.
pub(crate) struct Node {
    mac: MacAddr,
    out: VecDeque<(IfIndex, Packet)>,
    got: Vec<(Instant, MacAddr, Bytes)>,
    waker: Option<Waker>,
    /// Frames to have before the waker fires.
    wanted: usize,
    /// Pings left to send on the timer, to whom, and when the next is due.
    pings: u32,
    to: MacAddr,
    due: Option<Instant>,
}

impl Node {
    /// Queues pings to a station.
    pub(crate) fn ping(&mut self, to: MacAddr, count: usize) {
        (0..count).for_each(|_| self.send(to, PING, Bytes::from_static(b"x")));
    }

    /// Have `count` frames come? The waker fires when they have.
    pub(crate) fn has_got(&mut self, count: usize, waker: Waker) -> bool {
        self.waker = Some(waker);
        self.wanted = count;
        self.got.len() >= count
    }

    fn send(&mut self, dst: MacAddr, ethertype: EtherType, payload: Bytes) {
        let mut packet = Packet::from_payload(payload);
        EthernetHeader { dst, src: self.mac, ethertype }.prepend_to(&mut packet);
        self.out.push_back((IfIndex(2), packet));
    }
}

impl StackCore for Node {
    fn handle_input(&mut self, now: Instant, _iface: IfIndex, frames: &mut Vec<Packet>) {
        for packet in frames.drain(..) {
            let bytes = packet.to_bytes();
            let Some(header) = EthernetHeader::parse(&bytes) else { continue };
            if header.ethertype == PING {
                self.send(header.src, PONG, bytes.slice(14..));
            }
            self.got.push((now, header.src, bytes.slice(14..)));
        }
    }

    fn poll_transmit(
        &mut self,
        _now: Instant,
        iface: IfIndex,
        budget: usize,
        out: &mut VecDeque<Packet>,
    ) -> bool {
        for _ in 0..budget {
            if self.out.front().is_none_or(|(index, _)| *index != iface) {
                return false;
            }
            out.extend(self.out.pop_front().map(|(_, packet)| packet));
        }
        self.out.front().is_some_and(|(index, _)| *index == iface)
    }

    fn poll_pending(&self, out: &mut Vec<IfIndex>) {
        out.extend(self.out.front().map(|(iface, _)| *iface));
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.due.is_some_and(|at| at <= now) && self.pings > 0 {
            self.pings -= 1;
            self.send(self.to, PING, Bytes::from(vec![self.pings as u8; 100]));
            self.due = (self.pings > 0).then(|| now + MS);
        }
    }

    fn poll_wakes(&mut self, out: &mut Wakes) {
        if self.got.len() >= self.wanted {
            out.extend(self.waker.take());
        }
    }

    fn poll_handoff(&mut self, _out: &mut Vec<(IfIndex, Packet)>) {}
}

struct ByNothing;

impl Steer for ByNothing {
    fn steer(&self, _iface: &Interface, _packet: &Packet) -> u64 {
        0
    }
}

/// A node on a driver, with one interface.
pub(crate) fn engine(driver: Arc<dyn Driver>, link: impl Link + 'static) -> Arc<Engine<Node>> {
    let info = link.info();
    let node = Node {
        mac: info.mac,
        out: VecDeque::new(),
        got: Vec::new(),
        waker: None,
        wanted: 1,
        pings: 0,
        to: MacAddr::BROADCAST,
        due: None,
    };
    let drops = Arc::new(DropCounters::new());
    let engine =
        Engine::new(vec![node], Box::new(ByNothing), drops, driver, EngineConfig::default());
    let config = IfaceConfig::new(info.mtu);
    let iface = Interface::new(IfIndex(2), "if0".to_owned(), info, config);
    let (queues, control) = Box::new(link).start().unwrap();
    engine.add_interface(Arc::new(iface), queues, control).unwrap();
    Arc::new(engine)
}

/// A node in a world, with a receive call that blocks.
#[derive(Clone)]
struct Stack {
    engine: Arc<Engine<Node>>,
    driver: Arc<HostDriver>,
}

impl Stack {
    fn new(world: &World, name: &str, link: impl Link + 'static) -> Stack {
        let driver = world.host(name);
        let engine = engine(driver.clone(), link);
        driver.attach(&engine).unwrap();
        Stack { engine, driver }
    }

    fn mac(&self) -> MacAddr {
        self.engine.with_shard(0, |node, _| node.mac)
    }

    fn ping(&self, to: MacAddr, payload: &'static [u8]) {
        self.engine.with_shard(0, |node, _| node.send(to, PING, Bytes::from_static(payload)));
    }

    fn ping_on_timer(&self, to: MacAddr, count: u32) {
        self.engine.with_shard(0, |node, now| {
            (node.pings, node.to, node.due) = (count, to, Some(now + MS));
        });
    }

    fn got(&self) -> Vec<(Instant, MacAddr, Bytes)> {
        self.engine.with_shard(0, |node, _| std::mem::take(&mut node.got))
    }

    /// Blocks until something was received.
    fn recv(&self) -> std::io::Result<Vec<(Instant, MacAddr, Bytes)>> {
        let signal = Signal::new();
        loop {
            let got = self.engine.with_shard(0, |node, _| {
                node.waker = Some(signal.waker());
                std::mem::take(&mut node.got)
            });
            if !got.is_empty() {
                return Ok(got);
            }
            self.driver.wait(&signal, None)?;
        }
    }
}

fn two(world: &World, impairments: Impairments) -> (Segment, Stack, Stack) {
    let segment = world.segment(LinkConfig::default().impairments(impairments));
    let a = Stack::new(world, "a", segment.next_link());
    let b = Stack::new(world, "b", segment.next_link());
    (segment, a, b)
}

#[test]
fn a_ping_is_answered_after_both_delays() {
    let world = World::new(1);
    let (_, a, b) = two(&world, Impairments::none().delay(MS * 3));
    a.ping(b.mac(), b"hello");
    assert!(a.got().is_empty(), "nothing happens before the world runs");
    world.run_for(MS * 10);
    let got = a.got();
    assert_eq!(got.len(), 1);
    assert_eq!(
        (got[0].0, got[0].1, &got[0].2[..]),
        (Instant::from_millis(6), b.mac(), &b"hello"[..])
    );
    assert_eq!(world.now(), Instant::from_millis(10));
}

#[test]
fn timers_fire_at_their_instants() {
    let world = World::new(1);
    let (_, a, b) = two(&world, Impairments::none());
    a.ping_on_timer(b.mac(), 3);
    world.run_for(MS * 2);
    assert_eq!(b.got().len(), 2);
    world.run_for(MS * 2);
    let at: Vec<u64> = b.got().iter().map(|(at, ..)| at.as_millis()).collect();
    assert_eq!(at, [3]);
}

#[test]
fn frames_go_where_their_address_says() {
    let world = World::new(1);
    let segment = world.segment(LinkConfig::default());
    let stacks: Vec<Stack> =
        (0..5).map(|i| Stack::new(&world, &format!("h{i}"), segment.next_link())).collect();
    let counts =
        |stacks: &[Stack]| -> Vec<usize> { stacks.iter().map(|s| s.got().len()).collect() };

    stacks[0].ping(stacks[3].mac(), b"one");
    world.run_for(MS);
    assert_eq!(counts(&stacks), [1, 0, 0, 1, 0], "a ping, and its pong");
    stacks[0].ping(MacAddr::BROADCAST, b"all");
    world.run_for(MS);
    assert_eq!(counts(&stacks), [4, 1, 1, 1, 1]);

    let group = MacAddr([1, 0, 0x5e, 0, 0, 5]);
    let filter = |stack: &Stack, filter: RxFilter| {
        stack.engine.set_filter(IfIndex(2), &filter).unwrap();
    };
    filter(&stacks[1], RxFilter { groups: vec![group], ..RxFilter::default() });
    filter(&stacks[2], RxFilter { all_multicast: true, ..RxFilter::default() });
    filter(&stacks[4], RxFilter { unknown_unicast: true, ..RxFilter::default() });
    stacks[0].ping(group, b"some");
    stacks[0].ping(MacAddr([2, 9, 9, 9, 9, 9]), b"nobody's");
    world.run_for(MS);
    assert_eq!(counts(&stacks), [3, 1, 1, 0, 1]);
    filter(&stacks[4], RxFilter { promiscuous: true, ..RxFilter::default() });
    stacks[0].ping(stacks[3].mac(), b"overheard");
    world.run_for(MS);
    assert_eq!(counts(&stacks)[4], 2, "ping and pong");
}

fn lossy_run(seed: u64) -> (u64, Vec<(Instant, MacAddr, Bytes)>) {
    let world = World::new(seed);
    let harm = Impairments::none()
        .delay(MS)
        .jitter(MS)
        .loss(0.1)
        .duplicate(0.1)
        .reorder(0.1)
        .corrupt(0.05);
    let (_, a, b) = two(&world, harm);
    a.ping_on_timer(b.mac(), 200);
    b.ping_on_timer(a.mac(), 200);
    world.run_for(Duration::from_secs(1));
    (world.trace_hash(), a.got())
}

#[test]
fn equal_seeds_give_equal_frames_and_other_seeds_do_not() {
    let (hash, got) = lossy_run(42);
    assert_eq!((hash, got), lossy_run(42));
    assert_ne!(hash, lossy_run(43).0);
}

#[test]
fn a_dropped_frame_is_counted_and_a_fault_that_never_fires_is_named() {
    let world = World::new(1);
    let (segment, a, b) = two(&world, Impairments::none());
    let second = segment.drop_nth(2, |frame| frame[12..14] == PING.0.to_be_bytes());
    segment.inject("no such frame", Which::Every, Fault::Drop, |_| false);
    a.ping_on_timer(b.mac(), 3);
    world.run_for(MS * 10);
    assert_eq!(b.got().len(), 2);
    assert_eq!(second.get(), 1);
    let unfired = world.unfired_faults();
    assert_eq!(unfired.len(), 1);
    assert!(unfired[0].contains("segment0: no such frame"), "{unfired:?}");
    assert!(world.report().contains("a fault never fired"));
    segment.clear_injected();
}

#[test]
fn impairments_change_while_the_world_runs() {
    let world = World::new(1);
    let segment = world.segment(LinkConfig::default());
    let (link_a, link_b) = (segment.next_link(), segment.next_link());
    let (port_a, port_b) = (link_a.port(), link_b.port());
    let (a, b) = (Stack::new(&world, "a", link_a), Stack::new(&world, "b", link_b));
    let pongs = |a: &Stack, b: &Stack| {
        a.ping(b.mac(), b"x");
        world.run_for(MS * 100);
        (a.got().len(), b.got().len())
    };
    assert_eq!(pongs(&a, &b), (1, 1));
    segment.impair(port_b, Way::In, Impairments::none().loss(1.0));
    assert_eq!(pongs(&a, &b), (0, 0));
    segment.impair(port_b, Way::In, Impairments::none().delay(MS * 200));
    assert_eq!(pongs(&a, &b), (0, 0));
    world.run_for(MS * 200);
    assert_eq!((a.got().len(), b.got().len()), (1, 1));
    segment.impair(port_b, Way::In, Impairments::none());
    segment.plug(port_a, Plug::Pulled);
    assert_eq!(pongs(&a, &b), (0, 0));
    segment.plug(port_a, Plug::In);
    segment.impair_all(Impairments::none().loss(1.0));
    assert_eq!(pongs(&a, &b), (0, 0));
    assert_eq!(segment.stats(port_b, Way::In).lost, 1);
    assert_eq!(segment.stats(port_a, Way::Out).lost, 1);
}

#[test]
fn a_slow_link_pushes_back_and_loses_nothing() {
    let world = World::new(1);
    let limit = QueueLimit { frames: 2, ..QueueLimit::default() };
    let (_, a, b) = two(&world, Impairments::none().rate(1_000_000).queue(limit));
    for _ in 0..500 {
        a.ping(b.mac(), &[0; 111]);
    }
    let counters = a.engine.interface(IfIndex(2)).unwrap();
    assert!(counters.counters.tx_waits.load(Ordering::Relaxed) > 0);
    // 125 bytes at 1 Mbit/s: one each millisecond.
    world.run_for(MS * 250);
    assert_eq!(b.got().len(), 250);
    world.run_for(MS * 250);
    assert_eq!(b.got().len(), 250);
}

#[test]
fn a_frame_sent_raw_reaches_its_station() {
    let world = World::new(1);
    let (segment, a, b) = two(&world, Impairments::none());
    let mut frame = Packet::from_payload(Bytes::from_static(b"forged"));
    EthernetHeader { dst: b.mac(), src: a.mac(), ethertype: PONG }.prepend_to(&mut frame);
    segment.send_raw(frame);
    world.run_for(MS);
    assert_eq!(b.got()[0].2, "forged");
}

#[test]
fn a_tap_sees_what_reaches_the_segment() {
    struct Count(AtomicUsize);
    impl CaptureTap for Count {
        fn frame(&self, _at: Instant, direction: Direction, packet: &Packet) {
            assert_eq!((direction, packet.len()), (Direction::Out, 114));
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let world = World::new(1);
    let (segment, a, b) = two(&world, Impairments::none());
    let tap = Arc::new(Count(AtomicUsize::new(0)));
    segment.tap(Arc::clone(&tap) as Arc<dyn CaptureTap>);
    a.ping_on_timer(b.mac(), 5);
    world.run_for(MS * 10);
    assert_eq!(tap.0.load(Ordering::Relaxed), 10);
}

#[test]
fn a_pair_works_in_a_world_and_pushes_back() {
    let world = World::new(1);
    let (a, b) = pair(&PairConfig { queue_frames: 4, ..PairConfig::default() });
    let (a, b) = (Stack::new(&world, "a", a), Stack::new(&world, "b", b));
    for _ in 0..300 {
        a.ping(b.mac(), b"x");
    }
    world.run_for(Duration::ZERO);
    assert_eq!((a.got().len(), b.got().len()), (300, 300));
}

#[test]
fn loopback_works_in_a_world_past_its_queue() {
    let world = World::new(1);
    let a = Stack::new(&world, "a", Loopback::default().queue_frames(2));
    a.engine.with_shard(0, |node, _| {
        for _ in 0..1_000 {
            node.send(MacAddr::ZERO, PONG, Bytes::from_static(b"me"));
        }
    });
    world.run_for(Duration::ZERO);
    assert_eq!(a.got().len(), 1_000);
}

#[test]
fn the_runner_blocks_by_running_the_world() {
    let world = World::new(1);
    let (_, a, b) = two(&world, Impairments::none().delay(MS * 5));
    a.ping(b.mac(), b"x");
    assert_eq!(a.recv().unwrap().len(), 1);
    assert_eq!(world.now(), Instant::from_millis(10));
    let signal = Signal::new();
    let until = world.now() + MS;
    assert!(!a.driver.wait(&signal, Some(until)).unwrap());
    assert_eq!(world.now(), until);
}

fn actors_run(seed: u64) -> (Vec<String>, u64) {
    let world = World::new(seed);
    let (_, a, b) = two(&world, Impairments::none().delay(MS));
    let log = Arc::new(Mutex::new(Vec::new()));
    let mut actors = Vec::new();
    for i in 0..4 {
        let (a, to, log, handle) = (a.clone(), b.mac(), Arc::clone(&log), world.handle());
        actors.push(world.spawn(&format!("actor{i}"), move || {
            for round in 0..3 {
                a.ping(to, b"x");
                log.lock().unwrap().push(format!("{i} round {round}"));
                handle.sleep(MS).unwrap();
            }
        }));
    }
    world.run();
    assert!(actors.iter().all(Actor::is_finished));
    actors.into_iter().for_each(Actor::join);
    let log = log.lock().unwrap().clone();
    (log, world.trace_hash())
}

#[test]
fn actors_run_in_an_order_that_the_seed_gives() {
    let runs: Vec<_> = (0..8).map(actors_run).collect();
    for (seed, run) in runs.iter().enumerate() {
        assert_eq!(*run, actors_run(seed as u64));
    }
    assert!(runs.iter().any(|run| run.0 != runs[0].0), "the order depends on the seed");
}

#[test]
fn actors_block_and_are_woken_in_virtual_time() {
    let world = World::new(3);
    let (_, a, b) = two(&world, Impairments::none().delay(MS * 7));
    let (client, to) = (a.clone(), b.mac());
    let client = world.spawn("client", move || {
        let mut rounds = 0;
        for _ in 0..10 {
            client.ping(to, b"x");
            rounds += client.recv().unwrap().len();
        }
        rounds
    });
    assert_eq!(client.join(), 10);
    assert_eq!(world.now(), Instant::from_millis(140));
}

#[test]
fn run_for_returns_when_all_it_woke_have_blocked_again() {
    let world = World::new(3);
    let (_, a, b) = two(&world, Impairments::none().delay(MS));
    let seen = Arc::new(AtomicUsize::new(0));
    let (count, server) = (Arc::clone(&seen), b.clone());
    let _server = world.spawn("server", move || {
        loop {
            count.fetch_add(server.recv().unwrap().len(), Ordering::Relaxed);
        }
    });
    a.ping(b.mac(), b"x");
    world.run_for(MS);
    assert_eq!(seen.load(Ordering::Relaxed), 1);
    // The server never ends: dropping the world unwinds it without a word.
}

#[test]
fn run_until_stops_at_the_event_that_made_it_true() {
    let world = World::new(3);
    let (_, a, b) = two(&world, Impairments::none().delay(MS));
    a.ping_on_timer(b.mac(), 10);
    let mut count = 0;
    let counted = || {
        count += b.got().len();
        count == 4
    };
    assert!(world.run_until(counted, Duration::from_secs(1)));
    assert_eq!(world.now(), Instant::from_millis(5));
    assert!(!world.run_until(|| false, MS * 20));
    assert_eq!(world.now(), Instant::from_millis(25));
}

#[test]
fn a_deadlock_says_who_waits() {
    let world = World::new(3);
    let (_, a, _b) = two(&world, Impairments::none());
    let waiter = a.clone();
    let actor = world.spawn("waiter", move || waiter.recv().map(drop));
    let error = a.recv().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::Deadlock);
    assert!(error.to_string().contains("`waiter` waits since"), "{error}");
    let joined = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| actor.join()));
    let message = *joined.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("`waiter` waits since"), "{message}");
}

#[test]
fn a_thread_that_is_not_registered_may_not_block() {
    let world = World::new(3);
    let (_, a, _b) = two(&world, Impairments::none());
    let stranger = std::thread::Builder::new().spawn(move || a.recv()).unwrap();
    let error = stranger.join().unwrap().unwrap_err();
    assert_eq!(error.raw_os_error(), Some(1), "EPERM");
}

#[test]
fn an_actors_panic_reaches_the_runner() {
    let world = World::new(3);
    let handle = world.handle();
    let actor = world.spawn("bad", move || {
        handle.sleep(MS).unwrap();
        assert_eq!(handle.now(), Instant::ZERO, "as it should");
    });
    let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.run()));
    assert!(ran.unwrap_err().downcast::<String>().unwrap().contains("as it should"));
    assert!(!actor.is_finished());
}

#[test]
fn actors_spawn_and_join_actors() {
    let world = World::new(3);
    let handle = world.handle();
    let outer = world.spawn("outer", move || {
        let inner_handle = handle.clone();
        let inner = handle.spawn("inner", move || {
            inner_handle.sleep(MS * 9).unwrap();
            9
        });
        inner.join() + 1
    });
    assert_eq!(outer.join(), 10);
    assert_eq!(world.now(), Instant::from_millis(9));
}

#[test]
fn a_dropped_stack_leaves_and_the_world_goes_on() {
    let world = World::new(1);
    let (_, a, b) = two(&world, Impairments::none());
    let to = b.mac();
    drop(b);
    a.ping(to, b"x");
    a.ping_on_timer(to, 3);
    world.run_for(MS * 10);
    assert!(a.got().is_empty());
    drop(world);
    a.ping(to, b"after the end");
    assert_eq!(a.driver.now(), Instant::from_millis(10));
}

#[test]
fn two_thousand_hosts_cost_what_the_active_ones_cost() {
    let world = World::new(1);
    let segment = world.segment(LinkConfig::default());
    let stacks: Vec<Stack> =
        (0..2_000).map(|_| Stack::new(&world, "h", segment.next_link())).collect();
    stacks[7].ping_on_timer(stacks[1_999].mac(), 100);
    world.run_for(MS * 200);
    assert_eq!(stacks[7].got().len(), 100);
    assert_eq!(world.frames(), 200);
}
