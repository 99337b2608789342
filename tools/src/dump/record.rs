//! Frames into a pcapng file: one interface per sender.

use std::io::{BufWriter, Write};
use std::path::PathBuf;

use libnet::capture::Direction;
use libnet::capture::pcapng::{CaptureInterface, CapturedFrame, PcapngWriter};
use libnet::link::Medium;

use super::cannot_write;
use super::source::{Origin, Shown};
use crate::fail::Failure;

/// What a capture's interface stands for.
#[derive(Clone, PartialEq, Eq)]
struct Key {
    medium: Medium,
    origin: Option<Origin>,
    interface: Option<String>,
}

pub(super) struct Recorder {
    writer: PcapngWriter<BufWriter<Box<dyn Write>>>,
    path: PathBuf,
    interfaces: Vec<Key>,
    refused: u64,
}

/// Senders that a file tells apart at most: each is an interface of its own in it.
const MAX_INTERFACES: usize = 1024;

impl Recorder {
    pub(super) fn new(writer: PcapngWriter<BufWriter<Box<dyn Write>>>, path: PathBuf) -> Self {
        Recorder { writer, path, interfaces: Vec::new(), refused: 0 }
    }

    /// Frames that were not written, because their sender was one too many.
    pub(super) const fn refused(&self) -> u64 {
        self.refused
    }

    pub(super) fn write(&mut self, frame: &Shown) -> Result<(), Failure> {
        let Some(interface) = self.interface(frame)? else {
            self.refused += 1;
            return Ok(());
        };
        let mut captured = CapturedFrame::new(interface, frame.at, frame.bytes.clone());
        captured.original_len = u32::try_from(frame.original_len).unwrap_or(u32::MAX);
        captured.direction = frame.direction;
        if frame.origin.is_some() {
            captured.direction = Some(Direction::Out);
        }
        let super_segment = frame
            .segment_bytes
            .map(|bytes| format!("a super-segment, to be cut into {bytes} bytes each"));
        let dropped =
            (!frame.dropped.is_empty()).then(|| format!("dropped: {}", frame.dropped.join(", ")));
        let comments: Vec<String> = dropped.into_iter().chain(super_segment).collect();
        captured.comment = (!comments.is_empty()).then(|| comments.join("; "));
        self.writer.write(&captured).map_err(|error| cannot_write(&self.path, &error))
    }

    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        self.writer.flush().map_err(|error| cannot_write(&self.path, &error))
    }

    /// The number of a frame's interface; `None` if there are too many already.
    fn interface(&mut self, frame: &Shown) -> Result<Option<u32>, Failure> {
        let (origin, node_interface) = (frame.origin.clone(), frame.interface.clone());
        let key = Key { medium: frame.medium, origin, interface: node_interface };
        if let Some(number) = self.interfaces.iter().position(|other| *other == key) {
            return Ok(Some(number as u32));
        }
        if self.interfaces.len() >= MAX_INTERFACES {
            return Ok(None);
        }
        let sender = frame.origin.as_ref().map(|origin| &*origin.name);
        let name = sender.or(frame.interface.as_deref()).unwrap_or_default();
        let mut interface = CaptureInterface::new(name, frame.medium);
        if let Some(origin) = &frame.origin {
            interface.mac = Some(origin.mac);
            interface.description = format!("what {} sent to the bus", origin.name);
        }
        self.interfaces.push(key);
        let added = self.writer.add_interface(&interface);
        added.map(Some).map_err(|error| cannot_write(&self.path, &error))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;

    #[test]
    fn senders_without_end_take_no_memory_without_end() {
        let writer = PcapngWriter::new(BufWriter::new(Box::new(std::io::sink()) as _), "test");
        let mut recorder = Recorder::new(writer.unwrap(), PathBuf::from("none"));
        let frame = |n: usize| Shown {
            at: Duration::from_secs(1),
            medium: Medium::Ip,
            bytes: Bytes::from_static(&[0x45]),
            original_len: 1,
            direction: None,
            origin: None,
            segment_bytes: None,
            interface: Some(format!("eth{n}")),
            dropped: Vec::new(),
        };
        for n in 0..MAX_INTERFACES + 10 {
            recorder.write(&frame(n)).unwrap();
        }
        assert_eq!((recorder.interfaces.len(), recorder.refused()), (MAX_INTERFACES, 10));
        recorder.write(&frame(3)).unwrap();
        assert_eq!(recorder.refused(), 10, "those that are known go on");
    }
}
