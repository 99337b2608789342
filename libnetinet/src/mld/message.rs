//! MLD messages, read and written (RFC 2710, RFC 3810). They are ICMPv6 messages.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use crate::multicast::message::{Message, Query, Record, Version, float, query_v3, report_v3};

/// Bytes of every message of MLDv1.
pub(crate) const V1_BYTES: usize = 24;
/// Bytes of the head of a report of MLDv2.
pub(crate) const REPORT_BYTES: usize = 8;

/// ICMPv6 types.
pub(crate) const QUERY: u8 = 130;
pub(crate) const REPORT_V1: u8 = 131;
pub(crate) const DONE: u8 = 132;
pub(crate) const REPORT_V2: u8 = 143;

/// Reads an ICMPv6 message of one of the four types whose checksum is right; `None` for what is not
/// one.
///
/// ```text
///  0         1         2                   4                   6                   8
/// +---------+---------+-------------------+-------------------+-------------------+
/// | type    | 0       | checksum          | max response code | 0                 |
/// +---------+---------+-------------------+-------------------+-------------------+
/// | group, 16 bytes                                                               |
/// +---------+---------+-------------------+---------------------------------------+
/// | ....S QRV | QQIC  | number of sources | source 1 …          version two
/// ```
pub(crate) fn parse(bytes: &[u8]) -> Option<Message> {
    let ty = *bytes.first()?;
    if ty == REPORT_V2 {
        return (bytes.len() >= REPORT_BYTES).then_some(Message::ForRouters);
    }
    let head: &[u8; V1_BYTES] = bytes.first_chunk()?;
    let group = Ipv6Addr::from(*head.last_chunk::<16>()?);
    match ty {
        QUERY => query(bytes, u16::from_be_bytes([head[4], head[5]]), group).map(Message::Query),
        REPORT_V1 => group.is_multicast().then_some(Message::Report(IpAddr::V6(group))),
        DONE => Some(Message::ForRouters),
        _ => None,
    }
}

/// RFC 3810 §8.1: the length tells the versions apart.
fn query(bytes: &[u8], code: u16, group: Ipv6Addr) -> Option<Query> {
    if !(group.is_unspecified() || group.is_multicast()) {
        return None;
    }
    let group = (!group.is_unspecified()).then_some(IpAddr::V6(group));
    let millis = |code: u32| Duration::from_millis(u64::from(code));
    if bytes.len() == V1_BYTES {
        return Some(Query {
            version: Version::Two,
            group,
            sources: Vec::new(),
            max_response: millis(u32::from(code)),
            querier: None,
        });
    }
    query_v3::<16>(group, millis(float(u32::from(code), 12)), &bytes[V1_BYTES..])
}

/// A report of MLDv2, its checksum zero.
pub(crate) fn report(records: &[Record]) -> Vec<u8> {
    report_v3(REPORT_V2, records)
}

/// A report of MLDv1, its checksum zero.
pub(crate) fn member(group: Ipv6Addr) -> Vec<u8> {
    plain(REPORT_V1, group)
}

/// Leaving, in MLDv1, its checksum zero.
pub(crate) fn done(group: Ipv6Addr) -> Vec<u8> {
    plain(DONE, group)
}

fn plain(ty: u8, group: Ipv6Addr) -> Vec<u8> {
    let mut bytes = vec![0; V1_BYTES];
    bytes[0] = ty;
    bytes[8..].copy_from_slice(&group.octets());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::multicast::message::{Querier, RecordKind};

    const GROUP: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);

    fn asked(code: u16, group: Ipv6Addr, rest: &[u8]) -> Vec<u8> {
        let mut bytes = plain(QUERY, group);
        bytes[4..6].copy_from_slice(&code.to_be_bytes());
        bytes.extend_from_slice(rest);
        bytes
    }

    #[test]
    fn the_versions_of_a_query_are_told_apart() {
        let Some(Message::Query(one)) = parse(&asked(2_500, Ipv6Addr::UNSPECIFIED, &[])) else {
            panic!("it is a query");
        };
        assert_eq!((one.version, one.group, one.querier), (Version::Two, None, None));
        assert_eq!(one.max_response, Duration::from_millis(2_500));
        let mut rest = vec![0x0b, 125, 0, 1];
        rest.extend_from_slice(&Ipv6Addr::LOCALHOST.octets());
        let Some(Message::Query(two)) = parse(&asked(0x8000, GROUP, &rest)) else {
            panic!("it is a query");
        };
        assert_eq!((two.version, two.group), (Version::Three, Some(GROUP.into())));
        assert_eq!(two.sources, [IpAddr::from(Ipv6Addr::LOCALHOST)]);
        assert_eq!(two.max_response, Duration::from_millis(32_768));
        let expected = Querier { robustness: 3, interval: Duration::from_secs(125) };
        assert_eq!(two.querier, Some(expected));
    }

    #[test]
    fn what_makes_no_sense_is_no_message() {
        let any = Ipv6Addr::UNSPECIFIED;
        let mut with_source = vec![2, 125, 0, 1];
        with_source.extend_from_slice(&[1; 16]);
        for bytes in [
            vec![],
            asked(1, any, &[])[..23].to_vec(),
            asked(1, any, &[0; 3]),
            asked(1, GROUP, &with_source[..19]),
            asked(1, any, &with_source),
            asked(1, Ipv6Addr::LOCALHOST, &[]),
            member(Ipv6Addr::LOCALHOST),
            vec![REPORT_V2, 0, 0, 0],
        ] {
            assert_eq!(parse(&bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let record = Record { kind: RecordKind::ToExclude, group: GROUP.into(), sources: vec![] };
        let bytes = report(&[record]);
        assert_eq!(bytes[..12], [143, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0]);
        assert_eq!(bytes[12..], GROUP.octets());
        assert_eq!(parse(&bytes), Some(Message::ForRouters));
        assert_eq!(parse(&member(GROUP)), Some(Message::Report(GROUP.into())));
        assert_eq!(parse(&done(GROUP)), Some(Message::ForRouters));
    }
}
