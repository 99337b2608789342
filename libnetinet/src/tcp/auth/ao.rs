//! TCP-AO: traffic keys, which key signs, and sequence numbers that do not wrap. Source: RFC 5925.

use std::net::IpAddr;

use libnet::Packet;
use libnet::socket::AoKey;

use super::{
    AO_MAC_BYTES, Forgery, Isns, TrafficKey, data_of, header_of, is_same, mac, octets,
    pseudo_header,
};
use crate::tcp::options::KIND_AO;
use crate::tcp::segment::{Flags, FourTuple, MAX_HEADER_BYTES, MIN_HEADER_BYTES, Segment};
use crate::tcp::seq::SeqNumber;

/// What a connection knows of its keys.
#[derive(Clone, Debug)]
pub(in crate::tcp) struct Ao {
    keys: Vec<Key>,
    /// Places in `keys`: what signs (Current_key), and what the peer is asked to sign with
    /// (Rnext_key). Source: RFC 5925 §3.3.
    current: usize,
    next: usize,
    sent: Extended,
    received: Extended,
}

#[derive(Clone, Debug)]
struct Key {
    tuple: AoKey,
    /// Send_other and Receive_other, once both numbers are known, and for which.
    others: Option<(Isns, [TrafficKey; 2])>,
}

/// A sequence number with what it has wrapped: the upper half is the SNE. Source: RFC 5925 §6.2.
#[derive(Clone, Copy, Debug, Default)]
struct Extended(Option<u64>);

impl Extended {
    /// The number's extension; the first number that is seen has wrapped zero times.
    fn extend(&self, seq: SeqNumber) -> u64 {
        let Some(highest) = self.0 else { return u64::from(seq.value()) };
        let delta = seq.value().wrapping_sub(highest as u32) as i32;
        // What lies before the first number counts as not wrapped, too.
        highest.checked_add_signed(i64::from(delta)).unwrap_or(u64::from(seq.value()))
    }

    fn reach(&mut self, extended: u64) {
        self.0 = Some(self.0.unwrap_or(0).max(extended));
    }
}

impl Ao {
    /// With the keys that cover a peer; `None` if there are none.
    pub(super) fn new(keys: Vec<AoKey>) -> Option<Self> {
        let keys: Vec<Key> = keys.into_iter().map(|tuple| Key { tuple, others: None }).collect();
        let (sent, received) = (Extended::default(), Extended::default());
        (!keys.is_empty()).then_some(Ao { keys, current: 0, next: 0, sent, received })
    }

    /// KeyID and RNextKeyID of what is sent.
    pub(super) fn ids(&self) -> [u8; 2] {
        [self.keys[self.current].tuple.send_id, self.keys[self.next].tuple.receive_id]
    }

    /// The ids by which the application knows both keys.
    pub(in crate::tcp) fn in_use(&self) -> (u8, u8) {
        let [current, next] = self.ids();
        (current, next)
    }

    /// Signs with another key from now on; `false` if there is none of this number.
    pub(in crate::tcp) fn use_key(&mut self, send_id: u8) -> bool {
        let place = self.keys.iter().position(|key| key.tuple.send_id == send_id);
        self.current = place.unwrap_or(self.current);
        place.is_some()
    }

    /// Asks the peer to sign with another key; `false` if there is none of this number.
    pub(in crate::tcp) fn ask_for(&mut self, receive_id: u8) -> bool {
        let place = self.keys.iter().position(|key| key.tuple.receive_id == receive_id);
        self.next = place.unwrap_or(self.next);
        place.is_some()
    }

    /// Other keys from now on; those in use stay in use if they are among them.
    pub(in crate::tcp) fn change_keys(&mut self, keys: Vec<AoKey>) {
        let [current, next] = self.ids();
        if let Some(new) = Ao::new(keys) {
            self.keys = new.keys;
            (self.current, self.next) = (0, 0);
            self.use_key(current);
            self.ask_for(next);
        }
    }

    /// The signature of a segment that we send; its place in the packet, at `mac_at`, is zero.
    pub(super) fn sign(
        &mut self,
        tuple: &FourTuple,
        isns: Isns,
        seq: SeqNumber,
        packet: &Packet,
        mac_at: usize,
    ) -> [u8; AO_MAC_BYTES] {
        let key = self.keys[self.current].traffic_key(tuple, isns, Way::Out);
        let extended = self.sent.extend(seq);
        self.sent.reach(extended);
        let ends = (tuple.local, tuple.remote);
        mac_of(&self.keys[self.current].tuple, &key, extended, ends, packet, mac_at)
    }

    /// RFC 5925 §7.5: checks a segment, and follows the peer to the key that it asks for.
    pub(super) fn check(
        &mut self,
        seg: &Segment,
        packet: &Packet,
        isns: Isns,
        body: &[u8],
    ) -> Result<(), Forgery> {
        let [id, asked, signature @ ..] = body else { return Err(Forgery::Wrong) };
        let place = self.keys.iter().position(|key| key.tuple.receive_id == *id);
        let place = place.ok_or(Forgery::NoKey)?;
        let isns = isns_of_received(seg, isns);
        let key = self.keys[place].traffic_key(&seg.tuple, isns, Way::In);
        let extended = self.received.extend(seg.seq);
        let ends = (seg.tuple.remote, seg.tuple.local);
        let Some(mac_at) = place_of_mac(packet) else { return Err(Forgery::Wrong) };
        let tuple = &self.keys[place].tuple;
        if !is_same(signature, &mac_of(tuple, &key, extended, ends, packet, mac_at)) {
            return Err(Forgery::Wrong);
        }
        self.received.reach(extended);
        if seg.flags.has(Flags::SYN) && !seg.flags.has(Flags::ACK) {
            // A passive open begins with what its peer has begun with.
            self.next = place;
        }
        // RFC 5925 §7.5 step 2 (d): the peer is ready for another key.
        if *asked != self.ids()[0] {
            self.use_key(*asked);
        }
        Ok(())
    }
}

/// Which way a segment goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Out,
    In,
}

impl Key {
    fn traffic_key(&mut self, tuple: &FourTuple, isns: Isns, way: Way) -> TrafficKey {
        let none = SeqNumber::default();
        let known = isns.local != none && isns.remote != none;
        if let Some((of, [out, into])) = &self.others
            && known
            && (of.local, of.remote) == (isns.local, isns.remote)
        {
            return if way == Way::Out { *out } else { *into };
        }
        let make = |way| {
            let (context, len) = context_of(tuple, isns, way);
            mac::traffic_key(self.tuple.algorithm, &self.tuple.key, &context[..len])
        };
        if !known {
            return make(way);
        }
        let (out, into) = (make(Way::Out), make(Way::In));
        self.others = Some((isns, [out, into]));
        if way == Way::Out { out } else { into }
    }
}

/// RFC 5925 §5.2: addresses, ports and initial numbers, the sender's first.
fn context_of(tuple: &FourTuple, isns: Isns, way: Way) -> ([u8; 44], usize) {
    let local = (tuple.local, tuple.local_port, isns.local);
    let remote = (tuple.remote, tuple.remote_port, isns.remote);
    let (src, dst) = if way == Way::Out { (local, remote) } else { (remote, local) };
    let (mut context, mut len) = ([0; 44], 0);
    let mut put = |bytes: &[u8]| {
        context[len..len + bytes.len()].copy_from_slice(bytes);
        len += bytes.len();
    };
    for (addr, ..) in [src, dst] {
        match addr {
            IpAddr::V4(addr) => put(&addr.octets()),
            addr => put(&octets(addr)),
        }
    }
    put(&src.1.to_be_bytes());
    put(&dst.1.to_be_bytes());
    put(&src.2.value().to_be_bytes());
    put(&dst.2.value().to_be_bytes());
    (context, len)
}

/// Which numbers stand in the context of a segment that came: those that it says, if it is a SYN.
fn isns_of_received(seg: &Segment, isns: Isns) -> Isns {
    match (seg.flags.has(Flags::SYN), seg.flags.has(Flags::ACK)) {
        (true, false) => Isns { local: SeqNumber::default(), remote: seg.seq },
        (true, true) => Isns { local: isns.local, remote: seg.seq },
        _ => isns,
    }
}

/// RFC 5925 §5.1: the SNE, the pseudo-header, the header with checksum and signature zero, with its
/// options or with this one alone, the data.
fn mac_of(
    tuple: &AoKey,
    key: &TrafficKey,
    extended: u64,
    ends: (IpAddr, IpAddr),
    packet: &Packet,
    mac_at: usize,
) -> [u8; AO_MAC_BYTES] {
    let sne = ((extended >> 32) as u32).to_be_bytes();
    let (pseudo, pseudo_bytes) = pseudo_header(ends, packet.len());
    let (mut header, header_bytes) = header_of(packet);
    header[mac_at..mac_at + AO_MAC_BYTES].fill(0);
    let option = &header[mac_at - 4..mac_at + AO_MAC_BYTES];
    let (first, second) = match tuple.include_options {
        true => (&header[..header_bytes], &[][..]),
        false => (&header[..MIN_HEADER_BYTES], option),
    };
    let parts = [&sne[..], &pseudo[..pseudo_bytes], first, second];
    mac::sign(tuple.algorithm, key, parts.into_iter().chain(data_of(packet, header_bytes)))
}

/// Where the signature of a received segment stands, if it has the length of one.
fn place_of_mac(packet: &Packet) -> Option<usize> {
    let (header, header_bytes) = header_of(packet);
    let mut at = MIN_HEADER_BYTES;
    while at + 1 < header_bytes {
        let (kind, len) = (header[at], usize::from(header[at + 1]));
        match kind {
            0 => return None,
            1 => at += 1,
            KIND_AO => {
                let fits =
                    len == 4 + AO_MAC_BYTES && at + len <= header_bytes.min(MAX_HEADER_BYTES);
                return fits.then_some(at + 4);
            }
            _ if len < 2 => return None,
            _ => at += len,
        }
    }
    None
}
