//! Nodes that talk without end and check what they hear.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use libnet::ethernet::MacAddr;
use libnet::packet::{Gso, GsoKind, Packet};
use libnet::time::Instant;
use shmif::Shmif;

use super::{Node, clock, frame, sleep_on};

/// The address of node `number`.
pub fn mac(number: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 1, number])
}

/// Everyone's number; node `number` sends to all others and, now and then, to all at once.
pub struct Talker {
    node: Node,
    number: u8,
    others: Vec<u8>,
    /// Tells this incarnation from the last.
    incarnation: u64,
    sent: u64,
    /// By sender: its incarnation, and the last number heard.
    heard: HashMap<u8, (u64, u64)>,
    pub report: Arc<Report>,
}

/// What a talker has seen so far.
#[derive(Default)]
pub struct Report {
    /// By sender.
    pub last_heard: Mutex<HashMap<u8, Instant>>,
    /// The longest time between two frames of one sender, since it was last reset.
    pub gaps: Mutex<HashMap<u8, Duration>>,
    /// Frames whose own check failed, by sender.
    pub torn: Mutex<HashMap<u8, u64>>,
    /// Frames that came late or twice.
    pub disorder: AtomicU64,
    pub frames: AtomicU64,
    pub stop: AtomicBool,
}

impl Report {
    pub fn reset_gaps(&self) {
        let now = clock();
        self.gaps.lock().unwrap().clear();
        for at in self.last_heard.lock().unwrap().values_mut() {
            *at = now;
        }
    }

    /// The longest silence of `sender` so far, the present one included.
    pub fn gap(&self, sender: u8) -> Duration {
        let since = self.last_heard.lock().unwrap().get(&sender).copied();
        let open = since.map_or(Duration::MAX, |at| clock().since(at));
        let closed = self.gaps.lock().unwrap().get(&sender).copied().unwrap_or_default();
        closed.max(open)
    }

    pub fn torn_total(&self) -> u64 {
        self.torn.lock().unwrap().values().sum()
    }
}

impl Talker {
    pub fn join(path: &Path, number: u8, others: &[u8]) -> Self {
        let name = format!("node{number}");
        let node = Node::new(Shmif::attach(path).unwrap().mac(mac(number)).name(name));
        let incarnation = clock().as_nanos();
        let others = others.iter().copied().filter(|other| *other != number).collect();
        let (heard, report) = (HashMap::new(), Arc::default());
        Talker { node, number, others, incarnation, sent: 0, heard, report }
    }

    /// Talks until the report says stop, or for ever.
    pub fn run(mut self) {
        while !self.report.stop.load(Ordering::Relaxed) {
            while self.node.queue.len() < 8 {
                let packet = self.next_frame();
                self.node.queue.push_back(packet);
            }
            self.node.now = clock();
            let sent = self.node.flush();
            let heard = self.listen();
            if sent == 0 && heard == 0 {
                let bell = self.node.bell();
                sleep_on(&*bell, Duration::from_millis(50));
            }
        }
    }

    pub fn spawn(self) -> JoinHandle<()> {
        std::thread::spawn(move || self.run())
    }

    fn next_frame(&mut self) -> Packet {
        self.sent += 1;
        let turn = self.sent as usize % (self.others.len() * 8 + 1);
        let to = match turn.checked_sub(1) {
            None => MacAddr::BROADCAST,
            Some(turn) => mac(self.others[turn % self.others.len()]),
        };
        // Mostly middling frames, some of one byte, some super-frames.
        let bytes = match self.sent % 16 {
            0 => 65_000,
            1 => 1,
            step => (self.sent.wrapping_mul(2_654_435_761) % 3000 + step) as usize,
        };
        let mut payload = Vec::with_capacity(bytes + 33);
        payload.push(self.number);
        payload.extend(self.incarnation.to_be_bytes());
        payload.extend(self.sent.to_be_bytes());
        payload.extend((0..bytes).map(|i| (self.sent as usize + i) as u8));
        payload.extend(check(&payload).to_be_bytes());
        let mut packet = frame(to, self.node.mac, &payload);
        let segment_bytes = 1460.try_into().unwrap();
        packet.gso = Some(Gso { kind: GsoKind::Tcp4, segment_bytes });
        packet
    }

    fn listen(&mut self) -> usize {
        let mut sink = Vec::new();
        self.node.link.rx.recv(self.node.now, 64, &mut sink, None).unwrap();
        let now = clock();
        for packet in &sink {
            self.check_frame(now, &packet.to_bytes());
        }
        self.report.frames.fetch_add(sink.len() as u64, Ordering::Relaxed);
        sink.len()
    }

    fn check_frame(&mut self, now: Instant, bytes: &Bytes) {
        let sender = bytes.get(11).copied().unwrap_or(0);
        let body = bytes.len().saturating_sub(8);
        let whole = bytes.len() > 14 + 17 + 8
            && bytes[14] == sender
            && check(&bytes[14..body]).to_be_bytes() == bytes[body..];
        if !whole {
            *self.report.torn.lock().unwrap().entry(sender).or_default() += 1;
            return;
        }
        let word = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
        let (incarnation, number) = (word(15), word(23));
        if let Some((last, last_number)) = self.heard.insert(sender, (incarnation, number))
            && (incarnation < last || (incarnation == last && number <= last_number))
        {
            self.report.disorder.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(before) = self.report.last_heard.lock().unwrap().insert(sender, now) {
            let mut gaps = self.report.gaps.lock().unwrap();
            let gap = gaps.entry(sender).or_default();
            *gap = (*gap).max(now.since(before));
        }
    }
}

/// FNV-1a over words.
fn check(bytes: &[u8]) -> u64 {
    bytes.chunks(8).fold(0xcbf2_9ce4_8422_2325, |hash, chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        (hash ^ u64::from_le_bytes(word)).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(17)
    })
}
