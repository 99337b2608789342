//! What one interface tells the routers of one family, and when: RFC 3376 §5 and §7.2, RFC 3810 §6
//! and §8.2. Pure: it is told what is wanted, what was heard and what time it is.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroU8;
use std::time::Duration;

use libnet::socket::Family;
use libnet::time::Instant;

use super::filter::Filter;
use super::message::{Query, Record, RecordKind, Say, Version};
use crate::config::MulticastConfig;

/// The groups of an interface, and what the routers are owed.
pub(crate) struct Listener {
    config: MulticastConfig,
    groups: BTreeMap<IpAddr, Group>,
    /// The version that is spoken.
    version: Version,
    /// Until when a router of version one, and of version two, is believed to be there.
    old_routers: [Instant; 2],
    /// Whose groups they are.
    family: Family,
    /// As the querier has them; it may not say.
    robustness: Option<NonZeroU8>,
    query_interval: Duration,
    /// When a general query is answered.
    general: Option<Instant>,
    jitter: Jitter,
}

/// Is anybody on the link to be told?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reports {
    /// Routers may be there.
    Sent,
    /// Nobody is (a loopback, a link that is quiet).
    Kept,
}

/// One group.
struct Group {
    /// What is received.
    filter: Filter,
    change: Option<Change>,
    response: Option<Response>,
    /// Nobody has reported it since we did: leaving it is to be said.
    is_last_reporter: bool,
}

/// What has changed and is to be said so often still.
struct Change {
    due: Instant,
    /// The mode, with all sources.
    mode_left: u8,
    /// Sources that were added or taken out.
    sources_left: BTreeMap<IpAddr, u8>,
    /// Reports of an older version.
    joins_left: u8,
    /// Leaving, in version two.
    leaves: bool,
}

/// An answer to a query about one group.
struct Response {
    due: Instant,
    /// The sources that were asked about; `None`: all.
    sources: Option<BTreeSet<IpAddr>>,
}

/// Random delays.
#[derive(Clone, Debug)]
pub(crate) struct Jitter(pub(crate) u64);

impl Jitter {
    /// Uniform in 0..=`longest`, but never nothing at all: a flood of queries that want an answer at
    /// once gets a few.
    fn within(&mut self, longest: Duration) -> Duration {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        let nanos = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX);
        let share = (u128::from(z) * u128::from(nanos)) >> 64;
        Duration::from_nanos(share as u64).max(LEAST_DELAY)
    }
}

/// RFC 3376 §8.11, RFC 3810 §9.11: unsolicited report interval.
const UNSOLICITED_REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// RFC 2236 §8.10, RFC 2710 §7.10: the same of the version before.
const OLD_UNSOLICITED_REPORT_INTERVAL: Duration = Duration::from_secs(10);
/// RFC 3376 §8.3, RFC 3810 §9.3: query response interval.
const QUERY_RESPONSE_INTERVAL: Duration = Duration::from_secs(10);
/// RFC 3376 §8.2, RFC 3810 §9.2: query interval.
const QUERY_INTERVAL: Duration = Duration::from_secs(125);
/// No answer is sooner, and none is this much later than it should be.
const LEAST_DELAY: Duration = Duration::from_millis(10);

impl Listener {
    /// An interface without groups.
    pub(crate) fn new(config: MulticastConfig, family: Family, jitter: Jitter) -> Self {
        Listener {
            config,
            groups: BTreeMap::new(),
            version: Version::Three,
            old_routers: [Instant::ZERO; 2],
            family,
            robustness: None,
            query_interval: QUERY_INTERVAL,
            general: None,
            jitter,
        }
    }

    /// Lives by other bounds from now on.
    pub(crate) fn set_config(&mut self, config: MulticastConfig) {
        self.config = config;
    }

    /// From now on a group's sources are wanted as `filter` says. Routers are told of it if they
    /// are of any group on this interface, and of this one ([`is_reported`]).
    pub(crate) fn set(&mut self, now: Instant, group: IpAddr, filter: Filter, reports: Reports) {
        self.keep_version(now);
        let robustness = self.robustness();
        let entry = self.groups.entry(group).or_insert_with(Group::new);
        let old = std::mem::replace(&mut entry.filter, filter);
        if reports == Reports::Sent && is_reported(group) && old != entry.filter {
            match self.version {
                Version::Three => entry.tell_change(now, &old, robustness),
                older => entry.tell_membership(now, &old, older, robustness),
            }
        }
        if entry.is_forgotten() {
            self.groups.remove(&group);
        }
    }

    /// Says everything anew, as after the link or the address was changed: whoever listens there
    /// may know nothing of us.
    pub(crate) fn restart(&mut self, now: Instant) {
        self.keep_version(now);
        let (version, robustness) = (self.version, self.robustness());
        for (group, entry) in &mut self.groups {
            if is_reported(*group) && !entry.filter.is_none() {
                entry.change = None;
                match version {
                    Version::Three => entry.tell_change(now, &Filter::NONE, robustness),
                    older => entry.tell_membership(now, &Filter::NONE, older, robustness),
                }
            }
        }
    }

    /// A router asks.
    pub(crate) fn query(&mut self, now: Instant, query: &Query) {
        self.note_router(now, query);
        match self.version {
            Version::Three => self.answer(now, query),
            _ => self.answer_as_before(now, query),
        }
    }

    /// Another member has reported a group, in the words of an older version, which say it for all.
    pub(crate) fn heard_report(&mut self, now: Instant, group: IpAddr) {
        self.keep_version(now);
        if self.version == Version::Three {
            // RFC 3376 §7.2.1: no suppression; RFC 3810 §8.2.2.
            return;
        }
        let Some(entry) = self.groups.get_mut(&group) else { return };
        // RFC 2236 §3: whoever hears another's report keeps its own to itself.
        entry.response = None;
        entry.is_last_reporter = false;
        if entry.change.as_ref().is_some_and(|change| !change.leaves) {
            entry.change = None;
        }
    }

    /// Says what is due.
    pub(crate) fn expire(&mut self, now: Instant, out: &mut Vec<Say>) {
        self.keep_version(now);
        let (version, interval) = (self.version, self.unsolicited_interval());
        let mut changes = Vec::new();
        let mut answers = Vec::new();
        if self.general.take_if(|due| *due <= now).is_some() {
            let reported = self.groups.iter().filter(|(group, _)| is_reported(**group));
            answers.extend(reported.filter_map(|(group, entry)| entry.current_state(*group)));
        }
        for (group, entry) in &mut self.groups {
            entry.say_change(now, *group, version, &mut changes, out);
            if let Some(change) = &mut entry.change
                && change.due <= now
            {
                change.due = now + self.jitter.within(interval);
            }
            let Some(response) = entry.response.take_if(|response| response.due <= now) else {
                continue;
            };
            match version {
                Version::Three => answers.extend(entry.answer_for(*group, response)),
                version if !entry.filter.is_none() => {
                    entry.is_last_reporter = true;
                    out.push(Say::Member { group: *group, version });
                }
                _ => {}
            }
        }
        self.groups.retain(|_, entry| !entry.is_forgotten());
        for records in [changes, answers] {
            if !records.is_empty() {
                out.push(Say::Report(records));
            }
        }
    }

    /// When [`expire`](Self::expire) has something to say.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let of = |group: &Group| {
            let change = group.change.as_ref().map(|change| change.due);
            change.into_iter().chain(group.response.as_ref().map(|response| response.due)).min()
        };
        self.groups.values().filter_map(of).chain(self.general).min()
    }

    /// Is what `source` sends to a group wanted here?
    pub(crate) fn accepts(&self, group: IpAddr, source: IpAddr) -> bool {
        self.groups.get(&group).is_some_and(|entry| entry.filter.accepts(source))
    }

    /// What is received of a group; nothing if it is not wanted.
    pub(crate) fn filter(&self, group: IpAddr) -> Option<&Filter> {
        self.groups.get(&group).map(|entry| &entry.filter).filter(|filter| !filter.is_none())
    }

    /// When a group's next report is due.
    pub(crate) fn report_due(&self, group: IpAddr) -> Option<Instant> {
        let entry = self.groups.get(&group)?;
        let change = entry.change.as_ref().map(|change| change.due);
        let response = entry.response.as_ref().map(|response| response.due);
        change.into_iter().chain(response).chain(self.general).min()
    }

    /// The version that is spoken.
    pub(crate) fn version(&self, now: Instant) -> Version {
        if self.old_routers[0] > now {
            Version::One
        } else if self.old_routers[1] > now {
            Version::Two
        } else {
            Version::Three
        }
    }

    /// RFC 3376 §7.2.1, RFC 3810 §8.2.1: what is pending is void when the version changes.
    fn keep_version(&mut self, now: Instant) {
        let version = self.version(now);
        if version == self.version {
            return;
        }
        self.version = version;
        self.general = None;
        for entry in self.groups.values_mut() {
            entry.response = None;
            entry.change = None;
        }
        self.groups.retain(|_, entry| !entry.is_forgotten());
    }

    fn note_router(&mut self, now: Instant, query: &Query) {
        let until = now + self.old_router_timeout();
        match query.version {
            Version::One => self.old_routers[0] = until,
            // RFC 3376 §7.2.1: general queries alone.
            Version::Two if query.group.is_none() => self.old_routers[1] = until,
            _ => {}
        }
        if let Some(querier) = query.querier {
            // RFC 3376 §4.1.6, §4.1.7; RFC 3810 §5.1.8: zero means that it does not say.
            self.robustness = NonZeroU8::new(querier.robustness);
            let interval = querier.interval;
            self.query_interval = if interval.is_zero() { QUERY_INTERVAL } else { interval };
        }
        self.keep_version(now);
    }

    /// RFC 3376 §8.1, RFC 3810 §9.1: robustness variable.
    fn robustness(&self) -> u8 {
        let own = match self.family {
            Family::Inet6 => self.config.mld_robustness,
            _ => self.config.igmp_robustness,
        };
        self.robustness.map_or(own, NonZeroU8::get)
    }

    /// RFC 3376 §8.12, RFC 3810 §9.12: older version querier present timeout.
    fn old_router_timeout(&self) -> Duration {
        self.query_interval * u32::from(self.robustness()) + QUERY_RESPONSE_INTERVAL
    }

    fn unsolicited_interval(&self) -> Duration {
        match self.version {
            Version::Three => UNSOLICITED_REPORT_INTERVAL,
            _ => OLD_UNSOLICITED_REPORT_INTERVAL,
        }
    }

    /// RFC 3376 §5.2, RFC 3810 §6.2: schedules an answer, or merges it with one that is pending.
    fn answer(&mut self, now: Instant, query: &Query) {
        let due = together(now, now + self.jitter.within(query.max_response));
        // Rule 1: a general answer that is due sooner says all.
        if self.general.is_some_and(|general| general <= due) {
            return;
        }
        let Some(group) = query.group else {
            // Rule 2.
            self.general = Some(due);
            return;
        };
        let Some(entry) = self.groups.get_mut(&group) else { return };
        if !is_reported(group) || entry.filter.is_none() {
            return;
        }
        let asked = (!query.sources.is_empty()).then(|| query.sources.iter().copied().collect());
        let Some(pending) = &mut entry.response else {
            // Rule 3.
            let sources = asked.filter(|all: &BTreeSet<_>| all.len() <= self.config.max_sources);
            entry.response = Some(Response { due, sources });
            return;
        };
        pending.due = pending.due.min(due);
        // Rules 4 and 5. What is too much to remember is taken for a question about all.
        pending.sources = match (pending.sources.take(), asked) {
            (Some(mut all), Some(more)) => {
                all.extend(more);
                Some(all).filter(|all| all.len() <= self.config.max_sources)
            }
            _ => None,
        };
    }

    /// RFC 2236 §3, RFC 2710 §4: a timer for each group.
    fn answer_as_before(&mut self, now: Instant, query: &Query) {
        let longest = query.max_response;
        for (group, entry) in &mut self.groups {
            let is_asked = query.group.is_none_or(|asked| asked == *group);
            if !is_asked || !is_reported(*group) || entry.filter.is_none() {
                continue;
            }
            // A timer that runs is set again only if it may be too late.
            let running = entry.response.as_ref().map(|response| response.due);
            if running.is_none_or(|due| due > now + longest) {
                let due = now + self.jitter.within(longest);
                entry.response = Some(Response { due, sources: None });
            }
        }
    }
}

impl Group {
    const fn new() -> Self {
        Group { filter: Filter::NONE, change: None, response: None, is_last_reporter: false }
    }

    /// Nothing is wanted, and nothing left to be said.
    fn is_forgotten(&self) -> bool {
        self.filter.is_none() && self.change.is_none()
    }

    fn change_at(&mut self, now: Instant) -> &mut Change {
        let change = self.change.get_or_insert_with(|| Change {
            due: now,
            mode_left: 0,
            sources_left: BTreeMap::new(),
            joins_left: 0,
            leaves: false,
        });
        change.due = now;
        change
    }

    /// RFC 3376 §5.1, RFC 3810 §6.1: what is still to be repeated is merged with what is new.
    fn tell_change(&mut self, now: Instant, old: &Filter, robustness: u8) {
        let new = self.filter.clone();
        let change = self.change_at(now);
        if old.mode != new.mode {
            // The record of a new mode lists all sources.
            change.mode_left = robustness;
            change.sources_left.clear();
            return;
        }
        for source in old.sources.symmetric_difference(&new.sources) {
            change.sources_left.insert(*source, robustness);
        }
    }

    /// RFC 3376 §7.3.2: an older version knows members and no sources.
    fn tell_membership(&mut self, now: Instant, old: &Filter, version: Version, robustness: u8) {
        match (old.is_none(), self.filter.is_none()) {
            (true, false) => {
                let change = self.change_at(now);
                change.joins_left = robustness;
                change.leaves = false;
            }
            (false, true) => {
                self.response = None;
                self.change = None;
                // RFC 2236 §3: whoever reported last SHOULD say so; version one cannot.
                if version == Version::Two && self.is_last_reporter {
                    self.change_at(now).leaves = true;
                }
                self.is_last_reporter = false;
            }
            _ => {}
        }
    }

    /// Says what has changed, if that is due; `None` is left of a change that was said often enough.
    fn say_change(
        &mut self,
        now: Instant,
        group: IpAddr,
        version: Version,
        records: &mut Vec<Record>,
        out: &mut Vec<Say>,
    ) {
        let Some(change) = self.change.as_mut().filter(|change| change.due <= now) else { return };
        if version == Version::Three {
            change.records(group, &self.filter, records);
        } else if change.leaves {
            change.leaves = false;
            out.push(Say::Leave { group });
        } else {
            change.joins_left = change.joins_left.saturating_sub(1);
            self.is_last_reporter = true;
            out.push(Say::Member { group, version });
        }
        if change.is_said() {
            self.change = None;
        }
    }

    /// RFC 3376 §5.2: the whole state.
    fn current_state(&self, group: IpAddr) -> Option<Record> {
        let Filter { mode, sources } = &self.filter;
        let sources = sources.iter().copied().collect();
        (!self.filter.is_none()).then(|| Record { kind: RecordKind::is(*mode), group, sources })
    }

    /// RFC 3376 §5.2, the table: of the sources that were asked about, those that are wanted.
    fn answer_for(&self, group: IpAddr, response: Response) -> Option<Record> {
        let Some(asked) = response.sources else { return self.current_state(group) };
        let wanted = asked.into_iter().filter(|source| self.filter.accepts(*source));
        let sources: Vec<IpAddr> = wanted.collect();
        (!sources.is_empty()).then_some(Record { kind: RecordKind::IsInclude, group, sources })
    }
}

impl Change {
    fn is_said(&self) -> bool {
        self.mode_left == 0 && self.joins_left == 0 && !self.leaves && self.sources_left.is_empty()
    }

    /// The records that say it once (RFC 3376 §5.1).
    fn records(&mut self, group: IpAddr, filter: &Filter, out: &mut Vec<Record>) {
        if self.mode_left > 0 {
            self.mode_left -= 1;
            let sources = filter.sources.iter().copied().collect();
            out.push(Record { kind: RecordKind::to(filter.mode), group, sources });
        } else {
            let all = self.sources_left.keys().copied();
            let (allow, block): (Vec<IpAddr>, Vec<IpAddr>) =
                all.partition(|source| filter.accepts(*source));
            for (kind, sources) in [(RecordKind::Allow, allow), (RecordKind::Block, block)] {
                if !sources.is_empty() {
                    out.push(Record { kind, group, sources });
                }
            }
        }
        self.sources_left.retain(|_, left| {
            *left -= 1;
            *left > 0
        });
    }
}

/// Moves an answer to a beat of [`LEAST_DELAY`], so that those to a flood go in few reports: the one
/// before if that is still to come.
fn together(now: Instant, due: Instant) -> Instant {
    let beat = LEAST_DELAY.as_nanos() as u64;
    let before = Instant::from_nanos(due.as_nanos() / beat * beat);
    if before > now { before } else { before + LEAST_DELAY }
}

/// Is membership of the group told to routers?
///
/// Source: RFC 3376 §5 (224.0.0.1 never); RFC 3810 §6 (ff02::1 and scopes 0 and 1 never).
pub(crate) fn is_reported(group: IpAddr) -> bool {
    match group {
        IpAddr::V4(group) => group.octets() != [224, 0, 0, 1],
        IpAddr::V6(group) => {
            let scope = group.octets()[1] & 0x0f;
            scope > 1 && group != std::net::Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1)
        }
    }
}

#[cfg(test)]
mod tests;
