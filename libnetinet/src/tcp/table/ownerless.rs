//! Connections that no socket holds, for tools to show.

use libnet::Instant;

use super::Table;
use crate::tcp::info::TimerKind;
use crate::tcp::segment::FourTuple;
use crate::tcp::state::State;
use crate::tcp::tcb::{Connection, NOBODY};

/// A connection that was closed and is not over, or that nobody has accepted yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Ownerless {
    /// Both ends.
    pub tuple: FourTuple,
    /// State.
    pub state: State,
    /// Bytes that nobody has read.
    pub receive_bytes: usize,
    /// Bytes that wait to be sent or acknowledged.
    pub send_bytes: usize,
    /// What happens next unless the peer does something, and when.
    pub timer: Option<(TimerKind, Instant)>,
}

impl Table {
    /// The connections that no socket holds, those in TIME-WAIT last.
    pub fn ownerless(&self, now: Instant) -> Vec<Ownerless> {
        let is_alone = |conn: &Connection| conn.mode.orphan || conn.token() == NOBODY;
        let alone = self.slots.iter().filter(|(_, conn)| is_alone(conn));
        let alone = alone.map(|(_, conn)| {
            let info = conn.info(now);
            Ownerless {
                tuple: info.tuple,
                state: info.state,
                receive_bytes: info.receive_queue_bytes as usize,
                send_bytes: info.send_queue_bytes as usize,
                timer: info.timer,
            }
        });
        let waits = self.waits.iter().map(|(entry, wait)| Ownerless {
            tuple: wait.tuple,
            state: State::TimeWait,
            receive_bytes: 0,
            send_bytes: 0,
            timer: Some((TimerKind::Idle, now + self.waits.left(now, entry))),
        });
        let requests = self.requests.iter().map(|(entry, request)| Ownerless {
            tuple: request.tuple,
            state: State::SynReceived,
            receive_bytes: 0,
            send_bytes: 0,
            timer: Some((TimerKind::Resend, self.requests.deadline_of(entry))),
        });
        alone.chain(requests).chain(waits).collect()
    }
}
