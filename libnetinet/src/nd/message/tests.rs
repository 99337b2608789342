use super::*;

const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);

fn ip(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

fn envelope(src: &str, dst: Ipv6Addr) -> Envelope {
    Envelope { src: ip(src), dst, hop_limit: 255 }
}

fn solicitation() -> Message {
    let target = ip("fe80::1");
    let nonce = Some(Nonce([1, 2, 3, 4, 5, 6]));
    Message::NeighbourSolicitation(NeighbourSolicitation { target, source_mac: Some(MAC), nonce })
}

fn advertisement(solicited: bool) -> Message {
    Message::NeighbourAdvertisement(NeighbourAdvertisement {
        target: ip("fe80::1"),
        router: true,
        solicited,
        overrides: true,
        target_mac: Some(MAC),
    })
}

fn router_advertisement() -> Message {
    let prefix = PrefixInfo {
        prefix: ip("2001:db8:1::"),
        bits: 64,
        on_link: true,
        autonomous: true,
        valid: Lifetime(86_400),
        preferred: Lifetime::FOREVER,
    };
    let route = |bits, preference| RouteInfo {
        prefix: option::masked(ip("2001:db8:ffff:ffff:ffff::"), bits),
        bits,
        preference,
        lifetime: Lifetime(600),
    };
    Message::RouterAdvertisement(Box::new(RouterAdvertisement {
        hop_limit: 64,
        managed: true,
        other: false,
        preference: RouterPreference::High,
        lifetime_secs: 1800,
        reachable: Duration::from_millis(30_000),
        retransmit: Duration::from_millis(1_000),
        source_mac: Some(MAC),
        mtu: Some(1400),
        prefixes: vec![prefix],
        routes: vec![
            route(0, RouterPreference::Low),
            route(48, RouterPreference::High),
            route(128, RouterPreference::Medium),
        ],
        dns_servers: vec![(600, vec![ip("2001:db8::53"), ip("fe80::53")])],
        dns_search: vec![(60, vec!["example.org".into(), "a.b-c.test".into()])],
    }))
}

fn redirect() -> Message {
    Message::Redirect(Redirect {
        target: ip("fe80::2"),
        destination: ip("2001:db8::9"),
        target_mac: Some(MAC),
        about: Bytes::new(),
    })
}

fn all() -> Vec<Message> {
    let solicits = Message::RouterSolicitation(RouterSolicitation { source_mac: Some(MAC) });
    vec![solicitation(), advertisement(true), router_advertisement(), redirect(), solicits]
}

#[test]
fn written_messages_read_back() {
    for message in all() {
        let bytes = message.to_bytes();
        assert_eq!(bytes.len() % 8, 0);
        assert_eq!(Message::parse(envelope("fe80::1", ip("fe80::2")), &bytes), Ok(message));
    }
}

#[test]
fn another_hop_limit_or_code_and_a_short_message_are_flaws() {
    for message in all() {
        let mut bytes = message.to_bytes();
        let far = Envelope { hop_limit: 254, ..envelope("fe80::1", ip("fe80::2")) };
        assert_eq!(Message::parse(far, &bytes), Err(Flaw::HopLimit));
        let near = envelope("fe80::1", ip("fe80::2"));
        for len in 0..bytes.len() {
            // A cut between two options leaves a message that is only shorter.
            if let Err(flaw) = Message::parse(near, &bytes[..len]) {
                assert!(matches!(flaw, Flaw::Short | Flaw::Options), "{flaw:?} at {len}");
            } else {
                assert_eq!(len % 8, 0);
            }
        }
        bytes[1] = 1;
        assert_eq!(Message::parse(near, &bytes), Err(Flaw::Code));
    }
}

#[test]
fn an_option_of_length_zero_makes_the_message_unbelievable() {
    for message in all() {
        let mut bytes = message.to_bytes();
        bytes.extend([200, 0, 0, 0, 0, 0, 0, 0]);
        let parsed = Message::parse(envelope("fe80::1", ip("fe80::2")), &bytes);
        assert_eq!(parsed, Err(Flaw::Options));
    }
}

#[test]
fn the_reserved_preference_of_a_router_is_medium() {
    let mut bytes = Message::RouterAdvertisement(Box::default()).to_bytes();
    bytes[5] = 0b10 << 3;
    let parsed = Message::parse(envelope("fe80::1", ALL_NODES), &bytes);
    assert_eq!(parsed, Ok(Message::RouterAdvertisement(Box::default())));
}

#[test]
fn unknown_options_are_skipped() {
    for message in all() {
        let mut bytes = message.to_bytes();
        bytes.extend([200, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5]);
        bytes.extend([253, 1, 1, 2, 3, 4, 5, 6]);
        let parsed = Message::parse(envelope("fe80::1", ip("fe80::2")), &bytes);
        assert_eq!(parsed, Ok(message));
    }
}

#[test]
fn nobody_asks_the_targets_group_and_has_no_link_address() {
    let target = ip("2001:db8::1:2:3");
    let mut asked = NeighbourSolicitation { target, source_mac: None, nonce: None };
    let bytes = Message::NeighbourSolicitation(asked).to_bytes();
    let group = solicited_node(target);
    assert_eq!(group, ip("ff02::1:ff02:3"));
    assert!(Message::parse(envelope("::", group), &bytes).is_ok());
    assert_eq!(Message::parse(envelope("::", ALL_NODES), &bytes), Err(Flaw::Destination));
    assert_eq!(Message::parse(envelope("::", target), &bytes), Err(Flaw::Destination));
    asked.source_mac = Some(MAC);
    let bytes = Message::NeighbourSolicitation(asked).to_bytes();
    assert_eq!(Message::parse(envelope("::", group), &bytes), Err(Flaw::Nobody));
    let solicits = Message::RouterSolicitation(RouterSolicitation { source_mac: Some(MAC) });
    let parsed = Message::parse(envelope("::", ALL_ROUTERS), &solicits.to_bytes());
    assert_eq!(parsed, Err(Flaw::Nobody));
}

#[test]
fn groups_are_no_targets_and_an_answer_has_one_reader() {
    let near = envelope("fe80::1", ip("fe80::2"));
    for message in [solicitation(), advertisement(true)] {
        let mut bytes = message.to_bytes();
        bytes[8] = 0xff;
        assert_eq!(Message::parse(near, &bytes), Err(Flaw::Target));
    }
    let bytes = advertisement(true).to_bytes();
    assert_eq!(Message::parse(envelope("fe80::1", ALL_NODES), &bytes), Err(Flaw::Nobody));
    let bytes = advertisement(false).to_bytes();
    assert!(Message::parse(envelope("fe80::1", ALL_NODES), &bytes).is_ok());
}

#[test]
fn routers_speak_from_their_link_local_address() {
    for message in [router_advertisement(), redirect()] {
        let parsed = Message::parse(envelope("2001:db8::1", ALL_NODES), &message.to_bytes());
        assert_eq!(parsed, Err(Flaw::Source));
    }
}

#[test]
fn a_redirect_leads_to_a_router_or_to_the_destination_itself() {
    let near = envelope("fe80::1", ip("fe80::2"));
    let parse = |target: &str, destination: &str| {
        let (target, destination) = (ip(target), ip(destination));
        let redirect = Message::Redirect(Redirect {
            target,
            destination,
            target_mac: None,
            about: Bytes::new(),
        });
        Message::parse(near, &redirect.to_bytes()).map(|_| ())
    };
    assert_eq!(parse("2001:db8::9", "2001:db8::9"), Ok(()));
    assert_eq!(parse("2001:db8::8", "2001:db8::9"), Err(Flaw::Target));
    assert_eq!(parse("fe80::9", "ff02::1"), Err(Flaw::Destination));
}

#[test]
fn options_that_do_not_hold_what_their_type_should_are_skipped() {
    let near = envelope("fe80::1", ALL_NODES);
    let with = |option: &[u8]| {
        let mut bytes = Message::RouterAdvertisement(Box::default()).to_bytes();
        bytes.extend(option);
        bytes.resize(bytes.len() + usize::from(option[1]) * 8 - option.len(), 0);
        Message::parse(near, &bytes)
    };
    let nothing = Ok(Message::RouterAdvertisement(Box::default()));
    assert_eq!(with(&[1, 1, 1, 0, 0, 0, 0, 1]), nothing, "a group's MAC address");
    assert_eq!(with(&[1, 2, 2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]), nothing, "too long");
    assert_eq!(with(&[3, 1, 64, 0xc0, 0, 0, 0, 9]), nothing, "a prefix without its address");
    assert_eq!(with(&[24, 1, 8, 0, 0, 0, 0, 9]), nothing, "eight bits in no octets");
    assert_eq!(with(&[24, 1, 0, 0b1_0000, 0, 0, 0, 9]), nothing, "the reserved preference");
    assert_eq!(with(&[25, 1, 0, 0, 0, 0, 0, 9]), nothing, "no server");
    assert_eq!(with(&[25, 2, 0, 0, 0, 0, 0, 9]), nothing, "half a server");
    assert_eq!(with(&[31, 2, 0, 0, 0, 0, 0, 9, 9, b'a']), nothing, "a label past its end");
    assert_eq!(with(&[31, 2, 0, 0, 0, 0, 0, 9, 1, 7]), nothing, "a name with a bell");
}

/// All messages, of neighbours and of routers, with every bit set that RFC 4861 §4 reserves.
fn with_reserved_bits() -> Vec<(Message, Vec<u8>)> {
    let set = |message: Message, fields: &[(usize, u8)]| {
        let mut bytes = message.to_bytes();
        for &(at, mask) in fields {
            assert_eq!(bytes[at] & mask, 0, "sent as zero: octet {at} of {message:?}");
            bytes[at] |= mask;
        }
        (message, bytes)
    };
    let word = |at: usize| (at..at + 4).map(|at| (at, 0xff)).collect::<Vec<_>>();
    let solicits = Message::RouterSolicitation(RouterSolicitation { source_mac: Some(MAC) });
    // Behind the fixed part: a link-layer address (8), an MTU (8), a prefix (32).
    let mut router = vec![(5, 0x07), (16 + 8 + 2, 0xff), (16 + 8 + 3, 0xff), (32 + 3, 0x3f)];
    router.extend(word(32 + 12));
    vec![
        set(solicits, &word(4)),
        set(router_advertisement(), &router),
        set(solicitation(), &word(4)),
        set(advertisement(true), &[(4, 0x1f), (5, 0xff), (6, 0xff), (7, 0xff)]),
        set(redirect(), &word(4)),
    ]
}

#[test]
fn reserved_fields_are_sent_as_zero_and_not_looked_at() {
    for (message, bytes) in with_reserved_bits() {
        let parsed = Message::parse(envelope("fe80::1", ip("fe80::2")), &bytes);
        assert_eq!(parsed, Ok(message));
    }
}

#[test]
fn a_prefix_s_bits_past_its_length_are_not_looked_at() {
    let mut bytes = router_advertisement().to_bytes();
    bytes[32 + 16 + 8..32 + 32].fill(0xff);
    let parsed = Message::parse(envelope("fe80::1", ip("fe80::2")), &bytes);
    assert_eq!(parsed, Ok(router_advertisement()));
}

#[test]
fn options_of_other_messages_are_skipped() {
    let mut foreign = Vec::new();
    option::write_mtu(&mut foreign, 1_300);
    let Message::RouterAdvertisement(said) = router_advertisement() else { panic!("it is one") };
    said.prefixes[0].write(&mut foreign);
    // RFC 4861 §4.6.3: a redirected header.
    foreign.extend([4, 2, 0, 0, 0, 0, 0, 0, 0x60, 0, 0, 0, 0, 0, 59, 64]);
    for message in all() {
        let mut bytes = message.to_bytes();
        let other = match message {
            Message::NeighbourAdvertisement(_) | Message::Redirect(_) => option::SOURCE_LINK_ADDR,
            _ => option::TARGET_LINK_ADDR,
        };
        option::write_mac(&mut bytes, other, Some(MacAddr([2, 0, 0, 0, 0, 0x77])));
        if !matches!(message, Message::RouterAdvertisement(_)) {
            bytes.extend(&foreign);
        }
        let parsed = Message::parse(envelope("fe80::1", ip("fe80::2")), &bytes);
        assert_eq!(parsed, Ok(message));
    }
}

#[test]
fn options_are_taken_in_any_order() {
    let bytes = router_advertisement().to_bytes();
    let mut options = Vec::new();
    let mut rest = &bytes[16..];
    while !rest.is_empty() {
        let (option, after) = rest.split_at(usize::from(rest[1]) * 8);
        options.push(option);
        rest = after;
    }
    let kinds = options.len();
    for turn in 1..kinds {
        options.rotate_left(1);
        let turned = [&bytes[..16], &options.concat()].concat();
        let parsed = Message::parse(envelope("fe80::1", ip("fe80::2")), &turned);
        let Ok(Message::RouterAdvertisement(mut parsed)) = parsed else { panic!("{parsed:?}") };
        // Several routes stay in their own order.
        parsed.routes.sort_by_key(|route| route.bits);
        assert_eq!(Message::RouterAdvertisement(parsed), router_advertisement(), "{turn}");
    }
}

#[test]
fn too_many_options_go_in_several_messages_that_fit() {
    let Message::RouterAdvertisement(said) = router_advertisement() else { panic!("it is one") };
    assert_eq!(said.clone().parts(1_460), [(*said).clone()], "what fits is not cut");
    let mut long = *said;
    long.prefixes = (0..70).map(|_| long.prefixes[0]).collect();
    long.dns_servers = vec![(600, (1..=127u16).map(|n| Ipv6Addr::from_bits(n.into())).collect())];
    long.dns_search =
        vec![(60, (0..8).map(|n| format!("{}.test", "abcdefgh".repeat(n + 1))).collect())];
    let parts = long.clone().parts(1_240);
    assert!(parts.len() > 3);
    for part in &parts {
        assert!(part.to_bytes().len() <= 1_240, "{} bytes", part.to_bytes().len());
        let fixed = |of: &RouterAdvertisement| (of.lifetime_secs, of.source_mac, of.mtu);
        assert_eq!(fixed(part), fixed(&long));
    }
    let all = |of: &[RouterAdvertisement]| {
        let servers = of.iter().flat_map(|part| &part.dns_servers).flat_map(|(_, all)| all);
        let domains = of.iter().flat_map(|part| &part.dns_search).flat_map(|(_, all)| all);
        (
            of.iter().map(|part| part.prefixes.len()).sum::<usize>(),
            of.iter().flat_map(|part| part.routes.clone()).collect::<Vec<_>>(),
            servers.copied().collect::<Vec<_>>(),
            domains.cloned().collect::<Vec<_>>(),
        )
    };
    assert_eq!(all(&parts), all(&[long]), "nothing is lost");
}
