//! The AccECN option: how many bytes came with which mark. Source: RFC 9768 §3.2.3.

/// In which order the counters stand. Source: RFC 9768 §3.2.3, table 5.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ByteOrder {
    /// ECT(0), CE, ECT(1): kind 172.
    Ect0First,
    /// ECT(1), CE, ECT(0): kind 174.
    Ect1First,
}

/// The option as it stands on the wire.
///
/// ```text
/// | kind 172 | length | EE0B: 24 bits | ECEB: 24 bits | EE1B: 24 bits |
/// | kind 174 | length | EE1B: 24 bits | ECEB: 24 bits | EE0B: 24 bits |
/// ```
/// Fields may be left out from the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MarkedBytes {
    order: ByteOrder,
    len: u8,
    fields: [u32; 3],
}

impl MarkedBytes {
    /// The first `len` counters, of 24 bits each, in that order.
    pub fn new(order: ByteOrder, fields: &[u32]) -> Self {
        let mut option = MarkedBytes { order, len: 0, fields: [0; 3] };
        for field in fields.iter().take(3) {
            option.fields[usize::from(option.len)] = field & MASK_24;
            option.len += 1;
        }
        option
    }

    /// Reads what follows kind and length: as many whole counters as there are, the rest is padding.
    pub(in crate::tcp) fn parse(order: ByteOrder, body: &[u8]) -> Self {
        let mut option = MarkedBytes { order, len: 0, fields: [0; 3] };
        for field in body.chunks_exact(3).take(3) {
            let value = field.iter().fold(0, |value, byte| value << 8 | u32::from(*byte));
            option.fields[usize::from(option.len)] = value;
            option.len += 1;
        }
        option
    }

    /// In which order.
    pub fn order(&self) -> ByteOrder {
        self.order
    }

    /// The counters that it has.
    pub fn fields(&self) -> &[u32] {
        &self.fields[..usize::from(self.len)]
    }

    /// Bytes on the wire, padding before it included.
    pub(in crate::tcp) fn option_bytes(&self) -> usize {
        option_bytes(self.len)
    }

    /// Gives the option, NOPs in front of it, to `put` in parts.
    pub(in crate::tcp) fn write(&self, mut put: impl FnMut(&[u8])) {
        let bytes = 2 + 3 * self.len;
        for _ in usize::from(bytes)..self.option_bytes() {
            put(&[1]);
        }
        put(&[
            if self.order == ByteOrder::Ect0First { KIND_ECT0_FIRST } else { KIND_ECT1_FIRST },
            bytes,
        ]);
        for field in self.fields() {
            put(&field.to_be_bytes()[1..]);
        }
    }
}

/// Bytes of an option with so many counters, padding included.
pub(in crate::tcp) const fn option_bytes(counters: u8) -> usize {
    (2 + 3 * counters as usize).next_multiple_of(4)
}

/// AccECN0.
pub(in crate::tcp) const KIND_ECT0_FIRST: u8 = 172;
/// AccECN1.
pub(in crate::tcp) const KIND_ECT1_FIRST: u8 = 174;
/// The counters' lower 24 bits are told.
pub(super) const MASK_24: u32 = 0xff_ffff;
