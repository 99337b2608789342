//! ICMPv6 messages (RFC 4443): types, codes and the eight bytes that all begin with.

/// Bytes before an ICMPv6 message's body.
pub(crate) const HEADER_BYTES: usize = 8;

/// The type of an ICMPv6 message. Source: RFC 4443 §2.1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Icmp6Type(pub(crate) u8);

impl Icmp6Type {
    pub(crate) const UNREACHABLE: Icmp6Type = Icmp6Type(1);
    pub(crate) const PACKET_TOO_BIG: Icmp6Type = Icmp6Type(2);
    pub(crate) const TIME_EXCEEDED: Icmp6Type = Icmp6Type(3);
    pub(crate) const PARAMETER_PROBLEM: Icmp6Type = Icmp6Type(4);
    pub(crate) const ECHO: Icmp6Type = Icmp6Type(128);
    pub(crate) const ECHO_REPLY: Icmp6Type = Icmp6Type(129);
    /// Source: RFC 2710 §3.
    pub(crate) const LISTENER_QUERY: Icmp6Type = Icmp6Type(130);
    pub(crate) const LISTENER_DONE: Icmp6Type = Icmp6Type(132);
    /// Source: RFC 4861 §4.
    pub(crate) const ROUTER_SOLICITATION: Icmp6Type = Icmp6Type(133);
    pub(crate) const NEIGHBOUR_SOLICITATION: Icmp6Type = Icmp6Type(135);
    pub(crate) const NEIGHBOUR_ADVERTISEMENT: Icmp6Type = Icmp6Type(136);
    pub(crate) const REDIRECT: Icmp6Type = Icmp6Type(137);
    /// Source: RFC 3810 §5.2.
    pub(crate) const LISTENER_REPORT_V2: Icmp6Type = Icmp6Type(143);

    /// Does a message of this type quote the packet that it is about? Source: RFC 4443 §2.1.
    pub(crate) const fn is_error(self) -> bool {
        self.0 < 128
    }

    /// Is it of neighbour discovery?
    pub(crate) fn is_discovery(self) -> bool {
        (Self::ROUTER_SOLICITATION..=Self::REDIRECT).contains(&self)
    }

    /// Is it of multicast listener discovery?
    pub(crate) fn is_listener_discovery(self) -> bool {
        (Self::LISTENER_QUERY..=Self::LISTENER_DONE).contains(&self)
            || self == Self::LISTENER_REPORT_V2
    }
}

/// The code of a destination-unreachable message. Source: RFC 4443 §3.1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Unreachable6(pub(crate) u8);

impl Unreachable6 {
    pub(crate) const NO_ROUTE: Unreachable6 = Unreachable6(0);
    pub(crate) const PROHIBITED: Unreachable6 = Unreachable6(1);
    pub(crate) const BEYOND_SCOPE: Unreachable6 = Unreachable6(2);
    pub(crate) const ADDRESS: Unreachable6 = Unreachable6(3);
    pub(crate) const PORT: Unreachable6 = Unreachable6(4);
    pub(crate) const POLICY: Unreachable6 = Unreachable6(5);
    pub(crate) const REJECTED: Unreachable6 = Unreachable6(6);
}

/// What is wrong with a field of a received packet, and which. Source: RFC 4443 §3.4.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ParameterProblem {
    pub(crate) code: u8,
    /// Offset of the field within the packet, in bytes.
    pub(crate) at: u32,
}

impl ParameterProblem {
    /// A first fragment without all headers. Source: RFC 8200 §4.5.
    pub(crate) const INCOMPLETE_CHAIN: ParameterProblem = ParameterProblem { code: 3, at: 0 };
    /// The code for an option that is not understood; it alone is told of packets to many.
    pub(crate) const OPTION: u8 = 2;
    /// The code for a next header that is not understood.
    pub(crate) const NEXT_HEADER: u8 = 1;

    /// A field that makes no sense.
    pub(crate) const fn erroneous(at: usize) -> Self {
        ParameterProblem { code: 0, at: at as u32 }
    }

    /// A next header that is not understood.
    pub(crate) const fn next_header(at: usize) -> Self {
        ParameterProblem { code: Self::NEXT_HEADER, at: at as u32 }
    }

    /// An option that is not understood.
    pub(crate) const fn option(at: usize) -> Self {
        ParameterProblem { code: Self::OPTION, at: at as u32 }
    }
}

/// What is wrong with a packet, as an ICMPv6 error says it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Complaint {
    /// It cannot be delivered.
    Unreachable(Unreachable6),
    /// The next link takes `mtu` bytes at most.
    TooBig { mtu: u32 },
    /// It has no more hops to go (time exceeded, code 0).
    HopLimit,
    /// Its fragments did not come in time (time exceeded, code 1).
    ReassemblyTimeout,
    /// A field of its headers makes no sense.
    ParameterProblem(ParameterProblem),
}

impl Complaint {
    /// The message's header.
    pub(crate) fn header(self) -> Icmp6Header {
        match self {
            Complaint::Unreachable(code) => {
                Icmp6Header { ty: Icmp6Type::UNREACHABLE, code: code.0, rest: [0; 4] }
            }
            Complaint::TooBig { mtu } => {
                Icmp6Header { ty: Icmp6Type::PACKET_TOO_BIG, code: 0, rest: mtu.to_be_bytes() }
            }
            Complaint::HopLimit => {
                Icmp6Header { ty: Icmp6Type::TIME_EXCEEDED, code: 0, rest: [0; 4] }
            }
            Complaint::ReassemblyTimeout => {
                Icmp6Header { ty: Icmp6Type::TIME_EXCEEDED, code: 1, rest: [0; 4] }
            }
            Complaint::ParameterProblem(ParameterProblem { code, at }) => {
                Icmp6Header { ty: Icmp6Type::PARAMETER_PROBLEM, code, rest: at.to_be_bytes() }
            }
        }
    }

    /// RFC 4443 §2.4(e.3): may it be about a packet to many?
    pub(crate) const fn may_be_about_many(self) -> bool {
        let option = ParameterProblem::OPTION;
        matches!(self, Complaint::ParameterProblem(problem) if problem.code == option)
    }
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
pub(crate) struct Icmp6Header {
    pub(crate) ty: Icmp6Type,
    pub(crate) code: u8,
    /// Identifier and sequence of an echo, pointer, MTU: by type.
    pub(crate) rest: [u8; 4],
}

impl Icmp6Header {
    /// Reads it; `None` if fewer than eight bytes are there.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let h: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        Some(Icmp6Header { ty: Icmp6Type(h[0]), code: h[1], rest: [h[4], h[5], h[6], h[7]] })
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

    /// The next link's MTU of a packet-too-big message, the pointer of a parameter problem.
    pub(crate) fn number(&self) -> u32 {
        u32::from_be_bytes(self.rest)
    }
}
