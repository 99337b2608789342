//! TCP (RFC 9293), sequence numbers relative to the connection's first ones.

use std::collections::{HashMap, VecDeque};
use std::fmt::{self, Write as _};
use std::net::IpAddr;

use etherparse::TcpHeaderSlice;

use super::ip::Transport;
use super::{Context, be16, be32};

/// Connections that are remembered at most; the oldest is forgotten.
const MAX_FLOWS: usize = 8_192;

type Endpoint = (IpAddr, u16);

/// The first sequence numbers of the connections seen so far, one per direction.
#[derive(Debug, Default)]
pub(super) struct Flows {
    base: HashMap<(Endpoint, Endpoint), u32>,
    order: VecDeque<(Endpoint, Endpoint)>,
}

impl Flows {
    /// What to subtract from sequence and acknowledgement number of a segment.
    fn bases(&mut self, src: Endpoint, dst: Endpoint, tcp: &TcpHeaderSlice<'_>) -> (u32, u32) {
        let (there, back) = ((src, dst), (dst, src));
        let (seq, ack) = (tcp.sequence_number(), tcp.acknowledgment_number());
        let bases = (self.base.get(&there).copied(), self.base.get(&back).copied());
        if tcp.syn() || bases.0.is_none() {
            self.put(there, seq);
            if tcp.ack() {
                self.put(back, ack.wrapping_sub(1));
            }
            return (0, 0);
        }
        if bases.1.is_none() && tcp.ack() {
            self.put(back, ack.wrapping_sub(1));
        }
        (bases.0.unwrap_or(0), bases.1.unwrap_or(0))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.base.len()
    }

    fn put(&mut self, flow: (Endpoint, Endpoint), base: u32) {
        if self.base.insert(flow, base).is_some() {
            return;
        }
        self.order.push_back(flow);
        if self.order.len() > MAX_FLOWS
            && let Some(oldest) = self.order.pop_front()
        {
            self.base.remove(&oldest);
        }
    }
}

/// `address.port`, as tcpdump writes it.
pub(super) fn endpoint(addr: IpAddr, port: u16) -> String {
    format!("{addr}.{port}")
}

pub(super) fn line(
    context: &mut Context<'_>,
    packet: &Transport<'_>,
    out: &mut String,
) -> fmt::Result {
    let Ok(tcp) = TcpHeaderSlice::from_slice(packet.bytes) else {
        return early_end(packet, out);
    };
    let (sport, dport) = (tcp.source_port(), tcp.destination_port());
    write!(out, "{} > {}: Flags [", endpoint(packet.src, sport), endpoint(packet.dst, dport))?;
    flags(&tcp, out)?;
    out.write_str("]")?;
    if context.detail.verbosity > 0 && packet.is_whole() {
        write!(out, ", cksum 0x{:04x} ", tcp.checksum())?;
        if packet.verify() == 0 {
            out.write_str("(correct)")?;
        } else {
            write!(out, "(incorrect -> 0x{:04x})", packet.expected(16))?;
        }
    }
    // What is quoted in an ICMP error is no segment of its own.
    let (seq_base, ack_base) = match context.depth == 0 && !context.detail.absolute_seqs {
        true => context.flows.bases((packet.src, sport), (packet.dst, dport), &tcp),
        false => (0, 0),
    };
    let payload = packet.len.saturating_sub(tcp.slice().len());
    let seq = tcp.sequence_number().wrapping_sub(seq_base);
    if payload > 0 {
        write!(out, ", seq {seq}:{}", seq.wrapping_add(payload as u32))?;
    } else if tcp.syn() || tcp.fin() || tcp.rst() || context.detail.verbosity > 1 {
        write!(out, ", seq {seq}")?;
    }
    if tcp.ack() {
        write!(out, ", ack {}", tcp.acknowledgment_number().wrapping_sub(ack_base))?;
    }
    write!(out, ", win {}", tcp.window_size())?;
    if tcp.urg() {
        write!(out, ", urg {}", tcp.urgent_pointer())?;
    }
    if !tcp.options().is_empty() {
        out.write_str(", options [")?;
        options(tcp.options(), ack_base, out)?;
        out.write_str("]")?;
    }
    write!(out, ", length {payload}")
}

fn early_end(packet: &Transport<'_>, out: &mut String) -> fmt::Result {
    let (Some(sport), Some(dport)) = (be16(packet.bytes, 0), be16(packet.bytes, 2)) else {
        return write!(out, "{} > {}: [|tcp]", packet.src, packet.dst);
    };
    let (src, dst) = (endpoint(packet.src, sport), endpoint(packet.dst, dport));
    write!(out, "{src} > {dst}: ")?;
    match packet.bytes.get(12).map(|byte| byte >> 4) {
        Some(words) if words < 5 => write!(out, "tcp [bad hdr length {}, too short]", words * 4),
        Some(words) if usize::from(words) * 4 > packet.len => {
            write!(out, "tcp [bad hdr length {}, too long, > {}]", words * 4, packet.len)
        }
        _ => match be32(packet.bytes, 4) {
            Some(seq) => write!(out, "[|tcp, seq {seq}]"),
            None => out.write_str("[|tcp]"),
        },
    }
}

fn flags(tcp: &TcpHeaderSlice<'_>, out: &mut String) -> fmt::Result {
    let all = [
        (tcp.fin(), 'F'),
        (tcp.syn(), 'S'),
        (tcp.rst(), 'R'),
        (tcp.psh(), 'P'),
        (tcp.ack(), '.'),
        (tcp.urg(), 'U'),
        (tcp.ece(), 'E'),
        (tcp.cwr(), 'W'),
        (tcp.ns(), 'e'),
    ];
    let before = out.len();
    out.extend(all.iter().filter(|(set, _)| *set).map(|(_, letter)| letter));
    if out.len() == before { out.write_str("none") } else { Ok(()) }
}

/// RFC 9293 §3.1: an option of unknown kind is skipped by its length.
fn options(mut rest: &[u8], ack_base: u32, out: &mut String) -> fmt::Result {
    let mut separator = "";
    while let Some(&kind) = rest.first() {
        out.write_str(separator)?;
        separator = ",";
        if kind == 0 {
            return out.write_str("eol");
        }
        if kind == 1 {
            out.write_str("nop")?;
            rest = &rest[1..];
            continue;
        }
        let len = rest.get(1).copied().map_or(0, usize::from);
        let Some(body) = rest.get(2..len).filter(|_| len >= 2) else {
            return write!(out, "[bad opt {kind}]");
        };
        option(kind, body, ack_base, out)?;
        rest = &rest[len..];
    }
    Ok(())
}

fn option(kind: u8, body: &[u8], ack_base: u32, out: &mut String) -> fmt::Result {
    match (kind, body) {
        (2, &[a, b]) => write!(out, "mss {}", u16::from_be_bytes([a, b])),
        (3, &[shift]) => write!(out, "wscale {shift}"),
        (4, []) => out.write_str("sackOK"),
        (5, blocks) if !blocks.is_empty() && blocks.len().is_multiple_of(8) => {
            write!(out, "sack {} ", blocks.len() / 8)?;
            for block in blocks.chunks_exact(8) {
                let edge = |at| be32(block, at).unwrap_or_default().wrapping_sub(ack_base);
                write!(out, "{{{}:{}}}", edge(0), edge(4))?;
            }
            Ok(())
        }
        (8, body) if body.len() == 8 => {
            let value = |at| be32(body, at).unwrap_or_default();
            write!(out, "TS val {} ecr {}", value(0), value(4))
        }
        (34, []) => out.write_str("tfo cookiereq"),
        (kind, body) => {
            match kind {
                19 => out.write_str("md5")?,
                28 => out.write_str("uto")?,
                29 => out.write_str("TCP-AO")?,
                30 => out.write_str("mptcp")?,
                34 => out.write_str("tfo cookie")?,
                253 | 254 => write!(out, "exp-{kind}")?,
                _ => write!(out, "unknown-{kind}")?,
            }
            if !body.is_empty() {
                out.write_str(" 0x")?;
            }
            body.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
        }
    }
}
