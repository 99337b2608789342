//! A bus file that somebody scribbles over, before and after an observer and a member have opened it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use libnet::link::LinkQueue;
use libnet::{EtherType, EthernetHeader, Instant, MacAddr, Packet};
use shmif::{BusConfig, Observer, Shmif, members};

/// What a frame on a bus may be long, in bytes.
const FRAME_BYTES: std::ops::RangeInclusive<usize> = 14..=65_549;
/// Bytes of one scribble in the input.
const SCRIBBLE_BYTES: usize = 12;
const PAGE: usize = 4096;
/// Where, in a bus of three members with rings of 256 KiB, everything begins.
const BELLS_AT: usize = PAGE + 3 * 128;
const CONTROLS_AT: usize = BELLS_AT + 3 * 128;
const ROWS_AT: usize = 2 * PAGE;
const RINGS_AT: usize = ROWS_AT + 3 * PAGE;

/// One word written somewhere.
///
/// ```text
///  0      1       2        4
/// +------+-------+--------+------------------
/// | when | where | offset | value, eight bytes
/// +------+-------+--------+------------------
/// ```
struct Scribble {
    /// Before anybody opens the file, or after.
    early: bool,
    at: usize,
    value: [u8; 8],
}

impl Scribble {
    fn new(bytes: &[u8]) -> Option<Self> {
        let (head, value) = bytes.split_first_chunk::<4>()?;
        let offset = usize::from(u16::from_le_bytes([head[2], head[3]]));
        let slot = usize::from(head[1] >> 4) % 3;
        let ring = RINGS_AT + slot * 256 * 1024;
        let at = match head[1] % 8 {
            0 => offset % 80,
            1 => 1024 + offset % 64,
            2 => PAGE + slot * 128 + offset % 128,
            3 => BELLS_AT + slot * 128 + offset % 128,
            4 => CONTROLS_AT + slot * 256 + offset % 256,
            5 => ROWS_AT + slot * PAGE + offset % 192,
            6 => ring + offset % 1024,
            // Never the last seven bytes of the file: it must not grow.
            _ => ring + offset * 4 % (256 * 1024 - 8),
        };
        Some(Scribble { early: head[0] & 1 == 0, at, value: value.try_into().ok()? })
    }

    fn write(&self, file: &File) {
        file.write_all_at(&self.value, self.at as u64).expect("a scratch file takes it");
    }
}

/// A file of our own, and what an undamaged bus looks like.
struct Rig {
    path: PathBuf,
    file: File,
    bytes: u64,
    /// The pages that are not zero.
    pages: Vec<(u64, Vec<u8>)>,
}

thread_local! {
    static RIG: RefCell<Rig> = RefCell::new(Rig::new());
}

/// Scribbles, looks on, joins, sends and receives.
pub(super) fn run(bytes: &[u8]) {
    let (scribbles, rest) = bytes.as_chunks::<SCRIBBLE_BYTES>();
    let scribbles: Vec<Scribble> =
        scribbles.iter().filter_map(|bytes| Scribble::new(bytes)).collect();
    RIG.with_borrow(|rig| {
        rig.restore();
        if rest.len() == 1 {
            // A file cut short, or not a bus at all, is refused when it is opened.
            rig.file.set_len(u64::from(rest[0]) * 1000).expect("a scratch file can be cut");
        }
        scribbles.iter().filter(|scribble| scribble.early).for_each(|s| s.write(&rig.file));
        let late = scribbles.iter().filter(|scribble| !scribble.early);
        use_it(rig, &late.collect::<Vec<_>>());
    });
}

fn use_it(rig: &Rig, late: &[&Scribble]) {
    let observer = Observer::open(&rig.path);
    let listed = members(&rig.path);
    assert_eq!(observer.is_ok(), listed.is_ok(), "both check the same header");
    let member = Shmif::attach(&rig.path).map(Shmif::join);
    late.iter().for_each(|scribble| scribble.write(&rig.file));
    if let Ok(Ok((mut queue, control))) = member {
        exchange(&mut queue);
        control.stats();
    }
    if let Ok(mut observer) = observer {
        let mut frames = Vec::new();
        for _ in 0..2 {
            // The file's size is left alone from here on, so that this never fails.
            observer.poll(&mut frames).expect("the file is there");
        }
        for frame in frames {
            assert!(FRAME_BYTES.contains(&frame.packet.len()));
        }
    }
    let _ = members(&rig.path);
}

fn exchange(queue: &mut LinkQueue) {
    let mut received = Vec::new();
    for round in 0..2 {
        let mut out = VecDeque::from([frame(MacAddr::BROADCAST), frame(mac(0)), frame(mac(9))]);
        let now = Instant::from_nanos(round);
        // Either may find the member's own memory damaged, which is an error and no panic.
        let _ = queue.tx.send(now, &mut out);
        let _ = queue.rx.recv(now, 64, &mut received, None);
    }
    for packet in received {
        assert!(FRAME_BYTES.contains(&packet.len()));
    }
}

impl Rig {
    fn new() -> Self {
        let shared = Path::new("/dev/shm");
        let folder = if shared.is_dir() { shared.to_owned() } else { std::env::temp_dir() };
        let thread = format!("{:?}", std::thread::current().id());
        let path = folder.join(format!("rumpnet-fuzz-{}-{thread}.bus", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let pages = template(&path);
        let file = OpenOptions::new().read(true).write(true).open(&path).expect("it was made");
        let bytes = file.metadata().expect("it is there").len();
        Rig { path, file, bytes, pages }
    }

    fn restore(&self) {
        self.file.set_len(0).expect("a scratch file can be emptied");
        self.file.set_len(self.bytes).expect("and grown again");
        for (at, page) in &self.pages {
            self.file.write_all_at(page, *at).expect("and written");
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The pages of a bus on which two members have talked, as a crash would leave it.
fn template(path: &Path) -> Vec<(u64, Vec<u8>)> {
    let mut config = BusConfig::default();
    config.max_members = 3;
    config.ring_bytes = 256 * 1024;
    let mut queues = Vec::new();
    for number in 0..2 {
        let link = Shmif::create_or_attach(path, &config).expect("a bus can be made here");
        queues.push(link.mac(mac(number)).name("seed").join().expect("and joined"));
    }
    let now = Instant::from_nanos(1);
    for number in [0, 1] {
        let mut out = VecDeque::from([frame(mac(1 - number)), frame(MacAddr::BROADCAST)]);
        queues[usize::from(number)].0.tx.send(now, &mut out).expect("an undamaged bus takes it");
    }
    let whole = std::fs::read(path).expect("it can be read");
    let pages = whole.chunks(PAGE).enumerate();
    pages
        .filter(|(_, page)| page.iter().any(|&byte| byte != 0))
        .map(|(number, page)| ((number * PAGE) as u64, page.to_vec()))
        .collect()
}

fn mac(number: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, number + 1])
}

fn frame(dst: MacAddr) -> Packet {
    let mut packet = Packet::from_payload(Bytes::from_static(&[0x5a; 100]));
    EthernetHeader { dst, src: mac(2), ethertype: EtherType::IPV4 }.prepend_to(&mut packet);
    packet
}

/// An empty file; a damaged head, frame header, cursor and slot; a file cut short.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let scribble = |early: u8, place: u8, offset: u16, value: u64| {
        let mut bytes = vec![1 - early, place];
        bytes.extend(offset.to_le_bytes());
        bytes.extend(value.to_le_bytes());
        bytes
    };
    vec![
        vec![0],
        scribble(1, 3, 64, u64::MAX),
        scribble(0, 3 | 16, 72, 1 << 40),
        [scribble(0, 6, 0, 0x0001_0000_0000_0000), scribble(0, 6, 16, 0xffff)].concat(),
        [scribble(1, 5, 0, 7), scribble(0, 2, 0, 0xff)].concat(),
        vec![9],
    ]
}
