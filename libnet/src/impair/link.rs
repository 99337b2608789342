//! Puts impairments between a stack and any link of its, while both run.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::line::Line;
use super::{Impair, ImpairStats, Impairments, Schedule, Way};
use crate::landing::Landing;
use crate::link::{LinkInfo, LinkQueue, LinkRx, LinkTx, Pace, Readiness};
use crate::packet::Packet;
use crate::sync::lock;
use crate::time::Instant;

/// What a link's frames meet, in each direction.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct ImpairConfig {
    /// What is done to frames that are sent; a schedule begins with the interface.
    pub out: Schedule,
    /// What is done to frames that are received.
    pub received: Schedule,
    /// What becomes of each frame is a function of this, of the frames, and of when they come.
    /// `None`: of the stack's own seed.
    pub seed: Option<[u8; 32]>,
    /// Frames under way at a time, in one direction, at most. Past it senders wait, and what is
    /// received is dropped and counted.
    pub max_delayed_frames: usize,
    /// Their bytes at most.
    pub max_delayed_bytes: usize,
}

impl ImpairConfig {
    /// What is done in one direction.
    pub const fn way(&self, way: Way) -> &Schedule {
        match way {
            Way::Out => &self.out,
            Way::In => &self.received,
        }
    }

    /// Sets what is done in one direction.
    pub fn set_way(&mut self, way: Way, impairments: impl Into<Schedule>) {
        match way {
            Way::Out => self.out = impairments.into(),
            Way::In => self.received = impairments.into(),
        }
    }
}

impl Default for ImpairConfig {
    /// No harm; 65,536 frames and 64 MiB, once they are delayed.
    fn default() -> Self {
        ImpairConfig {
            out: Schedule::default(),
            received: Schedule::default(),
            seed: None,
            max_delayed_frames: 65_536,
            max_delayed_bytes: 64 << 20,
        }
    }
}

/// Harms the frames of a running link as it is told: the handle. Clones are the same link's.
#[derive(Clone)]
pub struct Impairer {
    ways: Arc<[WayLine; 2]>,
}

/// One direction of a link.
struct WayLine {
    /// Frames go through the line; while not they pass by it.
    is_active: AtomicBool,
    /// Guards what is under way. Rank: a link's own lock, a leaf.
    line: Mutex<Line>,
}

impl Impairer {
    /// Stands between the queues of a link and whoever uses them. A device's queues share one
    /// line, so that a rate is the device's. Schedules begin `now`.
    pub fn wrap(
        now: Instant,
        config: &ImpairConfig,
        info: &LinkInfo,
        queues: Vec<LinkQueue>,
    ) -> (Impairer, Vec<LinkQueue>) {
        let ways = Way::BOTH.map(|way| {
            let mut seed = config.seed.unwrap_or_default();
            seed[31] ^= way as u8;
            let mut impair = Impair::new(config.way(way).clone(), info, seed);
            impair.begin(now);
            let line = Line::new(impair, config.max_delayed_frames, config.max_delayed_bytes);
            let is_active = AtomicBool::new(!config.way(way).is_none());
            WayLine { is_active, line: Mutex::new(line) }
        });
        let impairer = Impairer { ways: Arc::new(ways) };
        let wrap = |queue: LinkQueue| LinkQueue {
            rx: Box::new(ImpairedRx {
                link: queue.rx,
                impairer: impairer.clone(),
                batch: Vec::new(),
                arrived: VecDeque::new(),
                due: None,
            }),
            tx: Box::new(ImpairedTx {
                link: queue.tx,
                impairer: impairer.clone(),
                arrived: VecDeque::new(),
                pace: None,
            }),
        };
        let queues = queues.into_iter().map(wrap).collect();
        (impairer, queues)
    }

    /// Changes what is done in one direction from now on. Frames that are in flight arrive when
    /// they would have; those that wait for the wire go by the new rate. Whoever drives the link
    /// is to look at it again. A schedule begins `now`.
    pub fn set(&self, now: Instant, way: Way, impairments: impl Into<Schedule>) {
        let own = self.way(way);
        let mut line = lock(&own.line);
        line.impair.configure(impairments);
        line.impair.begin(now);
        own.is_active.store(true, Ordering::Release);
    }

    /// Begins the chances of one direction again, from `seed`: as many frames meet with the same.
    pub fn reseed(&self, way: Way, seed: [u8; 32]) {
        lock(&self.way(way).line).impair.reseed(seed);
    }

    /// What is done in one direction to a frame that comes `now`.
    pub fn get(&self, now: Instant, way: Way) -> Impairments {
        lock(&self.way(way).line).impair.config_at(now).clone()
    }

    /// What was done in one direction so far. Frames that passed while there was nothing to do to
    /// them are not counted.
    pub fn stats(&self, way: Way) -> ImpairStats {
        lock(&self.way(way).line).impair.stats()
    }

    /// Names the faults that were asked for and never fired, with their direction in front:
    /// `out.loss`.
    pub fn unfired(&self) -> Vec<String> {
        let of = |way: Way| {
            let unfired = lock(&self.way(way).line).impair.unfired();
            unfired.into_iter().map(move |what| format!("{}.{what}", way.name()))
        };
        Way::BOTH.into_iter().flat_map(of).collect()
    }

    fn way(&self, way: Way) -> &WayLine {
        &self.ways[way as usize]
    }
}

impl fmt::Debug for Impairer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = |way| lock(&self.way(way).line).impair.config().clone();
        f.debug_struct("Impairer")
            .field("out", &last(Way::Out))
            .field("in", &last(Way::In))
            .finish()
    }
}

impl WayLine {
    /// Do frames pass by?
    fn is_passive(&self) -> bool {
        !self.is_active.load(Ordering::Acquire)
    }

    /// Lets frames pass by from now on, if nothing is done to them and none is under way. Called
    /// under the line's lock, as is whatever makes it active.
    fn rest(&self, line: &Line) -> bool {
        let is_none = line.impair.config().is_none() && line.impair.is_settled();
        let can_rest = is_none && line.is_idle();
        if can_rest {
            self.is_active.store(false, Ordering::Release);
        }
        can_rest
    }
}

struct ImpairedTx {
    link: Box<dyn LinkTx>,
    impairer: Impairer,
    /// Through the line, and not yet taken by the link.
    arrived: VecDeque<Packet>,
    pace: Option<Pace>,
}

impl ImpairedTx {
    fn through_line(&mut self, now: Instant, queue: &mut VecDeque<Packet>) -> io::Result<usize> {
        self.pass_on(now, queue)?;
        // A link that is full gets no more than what is under way to it already.
        let is_full = !self.arrived.is_empty();
        let own = self.impairer.way(Way::Out);
        let mut line = lock(&own.line);
        line.arrived(now, &mut self.arrived);
        let mut taken = 0;
        while !is_full
            && line.has_room(now)
            && let Some(packet) = queue.pop_front()
        {
            line.take(now, packet);
            line.arrived(now, &mut self.arrived);
            taken += 1;
        }
        let rests = own.rest(&line);
        let due = line.next_at();
        drop(line);
        self.pass_on(now, queue)?;
        let wants_room = !self.arrived.is_empty();
        self.pace = (!rests || wants_room).then_some(Pace { due, wants_room });
        Ok(taken)
    }

    /// Gives the link what has come through. What it fails with is lost: all that waits here.
    fn pass_on(&mut self, now: Instant, queue: &mut VecDeque<Packet>) -> io::Result<()> {
        if self.arrived.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.link.send(now, &mut self.arrived) {
            queue.append(&mut self.arrived);
            self.pace = None;
            return Err(error);
        }
        Ok(())
    }
}

impl LinkTx for ImpairedTx {
    fn send(&mut self, now: Instant, queue: &mut VecDeque<Packet>) -> io::Result<usize> {
        if self.impairer.way(Way::Out).is_passive() && self.arrived.is_empty() {
            self.pace = None;
            return self.link.send(now, queue);
        }
        self.through_line(now, queue)
    }

    fn readiness(&self) -> Readiness {
        self.link.readiness()
    }

    fn pace(&self) -> Option<Pace> {
        self.pace
    }
}

struct ImpairedRx {
    link: Box<dyn LinkRx>,
    impairer: Impairer,
    batch: Vec<Packet>,
    /// Through the line, and more than was asked for.
    arrived: VecDeque<Packet>,
    due: Option<Instant>,
}

impl LinkRx for ImpairedRx {
    fn recv(
        &mut self,
        now: Instant,
        budget: usize,
        sink: &mut Vec<Packet>,
        landing: Option<&mut Landing<'_>>,
    ) -> io::Result<usize> {
        let own = self.impairer.way(Way::In);
        if own.is_passive() && self.arrived.is_empty() {
            self.due = None;
            return self.link.recv(now, budget, sink, landing);
        }
        let received = match self.arrived.len() < budget {
            true => self.link.recv(now, budget, &mut self.batch, None),
            false => Ok(0),
        };
        let mut line = lock(&own.line);
        for packet in self.batch.drain(..) {
            line.take(now, packet);
        }
        line.arrived(now, &mut self.arrived);
        own.rest(&line);
        self.due = line.next_at();
        drop(line);
        received?;
        let n = budget.min(self.arrived.len());
        sink.extend(self.arrived.drain(..n));
        Ok(n)
    }

    fn readiness(&self) -> Readiness {
        self.link.readiness()
    }

    fn due(&self) -> Option<Instant> {
        self.due
    }
}
