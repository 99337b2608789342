//! Puts fragments together again, within bounded memory and time (RFC 791 §3.2, RFC 1122 §3.3.2,
//! RFC 8200 §4.5).

use std::collections::BTreeSet;
use std::net::IpAddr;

use bytes::Bytes;
use libnet::iface::IfIndex;
use libnet::packet::Packet;
use libnet::socket::Family;
use libnet::stats::DropReason;
use libnet::time::Instant;

use crate::config::{IpConfig, Ipv6Config};
use crate::family::Zone;
use crate::hash::{HashMap, Key};
use crate::ipv4::header::MAX_PACKET_BYTES;
use crate::ipv6::header::{FRAGMENT_BYTES, HEADER_BYTES};
use crate::snapshot::FragmentsHeld;

/// What makes fragments belong together. Source: RFC 791 §3.2, RFC 8200 §4.5.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct DatagramKey {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    /// The link that they are of.
    pub(crate) zone: Zone,
    /// Zero in IPv6, whose fragments may name different ones.
    pub(crate) protocol: u8,
    pub(crate) ident: u32,
}

/// One fragment, its header read.
#[derive(Debug)]
pub(crate) struct Fragment {
    /// Where its data belongs, in bytes.
    pub(crate) offset: usize,
    /// The data.
    pub(crate) data: Bytes,
    /// Does more follow?
    pub(crate) more: bool,
    /// The packet's headers: options included, and in IPv6 the fragment header.
    pub(crate) header: Bytes,
}

impl Fragment {
    /// The ECN field of its IP header. Source: RFC 3168 §5.
    fn ecn(&self) -> u8 {
        let [first, second, ..] = self.header[..] else { return 0 };
        if first >> 4 == 6 { (second >> 4) & 3 } else { second & 3 }
    }

    /// Do offset and length break RFC 791 §3.2 or RFC 8200 §4.5: no datagram passes 65,535 bytes?
    pub(crate) fn is_too_long(&self, key: &DatagramKey) -> bool {
        let end = self.offset + self.data.len() + self.header.len();
        // IPv6 counts without its own header; the fragment header is not there any more.
        end > MAX_PACKET_BYTES + if key.src.is_ipv6() { HEADER_BYTES + FRAGMENT_BYTES } else { 0 }
    }
}

/// Why a fragment was refused; if it made the whole datagram hopeless, that is gone too.
pub(crate) type Refused = DropReason;

/// A datagram whose time was up.
pub(crate) struct Expired {
    /// By which interface its first fragment came.
    pub(crate) iface: IfIndex,
    pub(crate) family: Family,
    /// The first fragment, if it was among those received: what an ICMP error is about.
    pub(crate) first: Option<Packet>,
}

/// Datagrams that are not complete yet.
pub(crate) struct Reassembly {
    config: IpConfig,
    ipv6: Ipv6Config,
    datagrams: HashMap<DatagramKey, Box<Partial>>,
    /// By deadline, which is the order of arrival.
    deadlines: BTreeSet<(Instant, DatagramKey)>,
    bytes: usize,
}

struct Partial {
    iface: IfIndex,
    deadline: Instant,
    /// Sorted by offset, never overlapping.
    pieces: Vec<(usize, Bytes)>,
    /// Data bytes in `pieces`.
    have: usize,
    /// Data bytes of the whole, once the last fragment is there.
    total: Option<usize>,
    /// The header of the fragment with offset 0.
    header: Option<Bytes>,
    /// What fragments said of congestion, a bit for each value of the ECN field.
    ecn_seen: u8,
    /// Memory accounted.
    bytes: usize,
    /// Fragments contradicted each other; what still comes is refused.
    poisoned: bool,
}

/// Memory for a piece beside its data.
const PIECE_OVERHEAD: usize = 128;
/// Pieces of one datagram at most: more than the smallest link (68 bytes) makes of the largest.
const MAX_PIECES: usize = 2048;
/// Memory for a datagram beside its pieces: its places in the two tables, the first of which has up
/// to four for each that is taken, and half as many beside while it grows; itself; and the first
/// places for pieces.
const DATAGRAM_OVERHEAD: usize = 6 * size_of::<(DatagramKey, Box<Partial>)>()
    + 2 * size_of::<(Instant, DatagramKey)>()
    + size_of::<Partial>()
    + 4 * size_of::<(usize, Bytes)>();

impl Reassembly {
    /// Nothing in it.
    pub(crate) fn new(config: IpConfig, ipv6: Ipv6Config, key: Key) -> Self {
        Reassembly {
            config,
            ipv6,
            datagrams: HashMap::with_hasher(key),
            deadlines: BTreeSet::new(),
            bytes: 0,
        }
    }

    /// Lives by other bounds and times from now on.
    pub(crate) fn set_config(&mut self, config: IpConfig, ipv6: Ipv6Config) {
        (self.config, self.ipv6) = (config, ipv6);
    }

    /// Takes a fragment; the whole datagram, header first, if it is complete now.
    pub(crate) fn insert(
        &mut self,
        now: Instant,
        iface: IfIndex,
        key: DatagramKey,
        fragment: Fragment,
        evicted: &mut u64,
    ) -> Result<Option<(Bytes, Vec<Bytes>)>, Refused> {
        check_extent(&key, &fragment)?;
        let cost = self.cost_of(&key, &fragment);
        self.make_room(cost + DATAGRAM_OVERHEAD, &key, evicted)?;
        let partial = self.open(now, iface, key);
        if partial.poisoned {
            return Err(DropReason::FragmentOverlap);
        }
        let before = partial.bytes;
        let exact = key.src.is_ipv6();
        let inserted = partial.insert(fragment, if exact { Overlap::Never } else { Overlap::Same });
        if inserted.is_err() {
            partial.poison();
        }
        let (after, complete) = (partial.bytes, partial.is_complete());
        self.bytes = self.bytes - before + after;
        inserted?;
        if !complete {
            return Ok(None);
        }
        Ok(self.remove(&key).and_then(|partial| partial.finish()))
    }

    /// Drops what waited too long.
    pub(crate) fn expire(&mut self, now: Instant, out: &mut Vec<Expired>) {
        while let Some(&(deadline, key)) = self.deadlines.first() {
            if deadline > now {
                return;
            }
            let Some(partial) = self.remove(&key) else { continue };
            let family = Family::of(&key.src);
            let (iface, first) = (partial.iface, partial.first_fragment());
            out.push(Expired { iface, family, first });
        }
    }

    /// When [`expire`](Self::expire) has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|&(deadline, _)| deadline)
    }

    /// Memory in use, in bytes.
    #[cfg(test)]
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// What is in it.
    pub(crate) fn held(&self) -> FragmentsHeld {
        FragmentsHeld { datagrams: self.datagrams.len(), bytes: self.bytes }
    }

    /// Memory that a fragment takes at most, in bytes: its data, in as many pieces as there are gaps
    /// for, and the headers of the first one.
    fn cost_of(&self, key: &DatagramKey, fragment: &Fragment) -> usize {
        let end = fragment.offset + fragment.data.len();
        let partial = self.datagrams.get(key);
        let within = partial.map_or(0, |partial| partial.count_within(fragment.offset, end));
        let gaps = within + 1;
        let header = if fragment.offset == 0 { fragment.header.len() } else { 0 };
        fragment.data.len() + header + gaps * PIECE_OVERHEAD
    }

    fn open(&mut self, now: Instant, iface: IfIndex, key: DatagramKey) -> &mut Partial {
        let timeout = match key.src {
            IpAddr::V4(_) => self.config.reassembly_timeout,
            IpAddr::V6(_) => self.ipv6.reassembly_timeout,
        };
        let deadline = now + timeout;
        let (deadlines, bytes) = (&mut self.deadlines, &mut self.bytes);
        self.datagrams.entry(key).or_insert_with(|| {
            deadlines.insert((deadline, key));
            *bytes += DATAGRAM_OVERHEAD;
            Box::new(Partial::new(iface, deadline))
        })
    }

    /// Evicts the oldest until there is room; a datagram of one's own is not evicted for itself.
    fn make_room(
        &mut self,
        bytes: usize,
        own: &DatagramKey,
        evicted: &mut u64,
    ) -> Result<(), Refused> {
        let is_new = !self.datagrams.contains_key(own);
        loop {
            let full = self.bytes + bytes > self.config.reassembly_bytes
                || (is_new && self.datagrams.len() >= self.config.reassembly_datagrams);
            if !full {
                return Ok(());
            }
            let oldest = self.deadlines.iter().map(|&(_, key)| key).find(|key| key != own);
            let Some(oldest) = oldest else { return Err(DropReason::FragmentMemory) };
            self.remove(&oldest);
            *evicted += 1;
        }
    }

    fn remove(&mut self, key: &DatagramKey) -> Option<Box<Partial>> {
        let partial = self.datagrams.remove(key)?;
        self.deadlines.remove(&(partial.deadline, *key));
        self.bytes -= partial.bytes;
        Some(partial)
    }
}

/// RFC 791 §3.2, RFC 8200 §4.5: offsets count units of 8 bytes, and no datagram passes 65,535.
fn check_extent(key: &DatagramKey, fragment: &Fragment) -> Result<(), Refused> {
    let len = fragment.data.len();
    if len == 0 || fragment.is_too_long(key) || (fragment.more && !len.is_multiple_of(8)) {
        return Err(DropReason::FragmentMalformed);
    }
    Ok(())
}

/// Which fragments may bring bytes that are there already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Overlap {
    /// Those that say the same of them.
    Same,
    /// Those alone that came twice (RFC 8200 §4.5).
    Never,
}

impl Partial {
    fn new(iface: IfIndex, deadline: Instant) -> Self {
        Partial {
            iface,
            deadline,
            pieces: Vec::new(),
            have: 0,
            total: None,
            header: None,
            ecn_seen: 0,
            bytes: DATAGRAM_OVERHEAD,
            poisoned: false,
        }
    }

    fn insert(&mut self, fragment: Fragment, overlap: Overlap) -> Result<(), Refused> {
        let end = fragment.offset + fragment.data.len();
        let known_end = self.pieces.last().map_or(0, |(at, data)| at + data.len());
        if !fragment.more {
            // Two ends that differ, or an end before what is there already.
            if self.total.is_some_and(|total| total != end) || known_end > end {
                return Err(DropReason::FragmentOverlap);
            }
            self.total = Some(end);
        } else if self.total.is_some_and(|total| end > total) {
            return Err(DropReason::FragmentOverlap);
        }
        if fragment.offset == 0 && self.header.is_none() {
            self.header = Some(Bytes::copy_from_slice(&fragment.header));
            self.bytes += fragment.header.len();
        }
        if overlap == Overlap::Never && self.overlaps(fragment.offset, &fragment.data) {
            return Err(DropReason::FragmentOverlap);
        }
        self.ecn_seen |= 1 << fragment.ecn();
        if self.ecn_seen & (SEEN_CE | SEEN_NOT_ECT) == SEEN_CE | SEEN_NOT_ECT {
            // RFC 3168 §5.3 (MUST NOT): no mark on what was not ready for one.
            return Err(DropReason::FragmentOverlap);
        }
        self.fill(fragment.offset, fragment.data)
    }

    /// Pieces that lie between two places.
    fn count_within(&self, offset: usize, end: usize) -> usize {
        let from = self.pieces.partition_point(|(start, piece)| start + piece.len() <= offset);
        self.pieces[from..].iter().take_while(|(start, _)| *start < end).count()
    }

    /// Are bytes of it there already, other than by the same fragment?
    fn overlaps(&self, offset: usize, data: &[u8]) -> bool {
        let end = offset + data.len();
        let at = self.pieces.partition_point(|(start, piece)| start + piece.len() <= offset);
        let next = self.pieces.get(at).filter(|(start, _)| *start < end);
        next.is_some_and(|(start, piece)| (*start, &piece[..]) != (offset, data))
    }

    /// Adds what of `data` is new.
    ///
    // DEVIATES RFC 791 §3.2: bytes that contradict those received before do not replace them, they
    // end the datagram, as RFC 5722 §4 has it for IPv6: whoever sends such means an attack.
    fn fill(&mut self, offset: usize, data: Bytes) -> Result<(), Refused> {
        let end = offset + data.len();
        if self.pieces.len() >= MAX_PIECES {
            return Err(DropReason::FragmentMemory);
        }
        let mut at = offset;
        let mut index = self.pieces.partition_point(|(start, piece)| start + piece.len() <= offset);
        while at < end {
            let next = self.pieces.get(index).map(|(start, piece)| (*start, piece.clone()));
            match next {
                Some((start, piece)) if start <= at => {
                    let stop = end.min(start + piece.len());
                    if piece[at - start..stop - start] != data[at - offset..stop - offset] {
                        return Err(DropReason::FragmentOverlap);
                    }
                    at = stop;
                }
                next => {
                    let stop = next.map_or(end, |(start, _)| start.min(end));
                    // A copy: what we hold is what we count, and not the whole frame that it came in.
                    let piece = Bytes::copy_from_slice(&data[at - offset..stop - offset]);
                    self.pieces.insert(index, (at, piece));
                    self.bytes += stop - at + PIECE_OVERHEAD;
                    self.have += stop - at;
                    at = stop;
                }
            }
            index += 1;
        }
        Ok(())
    }

    fn poison(&mut self) {
        self.pieces.clear();
        self.have = 0;
        self.header = None;
        self.total = None;
        self.bytes = DATAGRAM_OVERHEAD;
        self.poisoned = true;
    }

    fn is_complete(&self) -> bool {
        // Pieces neither overlap nor pass the end: having as many bytes is having them all.
        self.total == Some(self.have)
    }

    fn finish(self) -> Option<(Bytes, Vec<Bytes>)> {
        let mut header = self.header?;
        if self.ecn_seen & SEEN_CE != 0 {
            header = marked(&header);
        }
        Some((header, self.pieces.into_iter().map(|(_, piece)| piece).collect()))
    }

    fn first_fragment(&self) -> Option<Packet> {
        let mut packet = Packet::from_payload(self.header.clone()?);
        if let Some((0, data)) = self.pieces.first() {
            packet.push_payload(data.clone());
        }
        Some(packet)
    }
}

/// RFC 3168 §5.3 (MUST): what one fragment met, all have met.
fn marked(header: &[u8]) -> Bytes {
    let mut header = header.to_vec();
    if let [first, second, ..] = &mut header[..] {
        *second |= if *first >> 4 == 6 { 0x30 } else { 3 };
    }
    header.into()
}

const SEEN_NOT_ECT: u8 = 1 << 0;
const SEEN_CE: u8 = 1 << 3;

#[cfg(test)]
mod tests;
