//! Any file as a capture: it is read, listed and drawn, whatever it says.

use std::io::Cursor;

use libnet::capture::reader::CaptureReader;

use super::chart::{self, Plot};
use super::overlay::Overlay;

/// The input is an overlay's text, a zero byte, and a capture.
pub(crate) fn run(bytes: &[u8]) {
    let cut = bytes.iter().position(|byte| *byte == 0).unwrap_or(0);
    let (text, capture) = bytes.split_at(cut);
    let Ok(reader) = CaptureReader::new(Cursor::new(capture.get(1..).unwrap_or_default())) else {
        return;
    };
    let Ok((flows, _)) = super::collect(reader) else { return };
    let text = String::from_utf8_lossy(text);
    for flow in flows.iter().take(4) {
        for way in 0..2 {
            // A file that makes no sense is refused.
            let overlay = Overlay::parse(&text, flow, way).ok();
            let plot = Plot { flow, way, overlay: overlay.as_ref(), span: None };
            let drawn = chart::svg(&plot, (300, 300)).expect("what was read can be drawn");
            assert!(drawn.starts_with(b"<svg"), "a picture");
        }
    }
}

/// A short connection.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seed = b"{\"t\":0.1,\"cwnd\":14480,\"rtt_us\":900}\n\0".to_vec();
    seed.extend(super::sample::capture());
    vec![seed]
}
