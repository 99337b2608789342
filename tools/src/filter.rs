//! Which frames `dump` shows: a small part of tcpdump's filter language.
//!
//! ```text
//! expression = and-part ("or" and-part)*
//! and-part   = not-part ("and" not-part)*
//! not-part   = "not" not-part | "(" expression ")" | primitive
//! primitive  = tcp | udp | icmp | icmp6 | arp | ip | ip6 | broadcast | multicast
//!            | [src | dst] host ADDRESS | [src | dst] net ADDRESS/BITS | [src | dst] port PORT
//!            | ether [src | dst] host MAC
//! ```

use std::net::IpAddr;
use std::str::FromStr;

use libnet::ethernet::MacAddr;
use libnet::{EtherType, IpCidr};

use crate::dissect::summary::Summary;

/// A filter: what a frame must be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Filter(Node);

/// Why a filter could not be understood.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// The expression ends where something must follow.
    #[error("the filter ends too early: {0} is missing")]
    Missing(&'static str),
    /// A word that is none of the language.
    #[error(
        "the filter has no word `{0}`: there are host, net, port (each with src or dst in \
        front if wanted), ether host, tcp, udp, icmp, icmp6, arp, ip, ip6, broadcast, multicast, \
        and, or, not and parentheses"
    )]
    UnknownWord(String),
    /// A value that is not one of its word.
    #[error("`{value}` in the filter is not {expected}")]
    BadValue {
        /// What was given.
        value: String,
        /// What it should have been.
        expected: &'static str,
    },
    /// A parenthesis without its other half.
    #[error("the filter has a parenthesis without its other half")]
    Parenthesis,
    /// Parentheses or negations beyond all reason.
    #[error("the filter is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
}

const MAX_DEPTH: usize = 64;

#[derive(Clone, PartialEq, Eq, Debug)]
enum Node {
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
    Ether(EtherType),
    /// The protocol, in the IP version that it belongs to if there is only one.
    Protocol(u8, Option<EtherType>),
    Net(Side, IpCidr),
    Port(Side, u16),
    Mac(Side, MacAddr),
    Broadcast,
    Multicast,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    Src,
    Dst,
    Either,
}

impl Side {
    fn holds<T: Copy>(self, pair: Option<(T, T)>, wanted: impl Fn(T) -> bool) -> bool {
        pair.is_some_and(|(src, dst)| match self {
            Side::Src => wanted(src),
            Side::Dst => wanted(dst),
            Side::Either => wanted(src) || wanted(dst),
        })
    }
}

impl Filter {
    /// Reads the words of a command line as one expression; `None` if there are none.
    ///
    /// # Errors
    /// [`FilterError`].
    pub fn from_words(words: &[String]) -> Result<Option<Self>, FilterError> {
        if words.iter().all(|word| word.trim().is_empty()) {
            return Ok(None);
        }
        words.join(" ").parse().map(Some)
    }

    /// Is the frame one of them?
    pub fn matches(&self, frame: &Summary) -> bool {
        self.0.matches(frame)
    }
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let spaced = text
            .replace('(', " ( ")
            .replace(')', " ) ")
            .replace("&&", " and ")
            .replace("||", " or ")
            .replace('!', " not ");
        let words: Vec<&str> = spaced.split_whitespace().collect();
        let mut parser = Parser { words: &words, depth: 0 };
        let node = parser.expression()?;
        match parser.words.first() {
            None => Ok(Filter(node)),
            Some(&")") => Err(FilterError::Parenthesis),
            Some(word) => Err(FilterError::UnknownWord((*word).to_owned())),
        }
    }
}

impl Node {
    fn matches(&self, frame: &Summary) -> bool {
        match self {
            Node::And(all) => all.iter().all(|node| node.matches(frame)),
            Node::Or(any) => any.iter().any(|node| node.matches(frame)),
            Node::Not(node) => !node.matches(frame),
            Node::Ether(kind) => frame.ethertype == Some(*kind),
            Node::Protocol(protocol, version) => {
                frame.protocol == Some(*protocol)
                    && version.is_none_or(|version| frame.ethertype == Some(version))
            }
            Node::Net(side, net) => side.holds(frame.ips, |ip| net.contains(ip)),
            Node::Port(side, port) => side.holds(frame.ports, |other| other == *port),
            Node::Mac(side, mac) => side.holds(frame.macs, |other| other == *mac),
            Node::Broadcast => Side::Dst.holds(frame.macs, |mac| mac == MacAddr::BROADCAST),
            Node::Multicast => Side::Dst.holds(frame.macs, |mac| mac.0[0] & 1 == 1),
        }
    }
}

struct Parser<'a> {
    words: &'a [&'a str],
    depth: usize,
}

impl<'a> Parser<'a> {
    fn expression(&mut self) -> Result<Node, FilterError> {
        let mut any = vec![self.and_part()?];
        while self.take("or") {
            any.push(self.and_part()?);
        }
        Ok(if any.len() == 1 { any.swap_remove(0) } else { Node::Or(any) })
    }

    fn and_part(&mut self) -> Result<Node, FilterError> {
        let mut all = vec![self.not_part()?];
        while self.take("and") {
            all.push(self.not_part()?);
        }
        Ok(if all.len() == 1 { all.swap_remove(0) } else { Node::And(all) })
    }

    fn not_part(&mut self) -> Result<Node, FilterError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(FilterError::TooDeep);
        }
        let node = if self.take("not") {
            Node::Not(Box::new(self.not_part()?))
        } else if self.take("(") {
            let inner = self.expression()?;
            if !self.take(")") {
                return Err(FilterError::Parenthesis);
            }
            inner
        } else {
            self.primitive()?
        };
        self.depth -= 1;
        Ok(node)
    }

    fn primitive(&mut self) -> Result<Node, FilterError> {
        let word = self.next("a condition")?;
        Ok(match word {
            "tcp" => self.with_port(Node::Protocol(6, None))?,
            "udp" => self.with_port(Node::Protocol(17, None))?,
            "icmp" => Node::Protocol(1, Some(EtherType::IPV4)),
            "icmp6" => Node::Protocol(58, Some(EtherType::IPV6)),
            "igmp" => Node::Protocol(2, Some(EtherType::IPV4)),
            "arp" => Node::Ether(EtherType::ARP),
            "ip" => Node::Ether(EtherType::IPV4),
            "ip6" => Node::Ether(EtherType::IPV6),
            "broadcast" => Node::Broadcast,
            "multicast" => Node::Multicast,
            "src" => self.sided(Side::Src)?,
            "dst" => self.sided(Side::Dst)?,
            "host" | "net" | "port" => self.value_of(word, Side::Either)?,
            "ether" => self.ether()?,
            ")" => return Err(FilterError::Parenthesis),
            other => return Err(FilterError::UnknownWord(other.to_owned())),
        })
    }

    /// `tcp port 80` is short for `tcp and port 80`.
    fn with_port(&mut self, protocol: Node) -> Result<Node, FilterError> {
        let side = match self.words {
            ["port", ..] => Side::Either,
            ["src", "port", ..] => Side::Src,
            ["dst", "port", ..] => Side::Dst,
            _ => return Ok(protocol),
        };
        self.words = &self.words[if side == Side::Either { 1 } else { 2 }..];
        Ok(Node::And(vec![protocol, self.value_of("port", side)?]))
    }

    /// `src 10.0.0.1` is short for `src host 10.0.0.1`.
    fn sided(&mut self, side: Side) -> Result<Node, FilterError> {
        match self.words.first() {
            Some(&word @ ("host" | "net" | "port")) => {
                self.words = &self.words[1..];
                self.value_of(word, side)
            }
            _ => self.value_of("host", side),
        }
    }

    fn value_of(&mut self, word: &str, side: Side) -> Result<Node, FilterError> {
        match word {
            "port" => self.value("a port, 0 to 65535").map(|port| Node::Port(side, port)),
            "net" => {
                self.value("a network, as 10.0.0.0/24").map(|net: IpCidr| Node::Net(side, net))
            }
            _ => {
                self.value("an IP address").map(|addr: IpAddr| Node::Net(side, IpCidr::host(addr)))
            }
        }
    }

    fn ether(&mut self) -> Result<Node, FilterError> {
        let side = if self.take("src") {
            Side::Src
        } else if self.take("dst") {
            Side::Dst
        } else {
            Side::Either
        };
        self.take("host");
        self.value("a MAC address").map(|mac| Node::Mac(side, mac))
    }

    fn value<T: FromStr>(&mut self, expected: &'static str) -> Result<T, FilterError> {
        let word = self.next(expected)?;
        word.parse().map_err(|_| FilterError::BadValue { value: word.to_owned(), expected })
    }

    fn next(&mut self, missing: &'static str) -> Result<&'a str, FilterError> {
        let (first, rest) = self.words.split_first().ok_or(FilterError::Missing(missing))?;
        self.words = rest;
        Ok(first)
    }

    fn take(&mut self, word: &str) -> bool {
        let found = self.words.first() == Some(&word);
        if found {
            self.words = &self.words[1..];
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame() -> Summary {
        Summary {
            macs: Some((MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2]))),
            ethertype: Some(EtherType::IPV4),
            ips: Some(("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap())),
            protocol: Some(6),
            ports: Some((40_000, 80)),
            ..Default::default()
        }
    }

    fn matches(text: &str) -> bool {
        text.parse::<Filter>().unwrap().matches(&frame())
    }

    #[test]
    fn primitives_look_at_the_right_field() {
        for yes in [
            "tcp",
            "ip",
            "host 10.0.0.1",
            "src 10.0.0.1",
            "dst host 10.0.0.2",
            "net 10.0.0.0/8",
            "port 80",
            "dst port 80",
            "src port 40000",
            "tcp port 80",
            "tcp dst port 80",
            "ether host 02:00:00:00:00:02",
            "ether src 02:00:00:00:00:01",
        ] {
            assert!(matches(yes), "{yes}");
        }
        for no in [
            "udp",
            "arp",
            "ip6",
            "icmp",
            "host 10.0.0.3",
            "dst 10.0.0.1",
            "src port 80",
            "udp port 80",
            "broadcast",
            "multicast",
            "ether dst 02:00:00:00:00:01",
        ] {
            assert!(!matches(no), "{no}");
        }
    }

    #[test]
    fn and_binds_tighter_than_or() {
        assert!(matches("tcp or udp and port 1"));
        assert!(!matches("(tcp or udp) and port 1"));
        assert!(matches("not udp and not (port 1||port 2)"));
        assert!(matches("!udp && tcp"));
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let error = |text: &str| text.parse::<Filter>().unwrap_err().to_string();
        assert_eq!(error("host"), "the filter ends too early: an IP address is missing");
        assert_eq!(error("port http"), "`http` in the filter is not a port, 0 to 65535");
        assert!(error("tcp and flubber").contains("no word `flubber`"));
        assert!(error("(tcp").contains("parenthesis"));
        assert!(error("tcp)").contains("parenthesis"));
        assert!(error(&"(".repeat(1000)).contains("nested"));
    }

    proptest! {
        #[test]
        fn any_words_are_survived(words in prop::collection::vec(
            prop_oneof![
                Just("not"), Just("("), Just(")"), Just("and"), Just("or"), Just("host"),
                Just("src"), Just("tcp"), Just("port"), Just("80"), Just("10.0.0.1"), Just("ether"),
            ], 0..12)
        ) {
            if let Ok(filter) = words.join(" ").parse::<Filter>() {
                filter.matches(&frame());
            }
        }
    }
}
