//! A stranger's segments, by what their receiver would expect next.

use bytes::Bytes;
use libnet::Packet;
use libnetinet::tcp::{Extra, Flags, FourTuple, Header, InMeta, Options, SeqNumber};

use super::ends::{Ends, IFACE};
use super::step::Forged;
use super::watch::Flow;

/// It arrives.
pub(super) fn arrive(ends: &mut Ends, forged: &Forged) {
    let flow = ends.flows.get(forged.flow);
    let in_flight = in_flight(ends, &flow);
    let FourTuple { local, remote, local_port, remote_port, zone } = flow.tuple;
    let from = FourTuple {
        local: remote,
        remote: local,
        local_port: remote_port,
        remote_port: local_port,
        zone,
    };
    let mut flags = Flags::from_bits(forged.flags.into());
    if forged.more & Forged::NINTH_FLAG != 0 {
        flags |= Flags::from_bits(0x100);
    }
    let answered = match forged.more & Forged::ACK_OLDEST {
        0 => flow.reached,
        _ => flow.reached - in_flight,
    };
    let urgent = if forged.more & Forged::URGENT == 0 { 0 } else { forged.value.into() };
    let header = Header {
        seq: moved(flow.expects, forged.seq, forged.more & Forged::SEQ_FAR != 0),
        ack: moved(answered, forged.ack, forged.more & Forged::ACK_FAR != 0),
        flags,
        wnd: forged.wnd,
        urgent,
        options: Options::default(),
    };
    let data = vec![0x55; usize::from(forged.bytes % BYTES_MAX)];
    let mut packet = Packet::from_payload(Bytes::from(data));
    header.prepend_with(&mut packet, &from, 0, options(forged, &flow).bytes());
    let tos = forged.more >> Forged::ECN_SHIFT;
    let meta = InMeta { src: remote, dst: local, iface: IFACE, tos };
    ends.arrive(flow.side, &meta, packet);
}

fn in_flight(ends: &mut Ends, flow: &Flow) -> u32 {
    let now = ends.now;
    let table = &ends.end(flow.side).table;
    let mut found = table.iter().filter(|(_, conn)| *conn.tuple() == flow.tuple);
    found.next().map_or(0, |(_, conn)| conn.info(now).in_flight_bytes)
}

fn moved(from: SeqNumber, by: i16, far: bool) -> SeqNumber {
    let by = if far { i32::from(by) << 16 } else { by.into() };
    from + by as u32
}

/// As many of the options as there is room for.
fn options(forged: &Forged, flow: &Flow) -> Extra {
    let (mut list, value) = (Extra::NONE, forged.value);
    let mut add = |choice: u8, kind: u8, body: &[u8]| {
        if forged.options & choice != 0 {
            list.push(kind, body);
        }
    };
    let clock = flow.echo.wrapping_add_signed(i32::from(value as i8));
    let timestamps = [clock.to_be_bytes(), flow.clock.to_be_bytes()].concat();
    add(Forged::TIMESTAMPS, 8, &timestamps);
    add(Forged::MSS, 2, &(u16::from(value) * 6).to_be_bytes());
    add(Forged::SHIFT, 3, &[value % 16]);
    add(Forged::SACK_PERMITTED, 4, &[]);
    add(Forged::MD5, 19, &[value; 16]);
    add(Forged::AO, 29, &[value; 14]);
    // RFC 7413 §4.1.1: none asks for one; else they have 4 to 16 bytes.
    let cookie = if value & 1 == 0 { &[][..] } else { &[value; 8] };
    add(Forged::FAST_OPEN, 34, cookie);
    let order = if value & 1 == 0 { 172 } else { 174 };
    add(
        Forged::MARKED_BYTES,
        order,
        &[0, 0, value, 0, value, 0, 0, 0, 1][..usize::from(value % 4) * 3],
    );
    let mut blocks = Vec::new();
    for (back, len) in forged.blocks.into_iter().filter(|block| block.1 > 0) {
        let left = flow.reached - u32::from(back) * SEGMENT_BYTES;
        let right = left + u32::from(len) * SEGMENT_BYTES;
        blocks.extend([left.value().to_be_bytes(), right.value().to_be_bytes()].concat());
        if forged.value & 0x80 != 0 {
            // Bounds that no segment has.
            blocks.iter_mut().last().into_iter().for_each(|byte| *byte ^= 3);
        }
    }
    if !blocks.is_empty() {
        list.push(5, &blocks);
    }
    list
}

/// More than one super-segment of what is common, less than what takes long to copy.
const BYTES_MAX: u16 = 20_000;
/// Of what SACK blocks are counted in.
const SEGMENT_BYTES: u32 = 1_448;
