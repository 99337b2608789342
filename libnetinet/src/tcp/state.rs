//! The states of a connection and the legal moves between them, in one table.
//!
//! ```text
//!                CLOSED --passive open--> LISTEN --SYN--> SYN-RECEIVED
//!                  |                                       ^     |  \
//!             active open --> SYN-SENT ------SYN----------'      |   close
//!                               |                             ACK of SYN \
//!                             SYN-ACK --------> ESTABLISHED <----'        v
//!                                                |       |            FIN-WAIT-1
//!                                              close    FIN
//!                                                v       v
//!                                         FIN-WAIT-1   CLOSE-WAIT
//!                                   ACK of FIN |  \ FIN     | close
//!                                              v   v        v
//!                                    FIN-WAIT-2  CLOSING   LAST-ACK
//!                                         FIN \   | ACK      | ACK
//!                                              v  v          v
//!                                            TIME-WAIT --> CLOSED
//! ```

use std::fmt;

/// The state of a connection. Source: RFC 9293 §3.3.2.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum State {
    /// No connection.
    Closed,
    /// Waits for a SYN from anyone.
    Listen,
    /// Has sent a SYN.
    SynSent,
    /// Has received a SYN and sent one.
    SynReceived,
    /// Data flow.
    Established,
    /// We have closed; the peer has not acknowledged it.
    FinWait1,
    /// We have closed, the peer knows.
    FinWait2,
    /// The peer has closed; we have not.
    CloseWait,
    /// Both have closed; ours is not acknowledged yet.
    Closing,
    /// The peer closed first, then we did; ours is not acknowledged yet.
    LastAck,
    /// All is done; old segments may still be about.
    TimeWait,
}

impl State {
    /// All states, in the order of their discriminants.
    pub const ALL: [State; 11] = [
        State::Closed,
        State::Listen,
        State::SynSent,
        State::SynReceived,
        State::Established,
        State::FinWait1,
        State::FinWait2,
        State::CloseWait,
        State::Closing,
        State::LastAck,
        State::TimeWait,
    ];

    /// The name in listings, as RFC 9293 writes it.
    pub const fn name(self) -> &'static str {
        match self {
            State::Closed => "CLOSED",
            State::Listen => "LISTEN",
            State::SynSent => "SYN-SENT",
            State::SynReceived => "SYN-RECEIVED",
            State::Established => "ESTABLISHED",
            State::FinWait1 => "FIN-WAIT-1",
            State::FinWait2 => "FIN-WAIT-2",
            State::CloseWait => "CLOSE-WAIT",
            State::Closing => "CLOSING",
            State::LastAck => "LAST-ACK",
            State::TimeWait => "TIME-WAIT",
        }
    }

    /// May a connection go from this state to `to`?
    pub fn may_become(self, to: State) -> bool {
        TRANSITIONS.contains(&(self, to))
    }

    /// Have both ends' sequence numbers been agreed on? Source: RFC 9293 §3.3.2.
    pub const fn is_synchronized(self) -> bool {
        !matches!(self, State::Closed | State::Listen | State::SynSent | State::SynReceived)
    }

    /// May data still arrive from the peer?
    pub const fn can_receive(self) -> bool {
        matches!(self, State::Established | State::FinWait1 | State::FinWait2)
    }

    /// May the application still send?
    pub const fn can_send(self) -> bool {
        matches!(self, State::Established | State::CloseWait)
    }

    /// Is our FIN queued or sent, and not yet acknowledged?
    pub const fn is_closing(self) -> bool {
        matches!(self, State::FinWait1 | State::Closing | State::LastAck)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Every legal move; what brings it about is at its `transition` call. Source: RFC 9293 §3.3.2.
///
/// FIN-WAIT-1 to TIME-WAIT does not appear: a segment with both the ACK of our FIN and a FIN goes
/// by FIN-WAIT-2, as the steps of §3.10.7.4 do. LISTEN to SYN-SENT does not appear: the socket
/// interface has no SEND on a listener (§3.10.2 leaves it an error). A passive SYN-RECEIVED that
/// "returns to LISTEN" ends as CLOSED: the listener is a value of its own and never left LISTEN.
pub const TRANSITIONS: &[(State, State)] = &[
    (State::Closed, State::Listen),
    (State::Closed, State::SynSent),
    (State::Listen, State::SynReceived),
    (State::Listen, State::Closed),
    (State::SynSent, State::Established),
    (State::SynSent, State::SynReceived),
    (State::SynSent, State::Closed),
    (State::SynReceived, State::Established),
    (State::SynReceived, State::FinWait1),
    (State::SynReceived, State::Closed),
    (State::Established, State::FinWait1),
    (State::Established, State::CloseWait),
    (State::Established, State::Closed),
    (State::FinWait1, State::FinWait2),
    (State::FinWait1, State::Closing),
    (State::FinWait1, State::Closed),
    (State::FinWait2, State::TimeWait),
    (State::FinWait2, State::Closed),
    (State::CloseWait, State::LastAck),
    (State::CloseWait, State::Closed),
    (State::Closing, State::TimeWait),
    (State::Closing, State::Closed),
    (State::LastAck, State::Closed),
    (State::TimeWait, State::Closed),
];

/// How often each move was made, so that a test can tell which never were.
#[derive(Clone, Debug, Default)]
pub struct TransitionCounts([[u64; State::ALL.len()]; State::ALL.len()]);

impl TransitionCounts {
    /// Counts a move.
    pub fn record(&mut self, from: State, to: State) {
        debug_assert!(from.may_become(to), "{from} to {to} is not a legal move");
        self.0[from as usize][to as usize] += 1;
    }

    /// How often `from` became `to`.
    pub fn get(&self, from: State, to: State) -> u64 {
        self.0[from as usize][to as usize]
    }

    /// Adds another's counts.
    pub fn merge(&mut self, other: &TransitionCounts) {
        for (mine, theirs) in self.0.iter_mut().flatten().zip(other.0.iter().flatten()) {
            *mine += theirs;
        }
    }

    /// The legal moves that were never made.
    pub fn never_made(&self) -> Vec<(State, State)> {
        TRANSITIONS.iter().copied().filter(|&(from, to)| self.get(from, to) == 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_listed_in_the_order_of_their_discriminants() {
        for (index, state) in State::ALL.iter().enumerate() {
            assert_eq!(*state as usize, index);
        }
    }

    #[test]
    fn every_state_but_closed_can_be_entered_and_left() {
        for state in State::ALL {
            assert!(TRANSITIONS.iter().any(|t| t.0 == state), "{state} is never left");
            assert!(TRANSITIONS.iter().any(|t| t.1 == state), "{state} is never entered");
        }
    }
}
