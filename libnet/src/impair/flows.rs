//! A queue for each flow, served in turn, each kept short by CoDel: FQ-CoDel (RFC 8290).

use std::collections::VecDeque;
use std::hash::Hasher as _;

use siphasher::sip::SipHasher13;

use super::codel::{CoDel, Fifo, Picked, Waiting};
use crate::link::Medium;
use crate::packet::Packet;
use crate::time::Instant;

/// The queues of all flows.
///
/// ```text
///  new flows  ┌─┐ ┌─┐         served first, each for a quantum of bytes
///             └─┘ └─┘
///  old flows  ┌───┐ ┌─┐ ┌──┐  then these, in turn
///             └───┘ └─┘ └──┘
/// ```
pub(super) struct FlowQueues {
    flows: Vec<Flow>,
    new: VecDeque<u16>,
    old: VecDeque<u16>,
    frames: usize,
    bytes: u64,
    keys: (u64, u64),
    medium: Medium,
    /// Bytes of the longest frame, and of a turn (§5.2.4).
    quantum: usize,
}

#[derive(Default)]
struct Flow {
    queue: Fifo,
    codel: CoDel,
    /// Bytes that it may still send in this turn.
    credit: i64,
    /// It is in one of the lists.
    is_listed: bool,
}

/// §5.2.5: queues that flows are hashed into.
const FLOWS: u64 = 1_024;
/// §4.1: frames that the fattest flow loses at a time, at most.
const SHED_AT_ONCE: usize = 64;

impl FlowQueues {
    /// Flows are told apart by a hash that `seed` makes nobody's guess.
    pub(super) fn new(seed: &[u8; 32], medium: Medium, quantum: usize) -> Box<Self> {
        let word = |at: usize| seed[at..at + 8].iter().fold(0, |word, b| word << 8 | u64::from(*b));
        Box::new(FlowQueues {
            flows: (0..FLOWS).map(|_| Flow::default()).collect(),
            new: VecDeque::new(),
            old: VecDeque::new(),
            frames: 0,
            bytes: 0,
            keys: (word(0), word(8)),
            medium,
            quantum,
        })
    }

    /// A frame waits; says whether one of another flow does, so that they share the wire.
    pub(super) fn push(&mut self, waiting: Waiting) -> bool {
        let number = self.flow_of(&waiting.frame);
        let flow = &mut self.flows[usize::from(number)];
        let is_shared = self.frames > flow.queue.len();
        self.frames += 1;
        self.bytes += waiting.frame.len() as u64;
        flow.queue.push(waiting);
        if !flow.is_listed {
            (flow.is_listed, flow.credit) = (true, self.quantum as i64);
            self.new.push_back(number);
        }
        is_shared
    }

    /// Takes the next frame that may go onto the wire at `now` (§4.2).
    pub(super) fn pop(&mut self, now: Instant, picked: &mut Picked) -> Option<Waiting> {
        loop {
            let (number, is_new) = match self.new.front() {
                Some(number) => (*number, true),
                None => (*self.old.front()?, false),
            };
            let flow = &mut self.flows[usize::from(number)];
            if flow.credit <= 0 {
                flow.credit += self.quantum as i64;
                self.turn(is_new);
                continue;
            }
            let next = flow.codel.pop(now, self.quantum, &mut flow.queue, picked);
            self.settle(picked);
            let Some(next) = next else {
                self.leave(is_new);
                continue;
            };
            self.count_out(&next.frame);
            self.flows[usize::from(number)].credit -= next.frame.len() as i64;
            return Some(next);
        }
    }

    /// Takes the next frame in turn, whatever CoDel would say of it.
    pub(super) fn pop_any(&mut self) -> Option<Waiting> {
        loop {
            let list = if self.new.is_empty() { &mut self.old } else { &mut self.new };
            let number = usize::from(*list.front()?);
            if let Some(waiting) = self.flows[number].queue.pop() {
                self.count_out(&waiting.frame);
                return Some(waiting);
            }
            list.pop_front();
            self.flows[number].is_listed = false;
        }
    }

    /// Drops half of the frames of the flow with the most bytes, the oldest first, 64 at most (§4.1).
    pub(super) fn shed(&mut self) -> Vec<Packet> {
        let Some(fattest) = (0..self.flows.len()).max_by_key(|n| self.flows[*n].queue.bytes())
        else {
            return Vec::new();
        };
        let count = self.flows[fattest].queue.len().div_ceil(2).min(SHED_AT_ONCE);
        let mut shed = Vec::with_capacity(count);
        for _ in 0..count {
            let Some(waiting) = self.flows[fattest].queue.pop() else { break };
            self.count_out(&waiting.frame);
            shed.push(waiting.frame);
        }
        shed
    }

    pub(super) const fn len(&self) -> usize {
        self.frames
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// When some frame that waits came.
    pub(super) fn some_since(&self) -> Option<Instant> {
        let listed = self.new.iter().chain(&self.old);
        listed.filter_map(|n| self.flows[usize::from(*n)].queue.first_since()).next()
    }

    /// The first of a list goes to the end of the old flows.
    fn turn(&mut self, is_new: bool) {
        let first = if is_new { self.new.pop_front() } else { self.old.pop_front() };
        self.old.extend(first);
    }

    /// An empty flow leaves; a new one waits a round first, so that it cannot come back at once and
    /// be first again (§4.2).
    fn leave(&mut self, is_new: bool) {
        if is_new {
            self.turn(true);
        } else if let Some(number) = self.old.pop_front() {
            self.flows[usize::from(number)].is_listed = false;
        }
    }

    /// Counts out what CoDel dropped since `picked` was last looked at.
    fn settle(&mut self, picked: &mut Picked) {
        for at in picked.settled..picked.dropped.len() {
            self.count_out(&picked.dropped[at]);
        }
        picked.settled = picked.dropped.len();
    }

    fn count_out(&mut self, frame: &Packet) {
        self.frames -= 1;
        self.bytes -= frame.len() as u64;
    }

    fn flow_of(&self, frame: &Packet) -> u16 {
        let mut head = [0; 14 + 60 + 4];
        let len = frame.copy_to(0, &mut head);
        let mut hasher = SipHasher13::new_with_keys(self.keys.0, self.keys.1);
        hash_flow(&head[..len], self.medium, &mut hasher);
        (hasher.finish() % FLOWS) as u16
    }
}

/// §4.1: addresses, protocol and ports; of fragments no ports, of what is not IP the link's addresses.
fn hash_flow(head: &[u8], medium: Medium, hasher: &mut SipHasher13) {
    let (link, ip) = match medium {
        Medium::Ethernet => head.split_at(head.len().min(14)),
        Medium::Ip => head.split_at(0),
    };
    let is_ip = |ethertype: [u8; 2]| medium == Medium::Ip || link.get(12..14) == Some(&ethertype);
    match ip.first().map(|first| first >> 4) {
        Some(4) if ip.len() >= 20 && is_ip([0x08, 0x00]) => {
            hasher.write(&ip[9..10]);
            hasher.write(&ip[12..20]);
            let is_fragment = u16::from_be_bytes([ip[6], ip[7]]) & 0x3fff != 0;
            let ports = usize::from(ip[0] & 15) * 4;
            if !is_fragment {
                hash_ports(ip[9], ip.get(ports..ports + 4), hasher);
            }
        }
        Some(6) if ip.len() >= 40 && is_ip([0x86, 0xdd]) => {
            hasher.write(&ip[6..7]);
            hasher.write(&ip[8..40]);
            hash_ports(ip[6], ip.get(40..44), hasher);
        }
        _ => hasher.write(link),
    }
}

/// TCP, UDP, DCCP, SCTP and UDP-Lite begin with their ports.
fn hash_ports(protocol: u8, ports: Option<&[u8]>, hasher: &mut SipHasher13) {
    if matches!(protocol, 6 | 17 | 33 | 132 | 136) {
        hasher.write(ports.unwrap_or_default());
    }
}
