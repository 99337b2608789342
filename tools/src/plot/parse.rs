//! A captured frame's TCP segment, of either family, also of frames that were cut off.

use std::net::{IpAddr, SocketAddr};

use etherparse::{LaxNetSlice, LaxSlicedPacket, TcpSlice, TransportSlice};
use libnet::link::Medium;

/// What a drawing needs of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) src: SocketAddr,
    pub(super) dst: SocketAddr,
    pub(super) seq: u32,
    /// Where it acknowledges anything.
    pub(super) ack: Option<u32>,
    pub(super) wnd: u16,
    pub(super) syn: bool,
    pub(super) fin: bool,
    pub(super) rst: bool,
    /// Bytes of data, those that were not captured among them.
    pub(super) data_len: u32,
    /// Of a SYN.
    pub(super) window_shift: Option<u8>,
    pub(super) sack: Vec<(u32, u32)>,
}

/// The segment in a frame, if it is one; `original` is how long the frame was.
pub(super) fn segment(frame: &[u8], original: usize, medium: Medium) -> Option<Segment> {
    let sliced = match medium {
        Medium::Ethernet => LaxSlicedPacket::from_ethernet(frame).ok()?,
        Medium::Ip => LaxSlicedPacket::from_ip(frame).ok()?,
        _ => return None,
    };
    let Some(TransportSlice::Tcp(tcp)) = &sliced.transport else { return None };
    let missing = original.saturating_sub(frame.len());
    let (src, dst, ip_payload) = match &sliced.net {
        Some(LaxNetSlice::Ipv4(ip)) => {
            let header = ip.header();
            let whole = usize::from(header.total_len()).checked_sub(header.slice().len());
            let (src, dst) = (header.source_addr(), header.destination_addr());
            (IpAddr::from(src), IpAddr::from(dst), whole)
        }
        Some(LaxNetSlice::Ipv6(ip)) => {
            let header = ip.header();
            let extensions = ip.extensions().slice().len();
            let whole = usize::from(header.payload_length()).checked_sub(extensions);
            (IpAddr::from(header.source_addr()), IpAddr::from(header.destination_addr()), whole)
        }
        _ => return None,
    };
    let captured = tcp.slice().len();
    // A super-segment of more than 64 KiB says 0: all of the frame is meant.
    let whole = ip_payload.filter(|whole| *whole > 0).unwrap_or(captured + missing);
    let data_len = whole.saturating_sub(tcp.header_slice().len()) as u32;
    let (mut window_shift, mut sack) = (None, Vec::new());
    read_options(tcp, &mut window_shift, &mut sack);
    Some(Segment {
        src: SocketAddr::new(src, tcp.source_port()),
        dst: SocketAddr::new(dst, tcp.destination_port()),
        seq: tcp.sequence_number(),
        ack: tcp.ack().then(|| tcp.acknowledgment_number()),
        wnd: tcp.window_size(),
        syn: tcp.syn(),
        fin: tcp.fin(),
        rst: tcp.rst(),
        data_len,
        window_shift,
        sack,
    })
}

/// RFC 9293 §3.1: kinds that we do not know are skipped; what cannot be ends the list.
fn read_options(tcp: &TcpSlice<'_>, shift: &mut Option<u8>, sack: &mut Vec<(u32, u32)>) {
    let mut rest = tcp.options();
    while let Some((&kind, after)) = rest.split_first() {
        match kind {
            0 => return,
            1 => rest = after,
            _ => {
                let Some(len) = after.first().map(|len| usize::from(*len)).filter(|len| *len >= 2)
                else {
                    return;
                };
                let Some(body) = rest.get(2..len) else { return };
                match (kind, body) {
                    // RFC 7323 §2.3: more than 14 is taken as 14.
                    (3, &[value]) => *shift = Some(value.min(14)),
                    (5, blocks) => sack.extend(blocks.chunks_exact(8).map(|block| {
                        let word = |at: usize| {
                            u32::from_be_bytes([
                                block[at],
                                block[at + 1],
                                block[at + 2],
                                block[at + 3],
                            ])
                        };
                        (word(0), word(4))
                    })),
                    _ => {}
                }
                rest = &rest[len..];
            }
        }
    }
}
