//! Members that are killed, stopped or scribbled over: the others go on.

mod common;

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::traffic::{Report, Talker, mac};
use common::{ChildNode, TempBus, clock, role, spawn_child};
use nix::sys::signal::Signal;
use shmif::{MemberInfo, MemberState, Shmif, members};

/// What one member may do to the others' delivery, beside what the machine does to it anyway.
const LONGEST_GAP: Duration = Duration::from_millis(100);
const EVERYONE: [u8; 4] = [1, 2, 3, 4];

/// Not a test by itself: what a child process does.
#[test]
fn child() {
    let Some((role, args)) = role() else { return };
    assert_eq!(role, "talker");
    Talker::join(Path::new(&args[0]), args[1].parse().unwrap(), &EVERYONE).run();
}

/// Two who live, and children that do not live long.
struct Party {
    bus: TempBus,
    survivors: Vec<(Arc<Report>, std::thread::JoinHandle<()>)>,
}

impl Party {
    fn new(survivors: &[u8]) -> Self {
        let bus = TempBus::new();
        let talkers: Vec<_> =
            survivors.iter().map(|n| Talker::join(bus.path(), *n, &EVERYONE)).collect();
        let survivors =
            talkers.into_iter().map(|talker| (talker.report.clone(), talker.spawn())).collect();
        Party { bus, survivors }
    }

    fn child(&self, number: u8) -> ChildNode {
        spawn_child("talker", &[&self.bus.path().to_string_lossy(), &number.to_string()])
    }

    fn reset_gaps(&self) {
        for (report, _) in &self.survivors {
            report.reset_gaps();
        }
    }

    /// The longest silence between the first two, either way.
    fn gap(&self) -> Duration {
        self.survivors[0].0.gap(2).max(self.survivors[1].0.gap(1))
    }

    /// Waits until the first survivor hears `sender`, two seconds at most.
    fn wait_to_hear(&self, sender: u8) -> bool {
        let report = &self.survivors[0].0;
        let since = clock();
        while clock().since(since) < Duration::from_secs(2) {
            let heard = report.last_heard.lock().unwrap().get(&sender).copied();
            if heard.is_some_and(|at| at > since) {
                return true;
            }
            std::thread::yield_now();
        }
        false
    }

    fn member(&self, number: u8) -> Option<MemberInfo> {
        members(self.bus.path()).unwrap().into_iter().find(|member| member.mac == mac(number))
    }

    /// Ends the survivors; nothing they heard was torn or out of order.
    fn end(self) -> TempBus {
        for (report, _) in &self.survivors {
            report.stop.store(true, Ordering::Relaxed);
        }
        for (report, thread) in self.survivors {
            thread.join().unwrap();
            assert_eq!(report.torn_total(), 0, "torn frames");
            assert_eq!(report.disorder.load(Ordering::Relaxed), 0, "frames out of order");
            assert!(report.frames.load(Ordering::Relaxed) > 0);
        }
        self.bus
    }
}

fn wait(time: Duration) {
    let start = clock();
    while clock().since(start) < time {
        std::thread::park_timeout(time.saturating_sub(clock().since(start)));
    }
}

#[test]
fn a_killed_member_holds_nobody_up_and_its_slot_is_free_again() {
    // More for a soak: SHMIF_KILLS=200.
    let kills = std::env::var("SHMIF_KILLS").map_or(20, |text| text.parse().unwrap());
    let party = Party::new(&[1, 2]);
    let bystander = party.child(4);
    assert!(party.wait_to_hear(2) && party.wait_to_hear(4));
    // A control run of the same length, with the same processes coming and going.
    let mut gaps = [Duration::ZERO; 2];
    for (killed, gap) in gaps.iter_mut().enumerate() {
        party.reset_gaps();
        for round in 0..kills {
            let mut victim = party.child(3);
            assert!(party.wait_to_hear(3), "a new one is heard");
            wait(Duration::from_micros(round * 997 % 7000));
            if killed == 1 {
                victim.0.kill().unwrap();
                victim.0.wait().unwrap();
            }
            drop(victim);
        }
        *gap = party.gap();
    }
    drop(bystander);
    // The survivors find out by themselves, once they have waited.
    let bus = party.end();
    let alive = members(bus.path()).unwrap();
    assert!(alive.iter().all(|member| member.state == MemberState::Gone), "{alive:?}");
    for number in EVERYONE {
        Shmif::attach(bus.path()).unwrap().mac(mac(number)).join().unwrap();
    }
    eprintln!("longest gaps without and with {kills} kills: {gaps:?}");
    assert!(gaps[1] < LONGEST_GAP + gaps[0], "gaps without and with kills: {gaps:?}");
}

#[test]
fn who_is_killed_while_joining_leaves_a_slot_that_the_next_one_takes() {
    let party = Party::new(&[1, 2]);
    for round in 0..30_u64 {
        let victim = party.child(3);
        wait(Duration::from_micros(round * 331 % 10_000));
        drop(victim);
    }
    let last = party.child(3);
    assert!(party.wait_to_hear(3));
    let slots: Vec<u16> = members(party.bus.path()).unwrap().iter().map(|m| m.slot).collect();
    assert_eq!(slots, [0, 1, 2], "the same slot again and again");
    drop(last);
    party.end();
}

#[test]
fn a_stopped_member_holds_nobody_up_and_is_back_when_it_goes_on() {
    let party = Party::new(&[1, 2]);
    let sleeper = party.child(3);
    assert!(party.wait_to_hear(2) && party.wait_to_hear(3));
    let mut gaps = [Duration::ZERO; 2];
    for (stopped, gap) in gaps.iter_mut().enumerate() {
        party.reset_gaps();
        for _ in 0..4 {
            if stopped == 1 {
                sleeper.signal(Signal::SIGSTOP);
            }
            wait(Duration::from_millis(150));
            if stopped == 1 {
                assert_eq!(party.member(3).unwrap().state, MemberState::Stalled);
                sleeper.signal(Signal::SIGCONT);
            }
            assert!(party.wait_to_hear(3), "it goes on");
        }
        *gap = party.gap();
    }
    let before = party.member(3).unwrap();
    assert!(before.rx_missed > 0, "it counts what it missed");
    assert_eq!(before.rx_malformed, 0);
    wait(Duration::from_millis(50));
    let after = party.member(3).unwrap();
    assert!(after.rx_frames > before.rx_frames, "it hears again");
    drop(sleeper);
    party.end();
    eprintln!("longest gaps without and with stops: {gaps:?}");
    assert!(gaps[1] < LONGEST_GAP + gaps[0], "gaps without and with stops: {gaps:?}");
}

/// Pseudo-random bytes of a seed.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Three talk; somebody writes random bytes over a part of the file, again and again. Whose memory
/// was hit is heard again within two seconds.
fn scribble(offset: u64, len: usize, hits: &[u8]) {
    let party = Party::new(&[1, 2, 3]);
    assert!(party.wait_to_hear(2) && party.wait_to_hear(3));
    let file = OpenOptions::new().write(true).open(party.bus.path()).unwrap();
    for round in 0..6 {
        let bytes = if round == 5 { vec![0; len] } else { noise(round * 77 + offset, len) };
        party.reset_gaps();
        file.write_all_at(&bytes, offset).unwrap();
        // Survivor 1 hears 2 and 3; survivor 2 hears 1.
        assert!(party.wait_to_hear(2), "round {round}");
        assert!(party.wait_to_hear(3), "round {round}");
        let (since, report) = (clock(), &party.survivors[1].0);
        let heard = || report.last_heard.lock().unwrap().get(&1).copied();
        while heard().is_none_or(|at| at <= since) {
            assert!(clock().since(since) < Duration::from_secs(2), "round {round}");
            std::thread::yield_now();
        }
    }
    for (report, _) in &party.survivors {
        report.stop.store(true, Ordering::Relaxed);
    }
    for (report, thread) in party.survivors {
        thread.join().unwrap();
        let torn = report.torn.lock().unwrap();
        // What is written into a ring may be read from it; nobody else's frames are harmed.
        assert!(torn.keys().all(|sender| hits.contains(sender)), "{torn:?}");
    }
}

/// Of the default geometry, as `docs/bus-format.md` has it.
const PAGE: u64 = 4096;
const SLOTS: u64 = 1024;
const BELLS_AT: u64 = PAGE + SLOTS * 128;
const CONTROLS_AT: u64 = BELLS_AT + SLOTS * 192;
const PAIRS_AT: u64 = CONTROLS_AT + SLOTS * 256;
const RINGS_AT: u64 = PAIRS_AT + SLOTS * SLOTS * 64;
const RING: u64 = 512 * 1024;

#[test]
fn a_header_that_was_scribbled_over_is_restored() {
    scribble(0, PAGE as usize, &[]);
}

#[test]
fn slots_that_were_scribbled_over_are_restored() {
    scribble(PAGE, 4 * 128, &[]);
}

#[test]
fn bells_that_were_scribbled_over_are_survived() {
    scribble(BELLS_AT, 3 * 192, &[]);
}

#[test]
fn a_control_block_that_was_scribbled_over_is_survived() {
    scribble(CONTROLS_AT, 256, &[1]);
}

#[test]
fn pair_records_that_were_scribbled_over_are_survived() {
    scribble(PAIRS_AT, (SLOTS * 64) as usize, &[]);
}

#[test]
fn a_ring_that_was_scribbled_over_is_survived() {
    scribble(RINGS_AT, RING as usize, &[1]);
}

#[test]
fn everything_before_the_rings_scribbled_over_at_once_is_survived() {
    scribble(0, (PAIRS_AT + 3 * SLOTS * 64) as usize, &[1, 2, 3]);
}

#[test]
fn all_rings_scribbled_over_at_once_are_survived() {
    scribble(RINGS_AT, 3 * RING as usize, &[1, 2, 3]);
}
