//! The headers between IPv6's own and the transport's: walked within bounds, options looked at.
//!
//! RFC 8200 §4. Nothing here is obeyed but the option types' own word on what to do with a packet
//! whose option is not understood.

use libnet::socket::Protocol;
use libnet::stats::DropReason;

use super::header::{FRAGMENT_BYTES, HEADER_BYTES, NEXT_HEADER_AT};
use crate::address::Cast;
use crate::config::Ipv6Config;
use crate::icmp6::message::ParameterProblem;

/// Hop-by-hop options. Source: RFC 8200 §4.3.
pub(crate) const HOP_BY_HOP: Protocol = Protocol(0);
/// A routing header. Source: RFC 8200 §4.4.
pub(crate) const ROUTING: Protocol = Protocol(43);
/// A fragment header. Source: RFC 8200 §4.5.
pub(crate) const FRAGMENT: Protocol = Protocol(44);
/// Nothing follows. Source: RFC 8200 §4.7.
pub(crate) const NO_NEXT_HEADER: Protocol = Protocol(59);
/// Destination options. Source: RFC 8200 §4.6.
pub(crate) const DESTINATION_OPTIONS: Protocol = Protocol(60);

/// Where a chain of extension headers leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Chain {
    /// What begins at `at`: a transport's header, a fragment header, or nothing.
    pub(crate) protocol: Protocol,
    /// Bytes before it.
    pub(crate) at: usize,
    /// Where the field is that names `protocol`.
    pub(crate) named_at: usize,
}

impl Chain {
    /// A packet without extension headers, as far as its first header tells.
    pub(crate) const fn start(next_header: Protocol) -> Self {
        Chain { protocol: next_header, at: HEADER_BYTES, named_at: NEXT_HEADER_AT }
    }
}

/// A packet that may not go on, and what its sender is to be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Refused {
    pub(crate) reason: DropReason,
    pub(crate) problem: Option<ParameterProblem>,
}

impl Refused {
    const fn quietly(reason: DropReason) -> Self {
        Refused { reason, problem: None }
    }
}

/// Walks the extension headers of a packet up to its transport's header or a fragment header.
///
/// `front` is the packet's beginning, as many bytes of it as `config` lets extension headers take,
/// or all of it; `cast` says to whom it came.
pub(crate) fn walk(front: &[u8], cast: Cast, config: &Ipv6Config) -> Result<Chain, Refused> {
    let Some(&first) = front.get(NEXT_HEADER_AT) else {
        return Err(Refused::quietly(DropReason::IpMalformed));
    };
    let mut chain = Chain::start(Protocol(first));
    let mut headers = 0;
    while is_walked_over(chain.protocol) {
        headers += 1;
        let (next, end) = bounds(front, chain.at).ok_or(Refused::quietly(
            if front.len() < HEADER_BYTES + config.extension_bytes {
                DropReason::IpMalformed
            } else {
                DropReason::IpExtensionLimit
            },
        ))?;
        if headers > config.extension_headers || end > HEADER_BYTES + config.extension_bytes {
            return Err(Refused::quietly(DropReason::IpExtensionLimit));
        }
        let header = &front[chain.at..end];
        match chain.protocol {
            // RFC 8200 §4.1, §4.3: right behind the IPv6 header or not at all.
            HOP_BY_HOP if chain.at != HEADER_BYTES => {
                let problem = ParameterProblem::next_header(chain.named_at);
                return Err(Refused { reason: DropReason::IpBadOptions, problem: Some(problem) });
            }
            ROUTING => check_routing(header, chain.at)?,
            _ => check_options(header, chain.at, cast)?,
        }
        chain = Chain { protocol: next, at: end, named_at: chain.at };
    }
    Ok(chain)
}

/// Looks at the hop-by-hop options of a packet that begins with them, and at nothing behind: all
/// that a router on the way does (RFC 8200 §4).
pub(crate) fn check_hop_by_hop(
    front: &[u8],
    cast: Cast,
    config: &Ipv6Config,
) -> Result<(), Refused> {
    let (_, end) = bounds(front, HEADER_BYTES).ok_or(Refused::quietly(DropReason::IpMalformed))?;
    if end > HEADER_BYTES + config.extension_bytes {
        return Err(Refused::quietly(DropReason::IpExtensionLimit));
    }
    check_options(&front[HEADER_BYTES..end], HEADER_BYTES, cast)
}

/// The same for a packet that is not ours to judge, as one that an error quotes or a fragment
/// begins with: no option is looked at. `None`: the headers are cut short, or too many.
pub(crate) fn skip(front: &[u8], start: Chain, most: usize) -> Option<Chain> {
    let mut chain = start;
    let mut headers = 0;
    while is_walked_over(chain.protocol) {
        headers += 1;
        let (next, end) = bounds(front, chain.at).filter(|_| headers <= most)?;
        chain = Chain { protocol: next, at: end, named_at: chain.at };
    }
    (chain.at <= front.len()).then_some(chain)
}

/// Is it a header that a chain goes on behind, a fragment's aside?
pub(crate) const fn is_walked_over(protocol: Protocol) -> bool {
    matches!(protocol, HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS)
}

/// The header after the one at `at`, and where it begins; `None` if that is past the end.
fn bounds(front: &[u8], at: usize) -> Option<(Protocol, usize)> {
    let &[next, length] = front.get(at..)?.first_chunk()?;
    let end = at + 8 + 8 * usize::from(length);
    (end <= front.len()).then_some((Protocol(next), end))
}

/// RFC 8200 §4.4: a routing header that has come to its end is passed over. Of no type do we
/// follow the rest: RFC 5095 §3 forbids it for type 0.
fn check_routing(header: &[u8], at: usize) -> Result<(), Refused> {
    let segments_left = header[3];
    if segments_left == 0 {
        return Ok(());
    }
    Err(Refused {
        reason: DropReason::IpSourceRoute,
        problem: Some(ParameterProblem::erroneous(at + 2)),
    })
}

const PAD1: u8 = 0;
const PAD_N: u8 = 1;

/// RFC 8200 §4.2: what is to happen with a packet whose option is not understood stands in the
/// option type's two highest bits. We understand padding alone.
fn check_options(header: &[u8], at: usize, cast: Cast) -> Result<(), Refused> {
    let mut i = 2;
    while let Some(&kind) = header.get(i) {
        if kind == PAD1 {
            i += 1;
            continue;
        }
        let length = header.get(i + 1).map(|&length| usize::from(length));
        let Some(end) = length.map(|n| i + 2 + n).filter(|&end| end <= header.len()) else {
            let problem = Some(ParameterProblem::erroneous(at + i));
            return Err(Refused { reason: DropReason::IpBadOptions, problem });
        };
        let action = kind >> 6;
        if kind != PAD_N && action != 0 {
            let told = match action {
                0b01 => false,
                0b10 => true,
                _ => cast == Cast::Unicast,
            };
            let problem = told.then(|| ParameterProblem::option(at + i));
            return Err(Refused { reason: DropReason::IpBadOptions, problem });
        }
        i = end;
    }
    Ok(())
}

/// Does a first fragment hold all headers, up to and with the transport's? Source: RFC 7112 §5.
pub(crate) fn is_chain_whole(front: &[u8], start: Chain, most: usize) -> bool {
    let Some(chain) = skip(front, start, most) else { return false };
    let least = match chain.protocol {
        Protocol::TCP => 20,
        Protocol::UDP | Protocol::ICMPV6 => 8,
        FRAGMENT => FRAGMENT_BYTES,
        NO_NEXT_HEADER => 0,
        _ => 1,
    };
    front.len() >= chain.at + least
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An IPv6 header whose next header is `first`, and what follows it.
    fn packet(first: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES];
        (bytes[0], bytes[NEXT_HEADER_AT]) = (0x60, first);
        bytes.extend_from_slice(rest);
        bytes
    }

    fn walked(first: u8, rest: &[u8]) -> Result<Chain, Refused> {
        walk(&packet(first, rest), Cast::Unicast, &Ipv6Config::default())
    }

    fn told(first: u8, rest: &[u8]) -> Option<ParameterProblem> {
        walked(first, rest).unwrap_err().problem
    }

    #[test]
    fn a_chain_leads_to_the_transport() {
        let none = walked(17, &[0; 8]).unwrap();
        assert_eq!((none.protocol, none.at, none.named_at), (Protocol::UDP, 40, 6));
        // Hop-by-hop with PadN, routing that has ended, destination options with Pad1.
        let rest = [43, 0, 1, 4, 0, 0, 0, 0, 60, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0];
        let chain = walked(0, &rest).unwrap();
        assert_eq!((chain.protocol, chain.at, chain.named_at), (Protocol::TCP, 64, 56));
        let fragment = walked(44, &[17, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        assert_eq!((fragment.protocol, fragment.at), (FRAGMENT, 40));
    }

    #[test]
    fn hop_by_hop_options_stand_first_or_not_at_all() {
        let rest = [0, 0, 1, 4, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0];
        assert_eq!(told(60, &rest), Some(ParameterProblem::next_header(40)));
    }

    #[test]
    fn a_route_that_goes_on_is_refused_at_its_type() {
        for kind in [0, 2, 4, 253] {
            let rest = [17, 0, kind, 1, 0, 0, 0, 0];
            assert_eq!(told(43, &rest), Some(ParameterProblem::erroneous(42)), "type {kind}");
        }
    }

    #[test]
    fn the_two_high_bits_of_an_option_say_what_happens() {
        let options = |kind: u8| packet(60, &[17, 0, 1, 0, kind, 2, 9, 9]);
        let config = Ipv6Config::default();
        for cast in [Cast::Unicast, Cast::Multicast] {
            assert!(walk(&options(0x1e), cast, &config).is_ok());
            let discard = walk(&options(0x5e), cast, &config).unwrap_err();
            assert_eq!(discard.problem, None);
            let tell = walk(&options(0x9e), cast, &config).unwrap_err();
            assert_eq!(tell.problem, Some(ParameterProblem::option(44)));
            let unless_many = walk(&options(0xde), cast, &config).unwrap_err();
            assert_eq!(unless_many.problem.is_some(), cast == Cast::Unicast);
        }
    }

    #[test]
    fn an_option_past_its_header_is_refused_where_it_begins() {
        assert_eq!(told(60, &[17, 0, 1, 5, 0, 0, 0, 0]), Some(ParameterProblem::erroneous(42)));
        assert_eq!(told(0, &[17, 0, 0, 0, 0, 0, 0, 7]), Some(ParameterProblem::erroneous(47)));
    }

    #[test]
    fn chains_are_bounded_in_number_and_bytes() {
        let mut rest = Vec::new();
        for _ in 0..9 {
            rest.extend_from_slice(&[60, 0, 1, 4, 0, 0, 0, 0]);
        }
        rest.extend_from_slice(&[17, 0, 1, 4, 0, 0, 0, 0]);
        let refused = walked(60, &rest).unwrap_err();
        assert_eq!(refused, Refused::quietly(DropReason::IpExtensionLimit));
        let mut long = vec![17, 255];
        long.resize(2048, 0);
        assert!(walked(60, &long).is_ok());
        let config = Ipv6Config { extension_bytes: 64, ..Ipv6Config::default() };
        let refused = walk(&packet(60, &long)[..104], Cast::Unicast, &config).unwrap_err();
        assert_eq!(refused.reason, DropReason::IpExtensionLimit);
    }

    #[test]
    fn a_header_past_the_end_is_malformed() {
        for rest in [&[][..], &[17], &[17, 0, 1, 4, 0, 0, 0], &[17, 1, 1, 4, 0, 0, 0, 0]] {
            assert_eq!(walked(60, rest), Err(Refused::quietly(DropReason::IpMalformed)));
        }
    }

    #[test]
    fn a_first_fragment_shows_its_transport() {
        let start = Chain::start(Protocol::TCP);
        assert!(is_chain_whole(&packet(6, &[0; 20]), start, 8));
        assert!(!is_chain_whole(&packet(6, &[0; 19]), start, 8));
        let start = Chain::start(DESTINATION_OPTIONS);
        assert!(!is_chain_whole(&packet(60, &[17, 0, 0, 0, 0, 0, 0, 0]), start, 8));
        assert!(!is_chain_whole(&packet(60, &[17, 4, 0, 0, 0, 0, 0, 0]), start, 8));
    }
}
