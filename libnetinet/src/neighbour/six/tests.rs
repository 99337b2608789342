//! RFC 4861 Appendix C, row by row.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use libnet::packet::Packet;

use super::*;
use crate::config::ArpConfig;
use crate::drops::FamilyDrops;
use crate::hash::Key;
use crate::neighbour::{NeighbourSetting, NextHop, Times};

const ETH: IfIndex = IfIndex(2);
const PEER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
const OLD: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const NEW: MacAddr = MacAddr([2, 0, 0, 0, 0, 3]);

/// The states of RFC 4861 §7.3.2, which tells stale from reachable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Missing,
    Incomplete,
    Reachable,
    Stale,
    Delay,
    Probe,
}

use State::*;

struct Rig {
    table: NeighbourTable,
    now: Instant,
    actions: Vec<Action>,
}

impl Rig {
    fn new() -> Self {
        let drops = FamilyDrops::new();
        let table = NeighbourTable::new(ArpConfig::default(), Key::new(1, 2), drops);
        Rig { table, now: Instant::from_millis(1_000), actions: Vec::new() }
    }

    /// A table whose one entry is in a state, known by [`OLD`].
    fn in_state(state: State) -> Self {
        let mut rig = Rig::new();
        if state == Missing {
            return rig;
        }
        rig.send();
        if state != Incomplete {
            rig.advertise(Some(OLD), true, true, false);
        }
        if matches!(state, Stale | Delay | Probe) {
            rig.run(31_000);
        }
        if matches!(state, Delay | Probe) {
            rig.send();
        }
        if state == Probe {
            rig.run(5_000);
        }
        assert_eq!(rig.state(), state);
        rig.actions.clear();
        rig
    }

    fn send(&mut self) {
        let hop = NextHop { iface: ETH, addr: PEER.into(), is_gateway: false, for_others: false };
        let packet = Packet::from_payload(Bytes::from_static(b"6 a packet"));
        self.table.send(self.now, hop, packet, &mut self.actions);
    }

    fn advertise(&mut self, mac: Option<MacAddr>, solicited: bool, overrides: bool, router: bool) {
        let heard = Heard::Advertised { mac, router, solicited, overrides };
        self.table.hear(self.now, ETH, PEER, heard, &mut self.actions);
    }

    fn source(&mut self, mac: Option<MacAddr>, router: Option<bool>) {
        let heard = Heard::Source { mac, router };
        self.table.hear(self.now, ETH, PEER, heard, &mut self.actions);
    }

    fn run(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        while let Some(at) = self.table.next_deadline().filter(|&at| at <= end) {
            self.now = at;
            self.table.expire(at, &mut self.actions);
        }
        self.now = end;
    }

    fn entry(&self) -> Option<crate::neighbour::NeighbourEntry> {
        let all = self.table.snapshot(self.now);
        all.into_iter().find(|entry| entry.addr == IpAddr::V6(PEER))
    }

    fn state(&self) -> State {
        match self.entry() {
            None => Missing,
            Some(entry) => match entry.state {
                NeighbourState::Incomplete => Incomplete,
                NeighbourState::Reachable if entry.stale => Stale,
                NeighbourState::Reachable => Reachable,
                NeighbourState::Delay => Delay,
                NeighbourState::Probe => Probe,
                NeighbourState::Failed => Missing,
                other => panic!("not expected: {other:?}"),
            },
        }
    }

    fn mac(&self) -> Option<MacAddr> {
        self.entry().and_then(|entry| entry.mac)
    }

    /// Where packets went to since the last call.
    fn sent(&mut self) -> Vec<MacAddr> {
        let actions = std::mem::take(&mut self.actions);
        let sent = actions.into_iter().filter_map(|action| match action {
            Action::Send { to, .. } => Some(to),
            _ => None,
        });
        sent.collect()
    }
}

const KNOWN: [State; 4] = [Reachable, Stale, Delay, Probe];

#[test]
fn an_answer_makes_an_entry_reachable_and_an_unasked_one_stale() {
    for (solicited, then) in [(true, Reachable), (false, Stale)] {
        for overrides in [false, true] {
            let mut rig = Rig::in_state(Incomplete);
            rig.advertise(Some(OLD), solicited, overrides, false);
            assert_eq!((rig.state(), rig.mac()), (then, Some(OLD)));
            assert_eq!(rig.sent(), [OLD], "what waited is sent");
        }
    }
}

#[test]
fn an_answer_without_an_address_leaves_what_waits_waiting() {
    let mut rig = Rig::in_state(Incomplete);
    rig.advertise(None, true, true, false);
    assert_eq!((rig.state(), rig.sent().len()), (Incomplete, 0));
}

#[test]
fn advertisements_of_whom_we_do_not_know_make_no_entry() {
    let mut rig = Rig::new();
    rig.advertise(Some(OLD), true, true, true);
    assert_eq!(rig.state(), Missing);
}

#[test]
fn a_different_address_without_override_only_makes_a_reachable_entry_doubtful() {
    for solicited in [false, true] {
        for state in KNOWN {
            let mut rig = Rig::in_state(state);
            rig.advertise(Some(NEW), solicited, false, false);
            let then = if state == Reachable { Stale } else { state };
            assert_eq!((rig.state(), rig.mac()), (then, Some(OLD)));
        }
    }
}

#[test]
fn an_answer_with_the_known_address_confirms_it_with_and_without_override() {
    for overrides in [false, true] {
        for mac in [Some(OLD), None] {
            for state in KNOWN {
                let mut rig = Rig::in_state(state);
                rig.advertise(mac, true, overrides, false);
                assert_eq!((rig.state(), rig.mac()), (Reachable, Some(OLD)), "{state:?}");
            }
        }
    }
}

#[test]
fn override_changes_the_address() {
    for (solicited, then) in [(true, Reachable), (false, Stale)] {
        for state in KNOWN {
            let mut rig = Rig::in_state(state);
            rig.advertise(Some(NEW), solicited, true, false);
            assert_eq!((rig.state(), rig.mac()), (then, Some(NEW)), "{state:?}");
        }
    }
}

#[test]
fn what_is_known_already_and_was_not_asked_changes_nothing() {
    for state in KNOWN {
        let mut rig = Rig::in_state(state);
        rig.advertise(Some(OLD), false, true, false);
        assert_eq!((rig.state(), rig.mac()), (state, Some(OLD)));
    }
}

#[test]
fn a_source_address_is_entered_as_stale() {
    let mut rig = Rig::new();
    rig.source(None, None);
    assert_eq!(rig.state(), Missing, "nothing to enter");
    rig.source(Some(OLD), None);
    assert_eq!((rig.state(), rig.mac()), (Stale, Some(OLD)));
    let mut rig = Rig::in_state(Incomplete);
    rig.source(Some(OLD), None);
    assert_eq!((rig.state(), rig.sent()), (Stale, vec![OLD]), "what waited is sent");
    for state in KNOWN {
        let mut rig = Rig::in_state(state);
        rig.source(Some(OLD), None);
        assert_eq!(rig.state(), state, "the same address changes nothing");
        rig.source(Some(NEW), None);
        assert_eq!((rig.state(), rig.mac()), (Stale, Some(NEW)));
    }
}

#[test]
fn who_stops_being_a_router_is_reported_once() {
    let mut rig = Rig::in_state(Reachable);
    let gone = |rig: &mut Rig| {
        let actions = std::mem::take(&mut rig.actions);
        actions.iter().filter(|action| matches!(action, Action::NoRouter { .. })).count()
    };
    rig.source(Some(OLD), Some(true));
    assert!(rig.entry().unwrap().router);
    rig.advertise(None, true, false, true);
    assert_eq!(gone(&mut rig), 0);
    rig.advertise(Some(OLD), false, true, false);
    assert_eq!((gone(&mut rig), rig.entry().unwrap().router), (1, false));
    rig.advertise(Some(OLD), false, true, false);
    assert_eq!(gone(&mut rig), 0);
    rig.source(None, Some(true));
    rig.source(Some(OLD), None);
    assert!(rig.entry().unwrap().router, "a solicitation tells nothing of it");
}

#[test]
fn nobody_answers_and_the_entry_goes() {
    let mut rig = Rig::in_state(Incomplete);
    rig.run(3_000);
    let asked = rig.actions.iter().filter(|a| matches!(a, Action::Ask { to: None, .. })).count();
    assert_eq!((asked, rig.state()), (2, Missing), "beside the first question");
    assert!(rig.actions.iter().any(|action| matches!(action, Action::Unreachable { .. })));
}

#[test]
fn a_stale_neighbour_is_used_and_asked_by_unicast_five_seconds_later() {
    let mut rig = Rig::in_state(Stale);
    rig.send();
    assert_eq!((rig.sent(), rig.state()), (vec![OLD], Delay));
    rig.run(4_999);
    assert_eq!(rig.actions.len(), 0);
    rig.run(1);
    assert_eq!(rig.state(), Probe);
    rig.run(3_000);
    let to = rig.actions.iter().map(|action| match action {
        Action::Ask { to, .. } => *to,
        other => panic!("{other:?}"),
    });
    assert_eq!(to.collect::<Vec<_>>(), [Some(OLD); 3], "then it is given up");
    assert_eq!(rig.state(), Missing);
}

#[test]
fn routers_say_how_long_neighbours_are_believed_and_waited_for() {
    let mut rig = Rig::in_state(Reachable);
    let short =
        Times { reachable: Duration::from_millis(500), retransmit: Duration::from_millis(100) };
    rig.table.set_times(ETH, short);
    rig.run(500);
    assert_eq!(rig.state(), Stale, "those that are known, too");
    rig.send();
    rig.run(5_000);
    rig.actions.clear();
    rig.run(300);
    assert_eq!((rig.actions.len(), rig.state()), (2, Missing));
}

#[test]
fn who_asks_for_us_shares_a_quarter_of_the_table() {
    let mut rig = Rig::in_state(Reachable);
    rig.run(40_000);
    for n in 0..100_000u32 {
        let addr = Ipv6Addr::from_bits(PEER.to_bits() + 1 + u128::from(n));
        let heard = Heard::Source { mac: Some(NEW), router: None };
        rig.table.hear(rig.now, ETH, addr, heard, &mut rig.actions);
    }
    assert_eq!(rig.table.snapshot(rig.now).len(), 1 + 1024 / 4);
    assert_eq!(rig.mac(), Some(OLD), "whom we talked to stays");
    assert_eq!(rig.table.evicted, 100_000 - 1024 / 4);
}

#[test]
fn only_who_changed_is_told_of() {
    let mut rig = Rig::new();
    let none: Vec<IpAddr> = Vec::new();
    let changed = |rig: &mut Rig| -> Vec<IpAddr> {
        rig.table.take_changes().into_iter().map(|((_, addr), _)| addr).collect()
    };
    rig.send();
    assert_eq!(changed(&mut rig), none, "nobody wants to know");
    rig.table.tell_changes(true);
    for n in 0..1_000u128 {
        let addr = Ipv6Addr::from_bits(PEER.to_bits() + 1 + n);
        let to = NeighbourSetting::Permanent(NEW);
        rig.table.set(rig.now, ETH, addr.into(), to, &mut rig.actions);
    }
    assert_eq!(changed(&mut rig).len(), 1_000);
    rig.advertise(Some(OLD), true, true, false);
    assert_eq!(changed(&mut rig), [IpAddr::from(PEER)]);
    rig.table.remove(ETH, PEER.into());
    let gone = rig.table.take_changes();
    assert!(matches!(&gone[..], [(key, None)] if key.1 == IpAddr::from(PEER)), "{gone:?}");
    assert_eq!(changed(&mut rig), none);
}
