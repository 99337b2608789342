//! What one sees who looks at the wire: which numbers each flow is at, and that none goes back.

use libnet::Instant;
use libnetinet::tcp::{Connection, Flags, FourTuple, Segment, SeqNumber, State, Table};

use super::ends::Side;

/// One direction of what was seen: from an end, to whomever.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    /// Who sent what was seen, and would receive what is forged.
    pub(super) side: Side,
    /// Both ends as that one sees them.
    pub(super) tuple: FourTuple,
    /// What the other end would say next.
    pub(super) expects: SeqNumber,
    /// One past what was sent.
    pub(super) reached: SeqNumber,
    /// Its clock, and what it echoed.
    pub(super) clock: u32,
    pub(super) echo: u32,
    /// Its first number, and its window shift if that is in effect.
    born: Option<(SeqNumber, Option<u8>)>,
    /// The highest acknowledgement and right edge.
    acked: Option<(SeqNumber, SeqNumber)>,
}

/// All that were seen, the oldest of which are forgotten.
#[derive(Debug)]
pub(super) struct Flows {
    flows: Vec<Flow>,
    next: usize,
    /// Cookies that each end had believed when it was looked at last.
    believed: [u64; 2],
    /// TIME-WAITs of each end that were over when it was looked at last.
    over: [u64; 2],
}

impl Flow {
    /// Nothing was seen yet.
    pub(super) fn new(side: Side, tuple: FourTuple) -> Self {
        let none = SeqNumber::new(1);
        Flow {
            side,
            tuple,
            expects: none,
            reached: none,
            clock: 0,
            echo: 0,
            born: None,
            acked: None,
        }
    }

    fn saw(&mut self, seg: &Segment) {
        if seg.flags.has(Flags::RST) {
            // It may answer anything.
            return;
        }
        if seg.flags.has(Flags::SYN) {
            self.begin(seg);
        }
        self.reached = self.reached.max(seg.seq + seg.len());
        if let Some(timestamps) = seg.options.timestamps {
            (self.clock, self.echo) = (timestamps.value, timestamps.echo);
        }
        if seg.flags.has(Flags::ACK) {
            self.acknowledges(seg);
        }
    }

    fn begin(&mut self, seg: &Segment) {
        // RFC 7323 §2.2: a SYN-ACK has the option only if the SYN had it.
        let is_agreed = seg.flags.has(Flags::ACK);
        let shift = seg.options.window_shift.filter(|_| is_agreed);
        // At one instant, another connection of the same ends has the same first number.
        self.acked = None;
        if self.born.is_some_and(|(first, _)| first == seg.seq) {
            if is_agreed {
                self.born = Some((seg.seq, shift));
            }
            return;
        }
        let end = seg.seq + seg.len();
        *self =
            Flow { born: Some((seg.seq, shift)), reached: end, ..Flow::new(self.side, self.tuple) };
    }

    /// It may have begun anew without a SYN, and by what its listener is set to now: as on Linux, nothing
    /// tells which shift the SYN-ACK had.
    fn begin_anew(&mut self, now: Instant, table: &Table) {
        self.acked = None;
        let is_own =
            |conn: &Connection| *conn.tuple() == self.tuple && conn.state() != State::Closed;
        let own = table.iter().find(|(_, conn)| is_own(conn));
        if let (Some((_, Some(shift))), Some((_, conn))) = (&mut self.born, own) {
            *shift = conn.info(now).rcv_shift;
        }
    }

    /// RFC 9293 §3.8.6 (SHOULD-14): the right edge of a window does not move back.
    fn acknowledges(&mut self, seg: &Segment) {
        self.expects = seg.ack;
        let Some((_, Some(shift))) = self.born.filter(|_| !seg.flags.has(Flags::SYN)) else {
            return;
        };
        // What does not fill a unit of the window field was not promised.
        let edge = seg.ack + (u32::from(seg.wnd) << shift);
        let Some((ack, right)) = self.acked.replace((seg.ack, edge)) else { return };
        assert!(seg.ack.ge(ack), "an acknowledgement goes back from {ack:?}: {seg:?}");
        let unit = 1u32 << shift;
        assert!((edge + unit).gt(right), "a window shrinks from {right:?} to {edge:?}: {seg:?}");
        self.acked = Some((seg.ack, right.max(edge)));
    }
}

impl Flows {
    /// Those that are known without being seen.
    pub(super) fn new(known: [Flow; 2]) -> Self {
        Flows { flows: known.to_vec(), next: known.len(), believed: [0; 2], over: [0; 2] }
    }

    /// One of them.
    pub(super) fn get(&self, choice: u8) -> Flow {
        self.flows[usize::from(choice) % self.flows.len()]
    }

    /// All that an end has sent was seen.
    pub(super) fn saw_all(&mut self, side: Side, now: Instant, table: &Table) {
        self.note_cookies(side, now, table);
        self.believed[usize::from(side == Side::B)] = table.counters().syn_cookies_received;
        self.over[usize::from(side == Side::B)] = over(table);
    }

    /// An old segment that brings a cookie back makes the connection anew, with the same numbers and
    /// without a SYN (RFC 4987 §3.6).
    fn note_cookies(&mut self, side: Side, now: Instant, table: &Table) {
        if self.believed[usize::from(side == Side::B)] != table.counters().syn_cookies_received {
            let of_side = self.flows.iter_mut().filter(|flow| flow.side == side);
            of_side.for_each(|flow| flow.begin_anew(now, table));
        }
    }

    /// An end has sent a segment, here as its receiver reads it.
    pub(super) fn saw(&mut self, side: Side, now: Instant, table: &Table, seg: &Segment) {
        let is_short = table.counters().receive_drops > 0;
        let waits =
            table.time_waits() > 0 || over(table) != self.over[usize::from(side == Side::B)];
        if seg.wnd == 0 && (waits || is_short) {
            // It may be a TIME-WAIT's, which takes no data, and which what came next may have ended; or
            // that of one who has no memory for them.
            return;
        }
        self.note_cookies(side, now, table);
        let tuple = FourTuple {
            local: seg.tuple.remote,
            remote: seg.tuple.local,
            local_port: seg.tuple.remote_port,
            remote_port: seg.tuple.local_port,
            zone: seg.tuple.zone,
        };
        let known = self.flows.iter_mut().find(|flow| flow.side == side && flow.tuple == tuple);
        if let Some(flow) = known {
            return flow.saw(seg);
        }
        let mut flow = Flow::new(side, tuple);
        flow.saw(seg);
        if self.flows.len() < FLOWS_MAX {
            self.flows.push(flow);
        } else {
            self.flows[self.next % FLOWS_MAX] = flow;
            self.next += 1;
        }
    }
}

/// How many TIME-WAITs of an end are over.
fn over(table: &Table) -> u64 {
    table.transitions().get(State::TimeWait, State::Closed)
}

const FLOWS_MAX: usize = 16;
