//! Threads that sleep on their bells alone: whoever has something for them, or room, rings.

mod common;

use std::time::Duration;

use common::{Node, TempBus, Woken, clock, frame, sleep_on, super_frame};
use libnet::ethernet::MacAddr;

const LONG: Duration = Duration::from_secs(5);

/// Waits until something is there; how often the bell's longest sleep passed without a ring
/// although there was.
fn wait_for_frames(node: &mut Node, overslept: &mut u32) -> usize {
    loop {
        node.now = clock();
        let before = node.recv().len();
        if before > 0 {
            return before;
        }
        let bell = node.bell();
        let woken = sleep_on(&*bell, LONG);
        node.now = clock();
        let got = node.recv().len();
        if got > 0 {
            *overslept += u32::from(woken == Woken::Overslept);
            return got;
        }
    }
}

#[test]
fn no_frame_is_slept_over() {
    let bus = TempBus::new();
    let (mut a, mut b) = (bus.join("a"), bus.join("b"));
    let (mac_a, mac_b) = (a.mac, b.mac);
    let rounds = 5000;
    let echo = std::thread::spawn(move || {
        let mut overslept = 0;
        let mut left = rounds;
        while left > 0 {
            let got = wait_for_frames(&mut b, &mut overslept);
            for _ in 0..got {
                b.send(frame(mac_a, mac_b, b"back"));
            }
            left -= got;
        }
        (overslept, b)
    });
    let mut overslept = 0;
    let mut sent = 0;
    let mut state = 7_u64;
    while sent < rounds {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let burst = (1 + (state >> 40) as usize % 3).min(rounds - sent);
        for _ in 0..burst {
            a.send(frame(mac_b, mac_a, b"there"));
        }
        sent += burst;
        let mut back = 0;
        while back < burst {
            back += wait_for_frames(&mut a, &mut overslept);
        }
    }
    let (theirs, _b) = echo.join().unwrap();
    assert_eq!((overslept, theirs), (0, 0));
}

#[test]
fn a_sender_that_waits_for_room_does_not_wait_longer_than_it_must() {
    let bus = TempBus::new();
    let (mut a, mut b) = (bus.join("a"), bus.join("b"));
    let (mac_a, mac_b) = (a.mac, b.mac);
    let frames = 3000;
    let reader = std::thread::spawn(move || {
        let (mut got, mut overslept) = (0, 0);
        while got < frames {
            got += wait_for_frames(&mut b, &mut overslept);
        }
        (overslept, b.stats().rx_missed)
    });
    let (mut sent, mut sleeps, mut timed_out) = (0, 0_u32, 0_u32);
    while sent < frames {
        while a.queue.len() < 16 && sent + a.queue.len() < frames {
            a.queue.push_back(super_frame(mac_b, mac_a, 0));
        }
        a.now = clock();
        let now = a.flush();
        sent += now;
        if now == 0 {
            sleeps += 1;
            let bell = a.bell();
            // While it waits for room the bell lets it sleep 20 ms at most.
            timed_out += u32::from(sleep_on(&*bell, LONG) == Woken::Overslept);
        }
    }
    let (overslept, missed) = reader.join().unwrap();
    assert_eq!((overslept, missed), (0, 0));
    assert!(sleeps > 0, "the ring was full now and then");
    // A time-out is what a lost ring would look like; a machine under load has few of its own.
    assert!(timed_out * 10 <= sleeps, "{timed_out} of {sleeps} sleeps");
}

#[test]
fn a_broadcast_to_many_sleepers_wakes_them_all_through_the_driver() {
    let bus = TempBus::new();
    let mut a = bus.join("a");
    let sleepers: Vec<_> = (0..24)
        .map(|i| {
            let mut node = bus.join(&format!("sleeper{i}"));
            std::thread::spawn(move || {
                let mut overslept = 0;
                for _ in 0..5 {
                    wait_for_frames(&mut node, &mut overslept);
                }
                overslept
            })
        })
        .collect();
    let mut left = sleepers;
    let start = clock();
    // The driver sends, does the wakes that are left, and sends again while anybody listens.
    while left.iter().any(|thread| !thread.is_finished()) {
        a.now = clock();
        a.send(frame(MacAddr::BROADCAST, a.mac, b"all"));
        while !a.would_sleep() {}
        assert!(clock().since(start) < Duration::from_secs(30));
        std::thread::yield_now();
    }
    for thread in left.drain(..) {
        assert_eq!(thread.join().unwrap(), 0);
    }
}
