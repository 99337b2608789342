//! A packet: room for headers, a payload that is shared and not copied, and what is known of it.

use std::collections::VecDeque;
use std::fmt;
use std::num::NonZeroU16;
use std::ops::Range;

use bytes::{Buf as _, Bytes, BytesMut};

use crate::checksum::Sum;
use crate::time::Instant;

/// Bytes of header room: Ethernet with a tag, IPv6 or IPv4, and the longest TCP header fit.
pub const HEAD_ROOM: usize = 128;

/// A received frame of so many bytes at most may lie in the head room: a TCP segment without data
/// over either family, and few data. What is left is for the headers of a tunnel or an error.
pub const SMALL_FRAME_BYTES: usize = 96;

/// Every Ethernet frame is padded to as many bytes (IEEE 802.3 §4A.4.2), its check sequence aside.
const LEAST_FRAME_BYTES: usize = 60;

/// What is known of a packet's transport checksum.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Checksum {
    /// The field is filled in, nobody has checked it.
    #[default]
    Unverified,
    /// It was checked, or the packet never left trusted memory.
    Trusted,
    /// The field holds the folded pseudo-header sum only; the rest is to be added before the
    /// packet reaches a wire. As virtio's `VIRTIO_NET_HDR_F_NEEDS_CSUM`.
    Partial {
        /// Where summing starts, from the packet's current first byte.
        start: u16,
        /// Where the field is, from `start`.
        field: u16,
    },
}

/// Which protocol a super-segment is to be cut by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum GsoKind {
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// UDP over either: each piece gets its own UDP header.
    Udp,
}

/// A packet that stands for several: how to cut it where a link cannot carry it whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gso {
    /// By which protocol.
    pub kind: GsoKind,
    /// Transport payload bytes of each piece but the last.
    pub segment_bytes: NonZeroU16,
}

#[derive(Clone, Default)]
enum Payload {
    #[default]
    Empty,
    One(Bytes),
    Many(VecDeque<Bytes>),
    /// In a caller's memory, behind as many bytes of it.
    Landed(u32),
}

/// A frame or a packet on its way.
///
/// Headers are built from the inside out in the head room; the payload is none, one or many
/// shared buffers.
///
/// ```text
///  head room (128 B)                     payload
/// +-----------+------------------------+---------+---------+
/// |  free     | eth | ip | tcp         | Bytes 0 | Bytes 1 | …
/// +-----------+------------------------+---------+---------+
///             ^ first byte of the packet
/// ```
///
/// A received packet is one `Bytes` with the head room empty, or, if it is small, in the head
/// room whole.
///
/// It goes from hand to hand some twenty times between a socket and a link, so that what is large
/// of it is behind a pointer.
#[derive(Clone)]
pub struct Packet {
    body: Box<Body>,
    payload_bytes: u32,
    head_start: u8,
    /// What is known of the transport checksum.
    pub checksum: Checksum,
    /// How to cut it, if it stands for several.
    pub gso: Option<Gso>,
    /// When a link received it; [`Instant::ZERO`] for our own.
    pub rx_at: Instant,
    /// What a core says to itself of a packet that it loops back; 0: nothing. No link carries it.
    pub mark: u32,
}

#[derive(Clone)]
struct Body {
    head: [u8; HEAD_ROOM],
    payload: Payload,
}

impl Packet {
    /// An empty packet to build headers in.
    pub fn new() -> Self {
        Packet {
            body: Box::new(Body { head: [0; HEAD_ROOM], payload: Payload::Empty }),
            payload_bytes: 0,
            head_start: HEAD_ROOM as u8,
            checksum: Checksum::Unverified,
            gso: None,
            rx_at: Instant::ZERO,
            mark: 0,
        }
    }

    /// Bytes of memory that a packet takes beside its payload's buffers.
    pub const OVERHEAD_BYTES: usize = size_of::<Packet>() + size_of::<Body>();

    /// A packet with one buffer of payload.
    pub fn from_payload(payload: Bytes) -> Self {
        let mut packet = Packet::new();
        packet.push_payload(payload);
        packet
    }

    /// A frame as a link received it.
    pub fn received(frame: Bytes, rx_at: Instant) -> Self {
        let mut packet = Packet::from_payload(frame);
        packet.rx_at = rx_at;
        packet
    }

    /// A small frame as a link received it, copied into the head room, so that it needs no buffer;
    /// `None` for more than [`SMALL_FRAME_BYTES`].
    pub fn received_small(frame: &[u8], rx_at: Instant) -> Option<Self> {
        if frame.len() > SMALL_FRAME_BYTES {
            return None;
        }
        let mut packet = Packet::new();
        packet.push_front(frame);
        packet.rx_at = rx_at;
        Some(packet)
    }

    /// A frame whose `bytes` of data are in a [`Landing`](crate::landing::Landing), behind `at` others.
    ///
    /// # Panics
    /// As [`prepend`](Self::prepend).
    pub(crate) fn landed(headers: &[u8], at: u32, bytes: u32, rx_at: Instant) -> Self {
        let mut packet = Packet::new();
        packet.push_front(headers);
        packet.body.payload = Payload::Landed(at);
        packet.payload_bytes = bytes;
        packet.rx_at = rx_at;
        packet
    }

    /// Where its data are in a [`Landing`](crate::landing::Landing), if they are there and not in the packet. Such a
    /// packet goes from a link to the core that made the forecast, and no further.
    pub fn landed_range(&self) -> Option<Range<usize>> {
        match self.body.payload {
            Payload::Landed(at) => Some(at as usize..(at + self.payload_bytes) as usize),
            _ => None,
        }
    }

    /// Its data are these, and no longer somewhere else.
    pub(crate) fn put_back(&mut self, data: &[u8]) {
        self.payload_bytes = data.len() as u32;
        self.body.payload = Payload::One(Bytes::copy_from_slice(data));
    }

    /// Appends a shared buffer to the payload. Payloads of 4 GiB and more are not made.
    pub fn push_payload(&mut self, piece: Bytes) {
        if piece.is_empty() {
            return;
        }
        self.payload_bytes += piece.len() as u32;
        match &mut self.body.payload {
            Payload::Empty => self.body.payload = Payload::One(piece),
            Payload::One(first) => {
                let first = std::mem::take(first);
                self.body.payload = Payload::Many(VecDeque::from([first, piece]));
            }
            Payload::Many(pieces) => pieces.push_back(piece),
            Payload::Landed(_) => debug_assert!(false, "what has landed is whole"),
        }
    }

    /// Bytes from the first header to the last of the payload.
    pub fn len(&self) -> usize {
        self.head().len() + self.payload_bytes as usize
    }

    /// Holds no byte?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that can still be prepended.
    pub fn head_room(&self) -> usize {
        usize::from(self.head_start)
    }

    /// The headers built in the head room so far.
    pub fn head(&self) -> &[u8] {
        &self.body.head[usize::from(self.head_start)..]
    }

    /// Opens `n` zero bytes in front and gives them to be filled.
    ///
    /// What the head room held goes into the payload where there is not enough of it left.
    ///
    /// # Panics
    /// When `n` exceeds the head room: header sizes are ours, never the network's.
    pub fn prepend(&mut self, n: usize) -> &mut [u8] {
        assert!(n <= HEAD_ROOM, "head room holds every header that we build");
        if n > self.head_room() {
            self.spill();
        }
        self.head_start -= n as u8;
        if let Checksum::Partial { start, .. } = &mut self.checksum {
            *start = start.saturating_add(n as u16);
        }
        let start = usize::from(self.head_start);
        let opened = &mut self.body.head[start..start + n];
        opened.fill(0);
        opened
    }

    /// Puts a few bytes in front, in the head room.
    ///
    /// # Panics
    /// As [`prepend`](Self::prepend).
    pub fn push_front(&mut self, bytes: &[u8]) {
        self.prepend(bytes.len()).copy_from_slice(bytes);
    }

    /// The first `n` bytes in one piece, moved into the head room if they are not; `None` if the
    /// packet is shorter or `n` exceeds the head room.
    pub fn pull(&mut self, n: usize) -> Option<&[u8]> {
        if n > self.len() {
            return None;
        }
        let head_len = self.head().len();
        if head_len == 0
            && let Payload::One(first) = &self.body.payload
        {
            // Borrow again: the borrow checker cannot see that only this branch returns.
            let _ = first;
            return match &self.body.payload {
                Payload::One(first) => first.get(..n),
                _ => None,
            };
        }
        if head_len < n && (head_len > 0 || self.first_piece_len() < n) {
            if n > HEAD_ROOM {
                return None;
            }
            self.gather(n);
        }
        match (&self.body.payload, self.head().is_empty()) {
            (_, false) => self.head().get(..n),
            (Payload::Many(pieces), true) => pieces.front().and_then(|p| p.get(..n)),
            (Payload::One(first), true) => first.get(..n),
            (Payload::Empty | Payload::Landed(_), true) => Some(&[]),
        }
    }

    /// The first `n` bytes, to be changed: moved into the head room, so that buffers which others
    /// hold stay as they are. `None` if the packet is shorter, or if they do not fit there.
    pub fn own(&mut self, n: usize) -> Option<&mut [u8]> {
        let have = self.head().len();
        if n > self.len() || n > HEAD_ROOM {
            return None;
        }
        if have < n {
            self.gather(n);
        }
        let start = usize::from(self.head_start);
        self.body.head.get_mut(start..start + n)
    }

    /// Drops up to `n` bytes from the front.
    pub fn advance(&mut self, n: usize) {
        let from_head = n.min(self.head().len());
        self.head_start += from_head as u8;
        self.advance_payload(n - from_head);
        if let Checksum::Partial { start, .. } = &mut self.checksum {
            match start.checked_sub(n.min(usize::from(u16::MAX)) as u16) {
                Some(rest) => *start = rest,
                None => self.checksum = Checksum::Trusted,
            }
        }
    }

    /// Keeps the first `len` bytes, as when Ethernet padding is cut off.
    pub fn truncate(&mut self, len: usize) {
        let head_len = self.head().len();
        if len < head_len {
            // Shift what stays to the end of the head room.
            let start = usize::from(self.head_start);
            self.body.head.copy_within(start..start + len, HEAD_ROOM - len);
            self.head_start = (HEAD_ROOM - len) as u8;
        }
        let mut keep = len.saturating_sub(head_len);
        if keep >= self.payload_bytes as usize {
            return;
        }
        self.payload_bytes = keep as u32;
        match &mut self.body.payload {
            Payload::Empty | Payload::Landed(_) => {}
            Payload::One(piece) => piece.truncate(keep),
            Payload::Many(pieces) => {
                pieces.retain_mut(|piece| {
                    piece.truncate(keep);
                    keep -= piece.len();
                    !piece.is_empty()
                });
            }
        }
    }

    /// Cuts off what a link padded a packet with, so that `len` bytes are left. Where more than half
    /// of a frame is padding, what is left is copied: whoever keeps some of it keeps no buffer alive
    /// that nobody counts.
    pub fn trim_padding(&mut self, len: usize) {
        let before = self.len();
        self.truncate(len);
        let has_landed = matches!(self.body.payload, Payload::Landed(_));
        if before > LEAST_FRAME_BYTES && len < before / 2 && !has_landed {
            let left = Bytes::copy_from_slice(&self.to_bytes());
            let (checksum, gso, rx_at, mark) = (self.checksum, self.gso, self.rx_at, self.mark);
            *self = Packet { checksum, gso, rx_at, mark, ..Packet::from_payload(left) };
        }
    }

    /// All pieces in order, the head first; empty ones are left out.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let (one, many) = match &self.body.payload {
            Payload::Empty | Payload::Landed(_) => (None, None),
            Payload::One(piece) => (Some(piece), None),
            Payload::Many(pieces) => (None, Some(pieces)),
        };
        std::iter::once(self.head())
            .chain(one.into_iter().map(|p| &p[..]))
            .chain(many.into_iter().flatten().map(|p| &p[..]))
            .filter(|piece| !piece.is_empty())
    }

    /// The payload's buffers, in order; the head is not among them.
    pub fn payload(&self) -> impl Iterator<Item = &Bytes> {
        let (one, many) = match &self.body.payload {
            Payload::Empty | Payload::Landed(_) => (None, None),
            Payload::One(piece) => (Some(piece), None),
            Payload::Many(pieces) => (None, Some(pieces)),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    /// Gives up the payload as shared buffers, without a copy; bytes left in the head are copied
    /// into one in front.
    pub fn into_payload(mut self) -> VecDeque<Bytes> {
        let mut pieces = match std::mem::take(&mut self.body.payload) {
            Payload::Empty | Payload::Landed(_) => VecDeque::new(),
            Payload::One(piece) if piece.is_empty() => VecDeque::new(),
            Payload::One(piece) => VecDeque::from([piece]),
            Payload::Many(pieces) => pieces,
        };
        if !self.head().is_empty() {
            pieces.push_front(Bytes::copy_from_slice(self.head()));
        }
        pieces
    }

    /// Copies bytes from `offset` on into `buf`; how many there were.
    pub fn copy_to(&self, offset: usize, buf: &mut [u8]) -> usize {
        let mut skip = offset;
        let mut done = 0;
        for piece in self.pieces() {
            if skip >= piece.len() {
                skip -= piece.len();
                continue;
            }
            let n = (piece.len() - skip).min(buf.len() - done);
            buf[done..done + n].copy_from_slice(&piece[skip..skip + n]);
            done += n;
            skip = 0;
            if done == buf.len() {
                break;
            }
        }
        done
    }

    /// The whole packet in one buffer; without a copy where it already is in one.
    pub fn to_bytes(&self) -> Bytes {
        if self.head().is_empty()
            && let Payload::One(piece) = &self.body.payload
        {
            return piece.clone();
        }
        let mut all = BytesMut::with_capacity(self.len());
        for piece in self.pieces() {
            all.extend_from_slice(piece);
        }
        all.freeze()
    }

    /// The one's-complement sum of all bytes from `start` on.
    pub fn sum_from(&self, start: usize) -> Sum {
        let mut sum = Sum::new();
        let mut skip = start;
        for piece in self.pieces() {
            if skip >= piece.len() {
                skip -= piece.len();
                continue;
            }
            sum.add(&piece[skip..]);
            skip = 0;
        }
        sum
    }

    /// Turns a partial checksum into a real one. Does nothing to the others.
    ///
    /// Returns `false`, and leaves the packet alone, when `start` and `field` point outside it:
    /// metadata from a link between processes is a hint and not to be trusted.
    #[must_use]
    pub fn complete_checksum(&mut self) -> bool {
        let Checksum::Partial { start, field } = self.checksum else { return true };
        let (start, at) = (usize::from(start), usize::from(start) + usize::from(field));
        if at + 2 > self.len() {
            return false;
        }
        let mut value = self.sum_from(start).finish();
        // RFC 768: zero means "none" in UDP, and all ones is the same number. In TCP zero is just
        // a sum, and all ones looks wrong to who compares instead of adding up.
        if value == 0 && usize::from(field) == UDP_CHECKSUM_AT {
            value = 0xffff;
        }
        self.write_at(at, &value.to_be_bytes());
        self.checksum = Checksum::Trusted;
        true
    }

    /// Overwrites bytes in place, copying a shared buffer only if others hold it.
    pub fn write_at(&mut self, at: usize, bytes: &[u8]) {
        let head_len = self.head().len();
        if at + bytes.len() <= head_len {
            let from = usize::from(self.head_start) + at;
            self.body.head[from..from + bytes.len()].copy_from_slice(bytes);
            return;
        }
        let mut all = BytesMut::from(&self.to_bytes()[..]);
        if let Some(target) = all.get_mut(at..at + bytes.len()) {
            target.copy_from_slice(bytes);
        }
        self.head_start = HEAD_ROOM as u8;
        self.payload_bytes = all.len() as u32;
        self.body.payload = Payload::One(all.freeze());
    }

    /// Moves what the head room holds to the front of the payload.
    fn spill(&mut self) {
        debug_assert!(
            self.landed_range().is_none(),
            "headers of what has landed are read, not written"
        );
        let head = Bytes::copy_from_slice(self.head());
        self.head_start = HEAD_ROOM as u8;
        self.payload_bytes += head.len() as u32;
        self.body.payload = match std::mem::take(&mut self.body.payload) {
            Payload::Empty | Payload::Landed(_) => Payload::One(head),
            Payload::One(piece) => Payload::Many(VecDeque::from([head, piece])),
            Payload::Many(mut pieces) => {
                pieces.push_front(head);
                Payload::Many(pieces)
            }
        };
    }

    fn first_piece_len(&self) -> usize {
        match &self.body.payload {
            Payload::Empty | Payload::Landed(_) => 0,
            Payload::One(piece) => piece.len(),
            Payload::Many(pieces) => pieces.front().map_or(0, Bytes::len),
        }
    }

    /// Moves bytes from the payload behind the head until the head holds `n`.
    fn gather(&mut self, n: usize) {
        let have = self.head().len();
        let mut front = [0; HEAD_ROOM];
        let got = self.copy_to(0, &mut front[..n]);
        debug_assert_eq!(got, n);
        self.advance_payload(n - have);
        self.body.head[HEAD_ROOM - n..].copy_from_slice(&front[..n]);
        self.head_start = (HEAD_ROOM - n) as u8;
    }

    fn advance_payload(&mut self, n: usize) {
        let mut n = n.min(self.payload_bytes as usize);
        self.payload_bytes -= n as u32;
        match &mut self.body.payload {
            Payload::Empty => {}
            Payload::Landed(at) => *at += n as u32,
            Payload::One(piece) => piece.advance(n),
            Payload::Many(pieces) => {
                while let Some(piece) = pieces.front_mut() {
                    if n < piece.len() {
                        piece.advance(n);
                        break;
                    }
                    n -= piece.len();
                    pieces.pop_front();
                }
            }
        }
    }
}

/// Where the checksum of UDP stands in its header.
const UDP_CHECKSUM_AT: usize = 6;

impl Default for Packet {
    fn default() -> Self {
        Packet::new()
    }
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packet")
            .field("len", &self.len())
            .field("head", &self.head().len())
            .field("checksum", &self.checksum)
            .field("gso", &self.gso)
            .field("rx_at", &self.rx_at)
            .finish()
    }
}

#[cfg(test)]
mod tests;
