use proptest::prelude::*;

use super::*;
use crate::dissect::summary::Summary;

proptest! {
    #[test]
    fn garbage_is_survived(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        verbosity in 0..2u8,
        link_header: bool,
    ) {
        survive(&bytes, verbosity, link_header);
    }

    #[test]
    fn garbage_behind_plausible_headers_is_survived(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        kind in prop::sample::select(vec![0x0800u16, 0x0806, 0x86dd, 0x8100]),
        first in prop::sample::select(vec![0x45u8, 0x46, 0x4f, 0x60, 0x00]),
        protocol in prop::sample::select(vec![1u8, 2, 6, 17, 58, 0, 43, 44, 60]),
        len in any::<u8>(),
        verbosity in 0..2u8,
    ) {
        let mut frame = vec![2; 12];
        frame.extend(kind.to_be_bytes());
        frame.extend(bytes);
        for (at, value) in [(14, first), (16, 0), (17, len), (20, 0), (21, 0), (23, protocol)] {
            if let Some(byte) = frame.get_mut(at) {
                *byte = value;
            }
        }
        if first == 0x60 && frame.len() > 20 {
            frame[18..20].copy_from_slice(&[0, len]);
            frame[20] = protocol;
        }
        survive(&frame, verbosity, false);
    }
}

fn survive(frame: &[u8], verbosity: u8, link_header: bool) {
    let detail = Detail { verbosity, link_header, absolute_seqs: false };
    let mut dissector = Dissector::new(detail);
    for medium in [Medium::Ethernet, Medium::Ip] {
        let mut line = String::new();
        dissector.line(medium, frame, frame.len(), &mut line);
        assert!(!line.is_empty());
        let _ = Summary::of(medium, frame);
    }
}
