//! ICMP messages (RFC 792): types, codes and the eight bytes that all begin with.

/// Bytes before an ICMP message's body.
pub(crate) const HEADER_BYTES: usize = 8;

/// The type of an ICMP message. Source: RFC 792.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct IcmpType(pub(crate) u8);

impl IcmpType {
    pub(crate) const ECHO_REPLY: IcmpType = IcmpType(0);
    pub(crate) const UNREACHABLE: IcmpType = IcmpType(3);
    pub(crate) const SOURCE_QUENCH: IcmpType = IcmpType(4);
    pub(crate) const REDIRECT: IcmpType = IcmpType(5);
    pub(crate) const ECHO: IcmpType = IcmpType(8);
    pub(crate) const TIME_EXCEEDED: IcmpType = IcmpType(11);
    pub(crate) const PARAMETER_PROBLEM: IcmpType = IcmpType(12);

    /// Does a message of this type quote the packet that it is about?
    pub(crate) const fn is_error(self) -> bool {
        matches!(self.0, 3 | 4 | 5 | 11 | 12)
    }

    /// Does RFC 792 or a later one define it, so that it may be told from an error of the future?
    pub(crate) const fn is_query(self) -> bool {
        matches!(self.0, 0 | 8 | 9 | 10 | 13..=18 | 42 | 43)
    }
}

/// The code of a destination-unreachable message. Source: RFC 792, RFC 1122 §3.2.2.1, RFC 1812
/// §5.2.7.1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Unreachable(pub(crate) u8);

impl Unreachable {
    pub(crate) const NET: Unreachable = Unreachable(0);
    pub(crate) const HOST: Unreachable = Unreachable(1);
    pub(crate) const PROTOCOL: Unreachable = Unreachable(2);
    pub(crate) const PORT: Unreachable = Unreachable(3);
    pub(crate) const FRAGMENTATION_NEEDED: Unreachable = Unreachable(4);
    pub(crate) const SOURCE_ROUTE_FAILED: Unreachable = Unreachable(5);
    pub(crate) const NET_UNKNOWN: Unreachable = Unreachable(6);
    pub(crate) const HOST_UNKNOWN: Unreachable = Unreachable(7);
    pub(crate) const HOST_ISOLATED: Unreachable = Unreachable(8);
    pub(crate) const NET_PROHIBITED: Unreachable = Unreachable(9);
    pub(crate) const NET_TOS: Unreachable = Unreachable(11);
}

/// The fixed part of a message.
///
/// ```text
///  0      1      2             4                    8
/// +------+------+-------------+--------------------+---------
/// | type | code | checksum    | rest of header     | body
/// +------+------+-------------+--------------------+---------
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct IcmpHeader {
    pub(crate) ty: IcmpType,
    pub(crate) code: u8,
    /// Identifier and sequence of an echo, pointer, next-hop MTU: by type.
    pub(crate) rest: [u8; 4],
}

impl IcmpHeader {
    /// Reads it; `None` if fewer than eight bytes are there.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let h: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        Some(IcmpHeader { ty: IcmpType(h[0]), code: h[1], rest: [h[4], h[5], h[6], h[7]] })
    }

    /// The bytes with the checksum field zero.
    pub(crate) fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let [a, b, c, d] = self.rest;
        [self.ty.0, self.code, 0, 0, a, b, c, d]
    }

    /// The identifier of an echo message.
    pub(crate) fn ident(&self) -> u16 {
        u16::from_be_bytes([self.rest[0], self.rest[1]])
    }

    /// The next-hop MTU of a fragmentation-needed message (RFC 1191 §4); 0 from old routers.
    pub(crate) fn next_hop_mtu(&self) -> u16 {
        u16::from_be_bytes([self.rest[2], self.rest[3]])
    }
}
