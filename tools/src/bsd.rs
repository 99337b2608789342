//! `ifconfig`, `route`, `arp` and `ndp` as NetBSD's users, and so rump's, type them.

mod ifconfig;
mod neighbours;
mod route;

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use clap::Args;
use libnet::IpCidr;
use libnet::iface::IfIndex;
use rumpnet::Inet;

use crate::cli::{Global, Node};
use crate::fail::{Failure, Outcome, Status};
use crate::host;
use crate::inside::{Inside, index_of};

/// Words as the command of that name takes them.
#[derive(Args, Clone, Debug)]
pub struct BsdArgs {
    #[command(flatten)]
    pub(crate) node: Node,
    /// As there
    #[arg(value_name = "WORDS", trailing_var_arg = true, allow_hyphen_values = true, num_args = 0..)]
    pub(crate) words: Vec<String>,
}

/// Which of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bsd {
    /// `ifconfig(8)`.
    Ifconfig,
    /// `route(8)`.
    Route,
    /// `arp(8)`.
    Arp,
    /// `ndp(8)`.
    Ndp,
}

/// Runs one of them in a node.
///
/// # Errors
/// As they word them.
pub fn inside(which: Bsd, args: &BsdArgs, _global: &Global, inside: &mut Inside) -> Outcome {
    let words: Vec<&str> = args.words.iter().map(String::as_str).collect();
    match which {
        Bsd::Ifconfig => ifconfig::run(&words, inside),
        Bsd::Route => route::run(&words, inside),
        Bsd::Arp => neighbours::arp(&words, inside),
        Bsd::Ndp => neighbours::ndp(&words, inside),
    }
}

fn wrong(program: &str, what: impl std::fmt::Display) -> Failure {
    Failure::verbatim(format!("{program}: {what}"), Status::FAILED)
}

fn refused(program: &str, what: &str, error: &io::Error) -> Failure {
    wrong(program, format_args!("{what}: {}", host::plain(error)))
}

/// The word behind an option.
fn following<'a>(
    program: &str,
    words: &mut impl Iterator<Item = &'a str>,
    option: &str,
) -> Result<&'a str, Failure> {
    words.next().ok_or_else(|| wrong(program, format_args!("{option} needs a value")))
}

fn address(program: &str, word: &str) -> Result<IpAddr, Failure> {
    word.parse().map_err(|_| wrong(program, format_args!("{word}: bad value")))
}

/// An address with the interface behind its `%`, if one is told.
fn zoned(program: &str, inet: &Inet, word: &str) -> Result<(IpAddr, Option<IfIndex>), Failure> {
    let Some((addr, zone)) = word.split_once('%') else {
        return Ok((address(program, word)?, None));
    };
    let none = || wrong(program, format_args!("{zone}: no such interface"));
    let index = index_of(inet, zone).ok_or_else(none)?;
    Ok((address(program, addr)?, Some(index)))
}

/// A netmask, as `255.255.255.0` or `0xffffff00`, in bits.
fn mask_bits(program: &str, word: &str) -> Result<u8, Failure> {
    let bad = || wrong(program, format_args!("{word}: bad value"));
    let mask = match word.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).map_err(|_| bad())?,
        None => word.parse::<Ipv4Addr>().map_err(|_| bad())?.to_bits(),
    };
    let bits = mask.leading_ones();
    if bits + mask.trailing_zeros().min(32 - bits) != 32 {
        return Err(bad());
    }
    Ok(bits as u8)
}

/// What a network of the old classes has (RFC 791 §2.3), where no mask is told.
fn class_bits(addr: IpAddr) -> u8 {
    match addr {
        IpAddr::V6(_) => 64,
        IpAddr::V4(v4) => match v4.octets()[0] {
            0..=127 => 8,
            128..=191 => 16,
            _ => 24,
        },
    }
}

fn cidr(program: &str, addr: IpAddr, bits: u8) -> Result<IpCidr, Failure> {
    IpCidr::new(addr, bits).ok_or_else(|| wrong(program, format_args!("{addr}/{bits}: bad value")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_is_ones_and_then_zeros() {
        for (mask, bits) in
            [("255.255.255.0", 24), ("0xffff0000", 16), ("0.0.0.0", 0), ("255.255.255.255", 32)]
        {
            assert_eq!(mask_bits("route", mask).unwrap(), bits, "{mask}");
        }
        for mask in ["255.0.255.0", "0xgg", "24", ""] {
            assert!(mask_bits("route", mask).is_err(), "{mask}");
        }
    }
}
