//! TCP segments (RFC 9293 §3.1) with their options.

use std::net::Ipv4Addr;

use super::{Ip, TCP, be16, be32};

/// FIN.
pub const FIN: u8 = 1;
/// SYN.
pub const SYN: u8 = 2;
/// RST.
pub const RST: u8 = 4;
/// PSH.
pub const PSH: u8 = 8;
/// ACK.
pub const ACK: u8 = 16;
/// URG.
pub const URG: u8 = 32;

/// A TCP segment.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Tcp {
    /// Source port.
    pub src: u16,
    /// Destination port.
    pub dst: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number, as it stands even without ACK.
    pub ack: u32,
    /// Control bits.
    pub flags: u8,
    /// Window, not scaled.
    pub window: u16,
    /// Urgent pointer, as it stands even without URG.
    pub urgent: u16,
    /// Options as they stand, padding included.
    pub options: Vec<u8>,
    /// Data.
    pub data: Vec<u8>,
}

/// An option that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TcpOption {
    /// Maximum segment size.
    Mss(u16),
    /// Window scale.
    Scale(u8),
    /// Selective acknowledgments are welcome.
    SackPermitted,
    /// Timestamp and echo.
    Timestamps(u32, u32),
    /// Another kind.
    Other(u8, Vec<u8>),
}

impl Tcp {
    /// The segment in a packet, the checksum in place.
    ///
    /// # Panics
    /// When the options are not a multiple of four bytes.
    pub fn packet(&self, src: Ipv4Addr, dst: Ipv4Addr) -> Ip {
        Ip::new(src, dst, TCP, self.bytes()).summed(16)
    }

    /// Its bytes, the checksum left at zero.
    pub(super) fn bytes(&self) -> Vec<u8> {
        assert!(self.options.len().is_multiple_of(4), "options are padded");
        let mut bytes = Vec::new();
        bytes.extend(self.src.to_be_bytes());
        bytes.extend(self.dst.to_be_bytes());
        bytes.extend(self.seq.to_be_bytes());
        bytes.extend(self.ack.to_be_bytes());
        bytes.extend([((20 + self.options.len()) as u8 / 4) << 4, self.flags]);
        bytes.extend(self.window.to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(self.urgent.to_be_bytes());
        bytes.extend(&self.options);
        bytes.extend(&self.data);
        bytes
    }

    /// Reads a segment.
    pub(super) fn read(bytes: &[u8]) -> Tcp {
        assert!(bytes.len() >= 20, "a TCP header has 20 bytes");
        let header = usize::from(bytes[12] >> 4) * 4;
        assert!((20..=bytes.len()).contains(&header), "a data offset that fits");
        assert_eq!(bytes[12] & 15, 0, "reserved bits are zero");
        let segment = Tcp {
            src: be16(bytes, 0),
            dst: be16(bytes, 2),
            seq: be32(bytes, 4),
            ack: be32(bytes, 8),
            flags: bytes[13],
            window: be16(bytes, 14),
            urgent: be16(bytes, 18),
            options: bytes[20..header].to_vec(),
            data: bytes[header..].to_vec(),
        };
        let options = segment.parsed_options();
        if !segment.has(SYN) {
            let on_syn_only = |option: &TcpOption| {
                matches!(option, TcpOption::Mss(_) | TcpOption::Scale(_) | TcpOption::SackPermitted)
            };
            assert!(!options.iter().any(on_syn_only), "an option that only a SYN may carry");
        }
        segment
    }

    /// Are all these control bits set?
    pub fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }

    /// The sequence number after it.
    pub fn next_seq(&self) -> u32 {
        let phantom = u32::from(self.has(SYN)) + u32::from(self.has(FIN));
        self.seq.wrapping_add(self.data.len() as u32).wrapping_add(phantom)
    }

    /// Its options.
    ///
    /// # Panics
    /// When they are malformed, or what follows their end is not zero.
    pub fn parsed_options(&self) -> Vec<TcpOption> {
        let mut found = Vec::new();
        let mut rest = &self.options[..];
        while let Some((&kind, after)) = rest.split_first() {
            if kind == 0 {
                assert!(after.iter().all(|&byte| byte == 0), "padding is zero");
                break;
            }
            if kind == 1 {
                rest = after;
                continue;
            }
            let len = usize::from(*after.first().expect("an option has a length"));
            assert!((2..=rest.len()).contains(&len), "an option's length fits");
            let value = &rest[2..len];
            found.push(match (kind, len) {
                (2, 4) => TcpOption::Mss(be16(value, 0)),
                (3, 3) => TcpOption::Scale(value[0]),
                (4, 2) => TcpOption::SackPermitted,
                (8, 10) => TcpOption::Timestamps(be32(value, 0), be32(value, 4)),
                _ => TcpOption::Other(kind, value.to_vec()),
            });
            rest = &rest[len..];
        }
        found
    }

    /// The maximum segment size it announces.
    pub fn mss(&self) -> Option<u16> {
        self.parsed_options()
            .into_iter()
            .find_map(|option| if let TcpOption::Mss(mss) = option { Some(mss) } else { None })
    }

    /// The window scale it announces.
    pub fn scale(&self) -> Option<u8> {
        self.parsed_options()
            .into_iter()
            .find_map(|option| if let TcpOption::Scale(by) = option { Some(by) } else { None })
    }

    /// The timestamp and the echo it carries.
    pub fn timestamps(&self) -> Option<(u32, u32)> {
        self.parsed_options().into_iter().find_map(|option| match option {
            TcpOption::Timestamps(value, echo) => Some((value, echo)),
            _ => None,
        })
    }
}

/// Bytes of a maximum segment size option.
pub fn mss_option(mss: u16) -> Vec<u8> {
    let [high, low] = mss.to_be_bytes();
    vec![2, 4, high, low]
}

/// Bytes of a window scale option, padded.
pub fn scale_option(shift: u8) -> Vec<u8> {
    vec![1, 3, 3, shift]
}

/// Bytes of a timestamps option, padded.
pub fn timestamps_option(value: u32, echo: u32) -> Vec<u8> {
    [&[1, 1, 8, 10][..], &value.to_be_bytes(), &echo.to_be_bytes()].concat()
}
