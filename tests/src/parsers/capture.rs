//! Capture files: pcapng and pcap of either byte order.

use std::time::Duration;

use bytes::Bytes;
use libnet::capture::pcapng::{CaptureInterface, CapturedFrame, PcapngWriter};
use libnet::capture::reader::CaptureReader;
use libnet::link::Medium;

/// Reads every frame there is, until the end or the first error.
pub(super) fn run(bytes: &[u8]) {
    let Ok(mut reader) = CaptureReader::new(bytes) else { return };
    let mut frames = 0;
    while let Ok(Some(frame)) = reader.next_frame() {
        assert!(frame.bytes.len() <= bytes.len(), "no frame is longer than its file");
        let _ = reader.interface(frame.interface);
        frames += 1;
        assert!(frames <= bytes.len(), "a file without end");
    }
}

/// A pcapng of two interfaces and three frames, and a pcap of one frame in either byte order.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let mut writer = PcapngWriter::new(Vec::new(), "rumpnet").expect("memory takes all");
    for (name, medium) in [("shmif0", Medium::Ethernet), ("lo0", Medium::Ip)] {
        writer.add_interface(&CaptureInterface::new(name, medium)).expect("memory takes all");
    }
    for number in 0..3u8 {
        let bytes = Bytes::from(vec![number; 60 + usize::from(number)]);
        let at = Duration::from_nanos(u64::from(number));
        let frame = CapturedFrame::new(u32::from(number % 2), at, bytes).with_comment("seed");
        writer.write(&frame).expect("memory takes all");
    }
    let words: [u32; 10] = [0xa1b2_c3d4, 0x0002_0004, 0, 0, 65_535, 1, 7, 8, 4, 60];
    let body = |bytes: fn(u32) -> [u8; 4], version: [u8; 4]| {
        let mut file: Vec<u8> = words.iter().flat_map(|&word| bytes(word)).collect();
        file[4..8].copy_from_slice(&version);
        file.extend([1, 2, 3, 4]);
        file
    };
    vec![
        writer.into_inner(),
        body(u32::to_be_bytes, [0, 2, 0, 4]),
        body(u32::to_le_bytes, [2, 0, 4, 0]),
    ]
}
