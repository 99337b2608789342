//! Joins received TCP segments that follow each other into the super-segment that they may have been
//! cut from, so that what costs by the packet is paid once (generic receive offload).
//!
//! Only what can be cut again into exactly the same segments is joined: the same headers, sequence
//! numbers without a gap, one size but for the last, no flags but ACK, ECE and PSH, checksums that are
//! right. It never waits for a segment: it joins what one call to a link brought.

use std::num::NonZeroU16;

use bytes::Bytes;

use crate::checksum::{Sum, checksum};
use crate::ethernet::EtherType;
use crate::gso::be16;
use crate::link::Medium;
use crate::packet::{Checksum, Gso, GsoKind, Packet, SMALL_FRAME_BYTES};
use crate::socket::Protocol;

/// Joins what can be joined among `frames`, which keep their order.
pub(crate) fn join(frames: &mut Vec<Packet>, medium: Medium) {
    // Where every frame is small, or a super-segment already, there is nothing to do.
    let may_join = |frame: &&Packet| frame.gso.is_none() && frame.len() > SMALL_FRAME_BYTES;
    if frames.iter().filter(may_join).nth(1).is_none() {
        return;
    }
    let mut runs = Runs::default();
    let mut done = Vec::with_capacity(frames.len());
    for frame in frames.drain(..) {
        match Segment::of(&frame, medium) {
            Some(segment) => runs.take(segment, frame, &mut done),
            None => {
                // Nothing overtakes what is not understood.
                runs.close_all(&mut done);
                done.push(frame);
            }
        }
    }
    runs.close_all(&mut done);
    *frames = done;
}

/// Where the parts of a data segment are, in a frame that is one buffer.
struct Segment {
    bytes: Bytes,
    ip: usize,
    tcp: usize,
    data: usize,
    /// Behind the data: what follows is padding.
    end: usize,
    is_v6: bool,
    is_verified: bool,
}

impl Segment {
    /// `None`: it is none that could be joined to another.
    fn of(frame: &Packet, medium: Medium) -> Option<Segment> {
        if frame.gso.is_some() || !frame.head().is_empty() {
            return None;
        }
        let is_verified = match frame.checksum {
            Checksum::Unverified => false,
            Checksum::Trusted => true,
            Checksum::Partial { .. } => return None,
        };
        let mut pieces = frame.payload();
        let (bytes, None) = (pieces.next()?, pieces.next()) else { return None };
        let ip = medium.header_bytes();
        let ethertype = (medium == Medium::Ethernet).then(|| be16(bytes, 12)).flatten();
        let (tcp, end, is_v6) = match bytes.get(ip)? {
            0x45 if ethertype.is_none_or(|ty| ty == EtherType::IPV4.0) => {
                let header = bytes.get(ip..ip + IPV4_BYTES)?;
                // Whole, and not to be cut on its way: then its identification says nothing.
                let is_whole = be16(header, 6)? == DONT_FRAGMENT;
                if header[9] != Protocol::TCP.0 || !is_whole || checksum(header) != 0 {
                    return None;
                }
                (ip + IPV4_BYTES, ip + usize::from(be16(header, 2)?), false)
            }
            0x60..=0x6f if ethertype.is_none_or(|ty| ty == EtherType::IPV6.0) => {
                let header = bytes.get(ip..ip + IPV6_BYTES)?;
                if header[6] != Protocol::TCP.0 {
                    return None;
                }
                let tcp = ip + IPV6_BYTES;
                (tcp, tcp + usize::from(be16(header, 4)?), true)
            }
            _ => return None,
        };
        let data = tcp + usize::from(bytes.get(tcp + 12)? >> 4) * 4;
        // RFC 3168 §6.1.2: CWR tells of one reduction, so that it stands alone; whoever echoes marks
        // (§6.1.3) does it in each segment.
        let flags = bytes.get(tcp + 13)? & !(TCP_PSH | TCP_ECE);
        let is_plain = flags == TCP_ACK && data >= tcp + TCP_BYTES;
        if !is_plain || end > bytes.len() || end < data + LEAST_DATA_BYTES {
            return None;
        }
        Some(Segment { bytes: bytes.clone(), ip, tcp, data, end, is_v6, is_verified })
    }

    fn data_bytes(&self) -> usize {
        self.end - self.data
    }

    fn seq(&self) -> u32 {
        let at = self.tcp + 4;
        self.bytes[at..at + 4].iter().fold(0, |seq, byte| seq << 8 | u32::from(*byte))
    }

    fn is_pushed(&self) -> bool {
        self.bytes[self.tcp + 13] & TCP_PSH != 0
    }

    fn has_right_checksum(&self) -> bool {
        if self.is_verified {
            return true;
        }
        let mut sum = pseudo_header(&self.bytes[self.ip..], self.is_v6, self.end - self.tcp);
        sum.add(&self.bytes[self.tcp..self.end]);
        sum.finish() == 0
    }

    /// Addresses and ports.
    fn is_of_flow(&self, other: &Segment) -> bool {
        let ends = if self.is_v6 { self.ip + 8 } else { self.ip + 12 }..self.tcp + 4;
        self.tcp == other.tcp
            && self.is_v6 == other.is_v6
            && self.bytes[ends.clone()] == other.bytes[ends]
    }

    /// All else that must not change from one segment to the next: link header, TTL, class and with
    /// it what congestion has marked, flow label, acknowledgement, flags, window, options.
    fn has_headers_of(&self, other: &Segment) -> bool {
        let (a, b) = (&self.bytes[..], &other.bytes[..]);
        let same = |from: usize, to: usize| a[from..to] == b[from..to];
        let (ip, tcp) = (self.ip, self.tcp);
        let ip_same = if self.is_v6 {
            same(0, ip + 4) && same(ip + 6, tcp)
        } else {
            same(0, ip + 2) && same(ip + 6, ip + 10)
        };
        ip_same
            && self.data == other.data
            && same(tcp + 8, tcp + 13)
            && a[tcp + 13] & !TCP_PSH == b[tcp + 13] & !TCP_PSH
            && same(tcp + 14, tcp + 16)
            && same(tcp + 18, self.data)
    }
}

/// Segments of one flow that follow each other.
struct Run {
    first: Segment,
    /// Where the packet is among those that are done.
    at: usize,
    next_seq: u32,
    ip_bytes: usize,
    count: usize,
    is_pushed: bool,
}

/// The flows of a batch that may go on; the oldest gives way.
#[derive(Default)]
struct Runs(Vec<Run>);

impl Runs {
    fn take(&mut self, segment: Segment, frame: Packet, done: &mut Vec<Packet>) {
        if let Some(index) = self.0.iter().position(|run| run.first.is_of_flow(&segment)) {
            let run = &mut self.0[index];
            if run.is_followed_by(&segment) {
                run.append(&segment, &mut done[run.at]);
                if run.is_pushed || segment.data_bytes() < run.first.data_bytes() {
                    self.0.swap_remove(index).close(done);
                }
                return;
            }
            self.0.swap_remove(index).close(done);
        }
        if !segment.is_pushed() {
            if self.0.len() == MAX_RUNS {
                self.0.remove(0).close(done);
            }
            self.0.push(Run {
                at: done.len(),
                next_seq: segment.seq().wrapping_add(segment.data_bytes() as u32),
                ip_bytes: segment.end - segment.ip,
                count: 1,
                is_pushed: false,
                first: segment,
            });
        }
        done.push(frame);
    }

    fn close_all(&mut self, done: &mut [Packet]) {
        for run in self.0.drain(..) {
            run.close(done);
        }
    }
}

impl Run {
    fn is_followed_by(&self, segment: &Segment) -> bool {
        segment.seq() == self.next_seq
            && segment.data_bytes() <= self.first.data_bytes()
            && self.ip_bytes + segment.data_bytes() <= MAX_IP_BYTES
            && self.first.has_headers_of(segment)
            && (self.count > 1 || self.first.has_right_checksum())
            && segment.has_right_checksum()
    }

    fn append(&mut self, segment: &Segment, packet: &mut Packet) {
        if self.count == 1 {
            packet.truncate(self.first.end);
        }
        packet.push_payload(segment.bytes.slice(segment.data..segment.end));
        self.next_seq = self.next_seq.wrapping_add(segment.data_bytes() as u32);
        self.ip_bytes += segment.data_bytes();
        self.count += 1;
        self.is_pushed = segment.is_pushed();
    }

    /// Makes the first segment's headers those of the whole.
    fn close(self, done: &mut [Packet]) {
        let Run { first, at, ip_bytes, count, is_pushed, .. } = self;
        let packet = &mut done[at];
        if count == 1 {
            return;
        }
        let segment_bytes = NonZeroU16::new(first.data_bytes() as u16);
        let (Some(headers), Some(segment_bytes)) = (packet.own(first.data), segment_bytes) else {
            return;
        };
        let (ip, tcp) = (first.ip, first.tcp);
        if first.is_v6 {
            let payload_bytes = (ip_bytes - IPV6_BYTES) as u16;
            headers[ip + 4..ip + 6].copy_from_slice(&payload_bytes.to_be_bytes());
        } else {
            headers[ip + 2..ip + 4].copy_from_slice(&(ip_bytes as u16).to_be_bytes());
            headers[ip + 10..ip + 12].fill(0);
            let sum = checksum(&headers[ip..tcp]);
            headers[ip + 10..ip + 12].copy_from_slice(&sum.to_be_bytes());
        }
        if is_pushed {
            headers[tcp + 13] |= TCP_PSH;
        }
        let sum = pseudo_header(&headers[ip..], first.is_v6, ip_bytes - (tcp - ip)).folded();
        headers[tcp + 16..tcp + 18].copy_from_slice(&sum.to_be_bytes());
        packet.checksum = Checksum::Partial { start: tcp as u16, field: 16 };
        let kind = if first.is_v6 { GsoKind::Tcp6 } else { GsoKind::Tcp4 };
        packet.gso = Some(Gso { kind, segment_bytes });
    }
}

/// The sum of the pseudo-header of what begins with an IP header. Source: RFC 9293 §3.1 (IPv4),
/// RFC 8200 §8.1 (IPv6).
fn pseudo_header(ip: &[u8], is_v6: bool, tcp_bytes: usize) -> Sum {
    let mut sum = Sum::new();
    sum.add(if is_v6 { &ip[8..40] } else { &ip[12..20] });
    sum.add_u16(u16::from(Protocol::TCP.0));
    sum.add_u16(tcp_bytes as u16);
    sum
}

const IPV4_BYTES: usize = 20;
const IPV6_BYTES: usize = 40;
const TCP_BYTES: usize = 20;
const DONT_FRAGMENT: u16 = 0x4000;
const TCP_PSH: u8 = 0x08;
const TCP_ACK: u8 = 0x10;
const TCP_ECE: u8 = 0x40;
/// What the length field of IPv4 tells at most; the same for IPv6, header included.
const MAX_IP_BYTES: usize = 65_535;
/// Fewer data are not worth the look.
const LEAST_DATA_BYTES: usize = 128;
/// Flows that are looked at side by side.
const MAX_RUNS: usize = 8;

#[cfg(test)]
mod tests;
