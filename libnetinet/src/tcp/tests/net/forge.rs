//! Segments that tests make up, as the connections that they are for expect them.

use bytes::Bytes;
use libnet::Packet;

use super::{Net, Side};
use crate::tcp::*;

/// A segment that a test makes up.
pub(in crate::tcp::tests) struct Forged {
    pub(in crate::tcp::tests) header: Header,
    pub(in crate::tcp::tests) ecn: EcnField,
    pub(in crate::tcp::tests) data: Vec<u8>,
}

impl Net {
    /// A's segment with an urgent pointer arrives at B.
    pub(in crate::tcp::tests) fn forge_urgent(&mut self, id: ConnId, pointer: u16, data: &[u8]) {
        self.forge(Side::A, id, |forged| {
            forged.header.flags |= Flags::URG;
            forged.header.urgent = pointer;
            forged.data = data.to_vec();
        });
    }

    /// A segment of `tuple.local`'s arrives at a node.
    pub(in crate::tcp::tests) fn inject(
        &mut self,
        at: Side,
        header: &Header,
        tuple: &FourTuple,
        data: &[u8],
    ) {
        self.inject_marked(at, header, tuple, 0, data);
    }

    /// The same, with a traffic class.
    fn inject_marked(
        &mut self,
        at: Side,
        header: &Header,
        tuple: &FourTuple,
        tos: u8,
        data: &[u8],
    ) {
        let mut packet = Packet::from_payload(Bytes::copy_from_slice(data));
        header.prepend_to(&mut packet, tuple, 0);
        self.arrive(at, tuple.local, tuple.remote, tos, packet);
    }

    /// Forges a segment from `by`'s side of a connection: number and acknowledgement as the peer
    /// would expect them next, changed by `change`.
    pub(in crate::tcp::tests) fn forge(
        &mut self,
        by: Side,
        id: ConnId,
        change: impl FnOnce(&mut Forged),
    ) {
        let tuple = self.info(by.other(), id).tuple;
        let node = self.node(by.other());
        let conn = node.table.get(id).expect("the victim lives");
        let mut forged = Forged {
            header: Header {
                seq: conn.rcv_nxt,
                ack: conn.snd_max,
                flags: Flags::ACK,
                wnd: 1000,
                urgent: 0,
                options: Options::default(),
            },
            ecn: EcnField::NotEct,
            data: Vec::new(),
        };
        if conn.mode.timestamps {
            let value = conn.ts_recent;
            forged.header.options.timestamps = Some(Timestamps { value, echo: 0 });
        }
        change(&mut forged);
        let reverse = reversed(&tuple);
        let tos = forged.ecn as u8;
        self.inject_marked(by.other(), &forged.header, &reverse, tos, &forged.data);
    }

    /// Forges the acknowledgement of the SYN-ACK of B's oldest half-open connection, changed by
    /// `change`.
    pub(in crate::tcp::tests) fn forge_third(&mut self, change: impl FnOnce(&mut Forged)) {
        let half_open = self.b.table.half_open();
        let request = half_open.first().expect("a handshake is under way");
        let timestamps = Timestamps { value: request.ts_recent, echo: 0 };
        let options =
            Options { timestamps: request.timestamps.then_some(timestamps), ..Options::default() };
        let header = Header {
            seq: request.rcv_nxt(),
            ack: request.iss + 1,
            flags: Flags::ACK,
            wnd: 1000,
            urgent: 0,
            options,
        };
        let tuple = request.tuple;
        let mut forged = Forged { header, ecn: EcnField::NotEct, data: Vec::new() };
        change(&mut forged);
        let reverse = reversed(&tuple);
        self.inject(Side::B, &forged.header, &reverse, &forged.data);
    }
}

/// As the other side has it.
fn reversed(tuple: &FourTuple) -> FourTuple {
    FourTuple {
        local: tuple.remote,
        remote: tuple.local,
        local_port: tuple.remote_port,
        remote_port: tuple.local_port,
        zone: Zone::NONE,
    }
}
