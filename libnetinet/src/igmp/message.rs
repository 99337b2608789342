//! IGMP messages, read and written (RFC 1112, RFC 2236, RFC 3376).

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use libnet::checksum::checksum;

use crate::multicast::message::{Message, Query, Record, Version, float, query_v3, report_v3};

/// Bytes of every message of versions one and two, and of the head of a report of version three.
pub(crate) const HEADER_BYTES: usize = 8;

const QUERY: u8 = 0x11;
const REPORT_V1: u8 = 0x12;
const REPORT_V2: u8 = 0x16;
const LEAVE: u8 = 0x17;
const REPORT_V3: u8 = 0x22;

/// RFC 2236 §4: a query that says nothing is of version one, and wants answers within 10 s.
const V1_MAX_RESPONSE: Duration = Duration::from_secs(10);

/// Reads a message whose checksum is right; `None` for what is not one, or of an unknown kind.
///
/// ```text
///  0         1         2                   4                              8
/// +---------+---------+-------------------+------------------------------+
/// | type    | max resp| checksum          | group                        |
/// +---------+---------+-------------------+------------------------------+
/// | ....S QRV | QQIC  | number of sources | source 1 …                     version three
/// ```
pub(crate) fn parse(bytes: &[u8]) -> Option<Message> {
    let head: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
    let group = Ipv4Addr::new(head[4], head[5], head[6], head[7]);
    match head[0] {
        QUERY => query(bytes, head[1], group).map(Message::Query),
        REPORT_V1 | REPORT_V2 => group.is_multicast().then_some(Message::Report(IpAddr::V4(group))),
        LEAVE | REPORT_V3 => Some(Message::ForRouters),
        // RFC 3376 §4: other types MUST be silently ignored.
        _ => None,
    }
}

/// RFC 3376 §7.1: the length and the code tell the versions apart.
fn query(bytes: &[u8], code: u8, group: Ipv4Addr) -> Option<Query> {
    if !(group.is_unspecified() || group.is_multicast()) {
        return None;
    }
    let group = (!group.is_unspecified()).then_some(IpAddr::V4(group));
    let tenths = |code: u32| Duration::from_millis(100) * code;
    if bytes.len() == HEADER_BYTES {
        let is_first = code == 0;
        return Some(Query {
            version: if is_first { Version::One } else { Version::Two },
            group: group.filter(|_| !is_first),
            sources: Vec::new(),
            max_response: if is_first { V1_MAX_RESPONSE } else { tenths(u32::from(code)) },
            querier: None,
        });
    }
    query_v3::<4>(group, tenths(float(u32::from(code), 4)), &bytes[HEADER_BYTES..])
}

/// A report of version three.
pub(crate) fn report(records: &[Record]) -> Vec<u8> {
    sealed(report_v3(REPORT_V3, records))
}

/// A report of an older version.
pub(crate) fn member(group: Ipv4Addr, version: Version) -> Vec<u8> {
    let ty = if version == Version::One { REPORT_V1 } else { REPORT_V2 };
    plain(ty, group)
}

/// Leaving, in version two.
pub(crate) fn leave(group: Ipv4Addr) -> Vec<u8> {
    plain(LEAVE, group)
}

fn plain(ty: u8, group: Ipv4Addr) -> Vec<u8> {
    let [a, b, c, d] = group.octets();
    sealed(vec![ty, 0, 0, 0, a, b, c, d])
}

/// With its checksum, over the whole message.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let sum = checksum(&bytes);
    bytes[2..4].copy_from_slice(&sum.to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::multicast::message::{Querier, RecordKind};

    const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);

    fn query(bytes: &[u8]) -> Option<Query> {
        match parse(bytes)? {
            Message::Query(query) => Some(query),
            _ => None,
        }
    }

    #[test]
    fn the_versions_of_a_query_are_told_apart() {
        let one = query(&[0x11, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        assert_eq!((one.version, one.group), (Version::One, None));
        assert_eq!(one.max_response, Duration::from_secs(10));
        let two = query(&[0x11, 25, 0, 0, 239, 1, 2, 3]).unwrap();
        assert_eq!((two.version, two.group), (Version::Two, Some(GROUP.into())));
        assert_eq!(two.max_response, Duration::from_millis(2_500));
        let bytes = [0x11, 0x80, 0, 0, 239, 1, 2, 3, 0x0b, 0x8f, 0, 1, 10, 0, 0, 7, 99];
        let three = query(&bytes).unwrap();
        assert_eq!(three.version, Version::Three);
        assert_eq!(three.sources, [IpAddr::from([10, 0, 0, 7])]);
        assert_eq!(three.max_response, Duration::from_millis(12_800));
        let expected = Querier { robustness: 3, interval: Duration::from_secs(248) };
        assert_eq!(three.querier, Some(expected));
    }

    #[test]
    fn what_makes_no_sense_is_no_message() {
        for bytes in [
            &[][..],
            &[0x11, 0, 0, 0, 0, 0, 0],
            // Between the lengths of versions.
            &[0x11, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            // More sources than there are.
            &[0x11, 1, 0, 0, 239, 1, 2, 3, 2, 125, 0, 2, 10, 0, 0, 7],
            // A general query about a source, and one about a host.
            &[0x11, 1, 0, 0, 0, 0, 0, 0, 2, 125, 0, 1, 10, 0, 0, 7],
            &[0x11, 1, 0, 0, 10, 0, 0, 1],
            // A kind that nobody knows.
            &[0x99, 0, 0, 0, 239, 1, 2, 3],
            &[0x16, 0, 0, 0, 10, 0, 0, 1],
        ] {
            assert_eq!(parse(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn what_is_written_has_a_right_sum() {
        let source = IpAddr::from([10, 0, 0, 7]);
        let record = Record { kind: RecordKind::Allow, group: GROUP.into(), sources: vec![source] };
        let all = [report(&[record]), member(GROUP, Version::One), leave(GROUP)];
        assert!(all.iter().all(|bytes| checksum(bytes) == 0));
        let expected = [0, 0, 0, 1, 5, 0, 0, 1, 239, 1, 2, 3, 10, 0, 0, 7];
        assert_eq!(all[0][4..], expected);
        assert_eq!(parse(&member(GROUP, Version::Two)), Some(Message::Report(GROUP.into())));
        assert_eq!(
            (parse(&all[0]), parse(&all[2])),
            (Some(Message::ForRouters), Some(Message::ForRouters))
        );
    }
}
