//! `[tcp:|udp:][ADDRESS:]PORT=ADDRESS:PORT`: what is listened to, and what is connected to.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};

use crate::host;
use crate::zone::Zoned;

/// What is forwarded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

/// Which of the two sides listens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Listens {
    /// The stack does, and the host's sockets connect: inward.
    Stack,
    /// The host does, and the stack connects: outward (`-o`).
    Host,
}

/// One thing to forward.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Mapping {
    pub(super) kind: Kind,
    pub(super) listens: Listens,
    /// Where to listen; port 0: any free one; `::` of a stack without IPv6: all of its addresses.
    pub(super) at: SocketAddr,
    /// Whom to connect to: the first of these that answers.
    pub(super) targets: Vec<SocketAddr>,
    /// The links that the two are of, where they are link-local.
    pub(super) zones: [Option<String>; 2],
    /// As the user wrote it.
    pub(super) text: String,
}

/// What is wrong with a mapping's text, and what to write instead.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum MappingError {
    /// No `=`.
    #[error("`{text}` has no target: write {text}=127.0.0.1:8080")]
    NoTarget {
        /// What was given.
        text: String,
    },
    /// A socket in a file.
    #[error("`{text}`: sockets in files are not forwarded: write ADDRESS:PORT")]
    Unix {
        /// What was given.
        text: String,
    },
    /// Not a number of 16 bits.
    #[error("`{text}` is not a port: write a number from 1 to 65535")]
    Port {
        /// What was given.
        text: String,
    },
    /// Nothing can be connected to at port 0.
    #[error("`{text}`: nobody listens at port 0: write a target's port from 1 to 65535")]
    PortZero {
        /// The target.
        text: String,
    },
    /// A target without a port, or without an address.
    #[error("`{text}` is not a target: write ADDRESS:PORT, as in 127.0.0.1:8080")]
    Target {
        /// What was given.
        text: String,
    },
    /// Neither a protocol nor an address in front of the port.
    #[error("`{text}` is neither tcp, udp nor an address to listen at")]
    Listen {
        /// What was given.
        text: String,
    },
    /// A name where only an address will do.
    #[error("{message}")]
    Address {
        /// What is wrong with it.
        message: String,
    },
    /// A name of the host's that means nothing.
    #[error("cannot look up `{name}`: {reason}")]
    Lookup {
        /// The name.
        name: String,
        /// What the resolver said.
        reason: String,
    },
}

/// A port of the stack, to be connected to the host's sockets.
///
/// # Errors
/// What is no mapping.
pub(super) fn inward(text: &str) -> Result<Mapping, MappingError> {
    parse(text, Listens::Stack, look_up)
}

/// A port of the host, to be connected through the stack.
///
/// # Errors
/// What is no mapping.
pub(super) fn outward(text: &str) -> Result<Mapping, MappingError> {
    parse(text, Listens::Host, look_up)
}

/// Either; `look_up` finds the addresses of the host's names.
pub(super) fn parse(
    text: &str,
    listens: Listens,
    look_up: impl FnOnce(&str, u16) -> Result<Vec<SocketAddr>, MappingError>,
) -> Result<Mapping, MappingError> {
    let (listen, target) =
        text.split_once('=').ok_or_else(|| MappingError::NoTarget { text: text.to_owned() })?;
    if let Some(unix) = [listen, target].into_iter().find(|part| part.starts_with("unix:")) {
        return Err(MappingError::Unix { text: unix.to_owned() });
    }
    let (kind, listen) = match listen.split_once(':') {
        Some(("tcp", rest)) => (Kind::Tcp, rest),
        Some(("udp", rest)) => (Kind::Udp, rest),
        _ => (Kind::Tcp, listen),
    };
    let (at, at_zone) = listen_at(listen, listens)?;
    let (host, port) = target
        .rsplit_once(':')
        .filter(|(host, _)| !host.is_empty())
        .ok_or_else(|| MappingError::Target { text: target.to_owned() })?;
    let port = parse_port(port)?;
    if port == 0 {
        return Err(MappingError::PortZero { text: target.to_owned() });
    }
    let (targets, zone) = match (host.parse::<Zoned>(), listens) {
        (Ok(Zoned { ip, zone }), _) => (vec![SocketAddr::new(ip, port)], zone),
        (Err(_), Listens::Stack) => (look_up(host, port)?, None),
        (Err(message), Listens::Host) => return Err(MappingError::Address { message }),
    };
    Ok(Mapping { kind, listens, at, targets, zones: [at_zone, zone], text: text.to_owned() })
}

/// Where to listen, and on which link.
fn listen_at(text: &str, listens: Listens) -> Result<(SocketAddr, Option<String>), MappingError> {
    let Some((address, port)) = text.rsplit_once(':') else {
        let ip = match listens {
            Listens::Stack => Ipv6Addr::UNSPECIFIED.into(),
            // Who else may use the host's network is for the user to say.
            Listens::Host => Ipv4Addr::LOCALHOST.into(),
        };
        return Ok((SocketAddr::new(ip, parse_port(text)?), None));
    };
    let port = parse_port(port)?;
    let Zoned { ip, zone } =
        address.parse().map_err(|_| MappingError::Listen { text: address.to_owned() })?;
    Ok((SocketAddr::new(ip, port), zone))
}

fn parse_port(text: &str) -> Result<u16, MappingError> {
    text.parse().map_err(|_| MappingError::Port { text: text.to_owned() })
}

/// The host has a resolver, even if stacks have none.
fn look_up(name: &str, port: u16) -> Result<Vec<SocketAddr>, MappingError> {
    let wrong = |reason: String| MappingError::Lookup { name: name.to_owned(), reason };
    let found: Vec<SocketAddr> =
        (name, port).to_socket_addrs().map_err(|error| wrong(host::plain(&error)))?.collect();
    if found.is_empty() { Err(wrong("it has no address".to_owned())) } else { Ok(found) }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Tcp => "tcp",
            Kind::Udp => "udp",
        })
    }
}

impl fmt::Display for Listens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Listens::Stack => "stack",
            Listens::Host => "host",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(text: &str) -> String {
        inward(text).unwrap_err().to_string()
    }

    #[test]
    fn a_port_and_a_target_are_enough() {
        let mapping = inward("80=127.0.0.1:8080").unwrap();
        assert_eq!((mapping.kind, mapping.at.to_string()), (Kind::Tcp, "[::]:80".to_owned()));
        assert_eq!(mapping.targets, ["127.0.0.1:8080".parse().unwrap()]);
        let mapping = outward("8080=10.0.0.1:80").unwrap();
        assert_eq!(mapping.at.to_string(), "127.0.0.1:8080", "not everybody on the host's network");
    }

    #[test]
    fn protocols_and_addresses_stand_in_front() {
        let mapping = inward("udp:10.0.0.1:53=localhost:5353").unwrap();
        assert_eq!((mapping.kind, mapping.at), (Kind::Udp, "10.0.0.1:53".parse().unwrap()));
        let mapping = outward("tcp:[::1]:0=[fd00::1]:80").unwrap();
        assert_eq!(mapping.at, "[::1]:0".parse().unwrap());
        assert_eq!(mapping.targets, ["[fd00::1]:80".parse().unwrap()]);
    }

    #[test]
    fn a_bad_mapping_says_what_a_good_one_looks_like() {
        assert_eq!(told("80"), "`80` has no target: write 80=127.0.0.1:8080");
        assert_eq!(told("8O=127.0.0.1:1"), "`8O` is not a port: write a number from 1 to 65535");
        assert_eq!(
            told("70000=127.0.0.1:1"),
            "`70000` is not a port: write a number from 1 to 65535"
        );
        assert!(told("80=127.0.0.1").contains("write ADDRESS:PORT"), "{}", told("80=127.0.0.1"));
        assert!(told("80=:8080").contains("write ADDRESS:PORT"));
        assert!(told("80=127.0.0.1:0").contains("nobody listens at port 0"));
        assert_eq!(
            told("tpc:80=127.0.0.1:1"),
            "`tpc` is neither tcp, udp nor an address to listen at"
        );
        assert!(told("80=unix:/run/x").contains("sockets in files are not forwarded"));
        let error = outward("8080=alice:80").unwrap_err().to_string();
        assert!(error.contains("`alice` is not an IP address"), "{error}");
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "[^=]{0,30}(=[0-9.:]{0,20})?") {
            let _ = inward(&text);
            let _ = outward(&text);
        }
    }
}
