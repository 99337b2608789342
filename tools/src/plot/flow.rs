//! Connections of a capture: their segments with numbers that do not wrap, and what they tell.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::parse::Segment;

/// All connections, in the order in which they began.
#[derive(Debug, Default)]
pub(super) struct Flows {
    flows: Vec<Flow>,
    /// The last of a pair of ends, on an interface of the capture: a frame that passes two is one
    /// segment on each.
    by_ends: HashMap<(u32, [SocketAddr; 2]), usize>,
    kept: usize,
    skipped: u64,
}

/// One connection. Numbers count from the first of each direction.
#[derive(Debug)]
pub(super) struct Flow {
    ends: [SocketAddr; 2],
    began: Duration,
    segments: Vec<Seen>,
    ways: [Way; 2],
}

/// A segment of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seen {
    /// Seconds since the connection's first segment.
    pub(super) at: f64,
    /// From which end: 0 or 1.
    pub(super) way: usize,
    pub(super) seq: i64,
    /// Data, and one for a SYN or a FIN.
    pub(super) len: i64,
    /// Of the other direction's numbers.
    pub(super) ack: Option<i64>,
    /// One past what it lets the other send.
    pub(super) edge: Option<i64>,
    pub(super) sack: Vec<(i64, i64)>,
    /// Some of its numbers were seen before.
    pub(super) again: bool,
    pub(super) syn: bool,
    pub(super) fin: bool,
    pub(super) rst: bool,
}

/// One direction.
#[derive(Clone, Copy, Debug, Default)]
struct Way {
    /// The last number that was seen, and what it counts as.
    last: Option<(u32, i64)>,
    /// One past the highest.
    reached: i64,
    shift: Option<u8>,
    bytes: u64,
    resent: u64,
}

/// A round trip as the capture shows it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct RoundTrip {
    pub(super) at: f64,
    pub(super) seconds: f64,
}

impl Flows {
    /// A segment that passed an interface of the capture.
    pub(super) fn add(&mut self, at: Duration, interface: u32, segment: &Segment) {
        if self.kept >= MAX_SEGMENTS {
            self.skipped += 1;
            return;
        }
        let key = |a, b| (interface, [a, b]);
        let (there, back) = (key(segment.src, segment.dst), key(segment.dst, segment.src));
        let found = self.by_ends.get(&there).or_else(|| self.by_ends.get(&back)).copied();
        let index = match found.filter(|&index| !self.flows[index].is_over_for(segment)) {
            Some(index) => index,
            None if self.flows.len() >= MAX_FLOWS => {
                self.skipped += 1;
                return;
            }
            None => {
                self.by_ends.remove(&back);
                self.by_ends.insert(there, self.flows.len());
                self.flows.push(Flow::new(at, [segment.src, segment.dst]));
                self.flows.len() - 1
            }
        };
        self.flows[index].add(at, segment);
        self.kept += 1;
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Flow> {
        self.flows.iter()
    }

    /// Segments beyond the bounds.
    pub(super) fn skipped(&self) -> u64 {
        self.skipped
    }
}

impl Flow {
    fn new(began: Duration, ends: [SocketAddr; 2]) -> Self {
        Flow { ends, began, segments: Vec::new(), ways: [Way::default(); 2] }
    }

    /// Does this SYN begin another connection of the same ends?
    fn is_over_for(&self, segment: &Segment) -> bool {
        let way = &self.ways[usize::from(segment.src != self.ends[0])];
        let is_over = self.segments.iter().rev().take(64).any(|seen| seen.fin || seen.rst);
        segment.syn && segment.ack.is_none() && is_over && way.last.is_some()
    }

    fn add(&mut self, at: Duration, segment: &Segment) {
        let way = usize::from(segment.src != self.ends[0]);
        let seq = self.ways[way].unwrap(segment.seq);
        let len = i64::from(segment.data_len) + i64::from(segment.syn) + i64::from(segment.fin);
        let ours = &mut self.ways[way];
        let again = len > 0 && seq < ours.reached;
        ours.reached = ours.reached.max(seq + len);
        ours.bytes += u64::from(segment.data_len);
        ours.resent += u64::from(again);
        if segment.syn {
            ours.shift = segment.window_shift;
        }
        // RFC 7323 §2.2: scaled where both SYNs offered it, and never on a SYN.
        let is_scaled = !segment.syn && self.ways.iter().all(|way| way.shift.is_some());
        let shift = self.ways[way].shift.filter(|_| is_scaled).unwrap_or(0);
        let theirs = &mut self.ways[1 - way];
        let ack = segment.ack.filter(|_| !segment.rst).map(|ack| theirs.unwrap(ack));
        let sack =
            segment.sack.iter().map(|&(left, right)| (theirs.near(left), theirs.near(right)));
        let sack = sack.filter(|(left, right)| left < right).collect();
        self.segments.push(Seen {
            at: at.saturating_sub(self.began).as_secs_f64(),
            way,
            seq,
            len,
            ack,
            edge: ack.map(|ack| ack + (i64::from(segment.wnd) << shift)),
            sack,
            again,
            syn: segment.syn,
            fin: segment.fin,
            rst: segment.rst,
        });
    }

    pub(super) fn ends(&self) -> [SocketAddr; 2] {
        self.ends
    }

    /// When it began, since 1970.
    pub(super) fn began(&self) -> Duration {
        self.began
    }

    pub(super) fn segments(&self) -> &[Seen] {
        &self.segments
    }

    /// Bytes of data of one direction, those sent again among them.
    pub(super) fn bytes(&self, way: usize) -> u64 {
        self.ways[way].bytes
    }

    /// Segments of one direction that were sent again.
    pub(super) fn resent(&self, way: usize) -> u64 {
        self.ways[way].resent
    }

    pub(super) fn seconds(&self) -> f64 {
        self.segments.iter().fold(0.0, |end: f64, seen| end.max(seen.at))
    }

    /// The direction with more bytes, or the other.
    pub(super) fn way(&self, reverse: bool) -> usize {
        usize::from(self.bytes(1) > self.bytes(0)) ^ usize::from(reverse)
    }

    /// Bytes sent and not acknowledged, each time that changes.
    pub(super) fn in_flight(&self, way: usize) -> Vec<(f64, i64)> {
        let (mut reached, mut acked) = (None, None);
        let mut all = Vec::new();
        for seen in &self.segments {
            match seen.way == way {
                true if seen.len > 0 => reached = reached.max(Some(seen.seq + seen.len)),
                false if seen.ack.is_some() => acked = acked.max(seen.ack),
                _ => continue,
            }
            if let (Some(reached), Some(acked)) = (reached, acked.or(Some(0))) {
                all.push((seen.at, (reached - acked).max(0)));
            }
        }
        all
    }

    /// From the sending of what was sent once to its acknowledgement. Source: RFC 6298 §3.
    pub(super) fn round_trips(&self, way: usize) -> Vec<RoundTrip> {
        let mut waiting: std::collections::VecDeque<(i64, f64)> = Default::default();
        let mut all = Vec::new();
        for seen in &self.segments {
            if seen.way == way {
                if seen.again {
                    waiting.clear();
                } else if seen.len > 0 {
                    waiting.push_back((seen.seq + seen.len, seen.at));
                }
                continue;
            }
            let Some(ack) = seen.ack else { continue };
            let mut last = None;
            while let Some(&(end, sent)) = waiting.front().filter(|(end, _)| *end <= ack) {
                last = Some((end, sent));
                waiting.pop_front();
            }
            if let Some((_, sent)) = last {
                all.push(RoundTrip { at: seen.at, seconds: (seen.at - sent).max(0.0) });
            }
        }
        all
    }
}

impl Way {
    /// A number as one that does not wrap; later ones are counted from it.
    fn unwrap(&mut self, number: u32) -> i64 {
        let value = self.near(number);
        self.last = Some((number, value));
        value
    }

    /// The same of one that may be a lie: nothing is counted from it.
    fn near(&self, number: u32) -> i64 {
        let (last, value) = self.last.unwrap_or((number, 0));
        value + i64::from(number.wrapping_sub(last) as i32)
    }
}

/// Of a capture; what is more is left out, and said.
const MAX_SEGMENTS: usize = 4_000_000;
const MAX_FLOWS: usize = 65_536;
