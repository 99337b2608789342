//! Writes pcapng: one interface block per interface, nanoseconds, directions, comments.
//! Source: draft-ietf-opsawg-pcapng.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::pcapng::{PcapNgWriter, RawBlock};
use pcap_file::{DataLink, Endianness, PcapError};

use super::wire::whole_frame;
use super::{CaptureTap, ClockAnchor, Direction};
use crate::ethernet::MacAddr;
use crate::gso;
use crate::link::{LinkInfo, Medium, Offload};
use crate::packet::Packet;
use crate::time::Instant;

/// The most bytes of a frame that a capture keeps: what Wireshark allows at most.
pub const SNAP_BYTES: u32 = 262_144;

/// An interface as a capture file describes it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct CaptureInterface {
    /// Its name, as `shmif0`; may be empty.
    pub name: String,
    /// What it is, for people: a bus file, a device; may be empty.
    pub description: String,
    /// The link type's number. Source: the registry of LINKTYPE_ values.
    pub linktype: u16,
    /// Its address, where it has one.
    pub mac: Option<MacAddr>,
}

const LINKTYPE_ETHERNET: u16 = 1;
const LINKTYPE_RAW: u16 = 101;

impl CaptureInterface {
    /// An interface of this name and medium.
    pub fn new(name: impl Into<String>, medium: Medium) -> Self {
        let linktype = match medium {
            Medium::Ethernet => LINKTYPE_ETHERNET,
            Medium::Ip => LINKTYPE_RAW,
        };
        CaptureInterface { name: name.into(), description: String::new(), linktype, mac: None }
    }

    /// An interface over this link.
    pub fn of_link(name: impl Into<String>, link: &LinkInfo) -> Self {
        let mut interface = CaptureInterface::new(name, link.medium);
        interface.description = format!("{} {}", link.kind, link.target);
        interface.mac = (link.medium == Medium::Ethernet).then_some(link.mac);
        interface
    }

    /// What its frames are; `None` for link types that are neither Ethernet nor bare IP.
    pub const fn medium(&self) -> Option<Medium> {
        match self.linktype {
            LINKTYPE_ETHERNET => Some(Medium::Ethernet),
            // Raw IP under its present number, two of a platform's, and one per version.
            12 | 14 | LINKTYPE_RAW | 228 | 229 => Some(Medium::Ip),
            _ => None,
        }
    }
}

/// A frame as a capture file holds it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct CapturedFrame {
    /// Which interface, counted from 0.
    pub interface: u32,
    /// When, since the Unix epoch.
    pub at: Duration,
    /// Which way it went, where that is known.
    pub direction: Option<Direction>,
    /// The frame, or its first bytes.
    pub bytes: Bytes,
    /// How long the frame was, in bytes.
    pub original_len: u32,
    /// What was said of it.
    pub comment: Option<String>,
}

impl CapturedFrame {
    /// A whole frame.
    pub fn new(interface: u32, at: Duration, bytes: Bytes) -> Self {
        let original_len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        CapturedFrame { interface, at, direction: None, bytes, original_len, comment: None }
    }

    /// The same frame with a direction.
    #[must_use]
    pub const fn with_direction(mut self, direction: Direction) -> Self {
        self.direction = Some(direction);
        self
    }

    /// The same frame with a comment.
    #[must_use]
    pub fn with_comment(mut self, comment: impl Into<String>) -> Self {
        self.comment = Some(comment.into());
        self
    }
}

/// Writes a pcapng file to anything that takes bytes. Unbuffered: wrap files in a `BufWriter`.
pub struct PcapngWriter<W: Write> {
    inner: PcapNgWriter<W>,
    body: Vec<u8>,
    media: Vec<Medium>,
}

impl<W: Write> PcapngWriter<W> {
    /// Begins a file; `application` names the program that writes it.
    ///
    /// # Errors
    /// The writer's.
    pub fn new(writer: W, application: &str) -> io::Result<Self> {
        let application = Cow::Owned(application.to_owned());
        let section = SectionHeaderBlock {
            endianness: Endianness::Little,
            options: vec![SectionHeaderOption::UserApplication(application)],
            ..Default::default()
        };
        let inner = PcapNgWriter::with_section_header(writer, section).map_err(to_io)?;
        Ok(PcapngWriter { inner, body: Vec::new(), media: Vec::new() })
    }

    /// Describes an interface; its number, counted from 0.
    ///
    /// # Errors
    /// The writer's.
    pub fn add_interface(&mut self, interface: &CaptureInterface) -> io::Result<u32> {
        let mut options = Vec::new();
        if !interface.name.is_empty() {
            options.push(InterfaceDescriptionOption::IfName(Cow::Borrowed(&interface.name)));
        }
        if !interface.description.is_empty() {
            let description = Cow::Borrowed(&interface.description[..]);
            options.push(InterfaceDescriptionOption::IfDescription(description));
        }
        if let Some(mac) = &interface.mac {
            options.push(InterfaceDescriptionOption::IfMacAddr(Cow::Borrowed(&mac.0)));
        }
        options.push(InterfaceDescriptionOption::IfTsResol(9));
        let linktype = DataLink::from(u32::from(interface.linktype));
        let block = InterfaceDescriptionBlock { linktype, snaplen: SNAP_BYTES, options };
        self.inner.write_pcapng_block(block).map_err(to_io)?;
        self.media.push(interface.medium().unwrap_or(Medium::Ethernet));
        Ok((self.media.len() - 1) as u32)
    }

    /// Writes a frame.
    ///
    /// # Errors
    /// `InvalidInput` for an interface that was not added; the writer's.
    pub fn write(&mut self, frame: &CapturedFrame) -> io::Result<()> {
        if frame.interface as usize >= self.media.len() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let kept = &frame.bytes[..frame.bytes.len().min(SNAP_BYTES as usize)];
        let nanos = u64::try_from(frame.at.as_nanos()).unwrap_or(u64::MAX);
        self.body.clear();
        for word in [
            frame.interface,
            (nanos >> 32) as u32,
            nanos as u32,
            kept.len() as u32,
            frame.original_len,
        ] {
            self.body.extend_from_slice(&word.to_le_bytes());
        }
        self.body.extend_from_slice(kept);
        pad(&mut self.body);
        put_options(&mut self.body, frame);
        let len = self.body.len() as u32 + 12;
        let block = RawBlock {
            type_: ENHANCED_PACKET_BLOCK,
            initial_len: len,
            body: Cow::Borrowed(&self.body),
            trailer_len: len,
        };
        self.inner.write_raw_block(&block).map(drop).map_err(to_io)
    }

    /// Writes a packet as a wire would have carried it, super-segments whole.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_packet(
        &mut self,
        interface: u32,
        at: Duration,
        direction: Option<Direction>,
        packet: &Packet,
    ) -> io::Result<()> {
        let medium = self.media.get(interface as usize).copied().unwrap_or(Medium::Ethernet);
        let mut frame = CapturedFrame::new(interface, at, whole_frame(packet, medium));
        frame.direction = direction;
        self.write(&frame)
    }

    /// Writes what was still buffered below.
    ///
    /// # Errors
    /// The writer's.
    pub fn flush(&mut self) -> io::Result<()> {
        self.inner.get_mut().flush()
    }

    /// The writer below.
    pub fn get_mut(&mut self) -> &mut W {
        self.inner.get_mut()
    }

    /// Gives the writer back.
    pub fn into_inner(self) -> W {
        self.inner.into_inner()
    }
}

impl<W: Write> std::fmt::Debug for PcapngWriter<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PcapngWriter").field("interfaces", &self.media.len()).finish()
    }
}

const ENHANCED_PACKET_BLOCK: u32 = 6;
const OPTION_END: u16 = 0;
const OPTION_COMMENT: u16 = 1;
const OPTION_FLAGS: u16 = 2;

fn put_options(body: &mut Vec<u8>, frame: &CapturedFrame) {
    let flags = frame.direction.map(|direction| match direction {
        Direction::In => 1u32,
        Direction::Out => 2,
    });
    if let Some(flags) = flags {
        put_option(body, OPTION_FLAGS, &flags.to_le_bytes());
    }
    if let Some(comment) = &frame.comment {
        let mut end = comment.len().min(usize::from(u16::MAX));
        while !comment.is_char_boundary(end) {
            end -= 1;
        }
        put_option(body, OPTION_COMMENT, &comment.as_bytes()[..end]);
    }
    if flags.is_some() || frame.comment.is_some() {
        put_option(body, OPTION_END, &[]);
    }
}

fn put_option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    body.extend_from_slice(&code.to_le_bytes());
    body.extend_from_slice(&(value.len() as u16).to_le_bytes());
    body.extend_from_slice(value);
    pad(body);
}

/// Everything in the file is aligned to 32 bits.
fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

fn to_io(error: PcapError) -> io::Error {
    match error {
        PcapError::IoError(error) => error,
        other => io::Error::new(io::ErrorKind::InvalidData, other.to_string()),
    }
}

/// How super-segments appear in a capture.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SuperFrames {
    /// Whole, as the stack sent them: an IPv4 one is valid up to 65,535 bytes.
    #[default]
    Whole,
    /// Cut into frames of the MTU.
    Cut,
}

/// Bounds and habits of a [`CaptureFile`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CaptureConfig {
    /// Frames written at most; what comes later is counted only.
    pub max_frames: u64,
    /// Bytes of frames written at most.
    pub max_bytes: u64,
    /// How super-segments appear.
    pub super_frames: SuperFrames,
    /// One direction only; `None`: both.
    pub direction: Option<Direction>,
}

impl Default for CaptureConfig {
    fn default() -> Self {
        CaptureConfig {
            max_frames: u64::MAX,
            max_bytes: 1 << 30,
            super_frames: SuperFrames::Whole,
            direction: None,
        }
    }
}

/// A pcapng file that any number of interfaces are captured into.
///
/// Lock rank: the writer's lock is a leaf; nothing is called under it but the writer.
pub struct CaptureFile<W: Write> {
    state: Mutex<FileState<W>>,
    anchor: ClockAnchor,
    config: CaptureConfig,
    skipped: AtomicU64,
}

struct FileState<W: Write> {
    writer: PcapngWriter<W>,
    frames: u64,
    bytes: u64,
    full: bool,
    failed: Option<io::Error>,
}

impl<W: Write + Send + 'static> CaptureFile<W> {
    /// Captures into `writer`; `anchor` ties the driver's clock to the calendar.
    pub fn new(writer: PcapngWriter<W>, anchor: ClockAnchor, config: CaptureConfig) -> Arc<Self> {
        let state = FileState { writer, frames: 0, bytes: 0, full: false, failed: None };
        let (state, skipped) = (Mutex::new(state), AtomicU64::new(0));
        Arc::new(CaptureFile { state, anchor, config, skipped })
    }

    /// A tap for one interface.
    ///
    /// # Errors
    /// The writer's.
    pub fn tap(self: &Arc<Self>, name: &str, link: &LinkInfo) -> io::Result<Arc<dyn CaptureTap>> {
        let described = CaptureInterface::of_link(name, link);
        let interface = self.lock().writer.add_interface(&described)?;
        let mut link = link.clone();
        link.offload = Offload::NONE;
        Ok(Arc::new(FileTap { file: Arc::clone(self), interface, link }))
    }

    /// Writes what was still buffered below.
    ///
    /// # Errors
    /// The first that writing met.
    pub fn flush(&self) -> io::Result<()> {
        let mut state = self.lock();
        match state.failed.take() {
            Some(error) => Err(error),
            None => state.writer.flush(),
        }
    }

    /// Frames written.
    pub fn written(&self) -> u64 {
        self.lock().frames
    }

    /// Frames past the bounds, or after writing had failed.
    pub fn skipped(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }

    fn record(&self, frame: CapturedFrame) {
        let mut state = self.lock();
        let bytes = state.bytes + frame.bytes.len() as u64;
        // Once full it stays full: a small frame behind a large one that was left out would make
        // a gap.
        state.full |= state.frames >= self.config.max_frames || bytes > self.config.max_bytes;
        if state.full || state.failed.is_some() {
            self.skipped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        match state.writer.write(&frame) {
            Ok(()) => {
                state.frames += 1;
                state.bytes = bytes;
            }
            Err(error) => {
                state.failed = Some(error);
                self.skipped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, FileState<W>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: Write> std::fmt::Debug for CaptureFile<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CaptureFile").field("config", &self.config).finish_non_exhaustive()
    }
}

struct FileTap<W: Write> {
    file: Arc<CaptureFile<W>>,
    interface: u32,
    link: LinkInfo,
}

impl<W: Write + Send + 'static> FileTap<W> {
    fn show(&self, at: Duration, direction: Direction, packet: &Packet) {
        let bytes = whole_frame(packet, self.link.medium);
        let frame = CapturedFrame::new(self.interface, at, bytes);
        self.file.record(frame.with_direction(direction));
    }
}

impl<W: Write + Send + 'static> CaptureTap for FileTap<W> {
    fn frame(&self, at: Instant, direction: Direction, packet: &Packet) {
        if self.file.config.direction.is_some_and(|wanted| wanted != direction) {
            return;
        }
        let at = self.file.anchor.to_unix(at);
        if self.file.config.super_frames == SuperFrames::Cut && packet.gso.is_some() {
            let mut pieces = VecDeque::new();
            if gso::fit_to_link(packet.clone(), &self.link, &mut pieces).is_ok() {
                return pieces.iter().for_each(|piece| self.show(at, direction, piece));
            }
        }
        self.show(at, direction, packet);
    }
}
