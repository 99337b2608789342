use std::collections::VecDeque;
use std::task::Waker;

use bytes::Bytes;

use super::*;
use crate::driver::Driver;
use crate::engine::{EngineConfig, Steer, Wakes};
use crate::iface::{IfaceConfig, Interface};
use crate::link::Link;
use crate::packet::Packet;
use crate::pair::{PairConfig, PairLink, pair};
use crate::stats::DropCounters;
use crate::wake::{Ready, WakeSet};

const IFACE: IfIndex = IfIndex(2);

/// A stack that hands over what comes in, and sends what it is given.
#[derive(Default)]
struct Mailbox {
    inbox: VecDeque<Bytes>,
    outbox: VecDeque<Packet>,
    waiting: WakeSet,
    wakes: Vec<Waker>,
    alarm: Option<Instant>,
    alarms: usize,
}

impl StackCore for Mailbox {
    fn handle_input(&mut self, _: Instant, _: IfIndex, frames: &mut Vec<Packet>) {
        self.inbox.extend(frames.drain(..).map(|frame| frame.to_bytes()));
        self.waiting.collect(Ready::READABLE, &mut self.wakes);
    }

    fn poll_transmit(
        &mut self,
        _: Instant,
        _: IfIndex,
        budget: usize,
        out: &mut VecDeque<Packet>,
    ) -> bool {
        let n = budget.min(self.outbox.len());
        out.extend(self.outbox.drain(..n));
        !self.outbox.is_empty()
    }

    fn poll_pending(&self, out: &mut Vec<IfIndex>) {
        if !self.outbox.is_empty() {
            out.push(IFACE);
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.alarm
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.alarm.is_some_and(|at| at <= now) {
            self.alarm = None;
            self.alarms += 1;
            self.waiting.collect(Ready::READABLE, &mut self.wakes);
        }
    }

    fn poll_wakes(&mut self, out: &mut Wakes) {
        out.extend(self.wakes.drain(..));
    }

    fn poll_handoff(&mut self, _: &mut Vec<(IfIndex, Packet)>) {}
}

struct One;

impl Steer for One {
    fn steer(&self, _: &Interface, _: &Packet) -> u64 {
        0
    }
}

/// An engine over one end of a wire, with its threads.
struct End {
    engine: Arc<Engine<Mailbox>>,
    driver: Arc<ThreadDriver>,
    waiting: WakeSet,
    _threads: Threads,
}

impl End {
    fn new(link: PairLink) -> Self {
        let driver = ThreadDriver::new();
        let waiting = WakeSet::new();
        let core = Mailbox { waiting: waiting.clone(), ..Mailbox::default() };
        let engine = Arc::new(Engine::new(
            vec![core],
            Box::new(One),
            Arc::new(DropCounters::new()),
            driver.clone(),
            EngineConfig::default(),
        ));
        let info = link.info();
        let config = IfaceConfig::new(info.mtu);
        let iface = Interface::new(IFACE, "pair0".to_owned(), info, config);
        let (queues, control) = Box::new(link).start().unwrap();
        engine.add_interface(Arc::new(iface), queues, control).unwrap();
        let threads = Threads::start(driver.clone(), &engine).unwrap();
        End { engine, driver, waiting, _threads: threads }
    }

    fn send(&self, text: &[u8]) {
        let packet = Packet::from_payload(Bytes::copy_from_slice(text));
        self.engine.with_shard(0, |core, _| core.outbox.push_back(packet));
    }

    /// Blocks until `take` gives something.
    fn wait_for<T>(&self, mut take: impl FnMut(&mut Mailbox) -> Option<T>) -> T {
        let signal = Signal::new();
        let _registration = self.waiting.register(Ready::READABLE, &signal.waker());
        loop {
            if let Some(taken) = self.engine.with_shard(0, |core, _| take(core)) {
                return taken;
            }
            self.driver.wait(&signal, None).unwrap();
        }
    }

    fn recv(&self) -> Bytes {
        self.wait_for(|core| core.inbox.pop_front())
    }
}

fn ends() -> (End, End) {
    let (a, b) = pair(&PairConfig::default());
    (End::new(a), End::new(b))
}

#[test]
fn every_question_is_answered_while_callers_and_driver_hand_the_link_over() {
    let (a, b) = ends();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..5_000 {
                let question = b.recv();
                b.send(&question);
            }
        });
        for i in 0..5_000u32 {
            a.send(&i.to_be_bytes());
            assert_eq!(&a.recv()[..], i.to_be_bytes());
        }
    });
}

#[test]
fn many_callers_blocked_at_once_all_get_theirs() {
    let (a, b) = ends();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..1_000).for_each(|_| drop(a.recv())));
        }
        for _ in 0..4_000 {
            b.send(b"one");
        }
    });
}

#[test]
fn a_deadline_is_served_while_a_caller_holds_the_link() {
    let (a, _b) = ends();
    for _ in 0..20 {
        a.engine.with_shard(0, |core, now| core.alarm = Some(now + Duration::from_millis(3)));
        a.wait_for(|core| (core.alarm.is_none()).then_some(()));
    }
    assert_eq!(a.engine.with_shard(0, |core, _| core.alarms), 20);
}

#[test]
fn a_wait_with_a_deadline_ends_without_a_signal() {
    let (a, _b) = ends();
    let deadline = a.driver.now() + Duration::from_millis(2);
    assert!(!a.driver.wait(&Signal::new(), Some(deadline)).unwrap());
    assert!(a.driver.now() >= deadline);
}

/// A waker that blocks the first time it is fired on `victim`, until it is let go.
struct Blocks {
    victim: std::thread::ThreadId,
    blocked: AtomicBool,
    gate: Mutex<std::sync::mpsc::Receiver<()>>,
}

impl std::task::Wake for Blocks {
    fn wake(self: Arc<Self>) {
        if std::thread::current().id() == self.victim && !self.blocked.swap(true, Ordering::SeqCst)
        {
            let gate = self.gate.lock().unwrap();
            let _ = gate.recv_timeout(Duration::from_secs(60));
        }
    }
}

#[test]
fn a_caller_stuck_in_a_foreign_waker_loses_the_link() {
    let (a, b) = ends();
    std::thread::scope(|scope| {
        let (let_go, gate) = std::sync::mpsc::channel();
        let (told, ids) = std::sync::mpsc::channel();
        let (a, b) = (&a, &b);
        scope.spawn(move || {
            told.send(std::thread::current().id()).unwrap();
            // Until it has been the one on the link and got stuck; and once more.
            while a.recv() != "end" {
                b.send(b"next");
            }
        });
        let victim = ids.recv().unwrap();
        let blocks =
            Arc::new(Blocks { victim, blocked: AtomicBool::new(false), gate: Mutex::new(gate) });
        let _registration = a.waiting.register(Ready::READABLE, &Waker::from(Arc::clone(&blocks)));
        b.send(b"next");
        while !blocks.blocked.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        b.send(b"two");
        a.wait_for(|core| core.inbox.iter().position(|text| text == "two"));
        let_go.send(()).unwrap();
        b.send(b"end");
    });
}
