//! What happens to two ends of TCP, step by step, as bytes that a fuzzer can change.
//!
//! A step is a byte that tells which, and its arguments, each of a fixed length. What is cut off at
//! the end is no step.

/// One thing that happens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// A segment arrives that nobody has sent.
    Forge(Forged),
    /// The oldest `count` segments on the wire meet their fate.
    Deliver { count: u8, fate: u8 },
    /// A program connects; `how` has [`Connect`](how)'s bits.
    Connect { how: u8, early_bytes: u16 },
    /// A program accepts what waits.
    Accept,
    /// A program writes.
    Write { conn: u8, how: u8, bytes: u16 },
    /// A program reads.
    Read { conn: u8, how: u8, bytes: u16 },
    /// A program shuts down, closes, aborts.
    End { conn: u8, how: u8 },
    /// A program sets an option.
    Set { conn: u8, option: u8, value: u16 },
    /// Time passes; timers fire, and nothing arrives.
    Wait { unit: u8, count: u8 },
    /// Time passes on a wire that delivers, milliseconds.
    Run { millis: u8 },
    /// An ICMP error that quotes a segment.
    Icmp { flow: u8, kind: u8, seq: i16, mtu: u16 },
    /// The layer below changes.
    Path { what: u8, value: u16 },
    /// The listener changes.
    Listener { what: u8, value: u8 },
    /// A stack lives by other settings, or lets all its connections go.
    Stack { what: u8, value: u8 },
}

/// A segment by what its receiver would expect next.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Forged {
    /// Which flow, of those that were seen.
    pub(super) flow: u8,
    /// Control bits, the ninth apart.
    pub(super) flags: u8,
    /// From the number that the peer would use next.
    pub(super) seq: i16,
    /// From the number that the peer would acknowledge next.
    pub(super) ack: i16,
    /// Bits of [`Forged::SEQ_FAR`] and the like.
    pub(super) more: u8,
    /// The window field.
    pub(super) wnd: u16,
    /// Bytes of data.
    pub(super) bytes: u16,
    /// Which options it has: [`Forged::TIMESTAMPS`] and the like.
    pub(super) options: u8,
    /// What they say; each makes of it what it needs.
    pub(super) value: u8,
    /// SACK blocks: so many segments before the newest number, so many segments long; none if 0.
    pub(super) blocks: [(u8, u8); 3],
}

impl Forged {
    /// `seq` counts units of 64 KiB.
    pub(super) const SEQ_FAR: u8 = 1;
    /// `ack` counts units of 64 KiB.
    pub(super) const ACK_FAR: u8 = 2;
    /// The ninth flag, AE.
    pub(super) const NINTH_FLAG: u8 = 4;
    /// The urgent pointer is `value`.
    pub(super) const URGENT: u8 = 8;
    /// `ack` counts from the oldest number that is under way.
    pub(super) const ACK_OLDEST: u8 = 16;
    /// The ECN field of its IP header stands in the two bits from here.
    pub(super) const ECN_SHIFT: u8 = 6;

    /// The timestamps that its receiver expects, `value` later.
    pub(super) const TIMESTAMPS: u8 = 1;
    /// MSS.
    pub(super) const MSS: u8 = 2;
    /// Window shift.
    pub(super) const SHIFT: u8 = 4;
    /// SACK permitted.
    pub(super) const SACK_PERMITTED: u8 = 8;
    /// A Fast Open cookie, or the question for one.
    pub(super) const FAST_OPEN: u8 = 16;
    /// Counts of AccECN.
    pub(super) const MARKED_BYTES: u8 = 32;
    /// A signature of TCP-MD5.
    pub(super) const MD5: u8 = 64;
    /// A signature of TCP-AO.
    pub(super) const AO: u8 = 128;

    /// A segment with these flags, as its receiver expects it next.
    pub(super) fn next(flow: u8, flags: u8) -> Self {
        Forged { flow, flags, wnd: u16::MAX, options: Forged::TIMESTAMPS, ..Forged::default() }
    }
}

/// Takes the arguments off the front.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn u8(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes([self.u8()?, self.u8()?]))
    }

    fn i16(&mut self) -> Option<i16> {
        self.u16().map(|value| value as i16)
    }
}

impl Step {
    /// The first step of `bytes`, and what follows it.
    pub(super) fn read(bytes: &[u8]) -> Option<(Step, &[u8])> {
        let mut from = Reader(bytes);
        let step = Step::take(&mut from)?;
        Some((step, from.0))
    }

    fn take(from: &mut Reader<'_>) -> Option<Step> {
        Some(match from.u8()? % KINDS {
            // What arrives is what most is to be learned from.
            FORGE.. => Step::Forge(Forged::take(from)?),
            DELIVER => Step::Deliver { count: from.u8()?, fate: from.u8()? },
            CONNECT => Step::Connect { how: from.u8()?, early_bytes: from.u16()? },
            ACCEPT => Step::Accept,
            WRITE => Step::Write { conn: from.u8()?, how: from.u8()?, bytes: from.u16()? },
            READ => Step::Read { conn: from.u8()?, how: from.u8()?, bytes: from.u16()? },
            END => Step::End { conn: from.u8()?, how: from.u8()? },
            SET => Step::Set { conn: from.u8()?, option: from.u8()?, value: from.u16()? },
            WAIT => Step::Wait { unit: from.u8()?, count: from.u8()? },
            RUN => Step::Run { millis: from.u8()? },
            ICMP => Step::Icmp {
                flow: from.u8()?,
                kind: from.u8()?,
                seq: from.i16()?,
                mtu: from.u16()?,
            },
            PATH => Step::Path { what: from.u8()?, value: from.u16()? },
            LISTENER => Step::Listener { what: from.u8()?, value: from.u8()? },
            STACK => Step::Stack { what: from.u8()?, value: from.u8()? },
        })
    }

    /// Appends it as [`read`](Self::read) takes it.
    pub(super) fn write(&self, to: &mut Vec<u8>) {
        let long = |value: u16| value.to_be_bytes();
        match *self {
            Step::Forge(ref forged) => forged.write(to),
            Step::Deliver { count, fate } => to.extend([DELIVER, count, fate]),
            Step::Connect { how, early_bytes } => {
                to.extend([CONNECT, how]);
                to.extend(long(early_bytes));
            }
            Step::Accept => to.push(ACCEPT),
            Step::Write { conn, how, bytes } => {
                to.extend([WRITE, conn, how]);
                to.extend(long(bytes));
            }
            Step::Read { conn, how, bytes } => {
                to.extend([READ, conn, how]);
                to.extend(long(bytes));
            }
            Step::End { conn, how } => to.extend([END, conn, how]),
            Step::Set { conn, option, value } => {
                to.extend([SET, conn, option]);
                to.extend(long(value));
            }
            Step::Wait { unit, count } => to.extend([WAIT, unit, count]),
            Step::Run { millis } => to.extend([RUN, millis]),
            Step::Icmp { flow, kind, seq, mtu } => {
                to.extend([ICMP, flow, kind]);
                to.extend([long(seq as u16), long(mtu)].concat());
            }
            Step::Path { what, value } => {
                to.extend([PATH, what]);
                to.extend(long(value));
            }
            Step::Listener { what, value } => to.extend([LISTENER, what, value]),
            Step::Stack { what, value } => to.extend([STACK, what, value]),
        }
    }
}

impl Forged {
    fn take(from: &mut Reader<'_>) -> Option<Forged> {
        let mut forged = Forged {
            flow: from.u8()?,
            flags: from.u8()?,
            seq: from.i16()?,
            ack: from.i16()?,
            more: from.u8()?,
            wnd: from.u16()?,
            bytes: from.u16()?,
            options: from.u8()?,
            value: from.u8()?,
            blocks: [(0, 0); 3],
        };
        for block in &mut forged.blocks {
            *block = (from.u8()?, from.u8()?);
        }
        Some(forged)
    }

    fn write(&self, to: &mut Vec<u8>) {
        to.extend([FORGE, self.flow, self.flags]);
        to.extend([self.seq.to_be_bytes(), self.ack.to_be_bytes()].concat());
        to.push(self.more);
        to.extend([self.wnd.to_be_bytes(), self.bytes.to_be_bytes()].concat());
        to.extend([self.options, self.value]);
        to.extend(self.blocks.iter().flat_map(|&(at, len)| [at, len]));
    }
}

const DELIVER: u8 = 0;
const CONNECT: u8 = 1;
const ACCEPT: u8 = 2;
const WRITE: u8 = 3;
const READ: u8 = 4;
const END: u8 = 5;
const SET: u8 = 6;
const WAIT: u8 = 7;
const RUN: u8 = 8;
const ICMP: u8 = 9;
const PATH: u8 = 10;
const LISTENER: u8 = 11;
const STACK: u8 = 12;
/// And all above.
const FORGE: u8 = 13;
const KINDS: u8 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_read_as_they_were_written() {
        let forged = Forged {
            flow: 1,
            flags: 0x18,
            seq: -3,
            ack: 4,
            more: Forged::URGENT,
            wnd: 500,
            bytes: 1_448,
            options: Forged::MSS,
            value: 9,
            blocks: [(1, 2), (0, 0), (3, 4)],
        };
        let steps = [
            Step::Forge(forged),
            Step::Deliver { count: 1, fate: 2 },
            Step::Connect { how: 3, early_bytes: 400 },
            Step::Accept,
            Step::Write { conn: 1, how: 2, bytes: 300 },
            Step::Read { conn: 4, how: 5, bytes: 600 },
            Step::End { conn: 7, how: 8 },
            Step::Set { conn: 9, option: 10, value: 1_100 },
            Step::Wait { unit: 12, count: 13 },
            Step::Run { millis: 14 },
            Step::Icmp { flow: 15, kind: 16, seq: -17, mtu: 1_800 },
            Step::Path { what: 19, value: 2_000 },
            Step::Listener { what: 21, value: 22 },
            Step::Stack { what: 23, value: 24 },
        ];
        let mut bytes = Vec::new();
        steps.iter().for_each(|step| step.write(&mut bytes));
        let mut rest = &bytes[..];
        for step in steps {
            let (read, after) = Step::read(rest).expect("there is one more");
            assert_eq!(read, step);
            rest = after;
        }
        assert_eq!(Step::read(rest), None);
    }
}
