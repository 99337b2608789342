//! The start of the demonstration as one pcapng file: each host writes down what it sends, and
//! what they wrote is put in order of time. Nothing is missed, as an observer of a busy bus would.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use libnet::capture::pcapng::{
    CaptureConfig, CaptureFile, CaptureInterface, CapturedFrame, PcapngWriter,
};
use libnet::capture::reader::{CaptureError, CaptureReader};
use libnet::capture::{ClockAnchor, Direction};
use libnet::link::Medium;
use rumpnet::Stack;
use rustix::time::{ClockId, clock_gettime};

/// Frames that a host writes at most, and bytes of them.
const MAX_FRAMES: u64 = 3_000;
const MAX_BYTES: u64 = 12 << 20;

/// What a host writes down.
pub(super) type Recording = Arc<CaptureFile<BufWriter<File>>>;

/// Writes down what a host sends from now on, up to the bounds.
pub(super) fn record(stack: &Stack, path: &Path) -> io::Result<Recording> {
    let mut config = CaptureConfig::default();
    config.max_frames = MAX_FRAMES;
    config.max_bytes = MAX_BYTES;
    config.direction = Some(Direction::Out);
    // The clock that all hosts share, as it is: each one's idea of the calendar would differ by
    // what passes between reading the two clocks, and frames would change places.
    let anchor = ClockAnchor::default();
    let writer = PcapngWriter::new(BufWriter::new(File::create(path)?), "rumpnet demo")?;
    let recording = CaptureFile::new(writer, anchor, config);
    let Some(inet) = stack.inet() else { return Ok(recording) };
    let engine = inet.engine();
    for iface in engine.interfaces().filter(|iface| !iface.link.loopback) {
        let tap = recording.tap(&iface.name, &iface.link)?;
        if let Some(taps) = engine.taps(iface.index) {
            taps.add(tap);
        }
    }
    Ok(recording)
}

/// When the clock that hosts share was zero, since the Unix epoch.
fn since_boot_began() -> Duration {
    let shared = clock_gettime(ClockId::Monotonic);
    let shared = Duration::new(
        u64::try_from(shared.tv_sec).unwrap_or(0),
        u32::try_from(shared.tv_nsec).unwrap_or(0),
    );
    let calendar = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    calendar.saturating_sub(shared)
}

/// One host's recording.
pub(super) struct Part {
    pub(super) host: &'static str,
    pub(super) path: PathBuf,
    /// It was full before the end.
    pub(super) is_cut: bool,
}

/// Puts recordings in order of time, up to where the first one is full, tells the times by the
/// calendar, and removes the recordings; how many frames there are.
pub(super) fn merge(parts: &[Part], into: &Path) -> Result<u64, CaptureError> {
    let mut all: Vec<CapturedFrame> = Vec::new();
    let mut end = Duration::MAX;
    let mut writer = PcapngWriter::new(BufWriter::new(File::create(into)?), "rumpnet demo")?;
    for (number, part) in parts.iter().enumerate() {
        let mut reader = CaptureReader::new(File::open(&part.path)?)?;
        let mut interface = CaptureInterface::new(part.host, Medium::Ethernet);
        interface.description = format!("what host {} sent", part.host);
        let mut last = Duration::ZERO;
        while let Some(mut frame) = reader.next_frame()? {
            interface.mac = reader.interface(frame.interface).and_then(|described| described.mac);
            frame.interface = number as u32;
            last = frame.at;
            all.push(frame);
        }
        writer.add_interface(&interface)?;
        if part.is_cut {
            end = end.min(last);
        }
    }
    all.retain(|frame| frame.at <= end);
    // Stable: frames of one host stay in their order even if its clock did not move.
    all.sort_by_key(|frame| frame.at);
    let began = since_boot_began();
    for frame in &mut all {
        frame.at += began;
        writer.write(frame)?;
    }
    writer.flush()?;
    for part in parts {
        std::fs::remove_file(&part.path)?;
    }
    Ok(all.len() as u64)
}
