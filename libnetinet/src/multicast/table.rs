//! Who wants which groups on which interfaces.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use libnet::engine::FilterChange;
use libnet::ethernet::MacAddr;
use libnet::iface::IfIndex;
use libnet::link::RxFilter;
use libnet::socket::{Family, FilterMode, SocketId};
use libnet::time::Instant;

use super::filter::Filter;
use super::listener::{Jitter, Listener, Reports};
use super::message::{Query, Say, Version};
use crate::config::MulticastConfig;

/// The groups of a stack. Rank: wide.
pub(crate) struct Groups {
    config: MulticastConfig,
    ifaces: BTreeMap<IfIndex, OnIface>,
    /// Interfaces whose links are to be told of other groups.
    changed: Vec<IfIndex>,
    jitter: Jitter,
    version: u64,
}

/// The groups of one interface.
struct OnIface {
    four: OfFamily,
    six: OfFamily,
    /// What the stack itself wants.
    stack: BTreeSet<IpAddr>,
    reports: Reports,
}

struct OfFamily {
    listener: Listener,
    wanted: BTreeMap<IpAddr, BTreeMap<User, Filter>>,
}

/// Who wants a group.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum User {
    /// The stack itself.
    Stack,
    /// A socket.
    Socket(u32, u32),
}

impl From<SocketId> for User {
    fn from(id: SocketId) -> Self {
        User::Socket(id.index, id.generation)
    }
}

/// Why a group cannot be received.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum NotJoined {
    /// The interface has as many groups, or the group as many sources, as it may.
    #[error("too many groups or sources")]
    TooMany,
}

/// A group that an interface receives.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct GroupEntry {
    /// The interface.
    pub iface: IfIndex,
    /// The group.
    pub group: IpAddr,
    /// Whether `sources` are all that is received, or all that is not.
    pub mode: FilterMode,
    /// Sources that are told apart.
    pub sources: Vec<IpAddr>,
    /// Sockets, and parts of the stack, that want it.
    pub users: usize,
    /// In which the next report is due, if one is.
    pub report_in: Option<Duration>,
    /// Version of IGMP (1 to 3) or MLD (1 or 2) that is spoken on the interface.
    pub protocol_version: u8,
}

impl Groups {
    /// No interfaces yet.
    pub(crate) fn new(config: MulticastConfig, seed: u64) -> Self {
        Groups {
            config,
            ifaces: BTreeMap::new(),
            changed: Vec::new(),
            jitter: Jitter(seed),
            version: 0,
        }
    }

    /// Lives by other bounds from now on.
    pub(crate) fn set_config(&mut self, config: MulticastConfig) {
        for on in self.ifaces.values_mut() {
            on.four.listener.set_config(config.clone());
            on.six.listener.set_config(config.clone());
        }
        self.config = config;
    }

    /// An interface joins, and the groups of all hosts with it.
    pub(crate) fn add_iface(&mut self, now: Instant, iface: IfIndex, reports: Reports) {
        let of_family = |family, salt: u64| {
            let jitter = Jitter(self.jitter.0 ^ u64::from(iface.0) << 8 ^ salt);
            OfFamily {
                listener: Listener::new(self.config.clone(), family, jitter),
                wanted: BTreeMap::new(),
            }
        };
        let on = OnIface {
            four: of_family(Family::Inet, 4),
            six: of_family(Family::Inet6, 6),
            stack: BTreeSet::new(),
            reports,
        };
        self.ifaces.insert(iface, on);
        self.set_stack(now, iface, BTreeSet::new());
    }

    /// The stack itself wants these groups, beside those of all hosts; they are never too many.
    pub(crate) fn set_stack(&mut self, now: Instant, iface: IfIndex, mut wanted: BTreeSet<IpAddr>) {
        let Some(on) = self.ifaces.get_mut(&iface) else { return };
        wanted.extend(ALL_HOSTS);
        let old = std::mem::replace(&mut on.stack, wanted.clone());
        for group in wanted.difference(&old) {
            let _ = self.change(now, iface, *group, User::Stack, Some(Filter::ALL), usize::MAX);
        }
        for group in old.difference(&wanted) {
            let _ = self.change(now, iface, *group, User::Stack, None, usize::MAX);
        }
    }

    /// Sets what `user` wants of a group on an interface; `None`: nothing any more. An interface
    /// that is not there is nobody's.
    ///
    /// # Errors
    /// [`NotJoined`]; nothing has changed then.
    pub(crate) fn want(
        &mut self,
        now: Instant,
        iface: IfIndex,
        group: IpAddr,
        user: User,
        filter: Option<Filter>,
    ) -> Result<(), NotJoined> {
        let Some(on) = self.ifaces.get(&iface) else { return Ok(()) };
        let of_stack = on.stack.iter().filter(|other| other.is_ipv4() == group.is_ipv4()).count();
        let max_groups = self.config.max_groups.saturating_add(of_stack);
        self.change(now, iface, group, user, filter, max_groups)
    }

    fn change(
        &mut self,
        now: Instant,
        iface: IfIndex,
        group: IpAddr,
        user: User,
        filter: Option<Filter>,
        max_groups: usize,
    ) -> Result<(), NotJoined> {
        let Some(on) = self.ifaces.get_mut(&iface) else { return Ok(()) };
        let reports = on.reports;
        let of_family = on.family_mut(group);
        let was_there = of_family.wanted.contains_key(&group);
        if filter.is_some() && !was_there && of_family.wanted.len() >= max_groups {
            return Err(NotJoined::TooMany);
        }
        let users = of_family.wanted.entry(group).or_default();
        let old = match filter {
            Some(filter) => users.insert(user, filter),
            None => users.remove(&user),
        };
        let merged = Filter::merge(users.values());
        if merged.sources.len() > self.config.max_group_sources {
            // Back to what it was.
            match old {
                Some(old) => users.insert(user, old),
                None => users.remove(&user),
            };
            of_family.forget_unwanted(group);
            return Err(NotJoined::TooMany);
        }
        of_family.forget_unwanted(group);
        of_family.listener.set(now, group, merged, reports);
        if was_there != of_family.wanted.contains_key(&group) && !self.changed.contains(&iface) {
            self.changed.push(iface);
        }
        Ok(())
    }

    /// Is what `source` sends to `group` received on an interface?
    pub(crate) fn accepts(&self, iface: IfIndex, group: IpAddr, source: IpAddr) -> bool {
        let on = self.ifaces.get(&iface);
        on.is_some_and(|on| on.family(group).listener.accepts(group, source))
    }

    /// A router asks on an interface.
    pub(crate) fn query(&mut self, now: Instant, iface: IfIndex, family: Family, query: &Query) {
        if let Some(on) = self.ifaces.get_mut(&iface)
            && on.reports == Reports::Sent
        {
            on.of(family).listener.query(now, query);
        }
    }

    /// Another host reports a group on an interface.
    pub(crate) fn heard_report(&mut self, now: Instant, iface: IfIndex, group: IpAddr) {
        if let Some(on) = self.ifaces.get_mut(&iface) {
            on.family_mut(group).listener.heard_report(now, group);
        }
    }

    /// Whoever listens on an interface may know nothing of us: says all anew.
    pub(crate) fn restart(&mut self, now: Instant, iface: IfIndex, family: Family) {
        if let Some(on) = self.ifaces.get_mut(&iface)
            && on.reports == Reports::Sent
        {
            on.of(family).listener.restart(now);
        }
    }

    /// Gathers what is to be said.
    pub(crate) fn expire(&mut self, now: Instant, out: &mut Vec<(IfIndex, Family, Vec<Say>)>) {
        for (iface, on) in &mut self.ifaces {
            for family in [Family::Inet, Family::Inet6] {
                let listener = &mut on.of(family).listener;
                if listener.next_deadline().is_some_and(|due| due <= now) {
                    let mut said = Vec::new();
                    listener.expire(now, &mut said);
                    out.push((*iface, family, said));
                }
            }
        }
    }

    /// When [`expire`](Self::expire) has something to say.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let listeners = self.ifaces.values().flat_map(|on| [&on.four, &on.six]);
        listeners.filter_map(|of| of.listener.next_deadline()).min()
    }

    /// Is a link to be told of other groups?
    pub(crate) fn has_changes(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Takes what links are to be told.
    pub(crate) fn take_changes(&mut self, out: &mut Vec<FilterChange>) {
        for iface in std::mem::take(&mut self.changed) {
            self.version += 1;
            let mut filter = RxFilter::default();
            let Some(on) = self.ifaces.get(&iface) else { continue };
            let groups = on.four.wanted.keys().chain(on.six.wanted.keys());
            filter.groups = groups.map(|group| MacAddr::of_group(*group)).collect();
            filter.groups.sort_unstable();
            filter.groups.dedup();
            out.push(FilterChange { index: iface, generation: self.version, filter });
        }
    }

    /// All groups, by interface and address.
    pub(crate) fn snapshot(&self, now: Instant) -> Vec<GroupEntry> {
        let mut all = Vec::new();
        for (iface, on) in &self.ifaces {
            for of in [&on.four, &on.six] {
                let entries =
                    of.wanted.iter().map(|(group, users)| of.entry(now, *iface, *group, users));
                all.extend(entries);
            }
        }
        all
    }
}

impl OnIface {
    const fn of(&mut self, family: Family) -> &mut OfFamily {
        match family {
            Family::Inet6 => &mut self.six,
            _ => &mut self.four,
        }
    }

    fn family_mut(&mut self, group: IpAddr) -> &mut OfFamily {
        self.of(Family::of(&group))
    }

    const fn family(&self, group: IpAddr) -> &OfFamily {
        match group {
            IpAddr::V4(_) => &self.four,
            IpAddr::V6(_) => &self.six,
        }
    }
}

impl OfFamily {
    fn forget_unwanted(&mut self, group: IpAddr) {
        if self.wanted.get(&group).is_some_and(BTreeMap::is_empty) {
            self.wanted.remove(&group);
        }
    }

    fn entry(
        &self,
        now: Instant,
        iface: IfIndex,
        group: IpAddr,
        users: &BTreeMap<User, Filter>,
    ) -> GroupEntry {
        let none = Filter::NONE;
        let filter = self.listener.filter(group).unwrap_or(&none);
        let version = self.listener.version(now);
        GroupEntry {
            iface,
            group,
            mode: filter.mode,
            sources: filter.sources.iter().copied().collect(),
            users: users.len(),
            report_in: self.listener.report_due(group).map(|due| due.since(now)),
            protocol_version: match (group, version) {
                (_, Version::One) | (IpAddr::V6(_), Version::Two) => 1,
                (IpAddr::V4(_), Version::Three) => 3,
                _ => 2,
            },
        }
    }
}

/// The groups that every host is in: RFC 1112 §7.2, RFC 4291 §2.8.
const ALL_HOSTS: [IpAddr; 3] = [
    IpAddr::V4(std::net::Ipv4Addr::new(224, 0, 0, 1)),
    IpAddr::V6(std::net::Ipv6Addr::new(0xff01, 0, 0, 0, 0, 0, 0, 1)),
    IpAddr::V6(std::net::Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1)),
];
