//! Members of one bus in one process: what reaches whom, and what holds whom up.

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::{Node, TempBus, frame, frame_of};
use libnet::ethernet::MacAddr;
use libnet::landing::{Forecast, Landing};
use libnet::link::RxFilter;
use libnet::packet::{Checksum, Gso, GsoKind, Packet};
use shmif::{AttachError, BusConfig, MemberState, Observer, Shmif, members};

/// The data of frames that a caller waits for land in its memory wherever in the ring they are; others, and
/// what there is no room for, come whole.
#[test]
fn data_land_across_the_end_of_the_ring() {
    let mut config = BusConfig::default();
    config.ring_bytes = 256 << 10;
    let bus = TempBus::with(&config);
    let (mut a, mut b) = (bus.join("a"), bus.join("b"));
    let mut number = 1_000;
    for turn in 0..200_u32 {
        let sizes = [9_000 + turn as usize * 13, 500, 30_001];
        let mut memory = vec![0; sizes.iter().sum::<usize>() - 1];
        let mut forecast = Forecast::new(0, 0);
        forecast.any(24).number(number).any(12);
        let mut landing = Landing::new(Box::new(forecast), &mut memory);
        let mut sent = Vec::new();
        for size in sizes {
            let mut bytes: Vec<u8> =
                (0..40 + size).map(|i| (i as u32 * 7 + number) as u8).collect();
            bytes[24..28].copy_from_slice(&number.to_be_bytes());
            let mut packet = frame(b.mac, a.mac, &bytes);
            packet.checksum = Checksum::Trusted;
            packet.gso = Some(Gso { kind: GsoKind::Tcp4, segment_bytes: 1460.try_into().unwrap() });
            sent.push(packet.to_bytes());
            a.send(packet);
            number += size as u32;
        }
        let mut got = Vec::new();
        b.link.rx.recv(b.now, 64, &mut got, Some(&mut landing)).unwrap();
        let landed: Vec<bool> = got.iter().map(|packet| packet.landed_range().is_some()).collect();
        assert_eq!(landed, [true, true], "the third has no room, and waits");
        got.iter_mut().for_each(|packet| landing.take_back(packet));
        got.append(&mut b.recv_packets());
        let got: Vec<Bytes> = got.iter().map(Packet::to_bytes).collect();
        assert!(got == sent, "turn {turn}");
    }
}

#[test]
fn a_unicast_frame_reaches_its_receiver_only() {
    let bus = TempBus::new();
    let (mut a, mut b, mut c) = (bus.join("a"), bus.join("b"), bus.join("c"));
    a.send(frame(b.mac, a.mac, b"hello"));
    assert_eq!(b.recv(), [frame(b.mac, a.mac, b"hello").to_bytes()]);
    assert!(c.recv().is_empty());
    assert!(a.recv().is_empty());
    assert!(b.recv().is_empty());
}

#[test]
fn broadcast_reaches_everyone_but_its_sender() {
    let bus = TempBus::new();
    let (mut a, mut b, mut c) = (bus.join("a"), bus.join("b"), bus.join("c"));
    a.send(frame(MacAddr::BROADCAST, a.mac, b"all"));
    assert_eq!(b.recv().len(), 1);
    assert_eq!(c.recv().len(), 1);
    assert!(a.recv().is_empty());
}

#[test]
fn frames_of_one_sender_arrive_in_order_whatever_they_are_for() {
    let bus = TempBus::new();
    let (mut a, mut b, mut c) = (bus.join("a"), bus.join("b"), bus.join("c"));
    for round in 0..50_u8 {
        a.send(frame(MacAddr::BROADCAST, a.mac, &[round, 0]));
        a.send(frame(c.mac, a.mac, &[round, 9]));
        a.send(frame(b.mac, a.mac, &[round, 1]));
        if round % 3 == 0 {
            let got = b.recv();
            assert!(!got.is_empty());
            b.kept.extend(got);
        }
    }
    let rest = b.recv();
    b.kept.extend(rest);
    let want: Vec<[u8; 2]> = (0..50).flat_map(|round| [[round, 0], [round, 1]]).collect();
    let got: Vec<[u8; 2]> = b.kept.iter().map(|f| [f[14], f[15]]).collect();
    assert_eq!(got, want);
    assert_eq!(c.recv().len(), 100);
    assert_eq!(b.stats().rx_missed, 0);
}

#[test]
fn a_super_frame_crosses_whole_with_its_metadata() {
    let bus = TempBus::new();
    let (mut a, mut b) = (bus.join("a"), bus.join("b"));
    for len in [14, 15, 60, 1514, 9000, 65_549] {
        for _ in 0..10 {
            let mut sent = frame_of(b.mac, a.mac, len);
            sent.checksum = Checksum::Partial { start: 0, field: 12 };
            sent.gso = Some(Gso { kind: GsoKind::Tcp6, segment_bytes: 1440.try_into().unwrap() });
            let bytes = sent.to_bytes();
            a.send(sent);
            let got = b.recv_packets();
            assert_eq!(got.len(), 1, "{len}");
            assert_eq!(got[0].to_bytes(), bytes);
            assert_eq!(got[0].checksum, Checksum::Partial { start: 0, field: 12 });
            assert_eq!(got[0].gso.unwrap().segment_bytes.get(), 1440);
            assert_eq!(got[0].gso.unwrap().kind, GsoKind::Tcp6);
        }
    }
}

#[test]
fn what_can_never_be_sent_is_dropped_and_counted() {
    let bus = TempBus::new();
    let (mut a, mut b) = (bus.join("a"), bus.join("b"));
    a.send(frame_of(b.mac, a.mac, 13));
    a.send(frame_of(b.mac, a.mac, 1519));
    let mut giant = frame_of(b.mac, a.mac, 65_550);
    giant.gso = Some(Gso { kind: GsoKind::Tcp4, segment_bytes: 1460.try_into().unwrap() });
    a.send(giant);
    let mut wide = frame_of(b.mac, a.mac, 4000);
    wide.gso = Some(Gso { kind: GsoKind::Tcp4, segment_bytes: 1501.try_into().unwrap() });
    a.send(wide);
    assert!(b.recv().is_empty());
    assert_eq!(a.stats().tx_refused, 4);
    assert!(a.queue.is_empty());
}

#[test]
fn a_live_receiver_pushes_back_and_lets_go_when_it_has_taken() {
    let bus = TempBus::new();
    let (mut a, mut b) = (bus.join("a"), bus.join("b"));
    for i in 0..100 {
        a.queue.push_back(common::super_frame(b.mac, a.mac, i));
    }
    let first = a.flush();
    assert!((3..100).contains(&first), "{first} frames fit the ring");
    assert_eq!(a.flush(), 0);
    assert_eq!(a.stats().tx_waits, 1);
    let mut got = b.recv().len();
    assert_eq!(got, first);
    // The receiver rang: there is no reason to sleep.
    assert!(!a.would_sleep());
    while !a.queue.is_empty() {
        a.flush();
        got += b.recv().len();
    }
    assert_eq!(got + b.recv().len(), 100);
    assert_eq!(b.stats().rx_missed, 0);
}

#[test]
fn a_receiver_that_does_not_move_is_given_up_once_and_counts_what_it_missed() {
    let bus = TempBus::new();
    let (mut a, mut b) = (bus.join("a"), bus.join("b"));
    for i in 0..100 {
        a.queue.push_back(common::super_frame(b.mac, a.mac, i));
    }
    a.flush();
    a.pass(Duration::from_millis(19));
    assert_eq!(a.flush(), 0);
    a.pass(Duration::from_millis(1));
    a.flush();
    assert!(a.queue.is_empty(), "not waited for any more");
    let shown = members(bus.path()).unwrap();
    assert_eq!(shown[1].state, MemberState::Stalled);
    let got = b.recv().len() as u64;
    assert!(got > 0);
    assert_eq!(got + b.stats().rx_missed, 100);
    assert_eq!(members(bus.path()).unwrap()[1].state, MemberState::Alive);
    // It moved, so it is waited for again.
    for i in 0..100 {
        a.queue.push_back(common::super_frame(b.mac, a.mac, i));
    }
    a.flush();
    assert!(!a.queue.is_empty());
}

#[test]
fn groups_and_observers_never_push_back() {
    let bus = TempBus::new();
    let (mut a, mut b) = (bus.join("a"), bus.join("b"));
    let mut observer = Observer::open(bus.path()).unwrap();
    for i in 0..100 {
        a.queue.push_back(common::super_frame(MacAddr::BROADCAST, a.mac, i));
    }
    assert_eq!(a.flush(), 100);
    let got = b.recv().len() as u64;
    assert_eq!(got + b.stats().rx_missed, 100);
    let mut seen = Vec::new();
    observer.poll(&mut seen).unwrap();
    assert_eq!(seen.len() as u64, got);
    assert_eq!(observer.missed(), 0, "what was overwritten before the first look is no loss");
    for i in 0..100 {
        a.queue.push_back(common::super_frame(MacAddr::BROADCAST, a.mac, i));
    }
    assert_eq!(a.flush(), 100);
    let more = observer.poll(&mut seen).unwrap() as u64;
    assert_eq!(more + observer.missed(), 100);
}

#[test]
fn filters_decide_about_groups_strangers_and_others() {
    let bus = TempBus::new();
    let (mut a, mut b, mut c) = (bus.join("a"), bus.join("b"), bus.join("c"));
    let group = MacAddr([1, 0, 0x5e, 0, 0, 7]);
    let stranger = MacAddr([2, 9, 9, 9, 9, 9]);
    let mut run = |a: &mut Node, c: &mut Node, filter: RxFilter| {
        c.control.set_filter(&filter).unwrap();
        for to in [group, stranger, b.mac] {
            a.send(frame(to, a.mac, b"x"));
        }
        b.recv();
        c.recv().iter().map(|f| MacAddr(*f.first_chunk().unwrap())).collect::<Vec<_>>()
    };
    let mut filter = RxFilter::default();
    assert_eq!(run(&mut a, &mut c, filter.clone()), []);
    filter.groups = vec![group];
    assert_eq!(run(&mut a, &mut c, filter.clone()), [group]);
    filter.unknown_unicast = true;
    assert_eq!(run(&mut a, &mut c, filter.clone()), [group, stranger]);
    filter = RxFilter::default();
    filter.all_multicast = true;
    assert_eq!(run(&mut a, &mut c, filter.clone()), [group]);
    filter.promiscuous = true;
    let all = run(&mut a, &mut c, filter);
    assert_eq!(all.len(), 3);
}

#[test]
fn a_sleeper_is_rung_and_one_awake_is_not() {
    let bus = TempBus::new();
    let (mut a, mut b) = (bus.join("a"), bus.join("b"));
    b.recv();
    let before = b.armed().expect("nothing is there");
    a.send(frame(b.mac, a.mac, b"x"));
    assert_ne!(b.word(), before, "rung");
    let rung = b.word();
    a.send(frame(b.mac, a.mac, b"x"));
    assert_eq!(b.word(), rung, "awake by now");
    b.disarm();
    assert_eq!(b.armed(), None, "something is there");
    assert_eq!(b.recv().len(), 2);
    assert!(b.armed().is_some());
    b.disarm();
}

#[test]
fn a_living_members_address_is_refused_and_a_former_ones_is_not() {
    let bus = TempBus::new();
    let a = bus.join("a");
    let again = Shmif::attach(bus.path()).unwrap().mac(a.mac).join();
    let Err(AttachError::MacInUse { mac, name, .. }) = again else { panic!("refused") };
    assert_eq!((mac, name.as_str()), (a.mac, "a"));
    let mac = a.mac;
    drop(a);
    assert!(members(bus.path()).unwrap().is_empty());
    assert!(Shmif::attach(bus.path()).unwrap().mac(mac).join().is_ok());
}

#[test]
fn a_newcomer_sees_nothing_of_what_was_before() {
    let bus = TempBus::new();
    let (mut a, b) = (bus.join("a"), bus.join("b"));
    let mac = b.mac;
    a.send(frame(mac, a.mac, b"old"));
    a.send(frame(MacAddr::BROADCAST, a.mac, b"old"));
    drop(b);
    let mut b = bus.join_as("b", mac);
    assert!(b.recv().is_empty());
    a.send(frame(mac, a.mac, b"new"));
    assert_eq!(b.recv(), [frame(mac, a.mac, b"new").to_bytes()]);
    assert_eq!(b.stats().rx_missed, 0);
}

#[test]
fn a_sender_that_comes_again_is_heard_again() {
    let bus = TempBus::new();
    let (mut a, mut b) = (bus.join("a"), bus.join("b"));
    let mac = a.mac;
    for _ in 0..20 {
        a.send(frame(b.mac, mac, b"one"));
        drop(a);
        a = bus.join_as("a", mac);
        a.send(frame(b.mac, mac, b"two"));
        let got = b.recv();
        assert_eq!(got.len(), 2);
        assert_eq!(&got[1][14..], b"two");
    }
    assert_eq!(b.stats().rx_missed, 0);
}

#[test]
fn a_full_bus_says_so() {
    let config = BusConfig::default().max_members(3);
    let bus = TempBus::with(&config);
    let all = [bus.join("a"), bus.join("b"), bus.join("c")];
    let full = Shmif::attach(bus.path()).unwrap().join();
    assert!(matches!(full, Err(AttachError::Full { max_members: 3, .. })));
    drop(all);
    assert!(Shmif::attach(bus.path()).unwrap().join().is_ok());
}

#[test]
fn a_thousand_idle_members_are_neither_waited_for_nor_woken() {
    let bus = TempBus::new();
    let idle: Vec<Node> = (0..200).map(|i| bus.join(&format!("idle{i}"))).collect();
    let (mut a, mut b) = (bus.join("a"), bus.join("b"));
    let words: Vec<u32> = idle.iter().map(|node| node.armed().unwrap()).collect();
    for i in 0..1000 {
        a.send(frame(b.mac, a.mac, &[i as u8]));
        assert_eq!(b.recv().len(), 1);
    }
    let after: Vec<u32> = idle.iter().map(Node::word).collect();
    assert_eq!(after, words);
    // A broadcast wakes them in batches: few by the caller, the rest by its driver.
    a.send(frame(MacAddr::BROADCAST, a.mac, b"all"));
    let woken = |words: &[u32]| idle.iter().zip(words).filter(|(n, w)| n.word() != **w).count();
    assert!(woken(&words) <= 8);
    while !a.would_sleep() {}
    assert_eq!(woken(&words), 200);
}

#[test]
fn the_file_still_holds_the_last_frames_in_order_when_all_are_gone() {
    let bus = TempBus::new();
    let (mut a, mut b) = (bus.join("a"), bus.join("b"));
    for i in 0..10_u8 {
        a.pass(Duration::from_micros(10));
        b.now = a.now + Duration::from_micros(1);
        a.send(frame(b.mac, a.mac, &[i, 0]));
        b.send(frame(a.mac, b.mac, &[i, 1]));
    }
    drop((a, b));
    let mut seen = Vec::new();
    Observer::open(bus.path()).unwrap().poll(&mut seen).unwrap();
    let got: Vec<[u8; 2]> =
        seen.iter().map(|f| f.packet.to_bytes()).map(|f| [f[14], f[15]]).collect();
    let want: Vec<[u8; 2]> = (0..10).flat_map(|i| [[i, 0], [i, 1]]).collect();
    assert_eq!(got, want);
    assert_eq!(seen[0].sender, "a");
    assert_eq!(seen[1].sender, "b");
}

#[test]
fn of_many_who_claim_one_address_at_once_at_most_one_gets_it() {
    let bus = TempBus::new();
    let mac = MacAddr([2, 0, 0, 0, 0, 9]);
    for _ in 0..20 {
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let join = || Shmif::attach(bus.path()).unwrap().mac(mac).join();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(join)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    }
}

#[test]
fn many_who_join_at_once_get_a_slot_each() {
    let config = BusConfig::default().max_members(64);
    let bus = TempBus::with(&config);
    let all: Vec<_> = std::thread::scope(|scope| {
        let join = || {
            let mut own = Vec::new();
            for _ in 0..8 {
                own.push(Shmif::attach(bus.path()).unwrap().join().unwrap());
            }
            own
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(join)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let mut slots: Vec<u16> = members(bus.path()).unwrap().iter().map(|m| m.slot).collect();
    slots.dedup();
    assert_eq!(slots.len(), 64);
    let full = Shmif::attach(bus.path()).unwrap().join();
    assert!(matches!(full, Err(AttachError::Full { .. })));
    drop(all);
    assert!(members(bus.path()).unwrap().is_empty());
}

#[test]
fn a_bus_that_many_make_at_once_is_one_bus() {
    let bus = TempBus::unmade();
    let all: Vec<_> = std::thread::scope(|scope| {
        let make = || {
            let link = Shmif::create_or_attach(bus.path(), &BusConfig::default());
            link.unwrap().join().unwrap()
        };
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(make)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(members(bus.path()).unwrap().len(), all.len());
    let folder = bus.path().parent().unwrap();
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn a_reader_that_is_overtaken_again_and_again_accounts_for_every_frame() {
    let bus = TempBus::new();
    let (mut a, mut b) = (bus.join("a"), bus.join("b"));
    let mut got = 0;
    let mut state = 1_u64;
    for round in 0..300 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        for i in 0..(state >> 33) % 30 {
            let to = if i % 4 == 0 { MacAddr::BROADCAST } else { b.mac };
            a.queue.push_back(common::super_frame(to, a.mac, round));
        }
        // Time goes so fast that b counts as stalled whenever the ring is full.
        while !a.queue.is_empty() {
            a.pass(Duration::from_millis(25));
            a.flush();
        }
        if (state >> 20).is_multiple_of(3) {
            got += b.recv().len() as u64;
        }
    }
    got += b.recv().len() as u64;
    let sent = members(bus.path()).unwrap()[0].tx_frames;
    assert_eq!(got + b.stats().rx_missed, sent);
    assert!(got > 0 && b.stats().rx_missed > 0);
}

#[test]
fn a_bridge_may_hold_a_sender_and_a_promiscuous_looker_on_may_not() {
    let bus = TempBus::new();
    let (mut a, mut bridge) = (bus.join("a"), bus.join("bridge"));
    let stranger = MacAddr([2, 9, 9, 9, 9, 9]);
    let mut filter = RxFilter::default();
    filter.promiscuous = true;
    bridge.control.set_filter(&filter).unwrap();
    for i in 0..50 {
        a.queue.push_back(common::super_frame(stranger, a.mac, i));
    }
    assert_eq!(a.flush(), 50);
    filter.unknown_unicast = true;
    bridge.control.set_filter(&filter).unwrap();
    bridge.recv();
    for i in 0..50 {
        a.queue.push_back(common::super_frame(stranger, a.mac, i));
    }
    assert!(a.flush() < 50);
    while !a.queue.is_empty() {
        assert!(!bridge.recv().is_empty());
        a.flush();
    }
}

#[test]
fn a_frame_that_is_overwritten_while_it_is_copied_is_not_delivered() {
    let bus = TempBus::with(&BusConfig::default().ring_bytes(256 * 1024));
    let (mut a, mut b) = (bus.join("a"), bus.join("b"));
    let mac = a.mac;
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = stop.clone();
    // Groups hold nobody: the ring goes round as fast as it can, past a reader that does not keep up.
    let sender = std::thread::spawn(move || {
        let mut number = 0;
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            a.send(common::super_frame(MacAddr::BROADCAST, mac, number));
            number = number.wrapping_add(1);
        }
        number
    });
    let (mut got, mut last) = (0_u64, None);
    while got < 1000 || b.stats().rx_missed < 1000 {
        for frame in b.recv() {
            let number = u32::from_be_bytes(*frame[14..].first_chunk().unwrap());
            assert!(last.is_none_or(|last| last < number), "in order");
            assert!(frame[18..].iter().all(|byte| *byte == number as u8), "whole");
            last = Some(number);
            got += 1;
        }
        if got.is_multiple_of(3) {
            std::thread::yield_now();
        }
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let sent = u64::from(sender.join().unwrap());
    got += b.recv().len() as u64;
    assert_eq!(got + b.stats().rx_missed, sent);
    assert_eq!(b.stats().rx_malformed, 0);
}

#[test]
fn an_observer_tells_the_wall_clocks_time_and_only_what_is_new_if_asked() {
    let bus = TempBus::new();
    let (mut a, b) = (bus.join("a"), bus.join("b"));
    a.now = common::clock();
    a.send(frame(b.mac, a.mac, b"old"));
    let mut observer = Observer::open(bus.path()).unwrap();
    assert!(observer.is_of_this_boot());
    observer.skip_to_now();
    a.now = common::clock();
    a.send(frame(b.mac, a.mac, b"new"));
    let mut seen = Vec::new();
    observer.wait(&mut seen, Duration::from_secs(1)).unwrap();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].at, a.now);
    let off = match std::time::SystemTime::now().duration_since(seen[0].wall) {
        Ok(later) => later,
        Err(earlier) => earlier.duration(),
    };
    assert!(off < Duration::from_secs(60), "{off:?}");
    assert_eq!(observer.wait(&mut seen, Duration::from_millis(5)).unwrap(), 0);
}
