//! The start of the demonstration as a pcapng file.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, UNIX_EPOCH};

use libnet::capture::Direction;
use libnet::capture::pcapng::{CaptureInterface, PcapngWriter};
use libnet::capture::reader::CaptureReader;
use libnet::link::Medium;
use shmif::{Captured, Observer};

use crate::fail::Failure;

/// Frames that are written at most, and bytes of them.
const MAX_FRAMES: u64 = 5_000;
const MAX_BYTES: u64 = 32 << 20;
/// How long the observer sleeps before it looks whether to end.
const PATIENCE: Duration = Duration::from_millis(50);

/// Writes what a bus carries, on a thread of its own, until it has enough or is told to end.
pub(super) struct Capture {
    path: PathBuf,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<u64>>,
}

impl Capture {
    pub(super) fn start(bus: &Path, path: &Path) -> Result<Self, Failure> {
        let wrong = |error: io::Error| {
            Failure::doing(format_args!("cannot write {}", path.display()), &error)
        };
        let observer = Observer::open(bus).map_err(|error| Failure::new(error.to_string()))?;
        let file = BufWriter::new(File::create(path).map_err(wrong)?);
        let writer = PcapngWriter::new(file, "rumpnet demo").map_err(wrong)?;
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("capture".to_owned())
            .spawn(move || follow(observer, writer, &flag))
            .map_err(wrong)?;
        Ok(Capture { path: path.to_path_buf(), stop, thread })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Ends it, and reads the file back; how many frames it holds.
    pub(super) fn finish(self) -> Result<u64, Failure> {
        let wrong = |error: &dyn std::fmt::Display| {
            Failure::doing(format_args!("the capture {}", self.path.display()), error)
        };
        self.stop.store(true, Ordering::Release);
        let written = match self.thread.join() {
            Ok(written) => written.map_err(|error| wrong(&error))?,
            Err(_) => return Err(wrong(&"its thread panicked")),
        };
        let file = File::open(&self.path).map_err(|error| wrong(&error))?;
        let mut reader = CaptureReader::new(file).map_err(|error| wrong(&error))?;
        let mut read = 0;
        while reader.next_frame().map_err(|error| wrong(&error))?.is_some() {
            read += 1;
        }
        if read != written {
            return Err(wrong(&format!("{written} frames were written and {read} read back")));
        }
        Ok(read)
    }
}

fn follow(
    mut observer: Observer,
    mut writer: PcapngWriter<BufWriter<File>>,
    stop: &AtomicBool,
) -> io::Result<u64> {
    let (mut frames, mut bytes) = (0, 0);
    let mut senders: Vec<String> = Vec::new();
    let mut seen = Vec::new();
    loop {
        let stopping = stop.load(Ordering::Acquire);
        let got = observer.wait(&mut seen, PATIENCE)?;
        for captured in seen.drain(..) {
            if frames >= MAX_FRAMES || bytes >= MAX_BYTES {
                break;
            }
            let interface = interface(&captured, &mut senders, &mut writer)?;
            let at = captured.wall.duration_since(UNIX_EPOCH).unwrap_or_default();
            writer.write_packet(interface, at, Some(Direction::Out), &captured.packet)?;
            frames += 1;
            bytes += captured.packet.len() as u64;
        }
        let full = frames >= MAX_FRAMES || bytes >= MAX_BYTES;
        if full || (stopping && got == 0) {
            writer.flush()?;
            return Ok(frames);
        }
    }
}

/// An interface for each sender.
fn interface(
    captured: &Captured,
    senders: &mut Vec<String>,
    writer: &mut PcapngWriter<BufWriter<File>>,
) -> io::Result<u32> {
    if let Some(at) = senders.iter().position(|sender| *sender == captured.sender) {
        return Ok(at as u32);
    }
    let mut interface = CaptureInterface::new(captured.sender.clone(), Medium::Ethernet);
    interface.description = format!("what host {} sent to the bus", captured.sender);
    interface.mac = Some(captured.mac);
    senders.push(captured.sender.clone());
    writer.add_interface(&interface)
}
