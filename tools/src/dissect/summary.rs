//! What filters and JSON need to know of a frame: addresses, protocols, ports.

use std::net::IpAddr;

use etherparse::{Ethernet2Slice, Ipv4HeaderSlice, Ipv6HeaderSlice};
use libnet::EtherType;
use libnet::ethernet::MacAddr;
use libnet::link::Medium;
use serde_json::{Map, Value};

use super::be16;

/// A frame's addresses, protocols and ports, as far as it has them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Summary {
    /// Source and destination on the link.
    pub macs: Option<(MacAddr, MacAddr)>,
    /// What the frame carries.
    pub ethertype: Option<EtherType>,
    /// Source and destination: of IP, or of ARP's question.
    pub ips: Option<(IpAddr, IpAddr)>,
    /// The protocol that IP carries.
    pub protocol: Option<u8>,
    /// Source and destination port of TCP or UDP.
    pub ports: Option<(u16, u16)>,
    /// A fragment other than the first.
    pub is_later_fragment: bool,
}

impl Summary {
    /// Reads as much as there is.
    pub fn of(medium: Medium, frame: &[u8]) -> Self {
        let mut summary = Summary::default();
        // What ends early stays unknown.
        let _ = match medium {
            Medium::Ethernet => summary.read_ethernet(frame),
            _ => summary.read_ip(frame),
        };
        summary
    }

    /// Its fields for a line of JSON.
    pub fn to_json(&self) -> Map<String, Value> {
        let mut map = Map::new();
        let mut put = |key: &str, value: Value| map.insert(key.to_owned(), value);
        if let Some((src, dst)) = self.macs {
            put("eth_src", src.to_string().into());
            put("eth_dst", dst.to_string().into());
        }
        if let Some(kind) = self.ethertype {
            put("ethertype", kind.0.into());
        }
        if let Some((src, dst)) = self.ips {
            put("src", src.to_string().into());
            put("dst", dst.to_string().into());
        }
        if let Some(protocol) = self.protocol {
            put("protocol", protocol.into());
        }
        if let Some((src, dst)) = self.ports {
            put("src_port", src.into());
            put("dst_port", dst.into());
        }
        map
    }

    fn read_ethernet(&mut self, frame: &[u8]) -> Option<()> {
        let header = Ethernet2Slice::from_slice_without_fcs(frame).ok()?;
        self.macs = Some((MacAddr(header.source()), MacAddr(header.destination())));
        let mut kind = EtherType(header.ether_type().0);
        let mut payload = header.payload_slice();
        while kind == EtherType::VLAN {
            kind = EtherType(be16(payload, 2)?);
            payload = payload.get(4..)?;
        }
        self.ethertype = Some(kind);
        match kind {
            EtherType::IPV4 | EtherType::IPV6 => self.read_ip(payload),
            EtherType::ARP => self.read_arp(payload),
            _ => None,
        }
    }

    fn read_arp(&mut self, payload: &[u8]) -> Option<()> {
        let addr = |at: usize| -> Option<IpAddr> {
            let octets: &[u8; 4] = payload.get(at..)?.first_chunk()?;
            Some(IpAddr::from(*octets))
        };
        self.ips = Some((addr(14)?, addr(24)?));
        Some(())
    }

    fn read_ip(&mut self, packet: &[u8]) -> Option<()> {
        let (protocol, transport) = match packet.first()? >> 4 {
            4 => {
                let ip = Ipv4HeaderSlice::from_slice(packet).ok()?;
                self.ethertype.get_or_insert(EtherType::IPV4);
                self.ips = Some((ip.source_addr().into(), ip.destination_addr().into()));
                self.is_later_fragment = ip.fragments_offset().value() > 0;
                (ip.protocol().0, &packet[ip.slice().len()..])
            }
            6 => {
                let ip = Ipv6HeaderSlice::from_slice(packet).ok()?;
                self.ethertype.get_or_insert(EtherType::IPV6);
                self.ips = Some((ip.source_addr().into(), ip.destination_addr().into()));
                self.skip_extensions(ip.next_header().0, &packet[ip.header_len()..])?
            }
            _ => return None,
        };
        self.protocol = Some(protocol);
        if matches!(protocol, 6 | 17) && !self.is_later_fragment {
            self.ports = Some((be16(transport, 0)?, be16(transport, 2)?));
        }
        Some(())
    }

    fn skip_extensions<'a>(&mut self, mut next: u8, mut rest: &'a [u8]) -> Option<(u8, &'a [u8])> {
        while matches!(next, 0 | 43 | 44 | 60) {
            let len = match next {
                44 => 8,
                _ => usize::from(*rest.get(1)?) * 8 + 8,
            };
            if next == 44 {
                self.is_later_fragment = be16(rest, 2)? & !7 > 0;
            }
            next = *rest.first()?;
            rest = rest.get(len..)?;
        }
        Some((next, rest))
    }
}
