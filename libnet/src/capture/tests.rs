use std::num::NonZeroU16;

use bytes::Bytes;
use proptest::prelude::*;

use super::pcapng::{
    CaptureConfig, CaptureFile, CaptureInterface, CapturedFrame, PcapngWriter, SuperFrames,
};
use super::reader::{CaptureError, CaptureReader};
use super::*;
use crate::ethernet::MacAddr;
use crate::link::{LinkInfo, Medium};
use crate::packet::{Checksum, Gso, GsoKind};

fn link() -> LinkInfo {
    LinkInfo::ethernet("shmif", "my.bus", MacAddr([2, 0, 0, 0, 0, 1]), 1500)
}

fn written(frames: &[CapturedFrame]) -> Vec<u8> {
    let mut writer = PcapngWriter::new(Vec::new(), "rumpnet").unwrap();
    writer.add_interface(&CaptureInterface::of_link("shmif0", &link())).unwrap();
    writer.add_interface(&CaptureInterface::new("lo0", Medium::Ip)).unwrap();
    for frame in frames {
        writer.write(frame).unwrap();
    }
    writer.into_inner()
}

fn read_all(file: &[u8]) -> (Vec<CapturedFrame>, Option<CaptureError>) {
    let mut reader = match CaptureReader::new(file) {
        Ok(reader) => reader,
        Err(error) => return (Vec::new(), Some(error)),
    };
    let mut frames = Vec::new();
    loop {
        match reader.next_frame() {
            Ok(Some(frame)) => frames.push(frame),
            Ok(None) => return (frames, None),
            Err(error) => return (frames, Some(error)),
        }
    }
}

fn any_frame() -> impl Strategy<Value = CapturedFrame> {
    let direction = prop_oneof![Just(None), Just(Some(Direction::In)), Just(Some(Direction::Out))];
    let bytes = prop::collection::vec(any::<u8>(), 0..70);
    (0..2u32, any::<u64>(), direction, bytes, prop::option::of(".{0,9}"), 0..9u32).prop_map(
        |(interface, nanos, direction, bytes, comment, cut)| {
            let at = Duration::from_nanos(nanos);
            let mut frame = CapturedFrame::new(interface, at, Bytes::from(bytes));
            frame.direction = direction;
            frame.comment = comment;
            frame.original_len += cut;
            frame
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read(frames in prop::collection::vec(any_frame(), 0..20)) {
        let (read, error) = read_all(&written(&frames));
        prop_assert!(error.is_none());
        prop_assert_eq!(read, frames);
    }

    #[test]
    fn a_cut_capture_gives_what_came_before(
        frames in prop::collection::vec(any_frame(), 1..6),
        cut in 1..200usize,
    ) {
        let file = written(&frames);
        let (read, _) = read_all(&file[..file.len().saturating_sub(cut)]);
        prop_assert_eq!(&read[..], &frames[..read.len()]);
    }

    #[test]
    fn garbage_is_an_error_and_no_panic(
        frames in prop::collection::vec(any_frame(), 0..4),
        hits in prop::collection::vec((any::<u16>(), any::<u8>()), 0..12),
    ) {
        let mut file = written(&frames);
        for (at, byte) in hits {
            let at = usize::from(at) % file.len();
            file[at] = byte;
        }
        let _ = read_all(&file);
    }
}

#[test]
fn an_interface_keeps_name_address_and_medium() {
    let frame = CapturedFrame::new(1, Duration::ZERO, Bytes::from_static(b"x"));
    let file = written(&[frame]);
    let mut reader = CaptureReader::new(&file[..]).unwrap();
    reader.next_frame().unwrap().unwrap();
    let shmif = reader.interface(0).unwrap();
    assert_eq!((&shmif.name[..], &shmif.description[..]), ("shmif0", "shmif my.bus"));
    assert_eq!(shmif.mac, Some(link().mac));
    assert_eq!(shmif.medium(), Some(Medium::Ethernet));
    assert_eq!(reader.interface(1).unwrap().medium(), Some(Medium::Ip));
}

#[test]
fn a_classic_pcap_is_read_too() {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 65_535, 1, 7, 250_000, 3, 60] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    file.extend_from_slice(b"abc");
    let (frames, error) = read_all(&file);
    assert!(error.is_none(), "{error:?}");
    assert_eq!(frames[0].at, Duration::new(7, 250_000_000));
    assert_eq!((&frames[0].bytes[..], frames[0].original_len), (&b"abc"[..], 60));
}

proptest! {
    #[test]
    fn a_classic_pcap_of_garbage_is_an_error_and_no_panic(
        magic in prop::sample::select(vec![0xa1b2_c3d4u32, 0xa1b2_3c4d, 0xd4c3_b2a1, 0x4d3c_b2a1]),
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let _ = read_all(&[&magic.to_le_bytes()[..], &bytes].concat());
    }
}

#[test]
fn other_files_are_refused_by_name() {
    for file in [&b""[..], b"\x7fELF and more", b"text of some length, long enough"] {
        assert!(matches!(read_all(file), (_, Some(CaptureError::NotACapture))));
    }
}

#[test]
fn a_tap_writes_until_its_bound_and_counts_the_rest() {
    let writer = PcapngWriter::new(Vec::new(), "rumpnet").unwrap();
    let anchor = ClockAnchor { driver: Instant::from_millis(5), unix: Duration::from_secs(100) };
    let config = CaptureConfig { max_frames: 2, ..Default::default() };
    let file = CaptureFile::new(writer, anchor, config);
    let taps = CaptureTaps::new();
    taps.add(file.tap("shmif0", &link()).unwrap());
    let packet = Packet::from_payload(Bytes::from_static(&[0; 60]));
    for at in [4, 5, 6] {
        taps.show(Instant::from_millis(at), Direction::Out, &packet);
    }
    assert_eq!((file.written(), file.skipped()), (2, 1));
}

#[test]
fn a_tap_cuts_super_segments_if_asked_to() {
    let mut frame = vec![0u8; 14 + 20 + 20 + 5_000];
    frame[12] = 8;
    frame[14] = 0x45;
    frame[16..18].copy_from_slice(&5_040u16.to_be_bytes());
    frame[14 + 9] = 6;
    frame[34 + 12] = 5 << 4;
    let mut packet = Packet::from_payload(frame.into());
    packet.checksum = Checksum::Partial { start: 34, field: 16 };
    let segment_bytes = NonZeroU16::new(1460).unwrap();
    packet.gso = Some(Gso { kind: GsoKind::Tcp4, segment_bytes });
    for (super_frames, lengths) in
        [(SuperFrames::Whole, &[5_054][..]), (SuperFrames::Cut, &[1_514, 1_514, 1_514, 674])]
    {
        let written = Shared::default();
        let writer = PcapngWriter::new(written.clone(), "rumpnet").unwrap();
        let config = CaptureConfig { super_frames, ..Default::default() };
        let file = CaptureFile::new(writer, ClockAnchor::default(), config);
        let tap = file.tap("shmif0", &link()).unwrap();
        tap.frame(Instant::ZERO, Direction::Out, &packet);
        let (frames, error) = read_all(&written.bytes());
        assert!(error.is_none());
        assert_eq!(frames.iter().map(|frame| frame.bytes.len()).collect::<Vec<_>>(), lengths);
        assert!(frames.iter().all(|frame| frame.direction == Some(Direction::Out)));
    }
}

/// A file that can be read while it is written.
#[derive(Clone, Default)]
struct Shared(Arc<std::sync::Mutex<Vec<u8>>>);

impl Shared {
    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

impl std::io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn times_before_the_anchor_are_earlier() {
    let anchor = ClockAnchor { driver: Instant::from_millis(5), unix: Duration::from_secs(100) };
    assert_eq!(anchor.to_unix(Instant::from_millis(4)), Duration::from_millis(99_999));
    assert_eq!(anchor.to_unix(Instant::from_millis(6)), Duration::from_millis(100_001));
}

#[test]
fn hostile_metadata_leave_the_frame_as_it_is() {
    let mut packet = Packet::from_payload(Bytes::from_static(&[0; 20]));
    packet.checksum = Checksum::Partial { start: 60_000, field: 60_000 };
    packet.gso = Some(Gso { kind: GsoKind::Tcp4, segment_bytes: NonZeroU16::MIN });
    assert_eq!(wire::whole_frame(&packet, Medium::Ethernet), packet.to_bytes());
}
