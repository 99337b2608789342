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
}

impl Recorder {
    pub(super) fn new(writer: PcapngWriter<BufWriter<Box<dyn Write>>>, path: PathBuf) -> Self {
        Recorder { writer, path, interfaces: Vec::new() }
    }

    pub(super) fn write(&mut self, frame: &Shown) -> Result<(), Failure> {
        let interface = self.interface(frame)?;
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

    fn interface(&mut self, frame: &Shown) -> Result<u32, Failure> {
        let (origin, node_interface) = (frame.origin.clone(), frame.interface.clone());
        let key = Key { medium: frame.medium, origin, interface: node_interface };
        if let Some(number) = self.interfaces.iter().position(|other| *other == key) {
            return Ok(number as u32);
        }
        let sender = frame.origin.as_ref().map(|origin| &*origin.name);
        let name = sender.or(frame.interface.as_deref()).unwrap_or_default();
        let mut interface = CaptureInterface::new(name, frame.medium);
        if let Some(origin) = &frame.origin {
            interface.mac = Some(origin.mac);
            interface.description = format!("what {} sent to the bus", origin.name);
        }
        self.interfaces.push(key);
        self.writer.add_interface(&interface).map_err(|error| cannot_write(&self.path, &error))
    }
}
