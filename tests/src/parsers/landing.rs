//! Streams whose data land in the memory of callers that wait (`libnet::landing`), against the same frames
//! received the usual way: the same bytes, errors and states.
//!
//! The input is a byte of choices and then what happens, step by step, to two stacks with two connections
//! each. Frames come to the first with a place to land, for the connection that is waited for, or that was
//! at another time; the second gets them one by one, and reads what landed with the first.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use libnet::capture::wire::whole_frame;
use libnet::landing::{Forecast, Landing};
use libnet::link::{
    Link, LinkControl, LinkInfo, LinkQueue, LinkRx, LinkStats, LinkTx, Medium, Offload, Readiness,
    RxFilter,
};
use libnet::socket::{Domain, Family, Protocol, RecvMsg, SockType, SocketId, SocketOption};
use libnet::world::World;
use libnet::{Checksum, IfIndex, Instant, InterfaceSpec, Packet};
use libnetinet::tcp::State;
use libnetinet::{Inet, InetConfig};

use crate::station::{PEER, US, US_MAC, start};
use crate::wire::tcp::{ACK, FIN, RST, SYN, Tcp, URG, mss_option, scale_option, timestamps_option};
use crate::wire::{Ip, TCP};

/// Runs one input.
///
/// ```text
///  0         1
/// +---------+------------------------------------------
/// | choices | steps: which, and what it needs
/// +---------+------------------------------------------
/// ```
pub(super) fn run(bytes: &[u8]) {
    bytes_landed(bytes);
}

/// Bytes that land in it.
fn bytes_landed(bytes: &[u8]) -> u64 {
    let Some((&choices, mut rest)) = bytes.split_first() else { return 0 };
    let mut twins = Twins::new(choices);
    for _ in 0..STEPS_MAX {
        let Some(after) = twins.step(rest) else { break };
        rest = after;
        twins.compare();
    }
    (0..CONNS).for_each(|conn| twins.read(conn, usize::MAX));
    twins.lands.inet.tcp_counters().iter().map(|tcp| tcp.bytes_landed).sum()
}

/// Takes what a step needs off the front.
fn take<'a, const N: usize>(bytes: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (front, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(front)
}

/// Both stacks, and what was sent to both of them.
struct Twins {
    /// Data land with it.
    lands: Side,
    usual: Side,
    /// Does a link leave for the next call what has no room?
    leaves: bool,
    /// Of timestamps, if there are any.
    clock: Option<u32>,
    /// What is expected, as of some time.
    forecasts: [Option<Forecast>; CONNS],
    /// Bytes that were read of each stream.
    read: [usize; CONNS],
    /// Nothing that was sent is another stream than [`byte`] tells.
    is_plain: bool,
}

impl Twins {
    fn new(choices: u8) -> Self {
        let (lands, usual) = (Side::new(choices), Side::new(choices));
        assert_eq!(lands.iss, usual.iss, "worlds of one seed are alike");
        Twins {
            lands,
            usual,
            leaves: choices & Self::LEAVES != 0,
            clock: (choices & Self::TIMESTAMPS != 0).then_some(2),
            forecasts: [None, None],
            read: [0; CONNS],
            is_plain: true,
        }
    }

    const TIMESTAMPS: u8 = 1;
    const LEAVES: u8 = 2;

    /// The next step; what comes after it.
    fn step<'a>(&mut self, mut bytes: &'a [u8]) -> Option<&'a [u8]> {
        let &[which] = take(&mut bytes)?;
        let conn = usize::from(which >> 7);
        match which & 7 {
            0..=2 => {
                let &[a, b] = take(&mut bytes)?;
                let count = usize::from(which >> 4 & 3) + 1;
                let frames = self.frames(count, &mut bytes)?;
                let room = usize::from(u16::from_be_bytes([a, b]));
                if which & Self::STALE == 0 {
                    self.look_ahead(conn);
                }
                self.bring(conn, room, frames);
            }
            3 => {
                let &[a, b] = take(&mut bytes)?;
                self.read(conn, u16::from_be_bytes([a, b]).into());
            }
            4 => self.look_ahead(conn),
            5 => {
                let &[millis] = take(&mut bytes)?;
                self.sides()
                    .for_each(|side| side.world.run_for(Duration::from_millis(millis.into())));
            }
            _ => self.sides().for_each(Side::turn_raw),
        }
        Some(bytes)
    }

    /// The forecast is of before.
    const STALE: u8 = 8;

    fn sides(&mut self) -> impl Iterator<Item = &mut Side> {
        [&mut self.lands, &mut self.usual].into_iter()
    }

    /// Whoever waits for a connection asks what is expected.
    fn look_ahead(&mut self, conn: usize) {
        self.forecasts[conn] = self.lands.inet.forecast(self.lands.conns[conn]);
    }

    /// Frames as the input has them, each behind the one before unless it says otherwise.
    ///
    /// ```text
    ///  0     1       3       5
    /// +-----+-------+-------+-------
    /// | how | bytes | shift | which byte, how: if one is changed
    /// +-----+-------+-------+-------
    /// ```
    fn frames(&mut self, count: usize, bytes: &mut &[u8]) -> Option<VecDeque<Packet>> {
        let mut next = [0, 1].map(|conn| self.lands.received(conn));
        let mut frames = VecDeque::new();
        for _ in 0..count {
            let &[how, a, b, c, d] = take(bytes)?;
            let conn = usize::from(how & Self::SECOND != 0);
            let len = usize::from(u16::from_be_bytes([a, b])) % DATA_MAX;
            let shift = match how & Self::SHIFTED {
                0 => 0,
                _ => isize::from(i16::from_be_bytes([c, d])) as usize,
            };
            let from = next[conn].wrapping_add(shift);
            next[conn] = from.wrapping_add(len);
            let mut flags = ACK;
            for (bit, flag) in [(Self::ENDS, FIN), (Self::URGENT, URG), (Self::RESETS, RST)] {
                if how & bit != 0 {
                    flags |= flag;
                }
            }
            let mut frame = self.frame(conn, flags, from, len);
            if how & Self::CHANGED != 0 {
                let &[at, bits] = take(bytes)?;
                frame[usize::from(at) % HEADERS] ^= bits;
                self.is_plain = false;
            }
            self.is_plain &= flags == ACK;
            let mut packet = Packet::received(frame.into(), Instant::ZERO);
            packet.checksum = Checksum::Trusted;
            frames.push_back(packet);
        }
        Some(frames)
    }

    const SECOND: u8 = 1;
    const SHIFTED: u8 = 2;
    const ENDS: u8 = 4;
    const URGENT: u8 = 8;
    const RESETS: u8 = 16;
    const CHANGED: u8 = 32;

    fn frame(&mut self, conn: usize, flags: u8, from: usize, len: usize) -> Vec<u8> {
        let data = (0..len).map(|i| byte(conn, from.wrapping_add(i))).collect();
        let seq = ISN.wrapping_add(1).wrapping_add(from as u32);
        let mut segment = Tcp { seq, flags, data, urgent: 1, ..self.lands.segment(conn) };
        if let Some(clock) = &mut self.clock {
            *clock += 1;
            segment.options = timestamps_option(*clock, 0);
        }
        segment.packet(PEER, US).bytes()
    }

    /// Frames come to both, to the first while a caller with `room` bytes waits for `conn`.
    fn bring(&mut self, conn: usize, room: usize, frames: VecDeque<Packet>) {
        if (0..CONNS).any(|conn| self.lands.received(conn) > self.read[conn] + UNREAD_MAX) {
            (0..CONNS).for_each(|conn| self.read(conn, usize::MAX));
        }
        let mut memory = vec![0; room];
        let mut taken = 0;
        self.lands.wire().to_us.extend(frames.iter().cloned());
        self.lands.wire().leaves = self.leaves;
        if let Some(forecast) = self.forecasts[conn].take() {
            let mut landing = Landing::new(Box::new(forecast), &mut memory);
            while landing.taken() == 0 && self.lands.poll(Some(&mut landing)) > 0 {}
            taken = landing.taken();
            self.forecasts[conn] = Some(*landing.into_next());
        }
        while self.lands.poll(None) > 0 {}
        memory.truncate(taken);
        let mut usual = Vec::new();
        for frame in frames {
            self.usual.wire().to_us.push_back(frame);
            self.usual.poll(None);
            while usual.len() < taken
                && let Ok(more) = self.usual.recv(conn, taken - usual.len())
                && !more.is_empty()
            {
                usual.extend(more);
            }
        }
        assert!(memory == usual, "{taken} bytes have landed, {} can be read", usual.len());
        self.check(conn, &memory);
    }

    /// Both read up to `bytes`.
    fn read(&mut self, conn: usize, bytes: usize) {
        let mut left = bytes;
        while left > 0 {
            let most = left.min(READ_MAX);
            let [one, other] = [&self.lands, &self.usual].map(|side| side.recv(conn, most));
            let [one, other] = [one, other].map(|got| got.map_err(|error| error.kind()));
            assert_eq!(one.is_ok(), other.is_ok());
            let Ok(got) = one else { return assert!(other == one) };
            // How much one call gives may depend on how it lies there.
            let mut same = other.unwrap_or_default();
            while same.len() < got.len() {
                same.extend(self.usual.recv(conn, got.len() - same.len()).expect("as much"));
            }
            let mut got = got;
            while got.len() < same.len() {
                got.extend(self.lands.recv(conn, same.len() - got.len()).expect("as much"));
            }
            assert!(got == same, "the same bytes");
            self.check(conn, &got);
            if got.is_empty() {
                return;
            }
            left = left.saturating_sub(got.len());
        }
    }

    /// What was read is what was sent.
    fn check(&mut self, conn: usize, got: &[u8]) {
        let from = self.read[conn];
        self.read[conn] += got.len();
        let is_right = || got.iter().zip(from..).all(|(&got, at)| got == byte(conn, at));
        assert!(!self.is_plain || is_right(), "the bytes that were sent");
    }

    fn compare(&self) {
        for conn in 0..CONNS {
            assert_eq!(self.lands.state(conn), self.usual.state(conn), "connection {conn}");
        }
    }
}

/// One stack on a wire of its own, with two connections.
struct Side {
    world: World,
    inet: Arc<Inet>,
    wire: Arc<Mutex<Wire>>,
    conns: [SocketId; CONNS],
    iss: [u32; CONNS],
    raw: Option<SocketId>,
}

impl Side {
    fn new(choices: u8) -> Self {
        let world = World::new(1);
        let wire = Arc::new(Mutex::new(Wire::default()));
        let interface = InterfaceSpec::new(End(wire.clone())).addr(&format!("{US}/24"));
        let (_, inet) = start(&world, InetConfig::default(), [interface]);
        let listener = inet.socket(Family::Inet, SockType::Stream, Protocol::DEFAULT);
        let listener = listener.expect("a socket");
        let at = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), PORT);
        inet.set_option(listener, SocketOption::ReceiveBufferBytes(BUFFER_BYTES)).expect("a size");
        inet.bind(listener, at).expect("a free port");
        inet.listen(listener, CONNS as u32).expect("it is bound");
        let mut side =
            Side { world, inet, wire, conns: [listener; CONNS], iss: [0; CONNS], raw: None };
        for conn in 0..CONNS {
            side.connect(conn, choices);
            side.conns[conn] = side.inet.accept(listener).expect("it is established").0;
        }
        side
    }

    fn connect(&mut self, conn: usize, choices: u8) {
        let stamps = match choices & Twins::TIMESTAMPS {
            0 => Vec::new(),
            _ => timestamps_option(1, 0),
        };
        let options = [mss_option(1_460), scale_option(7), stamps.clone()].concat();
        let syn = Tcp { seq: ISN, ack: 0, flags: SYN, options, ..self.segment(conn) };
        self.say(&syn);
        let answer = self.wire().from_us.pop().expect("a SYN for a SYN");
        let answer = whole_frame(&answer, Medium::Ip);
        self.iss[conn] = Ip::read(&answer).tcp().expect("a segment").seq;
        let seq = ISN.wrapping_add(1);
        self.say(&Tcp { seq, options: stamps, ..self.segment(conn) });
    }

    /// A segment of a connection without data.
    fn segment(&self, conn: usize) -> Tcp {
        let ack = self.iss[conn].wrapping_add(1);
        let src = CLIENT_PORT + conn as u16;
        Tcp { src, dst: PORT, ack, flags: ACK, window: u16::MAX, ..Tcp::default() }
    }

    fn say(&self, segment: &Tcp) {
        let packet = Packet::received(segment.packet(PEER, US).bytes().into(), Instant::ZERO);
        self.wire().to_us.push_back(packet);
        self.poll(None);
    }

    fn poll(&self, landing: Option<&mut Landing<'_>>) -> usize {
        self.inet.engine().poll_receive(IFACE, 0, landing).expect("the wire holds")
    }

    fn wire(&self) -> std::sync::MutexGuard<'_, Wire> {
        self.wire.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recv(&self, conn: usize, most: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; most];
        let into = RecvMsg::Copy(&mut [IoSliceMut::new(&mut bytes)]);
        let received = self.inet.recv(self.conns[conn], into)?;
        bytes.truncate(received.bytes);
        Ok(bytes)
    }

    fn state(&self, conn: usize) -> Option<(State, u64)> {
        let info = self.inet.tcp_info(self.conns[conn])?;
        Some((info.state, info.bytes_in))
    }

    /// Bytes of a stream that came, in order.
    fn received(&self, conn: usize) -> usize {
        self.state(conn).map_or(0, |(_, bytes)| bytes as usize)
    }

    /// Somebody begins to listen to all of TCP, or no longer does.
    fn turn_raw(&mut self) {
        match self.raw.take() {
            Some(raw) => self.inet.close(raw),
            None => {
                let raw = self.inet.socket(Family::Inet, SockType::Raw, Protocol(TCP));
                self.raw = Some(raw.expect("a socket"));
            }
        }
    }
}

/// Byte `at` of a stream.
fn byte(conn: usize, at: usize) -> u8 {
    (at ^ (at >> 8) ^ (at >> 16) ^ (conn << 6)) as u8
}

/// What is on the wire.
#[derive(Default)]
struct Wire {
    to_us: VecDeque<Packet>,
    from_us: Vec<Packet>,
    leaves: bool,
}

impl Wire {
    /// The next frame, its data where a caller wants them if it is the one that is expected; `None`: not
    /// before that caller has taken what it has.
    fn next(&mut self, now: Instant, landing: &mut Option<&mut Landing<'_>>) -> Option<Packet> {
        let packet = self.to_us.pop_front()?;
        let Some(landing) = landing else { return Some(packet) };
        let frame = packet.to_bytes();
        let headers = frame.len().min(landing.header_bytes(Medium::Ip));
        let (headers, data) = frame.split_at(headers);
        if landing.expects(headers, Medium::Ip, packet.checksum)
            && (1..=landing.room_bytes()).contains(&data.len())
        {
            landing.room()[..data.len()].copy_from_slice(data);
            let mut landed = landing.land(headers, data.len(), now);
            landed.checksum = packet.checksum;
            return Some(landed);
        }
        if self.leaves && landing.has_landed() {
            self.to_us.push_front(packet);
            return None;
        }
        Some(packet)
    }
}

/// Our end of it.
struct End(Arc<Mutex<Wire>>);

impl Link for End {
    fn info(&self) -> LinkInfo {
        let mut info = LinkInfo::ethernet("wire", "", US_MAC, 1_500);
        (info.medium, info.offload) = (Medium::Ip, Offload::FULL);
        info
    }

    fn start(self: Box<Self>) -> io::Result<(Vec<LinkQueue>, Box<dyn LinkControl>)> {
        let end = || Box::new(End(self.0.clone()));
        Ok((vec![LinkQueue { rx: end(), tx: end() }], end()))
    }
}

impl LinkRx for End {
    fn recv(
        &mut self,
        now: Instant,
        budget: usize,
        sink: &mut Vec<Packet>,
        mut landing: Option<&mut Landing<'_>>,
    ) -> io::Result<usize> {
        let mut wire = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = sink.len();
        while sink.len() - before < budget
            && let Some(packet) = wire.next(now, &mut landing)
        {
            sink.push(packet);
        }
        Ok(sink.len() - before)
    }

    fn readiness(&self) -> Readiness {
        Readiness::Never
    }
}

impl LinkTx for End {
    fn send(&mut self, _: Instant, queue: &mut VecDeque<Packet>) -> io::Result<usize> {
        let mut wire = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = queue.len();
        wire.from_us = queue.drain(..).collect();
        Ok(count)
    }

    fn readiness(&self) -> Readiness {
        Readiness::Never
    }
}

impl LinkControl for End {
    fn set_filter(&mut self, _: &RxFilter) -> io::Result<()> {
        Ok(())
    }

    fn stats(&self) -> LinkStats {
        LinkStats::default()
    }
}

const CONNS: usize = 2;
const IFACE: IfIndex = IfIndex(2);
const PORT: u16 = 80;
const CLIENT_PORT: u16 = 4_000;
/// The streams' numbers wrap.
const ISN: u32 = u32::MAX - 20_000;
/// Steps of one input that are looked at.
const STEPS_MAX: usize = 60;
/// Bytes of data of a segment, at most.
const DATA_MAX: usize = 20_000;
/// IPv4's and TCP's.
const HEADERS: usize = 40;
const READ_MAX: usize = 70_000;
const UNREAD_MAX: usize = 200_000;
/// Far more than there is ever in it: windows, which differ, do not matter.
const BUFFER_BYTES: u32 = 4 << 20;

/// A transfer that lands, one with losses between reads, and one beside another.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let frame = |how: u8, bytes: u16, shift: i16| {
        let [a, b] = bytes.to_be_bytes();
        let [c, d] = shift.to_be_bytes();
        [how, a, b, c, d]
    };
    let bring = |which: u8, room: u16, frames: &[[u8; 5]]| {
        let which = which | (frames.len() as u8 - 1) << 4;
        [&[which][..], &room.to_be_bytes(), &frames.concat()].concat()
    };
    let (large, second) = (frame(0, 12_000, 0), frame(1, 12_000, 0));
    let read = |which: u8| vec![which | 3, 0xff, 0xff];
    let first = [bring(0, 60_000, &[large]), read(0)].concat();
    let lands =
        [bring(0, 60_000, &[large; 3]), bring(0, 20_000, &[large; 4]), vec![5, 50]].concat();
    let hole = [bring(0, 60_000, &[large, frame(2, 9_000, 100), frame(2, 9_000, -100)]), read(0)];
    let beside = [bring(0, 60_000, &[large, second, large, second]), read(128), read(0)].concat();
    let ends = bring(0, 60_000, &[large, frame(4, 100, 0)]);
    [0, 1, 2, 3]
        .into_iter()
        .map(|choices| {
            [
                vec![choices],
                first.clone(),
                lands.clone(),
                hole.concat(),
                beside.clone(),
                ends.clone(),
            ]
            .concat()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_of_every_seed_land() {
        for seed in seeds() {
            assert!(bytes_landed(&seed) > 50_000, "{seed:?}");
        }
    }
}
