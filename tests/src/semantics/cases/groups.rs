//! Groups: joins and leaves, sources, whom a datagram to a group reaches.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use libnet::Ready;
use libnet::socket::{
    Family, FilterMode, GroupInterface, MulticastGroup, OptionKey, SocketOption, SourceFilter,
};

use crate::semantics::net::Side;
use crate::semantics::run::S;
use crate::semantics::{Case, Run, case};

/// A side's interface.
fn interface(r: &Run<'_>, side: Side) -> GroupInterface {
    match r.net().addr(side) {
        IpAddr::V4(addr) => GroupInterface::Address(addr),
        IpAddr::V6(_) => GroupInterface::Index(r.net().interface(side)),
    }
}

/// The group of all cases, at a side.
fn group(r: &Run<'_>, side: Side) -> MulticastGroup {
    let group = match r.net().family() {
        Family::Inet6 => IpAddr::V6(Ipv6Addr::new(0xff15, 0, 0, 0, 0, 0, 0, 0x123)),
        _ => IpAddr::V4(Ipv4Addr::new(239, 1, 2, 3)),
    };
    MulticastGroup { group, interface: interface(r, side) }
}

/// A source that sends nothing.
fn stranger(r: &Run<'_>) -> IpAddr {
    match r.net().family() {
        Family::Inet6 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9).into(),
        _ => Ipv4Addr::new(192, 0, 2, 9).into(),
    }
}

/// Who hears whatever comes to its port at side B.
fn hearer(r: &mut Run<'_>, name: &'static str) -> S {
    let s = r.udp(name, Side::B);
    s.sock().bind(r.here(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)))).expect("a port");
    s
}

/// Who sends to groups by side A's interface.
fn talker(r: &mut Run<'_>) -> S {
    let a = r.udp_at("a", Side::A);
    let leaves_by = SocketOption::MulticastInterface(interface(r, Side::A));
    a.sock().set(leaves_by).expect("an interface for groups");
    a
}

/// Sets an option whose value is another on every net.
fn change(r: &mut Run<'_>, s: &S, call: &str, option: SocketOption) {
    let result = s.sock().set(option);
    r.result(s, call, result);
}

fn join(r: &mut Run<'_>, s: &S) {
    let group = group(r, Side::B);
    change(r, s, "join", SocketOption::JoinGroup(group));
}

fn leave(r: &mut Run<'_>, s: &S) {
    let group = group(r, Side::B);
    change(r, s, "leave", SocketOption::LeaveGroup(group));
}

/// To the group at a port, and then, so that nobody has to wait for what does not come, to side B
/// at that port.
fn send_both(r: &mut Run<'_>, a: &S, to: &S) {
    let (port, group) = (to.addr().port(), group(r, Side::A).group);
    r.send_to(a, b"to many", SocketAddr::new(group, port));
    let one = SocketAddr::new(r.net().addr(Side::B), port);
    r.send_to(a, b"to one", one);
}

/// What of both comes.
fn hears(r: &mut Run<'_>, a: &S, b: &S) {
    send_both(r, a, b);
    r.recv(b, 9);
    if r.last_line_has("to many") {
        r.recv(b, 9);
    }
}

/// The mode, how many sources, and whether side A is one of them.
fn read_filter(r: &mut Run<'_>, s: &S) {
    let (group, a) = (group(r, Side::B), r.net().addr(Side::A));
    let filter = s.sock().get(OptionKey::SourceFilter(group)).map(|option| match option {
        SocketOption::SourceFilter(filter) => {
            Some((filter.mode, filter.sources.len(), filter.sources.contains(&a)))
        }
        _ => None,
    });
    r.result(s, "filter", filter);
}

fn set_filter(r: &mut Run<'_>, s: &S, mode: FilterMode, sources: Vec<IpAddr>) {
    let call = format!("filter {mode:?} {}", sources.len());
    let group = group(r, Side::B);
    let filter = SourceFilter { group, mode, sources };
    change(r, s, &call, SocketOption::SourceFilter(filter));
}

pub(super) const CASES: &[Case] = &[
    case("a datagram to a group that was joined is received with its sender", |r| {
        let (a, b) = (talker(r), hearer(r, "b"));
        join(r, &b);
        hears(r, &a, &b);
    }),
    case("a group that was left is heard no more", |r| {
        let (a, b) = (talker(r), hearer(r, "b"));
        join(r, &b);
        leave(r, &b);
        hears(r, &a, &b);
    }),
    case("a group is joined and left once", |r| {
        let b = hearer(r, "b");
        leave(r, &b);
        join(r, &b);
        join(r, &b);
        leave(r, &b);
        leave(r, &b);
        join(r, &b);
    }),
    case("what is no group cannot be joined", |r| {
        let b = hearer(r, "b");
        let none = MulticastGroup { group: r.net().addr(Side::A), ..group(r, Side::B) };
        change(r, &b, "join", SocketOption::JoinGroup(none));
        change(r, &b, "leave", SocketOption::LeaveGroup(none));
    }),
    case("an interface that is not there has no groups", |r| {
        let b = hearer(r, "b");
        let interface = GroupInterface::Index(4711);
        let nowhere = MulticastGroup { interface, ..group(r, Side::B) };
        let source = r.net().addr(Side::A);
        change(r, &b, "join", SocketOption::JoinGroup(nowhere));
        change(r, &b, "join a source", SocketOption::JoinSource(nowhere, source));
        change(r, &b, "interface", SocketOption::MulticastInterface(interface));
        let elsewhere = GroupInterface::Address(Ipv4Addr::new(192, 0, 2, 77));
        if r.net().family() == Family::Inet {
            let nowhere = MulticastGroup { interface: elsewhere, ..nowhere };
            change(r, &b, "join", SocketOption::JoinGroup(nowhere));
            change(r, &b, "interface", SocketOption::MulticastInterface(elsewhere));
        }
    }),
    case("a source that was joined is heard", |r| {
        let (a, b, source) = (talker(r), hearer(r, "b"), r.net().addr(Side::A));
        let group = group(r, Side::B);
        change(r, &b, "join the source", SocketOption::JoinSource(group, source));
        hears(r, &a, &b);
        change(r, &b, "join it again", SocketOption::JoinSource(group, source));
        change(r, &b, "leave it", SocketOption::LeaveSource(group, source));
        hears(r, &a, &b);
    }),
    case("a source that was not joined is not heard", |r| {
        let (a, b, source) = (talker(r), hearer(r, "b"), stranger(r));
        let group = group(r, Side::B);
        change(r, &b, "join another source", SocketOption::JoinSource(group, source));
        hears(r, &a, &b);
        leave(r, &b);
    }),
    case("a source that is blocked is not heard until it is unblocked", |r| {
        let (a, b, source) = (talker(r), hearer(r, "b"), r.net().addr(Side::A));
        let group = group(r, Side::B);
        join(r, &b);
        change(r, &b, "block", SocketOption::BlockSource(group, source));
        hears(r, &a, &b);
        change(r, &b, "block again", SocketOption::BlockSource(group, source));
        change(r, &b, "unblock", SocketOption::UnblockSource(group, source));
        hears(r, &a, &b);
        change(r, &b, "unblock again", SocketOption::UnblockSource(group, source));
    }),
    case("sources are joined or blocked, not both", |r| {
        let (b, source) = (hearer(r, "b"), stranger(r));
        let group = group(r, Side::B);
        change(r, &b, "block", SocketOption::BlockSource(group, source));
        change(r, &b, "unblock", SocketOption::UnblockSource(group, source));
        change(r, &b, "leave a source", SocketOption::LeaveSource(group, source));
        change(r, &b, "join a source", SocketOption::JoinSource(group, source));
        change(r, &b, "block", SocketOption::BlockSource(group, source));
        join(r, &b);
        change(r, &b, "leave a source", SocketOption::LeaveSource(group, source));
        join(r, &b);
        change(r, &b, "block", SocketOption::BlockSource(group, source));
        change(r, &b, "leave a source", SocketOption::LeaveSource(group, source));
    }),
    case("the last source that is left ends a membership", |r| {
        let (b, source) = (hearer(r, "b"), stranger(r));
        let group = group(r, Side::B);
        change(r, &b, "join a source", SocketOption::JoinSource(group, source));
        read_filter(r, &b);
        change(r, &b, "leave it", SocketOption::LeaveSource(group, source));
        read_filter(r, &b);
        leave(r, &b);
    }),
    case("a filter is set at once, and read", |r| {
        let (a, b, source) = (talker(r), hearer(r, "b"), r.net().addr(Side::A));
        let other = stranger(r);
        join(r, &b);
        read_filter(r, &b);
        set_filter(r, &b, FilterMode::Include, vec![other, source]);
        read_filter(r, &b);
        hears(r, &a, &b);
        set_filter(r, &b, FilterMode::Exclude, vec![source]);
        read_filter(r, &b);
        hears(r, &a, &b);
    }),
    case("a filter that includes nobody leaves the group", |r| {
        let b = hearer(r, "b");
        join(r, &b);
        set_filter(r, &b, FilterMode::Include, vec![]);
        leave(r, &b);
    }),
    case("a filter of a group that was not joined", |r| {
        let (b, source) = (hearer(r, "b"), stranger(r));
        read_filter(r, &b);
        set_filter(r, &b, FilterMode::Include, vec![source]);
        set_filter(r, &b, FilterMode::Exclude, vec![]);
        set_filter(r, &b, FilterMode::Include, vec![]);
    }),
    case("who has not joined hears what others here have, unless it will not", |r| {
        let (a, b, member) = (talker(r), hearer(r, "b"), hearer(r, "member"));
        join(r, &member);
        hears(r, &a, &b);
        r.set(&b, SocketOption::MulticastAll(false));
        hears(r, &a, &b);
    }),
    case("a socket that is closed leaves its groups", |r| {
        let (a, b, member) = (talker(r), hearer(r, "b"), hearer(r, "member"));
        join(r, &member);
        r.close(member);
        hears(r, &a, &b);
    }),
    case("two members of one port both hear", |r| {
        let (a, b, c) = (talker(r), r.udp("b", Side::B), r.udp("c", Side::B));
        r.set(&b, SocketOption::ReuseAddr(true));
        r.set(&c, SocketOption::ReuseAddr(true));
        let any = r.here(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
        b.sock().bind(any).expect("a port");
        c.sock().bind(b.addr()).expect("the same port");
        join(r, &b);
        join(r, &c);
        let to = SocketAddr::new(group(r, Side::A).group, b.addr().port());
        r.send_to(&a, b"both", to);
        r.recv(&b, 8);
        r.recv(&c, 8);
    }),
    case("a socket that is bound to a group hears what is sent to that alone", |r| {
        let (a, b) = (talker(r), r.udp("b", Side::B));
        let group = group(r, Side::B).group;
        let bound = b.sock().bind(SocketAddr::new(group, 0));
        r.result(&b, "bind to the group", bound);
        join(r, &b);
        let to = b.addr();
        let one = SocketAddr::new(r.net().addr(Side::B), to.port());
        r.send_to(&a, b"to one", one);
        r.send_to(&a, b"to many", to);
        r.recv(&b, 9);
        r.error(&a);
    }),
    case("a socket that is connected to a group sends to it, and hears nobody", |r| {
        let (a, b) = (talker(r), hearer(r, "b"));
        join(r, &b);
        let to = SocketAddr::new(group(r, Side::A).group, b.addr().port());
        r.connect(&a, to);
        r.peer(&a);
        r.send(&a, b"connected");
        r.recv(&b, 9);
        r.send_to(&b, b"answer", a.addr());
        r.nonblocking(&a);
        r.recv(&a, 9);
        r.poll(&a, Ready::WRITABLE);
    }),
    case("a stream is in no group", |r| {
        let a = r.tcp("a", Side::A);
        let group = group(r, Side::A);
        change(r, &a, "join", SocketOption::JoinGroup(group));
        change(r, &a, "leave", SocketOption::LeaveGroup(group));
    }),
    case("the interface for groups keeps what it was given", |r| {
        let a = r.udp("a", Side::A);
        r.get(&a, OptionKey::MulticastInterface);
        let interface = interface(r, Side::A);
        change(r, &a, "interface", SocketOption::MulticastInterface(interface));
        let read = a.sock().get(OptionKey::MulticastInterface);
        let same = read.map(|option| option == SocketOption::MulticastInterface(interface));
        r.result(&a, "is the same", same);
        r.set(&a, SocketOption::MulticastInterface(GroupInterface::Any));
        r.get(&a, OptionKey::MulticastInterface);
    }),
    case("switches for groups keep what they were given", |r| {
        let a = r.udp("a", Side::A);
        for (key, option) in [
            (OptionKey::MulticastAll, SocketOption::MulticastAll as fn(bool) -> SocketOption),
            (OptionKey::MulticastLoop, SocketOption::MulticastLoop),
        ] {
            r.get(&a, key);
            r.set(&a, option(false));
            r.get(&a, key);
            r.set(&a, option(true));
            r.get(&a, key);
        }
    }),
    case("without a group a datagram to it is heard by nobody, and told to nobody", |r| {
        let (a, b) = (talker(r), hearer(r, "b"));
        hears(r, &a, &b);
        r.error(&a);
    }),
];
