//! Spurious retransmissions: when the window's reduction is taken back.
//!
//! Sources: RFC 3708 (duplicates told of by DSACK), RFC 3522 (Eifel: the echo of a timestamp from before
//! the retransmission), RFC 4015 (what to do then).

use crate::tcp::sack::SackBlock;
use crate::tcp::seq::SeqNumber;

/// What the last reduction took, and whether it was for nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Undo {
    /// SND.UNA when the recovery began; `None`: there is nothing to take back.
    marker: Option<SeqNumber>,
    /// Bytes sent again since that were not told of as duplicates; `None` before the first.
    resent: Option<u32>,
    /// Our timestamp on the first segment that was sent again.
    first_resent: Option<u32>,
    before: Window,
    /// With what is sent beyond this acknowledged, all answers have come.
    until: Option<SeqNumber>,
}

/// A congestion window, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Window {
    pub(crate) cwnd: u32,
    pub(crate) ssthresh: u32,
}

impl Undo {
    /// The window is about to be reduced, while `resent` bytes that were sent again before have not
    /// been answered: their answers are none of originals.
    pub(crate) fn begin(&mut self, snd_una: SeqNumber, before: Window, resent: u32) {
        let marker = Some(snd_una);
        let first_resent = self.first_resent.filter(|_| resent > 0);
        let resent = (resent > 0).then_some(resent);
        *self = Undo { marker, resent, first_resent, before, until: None };
    }

    /// Nothing can be taken back any more.
    pub(crate) fn forget(&mut self) {
        self.marker = None;
    }

    /// The recovery is over; a round trip later, nobody tells of its duplicates any more.
    pub(crate) fn expire_after(&mut self, snd_max: SeqNumber) {
        self.until = Some(snd_max);
    }

    /// All before `snd_una` is acknowledged, and no recovery is on.
    pub(crate) fn expire(&mut self, snd_una: SeqNumber) {
        if self.until.is_some_and(|until| snd_una.gt(until)) {
            *self = Undo::default();
        }
    }

    /// `bytes` leave again, under `timestamp` if timestamps are in use.
    pub(crate) fn on_sent_again(&mut self, bytes: u32, timestamp: Option<u32>) {
        self.resent = Some(self.resent.unwrap_or(0).saturating_add(bytes));
        self.first_resent = self.first_resent.or(timestamp);
    }

    /// The peer got `block` twice. Source: RFC 3708 §3.
    pub(crate) fn on_duplicate(&mut self, block: &SackBlock) {
        let since = self.marker.is_some_and(|marker| block.right.gt(marker));
        if let Some(resent) = self.resent.as_mut().filter(|_| since) {
            *resent = resent.saturating_sub(block.right - block.left);
        }
    }

    /// Did all that was sent again arrive twice?
    pub(crate) fn all_were_duplicates(&self) -> bool {
        self.marker.is_some() && self.resent == Some(0)
    }

    /// Does an acknowledgement of new data that echoes `echo` answer what was sent before the first
    /// retransmission? Source: RFC 3522 §3.2, step 5.
    pub(crate) fn is_of_original(&self, echo: Option<u32>) -> bool {
        match (self.marker, self.first_resent, echo) {
            // An echo of zero is that of a peer that has none.
            (Some(_), Some(first), Some(echo)) => {
                echo != 0 && (echo.wrapping_sub(first) as i32) < 0
            }
            _ => false,
        }
    }

    /// Takes the reduction back, once: the window as it was.
    pub(crate) fn take(&mut self) -> Option<Window> {
        self.marker.take().map(|_| self.before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(left: u32, right: u32) -> SackBlock {
        SackBlock { left: SeqNumber::new(left), right: SeqNumber::new(right) }
    }

    const BEFORE: Window = Window { cwnd: 20_000, ssthresh: u32::MAX };

    fn begun() -> Undo {
        let mut undo = Undo::default();
        undo.begin(SeqNumber::new(1000), BEFORE, 0);
        undo
    }

    #[test]
    fn only_when_every_byte_was_a_duplicate_it_was_for_nothing() {
        let mut undo = begun();
        assert!(!undo.all_were_duplicates(), "nothing was sent again yet");
        undo.on_sent_again(2000, None);
        undo.on_duplicate(&block(500, 1000));
        undo.on_duplicate(&block(1000, 2000));
        assert!(!undo.all_were_duplicates());
        undo.on_duplicate(&block(2000, 3000));
        assert!(undo.all_were_duplicates());
        assert_eq!(undo.take(), Some(Window { cwnd: 20_000, ssthresh: u32::MAX }));
        assert_eq!(undo.take(), None);
    }

    #[test]
    fn what_an_earlier_recovery_sent_again_is_no_original() {
        let mut undo = begun();
        undo.on_sent_again(2000, Some(10));
        // Its first thousand bytes are still under way when the next recovery begins.
        undo.begin(SeqNumber::new(2000), BEFORE, 1000);
        undo.on_sent_again(1000, Some(20));
        assert!(!undo.is_of_original(Some(12)) && undo.is_of_original(Some(9)));
        undo.on_duplicate(&block(3000, 4000));
        assert!(!undo.all_were_duplicates(), "those count, too");
        undo.begin(SeqNumber::new(5000), BEFORE, 0);
        undo.on_sent_again(1000, Some(30));
        assert!(undo.is_of_original(Some(12)));
    }

    #[test]
    fn an_echo_from_before_the_retransmission_is_the_originals() {
        let mut undo = begun();
        assert!(!undo.is_of_original(Some(5)));
        undo.on_sent_again(1000, Some(10));
        undo.on_sent_again(1000, Some(20));
        assert!(undo.is_of_original(Some(9)));
        assert!(!undo.is_of_original(Some(10)) && !undo.is_of_original(None));
        assert!(!undo.is_of_original(Some(0)), "no clock there");
    }
}
