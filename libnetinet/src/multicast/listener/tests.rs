//! Timelines of one listener: what it says, and when.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::super::message::{Querier, RecordKind as K};
use super::*;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn group(n: u8) -> IpAddr {
    Ipv4Addr::new(239, 0, 0, n).into()
}

fn source(n: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, n).into()
}

/// A listener and its clock.
struct Host {
    listener: Listener,
    now: Instant,
}

impl Host {
    fn new() -> Self {
        let listener = Listener::new(MulticastConfig::default(), Family::Inet, Jitter(7));
        Host { listener, now: Instant::from_millis(1_000) }
    }

    /// One that is in a group, and has said so.
    fn with_member(filter: Filter) -> Self {
        let mut host = Host::new();
        host.want(1, filter);
        host.run(SECOND * 30);
        host
    }

    fn want(&mut self, n: u8, filter: Filter) {
        self.listener.set(self.now, group(n), filter, Reports::Sent);
    }

    fn ask(&mut self, query: &Query) {
        self.listener.query(self.now, query);
    }

    /// Lets time pass; what was said, and when.
    fn run(&mut self, time: Duration) -> Vec<(Instant, Say)> {
        let until = self.now + time;
        let mut all = Vec::new();
        while let Some(due) = self.listener.next_deadline().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            let mut said = Vec::new();
            self.listener.expire(self.now, &mut said);
            all.extend(said.into_iter().map(|say| (self.now, say)));
        }
        self.now = until;
        all
    }

    /// The same, reports alone: their records' kinds, groups' and sources' last octets.
    fn records(&mut self, time: Duration) -> Vec<Vec<(K, u8, Vec<u8>)>> {
        let last = |addr: &IpAddr| match addr {
            IpAddr::V4(addr) => addr.octets()[3],
            IpAddr::V6(addr) => addr.octets()[15],
        };
        let of = |(_, say)| match say {
            Say::Report(records) => records
                .iter()
                .map(|r: &Record| (r.kind, last(&r.group), r.sources.iter().map(last).collect()))
                .collect(),
            other => panic!("not a report: {other:?}"),
        };
        self.run(time).into_iter().map(of).collect()
    }
}

fn general(version: Version, max_response: Duration) -> Query {
    let querier = Querier { robustness: 2, interval: Duration::from_secs(125) };
    let querier = (version == Version::Three).then_some(querier);
    Query { version, group: None, sources: Vec::new(), max_response, querier }
}

fn about(n: u8, sources: &[u8], max_response: Duration) -> Query {
    let sources = sources.iter().map(|n| source(*n)).collect();
    Query { group: Some(group(n)), sources, ..general(Version::Three, max_response) }
}

#[test]
fn a_join_is_said_at_once_and_once_more_within_a_second() {
    let mut host = Host::new();
    host.want(1, Filter::ALL);
    let began = host.now;
    let said = host.run(SECOND * 30);
    assert_eq!(said.len(), 2, "robustness 2: {said:?}");
    assert_eq!(said[0].0, began);
    assert!(said[1].0 > began && said[1].0 <= began + SECOND, "{said:?}");
    let record = Record { kind: K::ToExclude, group: group(1), sources: vec![] };
    assert!(said.iter().all(|(_, say)| *say == Say::Report(vec![record.clone()])));
}

#[test]
fn each_change_of_a_filter_is_told_by_the_records_of_the_table() {
    let [a, b, c] = [1, 2, 3].map(source);
    for (old, new, expected) in [
        (Filter::include([a, b]), Filter::include([b, c]), vec![(K::Allow, 3), (K::Block, 1)]),
        (Filter::exclude([a, b]), Filter::exclude([b, c]), vec![(K::Allow, 1), (K::Block, 3)]),
        (Filter::include([a]), Filter::exclude([b]), vec![(K::ToExclude, 2)]),
        (Filter::exclude([a]), Filter::include([b]), vec![(K::ToInclude, 2)]),
        (Filter::include([a]), Filter::NONE, vec![(K::Block, 1)]),
    ] {
        let mut host = Host::with_member(old.clone());
        host.want(1, new.clone());
        let said = host.records(SECOND * 30);
        let expected: Vec<_> = expected.into_iter().map(|(k, s)| (k, 1, vec![s])).collect();
        assert_eq!(said, [expected.clone(), expected], "{old:?} to {new:?}");
    }
}

#[test]
fn leaving_is_said_as_often_as_joining_and_then_forgotten() {
    let mut host = Host::with_member(Filter::ALL);
    host.want(1, Filter::NONE);
    let left = vec![(K::ToInclude, 1, vec![])];
    assert_eq!(host.records(SECOND * 30), [left.clone(), left]);
    assert!(host.listener.groups.is_empty());
    host.ask(&general(Version::Three, SECOND));
    assert!(host.run(SECOND * 30).is_empty(), "nothing to answer");
}

#[test]
fn a_change_is_merged_with_what_is_still_to_be_repeated() {
    let mut host = Host::with_member(Filter::include([source(1)]));
    host.want(1, Filter::include([source(1), source(2)]));
    let first = host.records(Duration::ZERO);
    assert_eq!(first, [vec![(K::Allow, 1, vec![2])]]);
    // Before its repetition another source comes, and one goes.
    host.want(1, Filter::include([source(2), source(3)]));
    let rest = host.records(SECOND * 30);
    let both = vec![(K::Allow, 1, vec![2, 3]), (K::Block, 1, vec![1])];
    let last = vec![(K::Allow, 1, vec![3]), (K::Block, 1, vec![1])];
    assert_eq!(rest, [both, last], "RFC 3376 §5.1: each source so often, in merged reports");
}

#[test]
fn a_new_mode_lists_the_sources_that_hold_when_it_is_repeated() {
    let mut host = Host::new();
    host.want(1, Filter::exclude([source(1)]));
    assert_eq!(host.records(Duration::ZERO), [vec![(K::ToExclude, 1, vec![1])]]);
    host.want(1, Filter::exclude([source(1), source(2)]));
    let rest = host.records(SECOND * 30);
    assert_eq!(rest[0], [(K::ToExclude, 1, vec![1, 2])]);
    assert_eq!(rest[1..], [vec![(K::Block, 1, vec![2])]]);
}

#[test]
fn a_general_query_is_answered_within_its_time_by_all_groups_in_one_report() {
    let mut host = Host::with_member(Filter::ALL);
    host.want(2, Filter::include([source(9)]));
    host.run(SECOND * 30);
    host.ask(&general(Version::Three, SECOND * 10));
    let began = host.now;
    let said = host.run(SECOND * 30);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].0 > began && said[0].0 <= began + SECOND * 10);
    host.ask(&general(Version::Three, SECOND));
    let expected = vec![(K::IsExclude, 1, vec![]), (K::IsInclude, 2, vec![9])];
    assert_eq!(host.records(SECOND), [expected]);
}

#[test]
fn delays_are_spread_over_the_time_that_a_query_gives() {
    let mut host = Host::with_member(Filter::ALL);
    let mut delays = Vec::new();
    for _ in 0..200 {
        host.ask(&general(Version::Three, SECOND * 10));
        let began = host.now;
        delays.push(host.run(SECOND * 10)[0].0.since(began));
    }
    let early = delays.iter().filter(|delay| **delay < SECOND * 5).count();
    assert!((60..140).contains(&early), "{early} of 200 in the first half");
}

#[test]
fn answers_are_merged_as_the_five_rules_say() {
    // Rule 1: a general answer that is due sooner says all.
    let mut host = Host::with_member(Filter::ALL);
    host.ask(&general(Version::Three, MS * 50));
    host.ask(&about(1, &[], SECOND * 1_000));
    assert_eq!(host.records(SECOND * 2_000).len(), 1);
    // Rule 3, then rule 5: sources of two queries are answered together.
    host.ask(&about(1, &[1], SECOND));
    host.ask(&about(1, &[2], SECOND));
    assert_eq!(host.records(SECOND), [vec![(K::IsInclude, 1, vec![1, 2])]]);
    // Rule 4: a query about the whole group forgets the sources of one before, and the other way.
    for queries in [[vec![1], vec![]], [vec![], vec![1]]] {
        host.ask(&about(1, &queries[0], SECOND));
        host.ask(&about(1, &queries[1], SECOND));
        assert_eq!(host.records(SECOND), [vec![(K::IsExclude, 1, vec![])]]);
    }
}

#[test]
fn of_the_sources_asked_about_those_that_are_wanted_are_named() {
    let mut host = Host::with_member(Filter::include([source(1), source(2)]));
    host.ask(&about(1, &[2, 3], SECOND));
    assert_eq!(host.records(SECOND), [vec![(K::IsInclude, 1, vec![2])]]);
    host.ask(&about(1, &[3], SECOND));
    assert!(host.records(SECOND).is_empty());
    let mut host = Host::with_member(Filter::exclude([source(1)]));
    host.ask(&about(1, &[1, 2], SECOND));
    assert_eq!(host.records(SECOND), [vec![(K::IsInclude, 1, vec![2])]]);
    host.ask(&about(7, &[], SECOND));
    assert!(host.records(SECOND).is_empty(), "a group that nobody is in");
}

#[test]
fn sources_past_what_is_remembered_make_it_a_question_about_all() {
    let mut host = Host::with_member(Filter::ALL);
    let many: Vec<u8> = (0..100).collect();
    host.ask(&about(1, &many, SECOND));
    assert_eq!(host.records(SECOND), [vec![(K::IsExclude, 1, vec![])]]);
    host.ask(&about(1, &many[..40], SECOND));
    host.ask(&about(1, &many[40..], SECOND));
    assert_eq!(host.records(SECOND), [vec![(K::IsExclude, 1, vec![])]]);
}

#[test]
fn the_group_of_all_hosts_is_never_reported() {
    let mut host = Host::new();
    let all = [
        IpAddr::from([224, 0, 0, 1]),
        Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1).into(),
        Ipv6Addr::new(0xff01, 0, 0, 0, 0, 0, 0, 2).into(),
    ];
    for group in all {
        host.listener.set(host.now, group, Filter::ALL, Reports::Sent);
        assert!(host.listener.accepts(group, source(1)));
    }
    host.ask(&general(Version::Three, SECOND));
    host.ask(&general(Version::Two, SECOND));
    assert!(host.run(SECOND * 30).is_empty());
    host.listener.set(host.now, group(1), Filter::ALL, Reports::Kept);
    assert!(host.run(SECOND * 30).is_empty(), "nobody is there to be told");
}

#[test]
fn a_routers_figures_are_taken_over() {
    let mut host = Host::new();
    let mut query = general(Version::Three, SECOND);
    query.querier = Some(Querier { robustness: 4, interval: SECOND * 10 });
    host.ask(&query);
    host.run(SECOND);
    host.want(1, Filter::ALL);
    assert_eq!(host.run(SECOND * 30).len(), 4);
    query.querier = Some(Querier { robustness: 0, interval: SECOND * 10 });
    host.ask(&query);
    host.run(SECOND);
    host.want(1, Filter::NONE);
    assert_eq!(host.run(SECOND * 30).len(), 2, "zero: it does not say");
}

#[test]
fn with_a_router_of_version_two_its_words_are_spoken() {
    let mut host = Host::new();
    host.ask(&general(Version::Two, SECOND));
    host.want(1, Filter::include([source(1)]));
    let began = host.now;
    let said = host.run(SECOND * 30);
    let member = Say::Member { group: group(1), version: Version::Two };
    assert!(said.iter().all(|(_, say)| *say == member), "{said:?}");
    assert_eq!((said.len(), said[0].0), (2, began));
    assert!(said[1].0 <= began + SECOND * 10);
    host.ask(&general(Version::Two, SECOND));
    assert_eq!(host.run(SECOND).len(), 1);
    host.want(1, Filter::NONE);
    let said = host.run(SECOND * 30);
    assert_eq!(said.len(), 1);
    assert_eq!(said[0].1, Say::Leave { group: group(1) });
}

#[test]
fn anothers_report_is_enough_and_then_it_is_the_other_who_leaves_last() {
    let mut host = Host::new();
    host.ask(&general(Version::Two, SECOND));
    host.want(1, Filter::ALL);
    host.run(SECOND * 30);
    host.ask(&general(Version::Two, SECOND * 10));
    host.listener.heard_report(host.now, group(1));
    assert!(host.run(SECOND * 30).is_empty());
    host.want(1, Filter::NONE);
    assert!(host.run(SECOND * 30).is_empty());
}

#[test]
fn in_version_three_anothers_report_is_none_of_our_business() {
    let mut host = Host::with_member(Filter::ALL);
    host.ask(&general(Version::Three, SECOND));
    host.listener.heard_report(host.now, group(1));
    assert_eq!(host.records(SECOND).len(), 1);
}

#[test]
fn with_a_router_of_version_one_nobody_leaves() {
    let mut host = Host::with_member(Filter::ALL);
    host.ask(&general(Version::One, SECOND * 10));
    let said = host.run(SECOND * 10);
    assert_eq!(said.len(), 1);
    assert_eq!(said[0].1, Say::Member { group: group(1), version: Version::One });
    host.want(1, Filter::NONE);
    assert!(host.run(SECOND * 30).is_empty());
}

#[test]
fn the_oldest_router_decides_until_it_has_not_been_heard_for_long_enough() {
    let mut host = Host::with_member(Filter::ALL);
    host.ask(&general(Version::Two, SECOND));
    host.ask(&general(Version::One, SECOND));
    assert_eq!(host.listener.version(host.now), Version::One);
    // 2 × 125 s + 10 s.
    host.run(SECOND * 259);
    host.ask(&general(Version::Two, SECOND));
    assert_eq!(host.listener.version(host.now), Version::One);
    host.run(SECOND * 2);
    assert_eq!(host.listener.version(host.now), Version::Two);
    host.run(SECOND * 260);
    assert_eq!(host.listener.version(host.now), Version::Three);
    host.ask(&general(Version::Three, SECOND));
    assert_eq!(host.records(SECOND), [vec![(K::IsExclude, 1, vec![])]]);
}

#[test]
fn what_is_pending_is_void_when_the_version_changes() {
    let mut host = Host::new();
    host.want(1, Filter::ALL);
    assert_eq!(host.records(Duration::ZERO).len(), 1);
    host.ask(&Query { group: Some(group(9)), ..general(Version::One, SECOND) });
    assert!(host.run(SECOND * 30).is_empty(), "the repetition of the join is cancelled");
}

#[test]
fn a_query_of_version_two_about_one_group_does_not_change_the_version() {
    let mut host = Host::with_member(Filter::ALL);
    host.ask(&Query { group: Some(group(1)), ..general(Version::Two, SECOND) });
    assert_eq!(host.listener.version(host.now), Version::Three);
    assert_eq!(host.records(SECOND), [vec![(K::IsExclude, 1, vec![])]]);
}

#[test]
fn a_running_timer_of_version_two_is_only_ever_made_shorter() {
    let mut host = Host::with_member(Filter::ALL);
    host.ask(&general(Version::Two, MS * 100));
    let due = host.listener.next_deadline().unwrap();
    host.ask(&general(Version::Two, SECOND * 10));
    assert_eq!(host.listener.next_deadline(), Some(due));
    host.ask(&general(Version::Two, MS * 20));
    assert!(host.listener.next_deadline().unwrap() <= host.now + MS * 20);
    assert_eq!(host.run(SECOND * 30).len(), 1);
}

#[test]
fn queries_that_want_an_answer_at_once_get_few() {
    let mut host = Host::with_member(Filter::ALL);
    let mut said = 0;
    for _ in 0..10_000 {
        host.ask(&general(Version::Three, Duration::ZERO));
        said += host.run(Duration::from_micros(100)).len();
    }
    assert!((50..=101).contains(&said), "{said} answers to a second of 10,000 queries");
}

#[test]
fn all_is_said_anew_after_the_link_was_changed() {
    let mut host = Host::with_member(Filter::exclude([source(1)]));
    host.want(2, Filter::include([source(2)]));
    host.run(SECOND * 30);
    host.listener.restart(host.now);
    let all = vec![(K::ToExclude, 1, vec![1]), (K::Allow, 2, vec![2])];
    assert_eq!(host.records(Duration::ZERO), [all]);
}
