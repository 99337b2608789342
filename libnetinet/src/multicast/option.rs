//! Groups as sockets ask for them (`ip(7)`, `ipv6(7)`; RFC 3678).

use std::io;
use std::net::IpAddr;

use libnet::errno;
use libnet::iface::IfIndex;
use libnet::socket::{
    Family, FilterMode, GroupInterface, MulticastGroup, SocketOption, SourceFilter,
};
use libnet::time::Instant;

use super::filter::Filter;
use super::table::User;
use crate::address::IfaceView;
use crate::datagram::{Shared, State};
use crate::inet::Inet;
use crate::path::{Path, Wanted};
use crate::steer::COMMON;
use crate::wide::Wide;

/// A group that a socket is in.
#[derive(Clone, Debug)]
pub(crate) struct Membership {
    pub(crate) iface: IfIndex,
    pub(crate) group: IpAddr,
    pub(crate) filter: Filter,
}

/// How a membership changes.
enum Step<'a> {
    /// `IP_ADD_MEMBERSHIP`.
    Join,
    /// `IP_DROP_MEMBERSHIP`.
    Leave,
    /// A source is added to what is included, or to what is excluded; a first source to include
    /// joins.
    AddSource(FilterMode, IpAddr),
    /// It is taken out; the last that is included leaves.
    RemoveSource(FilterMode, IpAddr),
    /// All is set at once.
    Set(&'a SourceFilter),
}

impl Inet {
    /// Joins, leaves, and tells sources apart; `None` for an option that is not about these.
    pub(crate) fn datagram_group_option(
        &self,
        socket: &Shared,
        option: &SocketOption,
    ) -> Option<io::Result<()>> {
        let (group, step) = match option {
            SocketOption::JoinGroup(group) => (group, Step::Join),
            SocketOption::LeaveGroup(group) => (group, Step::Leave),
            SocketOption::JoinSource(group, source) => {
                (group, Step::AddSource(FilterMode::Include, *source))
            }
            SocketOption::LeaveSource(group, source) => {
                (group, Step::RemoveSource(FilterMode::Include, *source))
            }
            SocketOption::BlockSource(group, source) => {
                (group, Step::AddSource(FilterMode::Exclude, *source))
            }
            SocketOption::UnblockSource(group, source) => {
                (group, Step::RemoveSource(FilterMode::Exclude, *source))
            }
            SocketOption::SourceFilter(filter) => (&filter.group, Step::Set(filter)),
            _ => return None,
        };
        Some(self.change_membership(socket, group, &step))
    }

    /// Which sources of a group a socket takes (`MCAST_MSFILTER`).
    ///
    /// # Errors
    /// `EINVAL`, `ENODEV`, `EADDRNOTAVAIL` if it is not in the group.
    pub(crate) fn datagram_source_filter(
        &self,
        socket: &Shared,
        group: MulticastGroup,
    ) -> io::Result<SocketOption> {
        check_group(socket.family, group.group)?;
        let now = self.engine().driver().now();
        let iface = find_iface(self.wide(), now, group)?;
        let state = socket.state();
        let found = state.memberships.iter().find(|m| m.is(iface, group.group));
        let filter = &found.ok_or_else(errno::addr_not_available)?.filter;
        let sources = filter.sources.iter().copied().collect();
        Ok(SocketOption::SourceFilter(SourceFilter { group, mode: filter.mode, sources }))
    }

    /// Leaves all groups of a socket that is closed.
    pub(crate) fn leave_all_groups(&self, socket: &Shared) {
        let left = std::mem::take(&mut socket.state().memberships);
        let Some(id) = socket.id().filter(|_| !left.is_empty()) else { return };
        self.engine().with_shard(COMMON as usize, |shard, now| {
            shard.wide.with_groups(|groups| {
                for Membership { iface, group, .. } in left {
                    // Leaving is never too much.
                    let _ = groups.want(now, iface, group, User::from(id), None);
                }
            });
            shard.expire_groups(now);
        });
    }

    fn change_membership(
        &self,
        socket: &Shared,
        group: &MulticastGroup,
        step: &Step<'_>,
    ) -> io::Result<()> {
        if let Err(error) = check_group(socket.family, group.group) {
            // As on Linux, which does not look at what is left over IPv4.
            let is_not_in = matches!(step, Step::Leave) && socket.family == Family::Inet;
            return Err(if is_not_in { errno::addr_not_available() } else { error });
        }
        let wide = self.wide();
        let id = socket.id().ok_or_else(errno::bad_descriptor)?;
        let config = wide.config();
        let most = (config.multicast.max_memberships, config.multicast.max_sources);
        self.engine().with_shard(COMMON as usize, |shard, now| {
            let iface = match find_iface(&shard.wide, now, *group) {
                // As on Linux: any interface on which it is a member.
                Err(_) if matches!(step, Step::Leave) => any_iface(&socket.state(), group)?,
                found => found?,
            };
            let changed = shard.wide.with_groups(|groups| {
                // One at a time: the table's lock is held, the socket's is beneath it.
                let mut state = socket.state();
                if state.closed {
                    return Err(errno::bad_descriptor());
                }
                let old = state.memberships.iter().position(|m| m.is(iface, group.group));
                let filter = step.apply(old.map(|at| &state.memberships[at].filter), most.1)?;
                if old.is_none() && state.memberships.len() >= most.0 {
                    return Err(errno::no_buffers());
                }
                let wanted = groups.want(now, iface, group.group, User::from(id), filter.clone());
                wanted.map_err(|_| errno::no_buffers())?;
                state.set_membership(iface, group.group, filter);
                Ok(())
            });
            shard.expire_groups(now);
            changed
        })
    }
}

impl Membership {
    fn is(&self, iface: IfIndex, group: IpAddr) -> bool {
        self.iface == iface && self.group == group
    }
}

impl State {
    /// Does the socket take what `source` sends to a group that came by an interface?
    ///
    /// Who is not in the group takes what others on this host asked for, unless it said that it
    /// would not (`IP_MULTICAST_ALL`).
    pub(crate) fn takes_group(&self, iface: IfIndex, group: IpAddr, source: IpAddr) -> bool {
        let own = self.memberships.iter().find(|m| m.is(iface, group));
        own.map_or(self.options.multicast_all, |own| own.filter.accepts(source))
    }

    fn set_membership(&mut self, iface: IfIndex, group: IpAddr, filter: Option<Filter>) {
        let old = self.memberships.iter().position(|m| m.is(iface, group));
        match (old, filter) {
            (Some(at), Some(filter)) => self.memberships[at].filter = filter,
            (None, Some(filter)) => self.memberships.push(Membership { iface, group, filter }),
            (Some(at), None) => drop(self.memberships.remove(at)),
            (None, None) => {}
        }
    }
}

impl Step<'_> {
    /// What is wanted after it; `None`: nothing, the group is left. The errors are Linux's.
    fn apply(&self, old: Option<&Filter>, max_sources: usize) -> io::Result<Option<Filter>> {
        match self {
            Step::Join if old.is_some() => Err(errno::addr_in_use()),
            Step::Join => Ok(Some(Filter::ALL)),
            Step::Leave if old.is_none() => Err(errno::addr_not_available()),
            Step::Leave => Ok(None),
            Step::AddSource(mode, source) => {
                let mut filter = match (old, mode) {
                    (Some(old), _) => of_mode(old, *mode)?,
                    (None, FilterMode::Include) => Filter::NONE,
                    (None, FilterMode::Exclude) => return Err(errno::invalid()),
                };
                if filter.sources.len() >= max_sources {
                    return Err(errno::no_buffers());
                }
                let is_new = filter.sources.insert(*source);
                is_new.then_some(Some(filter)).ok_or_else(errno::addr_not_available)
            }
            Step::RemoveSource(mode, source) => {
                let mut filter = of_mode(old.ok_or_else(errno::invalid)?, *mode)?;
                if !filter.sources.remove(source) {
                    return Err(errno::addr_not_available());
                }
                Ok((!filter.is_none()).then_some(filter))
            }
            Step::Set(SourceFilter { mode, sources, .. }) => {
                if sources.len() > max_sources {
                    return Err(errno::no_buffers());
                }
                let sources = sources.iter().copied().collect();
                let filter = Filter { mode: *mode, sources };
                // As on Linux: to include nobody is to leave.
                match (old, filter.is_none()) {
                    (None, true) => Err(errno::addr_not_available()),
                    (None, false) => Err(errno::invalid()),
                    (Some(_), is_none) => Ok((!is_none).then_some(filter)),
                }
            }
        }
    }
}

/// A filter in the mode that an operation is of; one without sources changes to it.
fn of_mode(filter: &Filter, mode: FilterMode) -> io::Result<Filter> {
    if filter.mode == mode {
        return Ok(filter.clone());
    }
    if filter.sources.is_empty() {
        return Ok(Filter { mode, ..Filter::NONE });
    }
    Err(errno::invalid())
}

fn check_group(family: Family, group: IpAddr) -> io::Result<()> {
    let is_one = Family::of(&group) == family && group.is_multicast();
    if is_one { Ok(()) } else { Err(errno::invalid()) }
}

/// The interface that is meant.
///
/// # Errors
/// `ENODEV`.
fn find_iface(wide: &Wide, now: Instant, group: MulticastGroup) -> io::Result<IfIndex> {
    let view = wide.view();
    match group.interface {
        GroupInterface::Index(index) => {
            let index = IfIndex(index);
            view.iface(index).map(|_| index).ok_or_else(errno::no_device)
        }
        GroupInterface::Address(addr) => {
            view.iface_of(IpAddr::V4(addr)).ok_or_else(errno::no_device)
        }
        GroupInterface::Any => {
            let wanted = Wanted { dst: group.group, src: None, iface: None };
            let routed = Path::find(wide, now, wanted).ok().map(|path| path.iface.index);
            // Every interface leads to groups of IPv6, without a route that says so.
            let is_fit = |on: &&IfaceView| group.group.is_ipv6() && on.usable && !on.loopback;
            let first = || view.ifaces().find(is_fit).map(|on| on.iface.index);
            routed.or_else(first).ok_or_else(errno::no_device)
        }
    }
}

fn any_iface(state: &State, group: &MulticastGroup) -> io::Result<IfIndex> {
    let is_any = group.interface == GroupInterface::Any;
    let found = state.memberships.iter().find(|m| is_any && m.group == group.group);
    found.map(|m| m.iface).ok_or_else(errno::no_device)
}
