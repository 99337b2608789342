//! Settings of `net.ipv6.conf` by their names, each by what it changes.

use super::*;
use crate::config::InetConfig;

/// A host with settings of `net.ipv6.conf.all`.
fn set(settings: &[(&str, u32)]) -> Sim {
    let mut config = InetConfig::default();
    for (name, value) in settings {
        let set = config.set_sysctl(&format!("net.ipv6.conf.all.{name}"), &value.to_string());
        set.unwrap();
    }
    Sim::new(config.nd)
}

#[test]
fn use_tempaddr_temp_prefered_lft_and_temp_valid_lft_make_temporary_addresses_for_so_long() {
    for (uses, preferred, valid) in [(0, DAY, DAY), (2, 2 * HOUR, 5 * HOUR), (2, DAY, 2 * DAY)] {
        let lifetimes = [("temp_prefered_lft", preferred), ("temp_valid_lft", valid)];
        let mut sim = set(&[[("use_tempaddr", uses)].as_slice(), &lifetimes].concat());
        sim.hear(ROUTER, &says(1_800, &[prefix("2001:db8::/64", 9 * DAY, 9 * DAY)]));
        let all = sim.addresses(AddressOrigin::Temporary);
        assert_eq!(all.len(), usize::from(uses > 0));
        for entry in all {
            let secs = |time: Option<Duration>| time.unwrap().as_secs();
            assert_eq!(secs(entry.valid_for), valid.into());
            // RFC 8981 §3.4: less a time that differs from host to host.
            let least = u64::from(preferred) * 6 / 10;
            let preferred_for = secs(entry.preferred_for);
            assert!((least..=preferred.into()).contains(&preferred_for), "{preferred_for}");
        }
    }
}

#[test]
fn dad_transmits_is_how_often_it_is_asked_whose_an_address_is() {
    for questions in [0, 1, 4] {
        let mut sim = set(&[("dad_transmits", questions)]);
        sim.run(20);
        let is_question = |say: &Say| matches!(say.message, Message::NeighbourSolicitation(_));
        let asked = sim.said.iter().filter(|(_, say)| is_question(say)).count();
        assert_eq!(asked as u32, questions);
        assert_eq!(sim.states(AddressOrigin::LinkLocal), [AddressState::Preferred]);
    }
}

#[test]
fn optimistic_dad_is_whether_an_address_is_used_while_it_is_checked() {
    for (on, state) in [(0, AddressState::Tentative), (1, AddressState::Optimistic)] {
        let sim = set(&[("optimistic_dad", on)]);
        assert_eq!(sim.states(AddressOrigin::LinkLocal), [state]);
    }
}

#[test]
fn max_addresses_is_how_many_addresses_routers_make_us_have() {
    for most in [1, 3, 16] {
        let mut sim = set(&[("max_addresses", most)]);
        for n in 0..20u32 {
            let prefix = prefix(&format!("2001:db8:{n}::/64"), DAY, DAY);
            sim.hear(ROUTER, &says(1_800, &[prefix]));
        }
        assert_eq!(sim.nd.addresses(sim.now, ETH).len(), most as usize);
    }
}
