//! Frames behind virtio-net's header, as whoever passed a descriptor may send them.

use std::os::unix::net::UnixDatagram;

use libnet::capture::wire;
use libnet::link::{Link, LinkInfo, Medium};
use libnet::{Checksum, Instant, MacAddr, gso};
use rumpnet::virtif::{FdConfig, FrameHeader, Offloads, Virtif};

/// What a frame may be long, in bytes.
const MAX_FRAME_BYTES: usize = 256 << 10;

/// Receives one frame, and cuts it for a link that takes no super-segments.
///
/// ```text
///  0       1
/// +-------+--------------------------
/// | which | header and frame
/// +-------+--------------------------
/// ```
pub(super) fn run(bytes: &[u8]) {
    let Some((&which, frame)) = bytes.split_first() else { return };
    let mut config = FdConfig::default();
    config.header =
        [FrameHeader::None, FrameHeader::Virtio10, FrameHeader::Virtio12][usize::from(which) % 3];
    config.medium = if which & 0x40 == 0 { Medium::Ethernet } else { Medium::Ip };
    config.offloads = if which & 0x80 == 0 { Offloads::Auto } else { Offloads::Off };
    let (theirs, ours) = UnixDatagram::pair().expect("a socket pair");
    let device = Virtif::from_fd(ours.into(), &config).expect("it takes frames");
    let (mut queues, control) = Box::new(device).start().expect("it starts");
    theirs.send(frame).expect("there is room for one");
    let mut received = Vec::new();
    queues[0].rx.recv(Instant::ZERO, 8, &mut received, None).expect("the other end is there");
    let malformed = control.stats().rx_malformed;
    assert!(received.len() <= 1 && received.len() as u64 + malformed <= 1, "one at most");
    let plain = LinkInfo::ethernet("fuzz", "", MacAddr([2, 0, 0, 0, 0, 1]), 1_500);
    for packet in received {
        assert!(packet.len() <= MAX_FRAME_BYTES);
        if let Checksum::Partial { start, field } = packet.checksum {
            assert!(usize::from(start) + usize::from(field) + 2 <= packet.len(), "a sum within it");
        }
        wire::whole_frame(&packet, config.medium);
        let mut pieces = std::collections::VecDeque::new();
        // It may be refused.
        let _ = gso::fit_to_link(packet, &plain, &mut pieces);
    }
}

/// A datagram with nothing said of it, one whose checksum is still to be made, and a super-segment.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00];
    frame.extend(super::udp_packet(&[7; 64]));
    let word = |value: u16| value.to_ne_bytes();
    let mut partial = vec![1, 0];
    partial.extend([word(0), word(0), word(34), word(6)].concat());
    let mut cut = vec![1, 5];
    cut.extend([word(42), word(16), word(34), word(6), word(1)].concat());
    vec![
        [&[0][..], &frame].concat(),
        [&[1][..], &partial, &frame].concat(),
        [&[2][..], &cut, &frame].concat(),
    ]
}
