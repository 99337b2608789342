//! A transfer in virtual time, captured: what the documentation shows, and what damaged files are
//! made of. It is the same each time.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use libnet::InterfaceSpec;
use libnet::capture::pcapng::{CaptureConfig, CaptureFile, PcapngWriter};
use libnet::capture::{CaptureTap, ClockAnchor};
use libnet::impair::{Impairments, Overflow, QueueLimit};
use libnet::world::{LinkConfig, World};
use rumpnet::Stack;

/// Bytes that others write to, too.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is sent over 10 Mbit/s, and how bad the path is.
#[derive(Clone, Copy)]
pub(super) struct Sample {
    pub(super) bytes: usize,
    /// Each way, milliseconds.
    pub(super) delay_ms: u64,
    /// Frames that the queue holds, and what becomes of others.
    pub(super) queue: (usize, Overflow),
    /// Which of the full frames are lost.
    pub(super) lost: &'static [u64],
    /// The share of frames that is held back for 5 ms at most.
    pub(super) reorder: f64,
}

/// 300,000 bytes over 20 ms; two segments are lost.
pub(super) const TRANSFER: Sample = Sample {
    bytes: 300_000,
    delay_ms: 10,
    queue: (40, Overflow::Waits),
    lost: &[30, 90],
    reorder: 0.0,
};

/// A capture file's bytes, as the sender's link has them, and what the sender's stack says of itself
/// every 5 ms.
pub(super) fn transfer(sample: &Sample) -> io::Result<(Vec<u8>, String)> {
    let bytes = sample.bytes;
    let world = World::new(1);
    let mut queue = QueueLimit::default();
    (queue.frames, queue.overflow) = sample.queue;
    let delay = Duration::from_millis(sample.delay_ms);
    let mut path = Impairments::none().rate(10_000_000).queue(queue).delay(delay);
    if sample.reorder > 0.0 {
        path = path.reorder(sample.reorder).reorder_by(Duration::from_millis(5));
    }
    let segment = world.segment(LinkConfig::default().impairments(path));
    let start = |name: &str, addr: &str| {
        let interface = InterfaceSpec::new(segment.next_link()).addr(addr);
        Stack::builder().interface(interface).start_in(&world.host(name)).map_err(io::Error::other)
    };
    let (a, b) = (start("a", "10.0.0.1/24")?, start("b", "10.0.0.2/24")?);
    for &n in sample.lost {
        segment.drop_nth(n, |frame| frame.len() > 1_000);
    }
    let written = Shared::default();
    let capture = CaptureFile::new(
        PcapngWriter::new(written.clone(), "rumpnet")?,
        ClockAnchor::default(),
        CaptureConfig::default(),
    );
    if let Some(taps) = a.inet().and_then(|inet| inet.engine().taps(libnet::IfIndex(2))) {
        let tap: Arc<dyn CaptureTap> = capture.tap("a", &segment.info())?;
        taps.add(tap);
    }
    let listener = b.tcp_listen("10.0.0.2:80")?;
    let reader = world.spawn("reader", move || {
        let (mut stream, _) = listener.accept()?;
        io::copy(&mut stream, &mut io::sink())
    });
    let stack = a.clone();
    let writer = world.spawn("writer", move || {
        let mut stream = stack.tcp_connect("10.0.0.2:80")?;
        stream.write_all(&vec![7; bytes])
    });
    let mut told = String::new();
    for _ in 0..400 {
        world.run_for(Duration::from_millis(5));
        let now = Duration::from_nanos(world.now().as_nanos());
        told.extend(a.inet().map(|inet| inet.trace_lines(now)));
    }
    writer.join()?;
    reader.join()?;
    drop((a, b));
    capture.flush()?;
    let bytes = written.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok((bytes, told))
}

/// A short one.
pub(super) fn capture() -> Vec<u8> {
    let capture = transfer(&Sample { bytes: 100, ..TRANSFER }).map(|(capture, _)| capture);
    capture.expect("a world has room for two stacks and one connection")
}
