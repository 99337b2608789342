//! Where frames come from: a bus, or a capture file.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::num::NonZeroU16;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use libnet::Packet;
use libnet::capture::Direction;
use libnet::capture::reader::{CaptureError, CaptureReader};
use libnet::capture::wire::whole_frame;
use libnet::ethernet::MacAddr;
use libnet::gso;
use libnet::link::{LinkInfo, Medium};
use shmif::{Captured, MemberState, Observer};

use super::node::Node;
use crate::bus;
use crate::fail::Failure;

/// A frame to be shown.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    /// Since the Unix epoch.
    pub(super) at: Duration,
    pub(super) medium: Medium,
    pub(super) bytes: Bytes,
    pub(super) original_len: usize,
    pub(super) direction: Option<Direction>,
    pub(super) origin: Option<Origin>,
    /// Of a super-segment: payload bytes of each piece.
    pub(super) segment_bytes: Option<NonZeroU16>,
    /// The node's interface that it passed.
    pub(super) interface: Option<String>,
    /// Why the node dropped it, if it did.
    pub(super) dropped: Vec<String>,
}

/// The member of a bus that sent a frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Origin {
    pub(super) name: String,
    pub(super) mac: MacAddr,
}

/// What a look at a source brings.
pub(super) enum Next {
    Frame(Box<Shown>),
    /// Nothing for now.
    Idle,
    /// Nothing ever again.
    End,
}

pub(super) struct Source {
    name: String,
    from: From,
}

enum From {
    Bus(Box<Bus>),
    Node(Node),
    File { reader: Box<CaptureReader<Box<dyn Read>>>, damage: Option<String> },
}

struct Bus {
    observer: Observer,
    seen: Vec<Captured>,
    queue: VecDeque<Shown>,
    once: bool,
    /// What super-segments are cut for.
    cut_for: Option<LinkInfo>,
}

impl Source {
    /// A bus: what it holds (`once`), or what will be sent from now on.
    pub(super) fn bus(path: &Path, once: bool, cut: bool) -> Result<Self, Failure> {
        let mut observer = Observer::open(path).map_err(|error| bus::failure(&error))?;
        if !once {
            observer.skip_to_now();
            warn_if_nobody_is_there(path);
        }
        let cut_for = cut.then(|| {
            LinkInfo::ethernet("shmif", path.display().to_string(), MacAddr([0; 6]), observer.mtu())
        });
        let bus = Bus { observer, seen: Vec::new(), queue: VecDeque::new(), once, cut_for };
        Ok(Source { name: path.display().to_string(), from: From::Bus(Box::new(bus)) })
    }

    /// A node's interfaces, or one of them.
    pub(super) fn node(
        node: &str,
        interface: Option<&str>,
        filter: &[String],
    ) -> Result<Self, Failure> {
        let node = Node::open(node, interface, filter)?;
        Ok(Source { name: node.name(interface), from: From::Node(node) })
    }

    /// A capture.
    pub(super) fn file(path: &Path) -> Result<Self, Failure> {
        let name = path.display().to_string();
        let wrong = |error: &dyn std::fmt::Display| {
            Failure::doing(format_args!("cannot read {name}"), error)
        };
        let input: Box<dyn Read> = if path == Path::new("-") {
            Box::new(io::stdin())
        } else {
            Box::new(BufReader::new(File::open(path).map_err(|error| wrong(&error))?))
        };
        let reader = Box::new(CaptureReader::new(input).map_err(|error| wrong(&error))?);
        Ok(Source { name, from: From::File { reader, damage: None } })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Frames that were overwritten before they could be looked at.
    pub(super) fn missed(&self) -> u64 {
        match &self.from {
            From::Bus(bus) => bus.observer.missed(),
            From::Node(node) => node.missed(),
            From::File { .. } => 0,
        }
    }

    /// Why the source ended before its end.
    pub(super) fn damage(&mut self) -> Option<String> {
        match &mut self.from {
            From::Bus(_) => None,
            From::Node(node) => node.damage(),
            From::File { damage, .. } => damage.take(),
        }
    }

    /// The next frame, or that there was none for `patience`.
    pub(super) fn next(&mut self, patience: Duration) -> Result<Next, Failure> {
        match &mut self.from {
            From::Bus(bus) => bus
                .next(patience)
                .map_err(|error| Failure::doing(format_args!("the bus {}", self.name), &error)),
            From::Node(node) => node.next(patience),
            From::File { reader, damage } => match next_of_file(reader) {
                Ok(Some(frame)) => Ok(Next::Frame(Box::new(frame))),
                Ok(None) => Ok(Next::End),
                Err(error @ CaptureError::Io(_)) => {
                    Err(Failure::doing(format_args!("cannot read {}", self.name), &error))
                }
                Err(error) => {
                    *damage = Some(format!("{}: {error}", self.name));
                    Ok(Next::End)
                }
            },
        }
    }
}

fn warn_if_nobody_is_there(path: &Path) {
    let Ok(members) = shmif::members(path) else { return };
    if members.iter().all(|member| member.state == MemberState::Gone) {
        super::say("nobody is on the bus; --once shows the frames that it still holds");
    }
}

impl Bus {
    fn next(&mut self, patience: Duration) -> io::Result<Next> {
        if let Some(frame) = self.queue.pop_front() {
            return Ok(Next::Frame(Box::new(frame)));
        }
        let patience = if self.once { Duration::ZERO } else { patience };
        let got = self.observer.wait(&mut self.seen, patience)?;
        for captured in self.seen.drain(..) {
            show(captured, self.cut_for.as_ref(), &mut self.queue);
        }
        match self.queue.pop_front() {
            Some(frame) => Ok(Next::Frame(Box::new(frame))),
            None if self.once && got == 0 => Ok(Next::End),
            None => Ok(Next::Idle),
        }
    }
}

fn show(captured: Captured, cut_for: Option<&LinkInfo>, queue: &mut VecDeque<Shown>) {
    let at = captured.wall.duration_since(UNIX_EPOCH).unwrap_or_default();
    let origin = Origin { name: captured.sender, mac: captured.mac };
    let mut push = |packet: &Packet| {
        let bytes = whole_frame(packet, Medium::Ethernet);
        queue.push_back(Shown {
            at,
            medium: Medium::Ethernet,
            original_len: bytes.len(),
            bytes,
            direction: None,
            origin: Some(origin.clone()),
            segment_bytes: packet.gso.map(|gso| gso.segment_bytes),
            interface: None,
            dropped: Vec::new(),
        });
    };
    if let Some(link) = cut_for.filter(|_| captured.packet.gso.is_some()) {
        let mut pieces = VecDeque::new();
        if gso::fit_to_link(captured.packet.clone(), link, &mut pieces).is_ok() {
            return pieces.iter().for_each(push);
        }
    }
    push(&captured.packet);
}

fn next_of_file(reader: &mut CaptureReader<Box<dyn Read>>) -> Result<Option<Shown>, CaptureError> {
    loop {
        let Some(frame) = reader.next_frame()? else { return Ok(None) };
        let interface = reader.interface(frame.interface);
        // Other kinds of links have nothing to say to us.
        let Some(medium) = interface.and_then(|interface| interface.medium()) else { continue };
        return Ok(Some(Shown {
            at: frame.at,
            medium,
            original_len: frame.original_len as usize,
            bytes: frame.bytes,
            direction: frame.direction,
            origin: None,
            segment_bytes: None,
            interface: None,
            dropped: Vec::new(),
        }));
    }
}
