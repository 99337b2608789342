//! The frames in front of the wire, whatever discipline they are under.

use super::codel::{CoDel, Fifo, Picked, Waiting};
use super::config::Discipline;
use super::flows::FlowQueues;
use super::red::Red;
use crate::link::Medium;
use crate::packet::Packet;
use crate::time::Instant;

pub(super) struct Queue {
    fifo: Fifo,
    codel: CoDel,
    pub(super) red: Red,
    /// In place of `fifo`, with [`Discipline::FqCoDel`].
    flows: Option<Box<FlowQueues>>,
    /// Frames of several flows have waited at a time.
    has_shared: bool,
    seed: [u8; 32],
    medium: Medium,
    longest_frame: usize,
}

impl Queue {
    pub(super) fn new(seed: [u8; 32], medium: Medium, longest_frame: usize) -> Self {
        let (fifo, codel, red) = (Fifo::default(), CoDel::default(), Red::default());
        Queue { fifo, codel, red, flows: None, has_shared: false, seed, medium, longest_frame }
    }

    /// Flows are told apart by another seed.
    pub(super) fn reseed(&mut self, seed: [u8; 32]) {
        self.seed = seed;
        if self.sheds() {
            self.set_discipline(Discipline::Fifo);
            self.set_discipline(Discipline::FqCoDel);
        }
    }

    /// What waits comes under another discipline.
    pub(super) fn set_discipline(&mut self, discipline: Discipline) {
        let has_flows = discipline == Discipline::FqCoDel;
        if has_flows == self.flows.is_some() {
            return;
        }
        if has_flows {
            let mut flows = FlowQueues::new(&self.seed, self.medium, self.longest_frame);
            while let Some(waiting) = self.fifo.pop() {
                self.has_shared |= flows.push(waiting);
            }
            self.flows = Some(flows);
        } else if let Some(mut flows) = self.flows.take() {
            while let Some(waiting) = flows.pop_any() {
                self.fifo.push(waiting);
            }
        }
    }

    pub(super) fn push(&mut self, waiting: Waiting) {
        match &mut self.flows {
            Some(flows) => self.has_shared |= flows.push(waiting),
            None => self.fifo.push(waiting),
        }
    }

    /// The next frame for the wire, which takes it at `begins`.
    pub(super) fn pop(
        &mut self,
        begins: Instant,
        discipline: Discipline,
        picked: &mut Picked,
    ) -> Option<Waiting> {
        match (&mut self.flows, discipline) {
            (Some(flows), _) => flows.pop(begins, picked),
            (None, Discipline::CoDel | Discipline::Ecn) => {
                self.codel.pop(begins, self.longest_frame, &mut self.fifo, picked)
            }
            (None, _) => self.fifo.pop(),
        }
    }

    /// Makes room at the expense of the flow that takes most of it; nothing if there are no flows.
    pub(super) fn shed(&mut self) -> Vec<Packet> {
        self.flows.as_mut().map(|flows| flows.shed()).unwrap_or_default()
    }

    /// Is a frame that comes taken always, and room made by [`shed`](Self::shed)?
    pub(super) const fn sheds(&self) -> bool {
        self.flows.is_some()
    }

    /// Have flows ever shared the wire, each in its turn?
    pub(super) const fn has_shared(&self) -> bool {
        self.has_shared
    }

    pub(super) fn len(&self) -> usize {
        self.flows.as_ref().map_or(self.fifo.len(), |flows| flows.len())
    }

    pub(super) fn bytes(&self) -> u64 {
        self.flows.as_ref().map_or(self.fifo.bytes(), |flows| flows.bytes())
    }

    /// When a frame that waits came.
    pub(super) fn first_since(&self) -> Option<Instant> {
        self.flows.as_ref().map_or_else(|| self.fifo.first_since(), |flows| flows.some_since())
    }
}
