//! What IGMP and MLD say, apart from how it is written down.

use std::net::IpAddr;
use std::time::Duration;

use libnet::socket::FilterMode;

/// A generation of the protocols.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Version {
    /// IGMPv1 (RFC 1112): no leaving.
    One,
    /// IGMPv2 (RFC 2236), and its twin MLDv1 (RFC 2710).
    Two,
    /// IGMPv3 (RFC 3376), and its twin MLDv2 (RFC 3810).
    Three,
}

/// A router's question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Query {
    pub(crate) version: Version,
    /// The group that it is about; `None`: all, a general query.
    pub(crate) group: Option<IpAddr>,
    /// The sources that it is about; none: all.
    pub(crate) sources: Vec<IpAddr>,
    /// Within which time an answer is wanted.
    pub(crate) max_response: Duration,
    /// What the router says of itself, from version three on.
    pub(crate) querier: Option<Querier>,
}

/// A router's figures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Querier {
    /// How often everything is said, so that one loss does no harm; 0: the router does not say.
    pub(crate) robustness: u8,
    /// How often it asks.
    pub(crate) interval: Duration,
}

/// A message as it came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Message {
    /// A question.
    Query(Query),
    /// Another host is a member, in the words of version one or two.
    Report(IpAddr),
    /// What hosts do not listen to: reports of version three, and leaving.
    ForRouters,
}

/// The kind of a group record. Source: RFC 3376 §4.2.12, RFC 3810 §5.2.12.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum RecordKind {
    IsInclude = 1,
    IsExclude = 2,
    ToInclude = 3,
    ToExclude = 4,
    Allow = 5,
    Block = 6,
}

impl RecordKind {
    /// The state, in answer to a query.
    pub(crate) const fn is(mode: FilterMode) -> Self {
        match mode {
            FilterMode::Include => RecordKind::IsInclude,
            FilterMode::Exclude => RecordKind::IsExclude,
        }
    }

    /// The state, after the mode has changed.
    pub(crate) const fn to(mode: FilterMode) -> Self {
        match mode {
            FilterMode::Include => RecordKind::ToInclude,
            FilterMode::Exclude => RecordKind::ToExclude,
        }
    }
}

/// A group record of a report.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Record {
    pub(crate) kind: RecordKind,
    pub(crate) group: IpAddr,
    pub(crate) sources: Vec<IpAddr>,
}

/// What is to be said to the routers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Say {
    /// A report of version three; it may take several messages.
    Report(Vec<Record>),
    /// A report of an older version.
    Member { group: IpAddr, version: Version },
    /// The group is left: version two alone.
    Leave { group: IpAddr },
}

/// Cuts records into messages of at most `room` bytes of records, each with its number of bytes
/// per address. A record that does not fit is split over several; of one that excludes, which
/// cannot be split, the sources that do not fit are left out, so that more is received, not less.
///
/// Source: RFC 3376 §4.2.16, RFC 3810 §5.2.15.
pub(crate) fn split(records: Vec<Record>, room: usize, addr_bytes: usize) -> Vec<Vec<Record>> {
    let head_bytes = 4 + addr_bytes;
    let most = room.saturating_sub(head_bytes) / addr_bytes;
    let (mut messages, mut message, mut used) = (Vec::new(), Vec::new(), 0);
    let mut add = |record: Record, messages: &mut Vec<Vec<Record>>| {
        let bytes = head_bytes + record.sources.len() * addr_bytes;
        if used + bytes > room && !message.is_empty() {
            messages.push(std::mem::take(&mut message));
            used = 0;
        }
        used += bytes;
        message.push(record);
    };
    for mut record in records {
        let excludes = matches!(record.kind, RecordKind::IsExclude | RecordKind::ToExclude);
        if excludes {
            record.sources.truncate(most);
        }
        while record.sources.len() > most && most > 0 {
            let rest = record.sources.split_off(most);
            let sources = std::mem::replace(&mut record.sources, rest);
            add(Record { sources, ..record.clone() }, &mut messages);
        }
        add(record, &mut messages);
    }
    if !message.is_empty() {
        messages.push(message);
    }
    messages
}

/// Reads what a query of version three has behind its group, its addresses being of `N` bytes.
///
/// ```text
/// | ....S QRV | QQIC  | number of sources | source 1 …
/// ```
/// Source: RFC 3376 §4.1, RFC 3810 §5.1.
pub(crate) fn query_v3<const N: usize>(
    group: Option<IpAddr>,
    max_response: Duration,
    rest: &[u8],
) -> Option<Query>
where
    IpAddr: From<[u8; N]>,
{
    let (&[flags, interval, high, low], listed) = rest.split_first_chunk()?;
    let count = usize::from(u16::from_be_bytes([high, low]));
    let sources = listed.as_chunks::<N>().0.get(..count)?;
    // RFC 3376 §4.1.9, RFC 3810 §5.1.10: a general query has no sources.
    if group.is_none() && count > 0 {
        return None;
    }
    let querier = Querier {
        robustness: flags & 7,
        interval: Duration::from_secs(u64::from(float(u32::from(interval), 4))),
    };
    Some(Query {
        version: Version::Three,
        group,
        sources: sources.iter().map(|octets| IpAddr::from(*octets)).collect(),
        max_response,
        querier: Some(querier),
    })
}

/// Writes a report of version three, its checksum zero.
///
/// ```text
/// | type    | 0       | checksum          | 0                 | number of records |
/// | kind    | 0       | number of sources | group
/// | source 1 …
/// ```
/// Source: RFC 3376 §4.2, RFC 3810 §5.2.
pub(crate) fn report_v3(ty: u8, records: &[Record]) -> Vec<u8> {
    let mut bytes = vec![ty, 0, 0, 0, 0, 0];
    bytes.extend_from_slice(&(records.len() as u16).to_be_bytes());
    for record in records {
        bytes.extend_from_slice(&[record.kind as u8, 0]);
        bytes.extend_from_slice(&(record.sources.len() as u16).to_be_bytes());
        for addr in std::iter::once(&record.group).chain(&record.sources) {
            match addr {
                IpAddr::V4(addr) => bytes.extend_from_slice(&addr.octets()),
                IpAddr::V6(addr) => bytes.extend_from_slice(&addr.octets()),
            }
        }
    }
    bytes
}

/// A code of `mantissa_bits` of mantissa and three of exponent, in which values below its highest
/// bit stand for themselves.
///
/// ```text
///  |1| exponent |  mantissa  |   value = (mantissa | 1 << mantissa_bits) << (exponent + 3)
/// ```
/// Source: RFC 3376 §4.1.1, §4.1.7 (4 bits); RFC 3810 §5.1.3 (12 bits), §5.1.9 (4 bits).
pub(crate) const fn float(code: u32, mantissa_bits: u32) -> u32 {
    if code < 1 << (mantissa_bits + 3) {
        return code;
    }
    let exponent = (code >> mantissa_bits) & 7;
    let mantissa = code & ((1 << mantissa_bits) - 1);
    (mantissa | 1 << mantissa_bits) << (exponent + 3)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn record(kind: RecordKind, group: u8, sources: u8) -> Record {
        let source = |n| Ipv4Addr::new(10, 0, 0, n).into();
        let group = Ipv4Addr::new(239, 0, 0, group).into();
        Record { kind, group, sources: (0..sources).map(source).collect() }
    }

    #[test]
    fn codes_stand_for_themselves_until_they_are_floats() {
        for (code, value) in [(0, 0), (127, 127), (0x80, 128), (0x8f, 248), (0xff, 31_744)] {
            assert_eq!(float(code, 4), value, "{code:#x}");
        }
        for (code, value) in [(32_767, 32_767), (0x8000, 32_768), (0xffff, 8_387_584)] {
            assert_eq!(float(code, 12), value, "{code:#x}");
        }
    }

    #[test]
    fn records_are_put_into_as_many_messages_as_they_need() {
        // 8 bytes of head and 4 for each source.
        let all = vec![
            record(RecordKind::IsInclude, 1, 3),
            record(RecordKind::IsExclude, 2, 9),
            record(RecordKind::Allow, 3, 9),
            record(RecordKind::ToExclude, 4, 0),
        ];
        let messages = split(all, 24, 4);
        let shape: Vec<Vec<(u8, usize)>> = messages
            .iter()
            .map(|m| m.iter().map(|r| (r.kind as u8, r.sources.len())).collect())
            .collect();
        let expected =
            [vec![(1, 3)], vec![(2, 4)], vec![(5, 4)], vec![(5, 4)], vec![(5, 1), (4, 0)]];
        assert_eq!(shape, expected);
        assert!(split(Vec::new(), 24, 4).is_empty());
    }
}
