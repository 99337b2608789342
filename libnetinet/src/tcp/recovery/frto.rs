//! F-RTO: was the time-out spurious? Source: RFC 5682 §3, the SACK-enhanced form.

/// How far the question has been answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Frto {
    /// It is not asked, or the loss was real.
    Off,
    /// Step 1: the first segment was sent again.
    Head,
    /// Step 2b: new data went out in place of what is taken as lost.
    NewData,
}

/// What an acknowledgement means for the question.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FrtoAck {
    /// SND.UNA has moved.
    pub(crate) advances: bool,
    /// It delivered numbers from before the time-out that were sent once only.
    pub(crate) original: bool,
    /// New data can be sent: the application has some, and the window holds it.
    pub(crate) can_send_new: bool,
}

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// Wait for the next acknowledgement as before, or from now on in this step.
    Ask(Frto),
    /// Nothing was lost.
    Spurious,
}

impl Frto {
    /// Takes an acknowledgement in that does not end the recovery.
    pub(crate) fn on_ack(self, ack: &FrtoAck) -> Verdict {
        match self {
            Frto::Off => Verdict::Ask(Frto::Off),
            // RFC 5682 §3.1 step 3b: what was not sent again has arrived.
            _ if ack.original => Verdict::Spurious,
            // Step 2a: an acknowledgement that moves nothing says that a hole is there.
            Frto::Head if !ack.advances => Verdict::Ask(Frto::Off),
            Frto::Head if ack.can_send_new => Verdict::Ask(Frto::NewData),
            // Step 3a, or nothing new to ask with: the loss is real.
            Frto::Head | Frto::NewData => Verdict::Ask(Frto::Off),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(advances: bool, original: bool, can_send_new: bool) -> FrtoAck {
        FrtoAck { advances, original, can_send_new }
    }

    #[test]
    fn the_steps_of_the_rfc_lead_to_their_verdicts() {
        assert_eq!(Frto::Head.on_ack(&ack(true, false, true)), Verdict::Ask(Frto::NewData));
        assert_eq!(Frto::Head.on_ack(&ack(false, false, true)), Verdict::Ask(Frto::Off));
        assert_eq!(Frto::Head.on_ack(&ack(true, false, false)), Verdict::Ask(Frto::Off));
        assert_eq!(Frto::NewData.on_ack(&ack(true, true, true)), Verdict::Spurious);
        assert_eq!(Frto::NewData.on_ack(&ack(false, false, true)), Verdict::Ask(Frto::Off));
        assert_eq!(Frto::Off.on_ack(&ack(true, true, true)), Verdict::Ask(Frto::Off));
    }
}
