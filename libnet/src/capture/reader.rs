//! Reads captures, pcapng and pcap alike, and trusts nothing in them.

use std::io::{self, Chain, Cursor, Read};
use std::time::Duration;

use bytes::Bytes;
use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::{PcapNgReader, RawBlock};
use pcap_file::{Endianness, PcapError, TsResolution};

use super::Direction;
use super::pcapng::{CaptureInterface, CapturedFrame, SNAP_BYTES};
use crate::ethernet::MacAddr;

/// Why a capture could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// The file could not be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Neither pcapng nor pcap.
    #[error("not a capture file: it begins as neither pcapng nor pcap")]
    NotACapture,
    /// The file ends within a block, as after a crash of its writer; what came before was given.
    #[error("the capture ends in the middle of a packet")]
    Truncated,
    /// A block that breaks the format.
    #[error("the capture is damaged: a block breaks the format")]
    Damaged,
    /// More interfaces than a capture may describe.
    #[error("the capture describes more than {MAX_INTERFACES} interfaces")]
    TooManyInterfaces,
}

impl From<PcapError> for CaptureError {
    fn from(error: PcapError) -> Self {
        match error {
            PcapError::IoError(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                CaptureError::Truncated
            }
            PcapError::IoError(error) => CaptureError::Io(error),
            PcapError::IncompleteBuffer => CaptureError::Truncated,
            _ => CaptureError::Damaged,
        }
    }
}

/// Interfaces that a capture may describe at most.
pub const MAX_INTERFACES: usize = 4_096;

type Source<R> = Chain<Cursor<[u8; 4]>, R>;

enum Format<R: Read> {
    Pcapng(Box<PcapNgReader<Source<R>>>),
    Pcap(Box<PcapReader<Source<R>>>),
}

/// The frames of a capture, one by one.
pub struct CaptureReader<R: Read> {
    format: Format<R>,
    interfaces: Vec<Described>,
    /// Number of the first interface of the present section.
    section_base: usize,
}

/// An interface, and how to read its timestamps.
struct Described {
    interface: CaptureInterface,
    units_per_second: u64,
    offset_seconds: i64,
}

impl<R: Read> CaptureReader<R> {
    /// Begins to read; the format is told by the first four bytes.
    ///
    /// # Errors
    /// [`CaptureError`].
    pub fn new(mut source: R) -> Result<Self, CaptureError> {
        let mut magic = [0; 4];
        source.read_exact(&mut magic).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => CaptureError::NotACapture,
            _ => CaptureError::Io(error),
        })?;
        let source = Cursor::new(magic).chain(source);
        let mut interfaces = Vec::new();
        let format = match magic {
            [0x0a, 0x0d, 0x0d, 0x0a] => Format::Pcapng(Box::new(PcapNgReader::new(source)?)),
            // Microseconds and nanoseconds, either byte order.
            [0xa1, 0xb2, 0xc3, 0xd4]
            | [0xd4, 0xc3, 0xb2, 0xa1]
            | [0xa1, 0xb2, 0x3c, 0x4d]
            | [0x4d, 0x3c, 0xb2, 0xa1] => {
                let reader = PcapReader::new(source)?;
                interfaces.push(Described::of_pcap(&reader));
                Format::Pcap(Box::new(reader))
            }
            _ => return Err(CaptureError::NotACapture),
        };
        Ok(CaptureReader { format, interfaces, section_base: 0 })
    }

    /// The next frame; `None` at the end.
    ///
    /// # Errors
    /// [`CaptureError`]; after one, the rest of the file is not readable.
    pub fn next_frame(&mut self) -> Result<Option<CapturedFrame>, CaptureError> {
        loop {
            let next = match &mut self.format {
                Format::Pcap(reader) => return next_pcap(reader, &self.interfaces),
                Format::Pcapng(reader) => {
                    // The section's byte order is known before its first block is parsed.
                    let Some(block) = reader.next_raw_block() else { return Ok(None) };
                    let block = block?;
                    (block.type_, own(block))
                }
            };
            if let Some(frame) = self.block(next.0, &next.1)? {
                return Ok(Some(frame));
            }
        }
    }

    /// What an interface number of a frame stands for.
    pub fn interface(&self, number: u32) -> Option<&CaptureInterface> {
        self.interfaces.get(number as usize).map(|described| &described.interface)
    }

    fn block(&mut self, kind: u32, body: &[u8]) -> Result<Option<CapturedFrame>, CaptureError> {
        let Format::Pcapng(reader) = &self.format else { return Ok(None) };
        let order = reader.section().endianness;
        match kind {
            SECTION_HEADER_BLOCK => {
                self.section_base = self.interfaces.len();
                Ok(None)
            }
            INTERFACE_DESCRIPTION_BLOCK => {
                let described = reader.interfaces().last().map(Described::of_pcapng);
                if self.interfaces.len() >= MAX_INTERFACES {
                    return Err(CaptureError::TooManyInterfaces);
                }
                self.interfaces.extend(described);
                Ok(None)
            }
            ENHANCED_PACKET_BLOCK => self.enhanced(Fields { rest: body, order }).map(Some),
            SIMPLE_PACKET_BLOCK => self.simple(Fields { rest: body, order }).map(Some),
            _ => Ok(None),
        }
    }

    fn enhanced(&self, mut fields: Fields<'_>) -> Result<CapturedFrame, CaptureError> {
        let interface = self.section_base as u64 + u64::from(fields.word()?);
        let units = u64::from(fields.word()?) << 32 | u64::from(fields.word()?);
        let captured_bytes = fields.word()?;
        let original_len = fields.word()?;
        let bytes = Bytes::copy_from_slice(fields.bytes(captured_bytes)?);
        let interface = u32::try_from(interface).map_err(|_| CaptureError::Damaged)?;
        let described = self.interfaces.get(interface as usize).ok_or(CaptureError::Damaged)?;
        let mut frame = CapturedFrame::new(interface, described.time(units), bytes);
        frame.original_len = original_len;
        // Damaged options do not make the frame unreadable.
        let _ = read_options(fields, &mut frame);
        Ok(frame)
    }

    fn simple(&self, mut fields: Fields<'_>) -> Result<CapturedFrame, CaptureError> {
        let original_len = fields.word()?;
        let captured = original_len.min(u32::try_from(fields.rest.len()).unwrap_or(u32::MAX));
        let bytes = Bytes::copy_from_slice(fields.bytes(captured)?);
        let interface = u32::try_from(self.section_base).map_err(|_| CaptureError::Damaged)?;
        let mut frame = CapturedFrame::new(interface, Duration::ZERO, bytes);
        frame.original_len = original_len;
        Ok(frame)
    }
}

impl<R: Read> std::fmt::Debug for CaptureReader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CaptureReader").field("interfaces", &self.interfaces.len()).finish()
    }
}

const SECTION_HEADER_BLOCK: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION_BLOCK: u32 = 1;
const SIMPLE_PACKET_BLOCK: u32 = 3;
const ENHANCED_PACKET_BLOCK: u32 = 6;

fn own(block: RawBlock<'_>) -> Vec<u8> {
    block.body.into_owned()
}

fn next_pcap<R: Read>(
    reader: &mut PcapReader<R>,
    interfaces: &[Described],
) -> Result<Option<CapturedFrame>, CaptureError> {
    let Some(packet) = reader.next_raw_packet() else { return Ok(None) };
    let packet = packet?;
    if packet.incl_len > SNAP_BYTES.max(packet.orig_len) {
        return Err(CaptureError::Damaged);
    }
    let fraction = u64::from(packet.ts_frac);
    let units = interfaces.first().map_or(1_000_000, |described| described.units_per_second);
    let nanos = u128::from(fraction) * 1_000_000_000 / u128::from(units);
    let at = Duration::from_secs(u64::from(packet.ts_sec))
        + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
    let mut frame = CapturedFrame::new(0, at, Bytes::copy_from_slice(&packet.data));
    frame.original_len = packet.orig_len;
    Ok(Some(frame))
}

fn read_options(mut fields: Fields<'_>, frame: &mut CapturedFrame) -> Result<(), CaptureError> {
    while !fields.rest.is_empty() {
        let (code, len) = (fields.half()?, fields.half()?);
        let value = fields.bytes(u32::from(len))?;
        match (code, value) {
            (0, _) => return Ok(()),
            (1, text) => frame.comment = Some(String::from_utf8_lossy(text).into_owned()),
            (2, &[a, b, c, d]) => {
                frame.direction = match fields.order.u32([a, b, c, d]) & 3 {
                    1 => Some(Direction::In),
                    2 => Some(Direction::Out),
                    _ => None,
                };
            }
            _ => {}
        }
    }
    Ok(())
}

/// Takes fields off a block's body, in the section's byte order.
struct Fields<'a> {
    rest: &'a [u8],
    order: Endianness,
}

impl<'a> Fields<'a> {
    fn word(&mut self) -> Result<u32, CaptureError> {
        let (word, rest) = self.rest.split_first_chunk().ok_or(CaptureError::Damaged)?;
        self.rest = rest;
        Ok(self.order.u32(*word))
    }

    fn half(&mut self) -> Result<u16, CaptureError> {
        let (&[a, b], rest) = self.rest.split_first_chunk().ok_or(CaptureError::Damaged)?;
        self.rest = rest;
        Ok(match self.order {
            Endianness::Big => u16::from_be_bytes([a, b]),
            Endianness::Little => u16::from_le_bytes([a, b]),
        })
    }

    /// `n` bytes, and the padding behind them.
    fn bytes(&mut self, n: u32) -> Result<&'a [u8], CaptureError> {
        let n = n as usize;
        let bytes = self.rest.get(..n).ok_or(CaptureError::Damaged)?;
        self.rest = self.rest.get(n.next_multiple_of(4)..).unwrap_or_default();
        Ok(bytes)
    }
}

trait ByteOrder {
    fn u32(self, bytes: [u8; 4]) -> u32;
}

impl ByteOrder for Endianness {
    fn u32(self, bytes: [u8; 4]) -> u32 {
        match self {
            Endianness::Big => u32::from_be_bytes(bytes),
            Endianness::Little => u32::from_le_bytes(bytes),
        }
    }
}

impl Described {
    fn of_pcapng(block: &InterfaceDescriptionBlock<'_>) -> Self {
        let linktype = u32::from(block.linktype) as u16;
        let (name, description) = (String::new(), String::new());
        let mut interface = CaptureInterface { name, description, linktype, mac: None };
        let mut units_per_second = 1_000_000;
        let mut offset_seconds = 0;
        for option in &block.options {
            match option {
                InterfaceDescriptionOption::IfName(name) => interface.name = name.to_string(),
                InterfaceDescriptionOption::IfDescription(text) => {
                    interface.description = text.to_string();
                }
                InterfaceDescriptionOption::IfMacAddr(mac) => {
                    interface.mac = mac.first_chunk().map(|bytes| MacAddr(*bytes));
                }
                InterfaceDescriptionOption::IfTsResol(code) => units_per_second = units(*code),
                InterfaceDescriptionOption::IfTsOffset(seconds) => {
                    offset_seconds = seconds.cast_signed();
                }
                _ => {}
            }
        }
        Described { interface, units_per_second, offset_seconds }
    }

    fn of_pcap<R: Read>(reader: &PcapReader<R>) -> Self {
        let header = reader.header();
        let linktype = u32::from(header.datalink) as u16;
        let (name, description) = (String::new(), String::new());
        let units_per_second = match header.ts_resolution {
            TsResolution::MicroSecond => 1_000_000,
            TsResolution::NanoSecond => 1_000_000_000,
        };
        let interface = CaptureInterface { name, description, linktype, mac: None };
        Described { interface, units_per_second, offset_seconds: 0 }
    }

    fn time(&self, units: u64) -> Duration {
        let per_second = self.units_per_second;
        let nanos = u128::from(units % per_second) * 1_000_000_000 / u128::from(per_second);
        let seconds = (units / per_second).saturating_add_signed(self.offset_seconds);
        // The remainder is below one second, so its nanoseconds fit.
        Duration::new(seconds, nanos as u32)
    }
}

/// Units per second of an if_tsresol: a power of 10, or of 2 with the top bit set. One that no
/// 64-bit count can have means nanoseconds.
fn units(code: u8) -> u64 {
    let exponent = u32::from(code & 0x7f);
    let base: u64 = if code & 0x80 == 0 { 10 } else { 2 };
    base.checked_pow(exponent).unwrap_or(1_000_000_000)
}
