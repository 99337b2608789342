//! Packets that the next link cannot take whole.

use std::net::Ipv4Addr;

use libnet::route::Route;
use libnet::world::LinkConfig;
use rumpnet_tests::router::{HERE, RIGHT, RouterRig, THERE};
use rumpnet_tests::wire::{DONT_FRAGMENT, Ip, MORE_FRAGMENTS, UDP};

use super::{datagram, net, one_hop};

fn narrow() -> RouterRig {
    RouterRig::with(|_| {}, LinkConfig::default().mtu(576))
}

#[test]
fn a_packet_too_big_is_cut_for_the_next_hop() {
    let rig = narrow();
    let ip = Ip { ident: 9, ..datagram(1_400) };
    rig.say(&ip);
    let passed = rig.passed();
    assert_eq!(passed.len(), 3);
    let mut joined: Vec<u8> = Vec::new();
    for (number, piece) in passed.iter().enumerate() {
        let more = number + 1 < passed.len();
        assert_eq!(piece.offset(), joined.len());
        assert_eq!(piece.fragment & MORE_FRAGMENTS != 0, more);
        assert!(piece.data.len() + 20 <= 576 && piece.ttl == 63 && piece.ident == 9);
        joined.extend(&piece.data);
    }
    assert_eq!(joined, ip.data);
    assert_eq!(rig.errors(), []);
}

#[test]
fn fragments_are_passed_on_as_they_come_and_cut_again_where_they_must_be() {
    let rig = narrow();
    let data = datagram(1_400).data;
    let last = Ip { fragment: 185, ident: 9, ..Ip::new(HERE, THERE, UDP, data[..200].to_vec()) };
    rig.say(&last);
    assert_eq!(rig.passed(), [one_hop(&last)], "nothing is put together here");
    let first = Ip { fragment: MORE_FRAGMENTS, data, ..last };
    rig.say(&first);
    let passed = rig.passed();
    assert_eq!(passed.len(), 3);
    assert!(passed.iter().all(|piece| piece.fragment & MORE_FRAGMENTS != 0));
}

#[test]
fn a_packet_too_big_that_forbids_fragments_is_refused_with_the_next_hop_s_mtu() {
    let rig = narrow();
    let ip = Ip { fragment: DONT_FRAGMENT, ..datagram(1_400) };
    rig.say(&ip);
    assert_eq!(rig.passed(), []);
    let errors = rig.errors();
    assert_eq!((errors[0].ty, errors[0].code), (3, 4));
    assert_eq!(errors[0].rest, [0, 0, 2, 64], "RFC 1191 §4: 576");
    assert_eq!(errors[0].data[..20], ip.bytes()[..20], "the header is unchanged");
    let fits = Ip { fragment: DONT_FRAGMENT, ..datagram(576 - 28) };
    rig.say(&fits);
    assert_eq!(rig.passed(), [one_hop(&fits)]);
}

#[test]
fn the_mtu_of_a_route_counts_too() {
    let rig = RouterRig::new();
    let mut route = Route::via(net("192.0.2.0/24"), RIGHT, THERE.into());
    route.mtu = Some(1_000);
    rig.inet.add_route(route).expect("it fits");
    let dst = Ipv4Addr::new(192, 0, 2, 9);
    rig.say(&Ip { dst, fragment: DONT_FRAGMENT, ..datagram(1_200) }.summed(6));
    assert_eq!(rig.errors()[0].rest, [0, 0, 3, 232]);
}
