//! What a world remembers of its frames.

use super::*;
use crate::link::Medium;
use crate::stats::{DropReason, Dropped};

#[test]
fn a_segment_remembers_who_sent_and_who_received() {
    let world = World::new(1);
    let (segment, a, b) = two(&world, Impairments::none().delay(MS));
    a.ping(b.mac(), b"x");
    world.run_for(MS * 10);
    let seen = segment.last_frames();
    let short: Vec<_> = seen.iter().map(|f| (f.at.as_millis(), f.seen.clone())).collect();
    use Seen::{Received, Sent};
    assert_eq!(short, [(0, Sent), (1, Received), (1, Sent), (2, Received)]);
    let stations: Vec<&str> = seen.iter().map(|f| &*f.station).collect();
    assert_eq!(stations, ["a", "b", "b", "a"]);
    assert_eq!((&seen[0].bytes[14..], seen[0].original_len), (&b"x"[..], 15));
}

#[test]
fn what_is_remembered_is_bounded_in_frames_bytes_and_length() {
    let mut frames_only = Recording { frames: 10, ..Recording::default() };
    let bytes_only = Recording { bytes: 150, ..Recording::default() };
    for recording in [frames_only, bytes_only] {
        let world = World::new(1);
        world.record(recording);
        let (segment, a, b) = two(&world, Impairments::none());
        let numbers: &'static [u8] = (0..50).collect::<Vec<u8>>().leak();
        for number in numbers.chunks(1) {
            a.ping(b.mac(), number);
        }
        world.run_for(MS * 10);
        let seen = segment.last_frames();
        assert_eq!(seen.len(), 10, "frames of 15 bytes each");
        assert!(seen.iter().all(|f| f.bytes.len() == 15), "each has its own bytes");
        assert_eq!(seen[9].bytes[14], 49, "the last is among them");
        assert_eq!(world.shared.lock().segments[0].record.forgotten, 190);
    }
    frames_only.snap_bytes = 14;
    for (recording, kept) in [(frames_only, Some(14)), (Recording::OFF, None)] {
        let world = World::new(1);
        world.record(recording);
        let (segment, a, b) = two(&world, Impairments::none());
        a.ping(b.mac(), b"x");
        world.run_for(MS);
        let seen = segment.last_frames();
        assert_eq!(seen.first().map(|f| f.bytes.len()), kept);
        assert!(seen.iter().all(|f| f.original_len == 15));
    }
}

#[test]
fn what_is_lost_is_remembered_with_its_reason() {
    let queue = QueueLimit::drop_past_frames(2);
    let why = |impairments, faults: fn(&Segment, &Stack)| {
        let world = World::new(1);
        let (segment, a, b) = two(&world, impairments);
        faults(&segment, &a);
        for _ in 0..3 {
            a.ping(b.mac(), b"x");
        }
        world.run_for(MS * 100);
        let lost = segment.last_frames().into_iter().find_map(|frame| match frame.seen {
            Seen::Lost(why) => Some(format!("{}: {why}", frame.station)),
            _ => None,
        });
        lost.expect("something is lost")
    };
    let none = |_: &Segment, _: &Stack| {};
    assert_eq!(why(Impairments::none().loss(1.0), none), "a: at random");
    let full = Impairments::none().rate(8_000).queue(queue);
    assert_eq!(why(full, none), "a: the queue was full");
    let drop_second = |segment: &Segment, _: &Stack| {
        let _ = segment.drop_nth(2, |_| true);
    };
    assert_eq!(why(Impairments::none(), drop_second), "a: by `drop_nth`");
    let pull = |segment: &Segment, _: &Stack| segment.plug(PortId(1), Plug::Pulled);
    assert_eq!(why(Impairments::none(), pull), "b: the plug is pulled");
}

#[test]
fn a_stack_that_is_attached_again_has_each_drop_noted_once() {
    let world = World::new(1);
    let (segment, a, _) = two(&world, Impairments::none());
    a.driver.attach(&a.engine).unwrap();
    let packet = Packet::from_payload(Bytes::from_static(b"x"));
    let dropped = Dropped::new(IfIndex(2), Medium::Ethernet, &packet);
    a.engine.drops().count_packet(DropReason::ALL[0], dropped);
    let noted: Vec<Seen> = segment.last_frames().into_iter().map(|frame| frame.seen).collect();
    assert_eq!(noted, [Seen::Dropped(DropReason::ALL[0])]);
}
