//! Who resends what: loss detection and recovery, apart from how much may fly.
//!
//! With a peer that tells what it has (SACK), `sack` walks each acknowledgement through `rack`,
//! `tlp`, `frto`, `prr` and `undo`; with one that does not, `newreno` counts duplicates.

mod frto;
mod newreno;
mod prr;
mod rack;
mod sack;
mod timer;
mod tlp;
mod undo;

use libnet::Instant;

pub(crate) use self::frto::Frto;
pub(crate) use self::newreno::{DupAck, Echo, NewAck, NewReno};
pub(crate) use self::prr::Prr;
pub(crate) use self::rack::Rack;
pub(crate) use self::timer::ResendTimer;
pub(crate) use self::tlp::TailProbe;
pub(crate) use self::undo::Undo;
use super::cc::{CongestionControl, Controller};
use super::congestion::Usage;
use super::pacing::Pacer;
use super::rate::Rate;
use super::scoreboard::Scoreboard;
use super::seq::SeqNumber;

/// What is under way, what is known of it, and what is done about losses.
#[derive(Debug)]
pub(crate) struct Sender {
    /// How much may fly.
    pub(crate) cc: Controller,
    /// How fast it leaves.
    pub(crate) pacer: Pacer,
    /// How much of what may fly does.
    pub(crate) usage: Usage,
    /// Until this is acknowledged, the window has kept data back; for controllers that ask.
    pub(crate) limited_to: SeqNumber,
    /// When data left last.
    pub(crate) data_sent_at: Instant,
    pub(crate) board: Scoreboard,
    pub(crate) rate: Rate,
    pub(crate) rack: Rack,
    pub(crate) probe: TailProbe,
    pub(crate) prr: Prr,
    pub(crate) undo: Undo,
    pub(crate) phase: Phase,
    /// Where the recovery ends: RecoveryPoint of RFC 6675 §2, "recover" of RFC 5682 §2.
    pub(crate) recover: SeqNumber,
    /// Acknowledgements that told of something beyond a hole, a super-segment's as two at most.
    pub(crate) hints: u8,
    /// RACK waits for what was overtaken.
    pub(crate) settling: bool,
    /// The window comes down in answer to a mark, as PRR lets it.
    pub(crate) reducing: bool,
    /// Marks of what was sent before it have been answered (RFC 3168 §6.1.2).
    pub(crate) answered: Option<SeqNumber>,
    /// When the retransmission time-out is due, whatever comes before it.
    pub(crate) rto_at: Instant,
    /// What the `resend` deadline is.
    pub(crate) timer: ResendTimer,
}

/// What the sender is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// Nothing is known to be lost.
    Open,
    /// Losses were found, and acknowledgements still come.
    Recovery,
    /// The retransmission timer expired.
    Loss(Frto),
}

impl Sender {
    /// Nothing sent yet; `first` is the first sequence number of data.
    pub(crate) fn new(now: Instant, first: SeqNumber, cc: Controller) -> Self {
        Sender {
            pacer: Pacer::new(cc.cwnd_bytes()),
            cc,
            usage: Usage::new(now),
            limited_to: first - 1,
            data_sent_at: now,
            board: Scoreboard::default(),
            rate: Rate::new(now),
            rack: Rack::new(first),
            probe: TailProbe::default(),
            prr: Prr::default(),
            undo: Undo::default(),
            phase: Phase::Open,
            recover: first,
            hints: 0,
            settling: false,
            reducing: false,
            answered: None,
            rto_at: Instant::MAX,
            timer: ResendTimer::Timeout,
        }
    }
}
