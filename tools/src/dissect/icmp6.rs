//! ICMPv6 (RFC 4443), neighbour discovery (RFC 4861) and MLD (RFC 2710, RFC 3810).

use std::fmt::{self, Write as _};
use std::net::Ipv6Addr;

use etherparse::{Icmpv6Slice, Ipv6HeaderSlice};

use super::ip::Transport;
use super::{Context, MAX_DEPTH, be16, be32, ip};

pub(super) fn line(
    context: &mut Context<'_>,
    packet: &Transport<'_>,
    out: &mut String,
) -> fmt::Result {
    let Ok(icmp) = Icmpv6Slice::from_slice(packet.bytes) else {
        return out.write_str("[|icmp6]");
    };
    let bytes = packet.bytes;
    let kind = icmp.type_u8();
    if context.detail.verbosity > 0 && packet.is_whole() {
        if packet.verify() == 0 {
            out.write_str("[icmp6 sum ok] ")?;
        } else {
            let (found, right) = (icmp.checksum(), packet.expected(2));
            write!(out, "[bad icmp6 cksum 0x{found:04x} -> 0x{right:04x}!] ")?;
        }
    }
    out.write_str("ICMP6, ")?;
    message(kind, icmp.code_u8(), bytes, out)?;
    write!(out, ", length {}", packet.len)?;
    if kind < 128 && context.detail.verbosity > 0 && context.depth < MAX_DEPTH {
        out.write_str(if context.detail.link_header { "\n\t" } else { "\n\tIP6 " })?;
        context.depth += 1;
        ip::v6(context, &bytes[8..], out)?;
        context.depth -= 1;
    }
    Ok(())
}

fn message(kind: u8, code: u8, bytes: &[u8], out: &mut String) -> fmt::Result {
    let word = |at| be16(bytes, at).unwrap_or_default();
    match kind {
        1 => unreachable(code, &bytes[8..], out),
        2 => write!(out, "packet too big, mtu {}", be32(bytes, 4).unwrap_or_default()),
        3 if code == 0 => {
            write!(out, "time exceeded in-transit for {}", quoted_dst(&bytes[8..]))
        }
        3 => out.write_str("ip reassembly time exceeded"),
        4 => {
            let what = ["errorneous - octet", "next header - octet", "option - octet"];
            let what = what.get(usize::from(code)).copied().unwrap_or("code - octet");
            write!(out, "parameter problem, {what} {}", be32(bytes, 4).unwrap_or_default())
        }
        128 => write!(out, "echo request, id {}, seq {}", word(4), word(6)),
        129 => write!(out, "echo reply, id {}, seq {}", word(4), word(6)),
        130 => out.write_str("multicast listener query"),
        131 => target(bytes, "multicast listener report max resp delay: 0 addr: ", out),
        132 => target(bytes, "multicast listener done addr: ", out),
        133 => out.write_str("router solicitation"),
        134 => out.write_str("router advertisement"),
        135 => target(bytes, "neighbor solicitation, who has ", out),
        136 => target(bytes, "neighbor advertisement, tgt is ", out),
        137 => out.write_str("redirect"),
        143 => write!(out, "multicast listener report v2, {} group record(s)", word(6)),
        other => write!(out, "unknown icmp6 type {other}, code {code}"),
    }
}

fn target(bytes: &[u8], text: &str, out: &mut String) -> fmt::Result {
    let target: Option<&[u8; 16]> = bytes.get(8..).and_then(<[u8]>::first_chunk);
    match target {
        Some(octets) => write!(out, "{text}{}", Ipv6Addr::from(*octets)),
        None => write!(out, "{text}[|icmp6]"),
    }
}

fn unreachable(code: u8, quoted: &[u8], out: &mut String) -> fmt::Result {
    let dst = quoted_dst(quoted);
    match code {
        0 => write!(out, "destination unreachable, no route to destination {dst}"),
        1 => write!(out, "destination unreachable, unreachable prohibited {dst}"),
        2 => write!(out, "destination unreachable, beyond scope {dst}"),
        3 => write!(out, "destination unreachable, unreachable address {dst}"),
        4 => {
            let port = be16(quoted, 42).unwrap_or_default();
            match quoted.get(6) {
                Some(6) => {
                    write!(out, "destination unreachable, unreachable port, {dst} tcp port {port}")
                }
                Some(17) => {
                    write!(out, "destination unreachable, unreachable port, {dst} udp port {port}")
                }
                _ => write!(out, "destination unreachable, unreachable port, {dst}"),
            }
        }
        other => write!(out, "destination unreachable, unknown code {other} {dst}"),
    }
}

fn quoted_dst(quoted: &[u8]) -> Ipv6Addr {
    Ipv6HeaderSlice::from_slice(quoted).map_or(Ipv6Addr::UNSPECIFIED, |ip| ip.destination_addr())
}
