//! The ring in plain memory against an oracle, and in a model checker's memory against itself.

use std::collections::VecDeque;
use std::sync::atomic::AtomicU64;

use libnet::packet::Checksum;
use proptest::prelude::*;

use super::*;
use crate::frame::Dest;

/// A ring of words, real ones or the model checker's.
struct Words<W> {
    head: W,
    reclaim: W,
    data: Vec<W>,
}

trait NewWord: Word<Value = u64> {
    fn new_word() -> Self;
}

impl NewWord for AtomicU64 {
    fn new_word() -> Self {
        AtomicU64::new(0)
    }
}

impl NewWord for loom::sync::atomic::AtomicU64 {
    fn new_word() -> Self {
        loom::sync::atomic::AtomicU64::new(0)
    }
}

impl<W: NewWord> Words<W> {
    fn new(units: usize) -> Self {
        let data = (0..units * UNIT / 8).map(|_| W::new_word()).collect();
        Words { head: W::new_word(), reclaim: W::new_word(), data }
    }
}

impl<W: NewWord> RingMemory for Words<W> {
    type Word = W;

    fn head(&self) -> &W {
        &self.head
    }

    fn reclaim(&self) -> &W {
        &self.reclaim
    }

    fn unit_word(&self, unit: u64, index: usize) -> &W {
        &self.data[unit as usize * UNIT / 8 + index]
    }

    fn units(&self) -> u64 {
        (self.data.len() * 8 / UNIT) as u64
    }

    // Byte by byte through words: only the one writer writes, so this need not be one step.
    fn copy_in(&self, at: usize, bytes: &[u8]) {
        let mut at = at;
        let mut bytes = bytes;
        while !bytes.is_empty() {
            let (word, from) = (&self.data[at / 8], at % 8);
            let n = bytes.len().min(8 - from);
            // A whole word is not read first: the checker has fewer orders to try.
            let mut value = if n == 8 { [0; 8] } else { word.load(Relaxed).to_ne_bytes() };
            value[from..from + n].copy_from_slice(&bytes[..n]);
            word.store(u64::from_ne_bytes(value), Relaxed);
            (at, bytes) = (at + n, &bytes[n..]);
        }
    }

    fn copy_to(&self, at: usize, into: &mut [u8]) {
        let mut bytes = Vec::new();
        self.copy_out(at, into.len(), &mut bytes);
        into.copy_from_slice(&bytes);
    }

    fn copy_out(&self, at: usize, len: usize, into: &mut Vec<u8>) {
        let (mut at, end) = (at, at + len);
        while at < end {
            let n = (end - at).min(8 - at % 8);
            let value = self.data[at / 8].load(Relaxed).to_ne_bytes();
            into.extend_from_slice(&value[at % 8..at % 8 + n]);
            at += n;
        }
    }
}

fn header(bytes: &[u8], number: u64) -> FrameHeader {
    FrameHeader {
        sent_ns: number,
        number,
        frame_bytes: bytes.len() as u32,
        dest: Dest::Group,
        checksum: Checksum::Unverified,
        gso: None,
    }
}

fn epoch() -> Epoch {
    Epoch::from_number(1)
}

#[derive(Clone, Debug)]
enum Step {
    /// Write a frame of so many bytes, in pieces of so many.
    Write { len: usize, piece: usize },
    /// Read up to so many frames.
    Read(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let write = (14..1500_usize, 1..600_usize).prop_map(|(len, piece)| Step::Write { len, piece });
    proptest::collection::vec(prop_oneof![write, (1..4_usize).prop_map(Step::Read)], 1..200)
}

proptest! {
    /// A reader sees, in order, every frame that still stands, whole, and nothing else.
    #[test]
    fn a_ring_is_a_queue_that_forgets_its_oldest(
        steps in steps(),
        start in prop_oneof![Just(0), (1_u64 << 48) - 100..1 << 48],
    ) {
        let ring = Words::<AtomicU64>::new(64);
        ring.head.store(epoch().with(Pos::START.plus(start)), Relaxed);
        ring.reclaim.store(epoch().with(Pos::START.plus(start)), Relaxed);
        let mut writer = Writer::take_over(&ring, epoch());
        let mut oracle: VecDeque<(Pos, Vec<u8>)> = VecDeque::new();
        let mut at = writer.head();
        let mut number = 0;
        for step in steps {
            match step {
                Step::Write { len, piece } => {
                    let bytes: Vec<u8> = (0..len).map(|i| (number as usize + i) as u8).collect();
                    while writer.room() < FrameHeader::units(len) {
                        oracle.pop_front();
                        let mark = oracle.front().map_or(writer.head(), |(pos, _)| *pos);
                        writer.reclaim_to(&ring, mark);
                    }
                    oracle.push_back((writer.head(), bytes.clone()));
                    writer.publish(&ring, header(&bytes, number), bytes.chunks(piece));
                    number += 1;
                }
                Step::Read(frames) => {
                    let window = Window::read(&ring).unwrap();
                    prop_assert_eq!(window.head, writer.head());
                    if !window.holds(at) && at != window.head {
                        at = window.reclaim;
                    }
                    for _ in 0..frames {
                        if at == window.head {
                            break;
                        }
                        let Seen::Frame { header, next, .. } = look(&ring, at, window.head) else {
                            panic!("a frame stands at {at:?}");
                        };
                        let mut bytes = Vec::new();
                        prop_assert!(take(&ring, at, header.frame_bytes as usize, &mut bytes));
                        let found = oracle.iter().find(|(pos, _)| *pos == at);
                        prop_assert_eq!(Some(&bytes), found.map(|(_, bytes)| bytes));
                        at = next;
                    }
                }
            }
        }
    }

    /// Whatever is in memory, looking at it ends and stays inside.
    #[test]
    fn random_memory_is_survived(
        words in proptest::collection::vec(any::<u64>(), 64 * 8),
        head: u64,
        reclaim: u64,
        stamps: bool,
    ) {
        let ring = Words::<AtomicU64>::new(64);
        for (word, value) in ring.data.iter().zip(words) {
            word.store(value, Relaxed);
        }
        ring.head.store(head, Relaxed);
        ring.reclaim.store(reclaim, Relaxed);
        if stamps {
            // Likely places and lengths, so that more than the first check is reached.
            let (_, pos) = split(head);
            for unit in 0..64 {
                let place = pos.plus((1 << 48) - 64 + unit);
                ring.unit_word(place.unit_in(64), 0).store(epoch().with(place), Relaxed);
            }
            ring.reclaim.store(epoch().with(pos.plus((1 << 48) - 64)), Relaxed);
        }
        let Some(window) = Window::read(&ring) else { return Ok(()) };
        let mut at = window.reclaim;
        for _ in 0..100 {
            if !window.holds(at) {
                break;
            }
            let Seen::Frame { header, next, .. } = look(&ring, at, window.head) else { break };
            take(&ring, at, header.frame_bytes as usize, &mut Vec::new());
            at = next;
        }
    }
}

#[test]
fn a_ring_with_impossible_marks_is_taken_over_empty() {
    let ring = Words::<AtomicU64>::new(64);
    ring.head.store(epoch().with(Pos::START.plus(1000)), Relaxed);
    ring.reclaim.store(epoch().with(Pos::START.plus(900)), Relaxed);
    let writer = Writer::take_over(&ring, epoch().next());
    assert_eq!((writer.head(), writer.room()), (Pos::START.plus(1000), 64));
}

type ModelRing = loom::sync::Arc<Words<loom::sync::atomic::AtomicU64>>;

fn frame(value: u8) -> [u8; 16] {
    [value; 16]
}

/// Reads what it can until the ring is empty or broken; every frame is whole.
fn read_some(ring: &ModelRing, at: &mut Pos) -> Vec<u8> {
    let mut got = Vec::new();
    let Some(window) = Window::read(&**ring) else { return got };
    while *at != window.head {
        match look(&**ring, *at, window.head) {
            Seen::Frame { header, next, .. } => {
                let mut bytes = Vec::new();
                if take(&**ring, *at, header.frame_bytes as usize, &mut bytes) {
                    assert_eq!(bytes, frame(header.number as u8), "no torn frame");
                    got.push(bytes[0]);
                }
                *at = next;
            }
            Seen::Lapped => {
                let (_, reclaim) = split(ring.reclaim.load(Relaxed));
                if window.head.since(reclaim) > ring.units() {
                    *at = window.head;
                } else {
                    *at = reclaim;
                }
            }
            Seen::Broken => panic!("nobody scribbles here"),
        }
    }
    got
}

#[test]
fn model_what_is_published_is_read_whole_and_in_order() {
    loom::model(|| {
        let ring: ModelRing = loom::sync::Arc::new(Words::new(2));
        let mut writer = Writer::take_over(&*ring, epoch());
        let mut at = writer.head();
        let theirs = ring.clone();
        let thread = loom::thread::spawn(move || {
            for value in 0..2 {
                let bytes = frame(value);
                let header = header(&bytes, value.into());
                writer.publish(&*theirs, header, std::iter::once(&bytes[..]));
            }
        });
        let mut got = read_some(&ring, &mut at);
        thread.join().unwrap();
        got.extend(read_some(&ring, &mut at));
        assert_eq!(got, [0, 1]);
    });
}

#[test]
fn model_a_lapped_reader_never_believes_a_torn_frame() {
    // Five header words and two of data per frame: bounded, as CHESS does, to stay in seconds.
    let mut model = loom::model::Builder::new();
    model.preemption_bound = model.preemption_bound.or(Some(3));
    model.check(|| {
        let ring: ModelRing = loom::sync::Arc::new(Words::new(1));
        let mut writer = Writer::take_over(&*ring, epoch());
        let mut at = writer.head();
        let old = frame(0);
        writer.publish(&*ring, header(&old, 0), std::iter::once(&old[..]));
        let theirs = ring.clone();
        let thread = loom::thread::spawn(move || {
            // Nobody waits for the reader.
            writer.reclaim_to(&*theirs, writer.head());
            let new = frame(1);
            writer.publish(&*theirs, header(&new, 1), std::iter::once(&new[..]));
        });
        let mut got = read_some(&ring, &mut at);
        thread.join().unwrap();
        got.extend(read_some(&ring, &mut at));
        assert!(got == [0, 1] || got == [1], "{got:?}");
    });
}
