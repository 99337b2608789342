//! ICMP (RFC 792, RFC 1191, RFC 1122 §3.2.2).

use std::fmt::{self, Write as _};
use std::net::Ipv4Addr;

use etherparse::{Icmpv4Slice, Ipv4HeaderSlice};
use libnet::checksum::checksum;

use super::ip::Transport;
use super::{Context, MAX_DEPTH, be16, be32, ip};

pub(super) fn line(
    context: &mut Context<'_>,
    packet: &Transport<'_>,
    out: &mut String,
) -> fmt::Result {
    let Ok(icmp) = Icmpv4Slice::from_slice(packet.bytes) else {
        return out.write_str("[|icmp]");
    };
    let bytes = packet.bytes;
    let (kind, code) = (icmp.type_u8(), icmp.code_u8());
    let word = |at| be16(bytes, at).unwrap_or_default();
    out.write_str("ICMP ")?;
    match kind {
        0 => write!(out, "echo reply, id {}, seq {}", word(4), word(6))?,
        8 => write!(out, "echo request, id {}, seq {}", word(4), word(6))?,
        3 => unreachable(code, word(6), &bytes[8..], out)?,
        4 => out.write_str("source quench")?,
        5 => redirect(code, bytes, out)?,
        9 => out.write_str("router advertisement")?,
        10 => out.write_str("router solicitation")?,
        11 if code == 0 => out.write_str("time exceeded in-transit")?,
        11 if code == 1 => out.write_str("ip reassembly time exceeded")?,
        11 => write!(out, "time exceeded-#{code}")?,
        12 if code == 0 => write!(out, "parameter problem - octet {}", bytes[4])?,
        12 => write!(out, "parameter problem - code {code}")?,
        13 => write!(out, "time stamp query id {} seq {}", word(4), word(6))?,
        14 => write!(out, "time stamp reply id {} seq {}", word(4), word(6))?,
        17 => out.write_str("address mask request")?,
        18 => write!(out, "address mask is 0x{:08x}", be32(bytes, 8).unwrap_or_default())?,
        other => write!(out, "type-#{other}")?,
    }
    write!(out, ", length {}", packet.len)?;
    if context.detail.verbosity == 0 {
        return Ok(());
    }
    if packet.is_whole() && checksum(bytes) != 0 {
        let mut right = bytes.to_vec();
        right[2..4].fill(0);
        write!(out, " (wrong icmp cksum {:x} (->{:x})!)", icmp.checksum(), checksum(&right))?;
    }
    if matches!(kind, 3 | 4 | 5 | 11 | 12) && context.depth < MAX_DEPTH {
        out.write_str(if context.detail.link_header { "\n\t" } else { "\n\tIP " })?;
        context.depth += 1;
        ip::v4(context, &bytes[8..], out)?;
        context.depth -= 1;
    }
    Ok(())
}

fn unreachable(code: u8, mtu: u16, quoted: &[u8], out: &mut String) -> fmt::Result {
    let quoted_header = Ipv4HeaderSlice::from_slice(quoted).ok();
    let dst = quoted_header.as_ref().map_or(Ipv4Addr::UNSPECIFIED, |ip| ip.destination_addr());
    match code {
        0 => write!(out, "net {dst} unreachable"),
        1 => write!(out, "host {dst} unreachable"),
        2 => {
            let protocol = quoted_header.map_or(0, |ip| ip.protocol().0);
            write!(out, "{dst} protocol {protocol} unreachable")
        }
        3 => match quoted_header {
            Some(ip) => port_unreachable(dst, &ip, &quoted[ip.slice().len()..], out),
            None => out.write_str("port unreachable"),
        },
        4 if mtu == 0 => write!(out, "{dst} unreachable - need to frag"),
        4 => write!(out, "{dst} unreachable - need to frag (mtu {mtu})"),
        5 => write!(out, "{dst} unreachable - source route failed"),
        6 => write!(out, "net {dst} unreachable - unknown"),
        7 => write!(out, "host {dst} unreachable - unknown"),
        8 => write!(out, "{dst} unreachable - source host isolated"),
        9 => write!(out, "net {dst} unreachable - admin prohibited"),
        10 => write!(out, "host {dst} unreachable - admin prohibited"),
        11 => write!(out, "net {dst} unreachable - tos prohibited"),
        12 => write!(out, "host {dst} unreachable - tos prohibited"),
        13 => write!(out, "host {dst} unreachable - admin prohibited filter"),
        14 => write!(out, "host {dst} unreachable - host precedence violation"),
        15 => write!(out, "host {dst} unreachable - precedence cutoff"),
        other => write!(out, "{dst} unreachable - #{other}"),
    }
}

fn port_unreachable(
    dst: Ipv4Addr,
    ip: &Ipv4HeaderSlice<'_>,
    transport: &[u8],
    out: &mut String,
) -> fmt::Result {
    let port = be16(transport, 2).unwrap_or_default();
    match ip.protocol().0 {
        6 => write!(out, "{dst} tcp port {port} unreachable"),
        17 => write!(out, "{dst} udp port {port} unreachable"),
        other => write!(out, "{dst} protocol {other} port {port} unreachable"),
    }
}

fn redirect(code: u8, bytes: &[u8], out: &mut String) -> fmt::Result {
    let dst = Ipv4HeaderSlice::from_slice(&bytes[8..]).map(|ip| ip.destination_addr());
    let dst = dst.unwrap_or(Ipv4Addr::UNSPECIFIED);
    let gateway = Ipv4Addr::from_bits(be32(bytes, 4).unwrap_or_default());
    let what = match code {
        0 => "net",
        1 => "host",
        2 => "tos net",
        3 => "tos host",
        _ => "?",
    };
    write!(out, "redirect {dst} to {what} {gateway}")
}
