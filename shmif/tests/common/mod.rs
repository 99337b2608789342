//! A bus in a temporary folder, nodes on it whose time stands still unless told, and children.
#![allow(dead_code, unreachable_pub)]

pub mod traffic;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use libnet::ethernet::{EtherType, EthernetHeader, MacAddr};
use libnet::link::{Doorbell, LinkControl, LinkQueue, LinkStats, Readiness};
use libnet::packet::{Gso, GsoKind, Packet};
use libnet::time::Instant;
use shmif::{BusConfig, Shmif};

/// A folder of its own, removed at the end.
pub struct TempBus {
    folder: PathBuf,
    file: PathBuf,
}

impl TempBus {
    pub fn new() -> Self {
        Self::with(&BusConfig::default())
    }

    pub fn with(config: &BusConfig) -> Self {
        let bus = Self::unmade();
        Shmif::create_or_attach(&bus.file, config).unwrap();
        bus
    }

    /// The folder is there, the bus is not.
    pub fn unmade() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("shmif-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("my.bus");
        TempBus { folder, file }
    }

    pub fn path(&self) -> &Path {
        &self.file
    }

    pub fn join(&self, name: &str) -> Node {
        Node::new(Shmif::attach(&self.file).unwrap().name(name))
    }

    pub fn join_as(&self, name: &str, mac: MacAddr) -> Node {
        Node::new(Shmif::attach(&self.file).unwrap().name(name).mac(mac))
    }
}

impl Drop for TempBus {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A member that does what it is told and nothing else.
pub struct Node {
    pub mac: MacAddr,
    pub link: LinkQueue,
    pub control: Box<dyn LinkControl>,
    pub queue: VecDeque<Packet>,
    pub now: Instant,
    pub kept: Vec<Bytes>,
    bell: Arc<dyn Doorbell>,
}

impl Node {
    pub fn new(shmif: Shmif) -> Self {
        let mac = libnet::link::Link::info(&shmif).mac;
        let (link, control) = shmif.join().unwrap();
        let Readiness::Doorbell(bell) = link.rx.readiness() else { panic!("a doorbell") };
        let (queue, kept) = (VecDeque::new(), Vec::new());
        Node { mac, link, control, queue, now: Instant::from_millis(1), kept, bell }
    }

    pub fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// Sends one frame, which there is room for.
    pub fn send(&mut self, packet: Packet) {
        self.queue.push_back(packet);
        self.flush();
        assert!(self.queue.is_empty(), "there is room");
    }

    /// Sends what there is room for.
    pub fn flush(&mut self) -> usize {
        self.link.tx.send(self.now, &mut self.queue).unwrap()
    }

    /// All that is there.
    pub fn recv_packets(&mut self) -> Vec<Packet> {
        let mut sink = Vec::new();
        while self.link.rx.recv(self.now, 16, &mut sink, None).unwrap() > 0 {}
        sink
    }

    pub fn recv(&mut self) -> Vec<Bytes> {
        self.recv_packets().iter().map(Packet::to_bytes).collect()
    }

    pub fn stats(&self) -> LinkStats {
        self.control.stats()
    }

    pub fn armed(&self) -> Option<u32> {
        self.bell.arm()
    }

    pub fn disarm(&self) {
        self.bell.disarm();
    }

    pub fn would_sleep(&self) -> bool {
        let armed = self.bell.arm().is_some();
        self.bell.disarm();
        armed
    }

    pub fn word(&self) -> u32 {
        self.bell.word().load(Ordering::SeqCst)
    }

    pub fn bell(&self) -> Arc<dyn Doorbell> {
        self.bell.clone()
    }
}

pub fn frame(dst: MacAddr, src: MacAddr, payload: &[u8]) -> Packet {
    let mut packet = Packet::from_payload(Bytes::copy_from_slice(payload));
    EthernetHeader { dst, src, ethertype: EtherType(0x88b5) }.prepend_to(&mut packet);
    packet
}

/// A frame of `len` bytes in two pieces, header included; shorter than a header, a bare one.
pub fn frame_of(dst: MacAddr, src: MacAddr, len: usize) -> Packet {
    let Some(rest) = len.checked_sub(14) else {
        return Packet::from_payload(Bytes::from(vec![0; len]));
    };
    let bytes: Vec<u8> = (0..rest).map(|i| (i * 7 + i / 251) as u8).collect();
    frame(dst, src, &bytes)
}

/// 64 KiB that start with a number.
pub fn super_frame(dst: MacAddr, src: MacAddr, number: u32) -> Packet {
    let mut bytes = vec![number as u8; 65_535];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    let mut packet = frame(dst, src, &bytes);
    packet.gso = Some(Gso { kind: GsoKind::Tcp4, segment_bytes: 1460.try_into().unwrap() });
    packet
}

/// Runs the test `child` of this very binary in a process of its own, to play `role`.
pub fn spawn_child(role: &str, args: &[&str]) -> ChildNode {
    let mut command = Command::new(std::env::current_exe().unwrap());
    child_command(&mut command, role, args);
    ChildNode(command.spawn().unwrap())
}

/// Sets a command up that runs this binary, to play `role` in a child.
pub fn child_command(command: &mut Command, role: &str, args: &[&str]) {
    command
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env("SHMIF_ROLE", role)
        .env("SHMIF_ARGS", args.join("\n"))
        .stdout(Stdio::null());
}

/// The role and the arguments, in a process that [`spawn_child`] has started.
pub fn role() -> Option<(String, Vec<String>)> {
    let role = std::env::var("SHMIF_ROLE").ok()?;
    let args = std::env::var("SHMIF_ARGS").unwrap_or_default();
    Some((role, args.lines().map(str::to_owned).collect()))
}

/// A child that is killed at the latest when it is dropped.
pub struct ChildNode(pub Child);

impl ChildNode {
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.0.id() as i32);
        nix::sys::signal::kill(pid, signal).unwrap();
    }
}

impl Drop for ChildNode {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// CLOCK_MONOTONIC.
pub fn clock() -> Instant {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Instant::from_nanos(now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64)
}

/// How a sleep ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Woken {
    /// There was no reason to sleep, or somebody rang.
    Rung,
    /// Nobody rang for as long as the bell says a sleep may last.
    Overslept,
    /// Nobody rang for the shorter time that was asked for.
    TimedOut,
}

/// Sleeps on a doorbell as a driver does.
pub fn sleep_on(bell: &dyn Doorbell, limit: Duration) -> Woken {
    use rustix::thread::futex;
    let Some(value) = bell.arm() else { return Woken::Rung };
    let longest = bell.longest_sleep();
    let time = limit.min(longest);
    let time = rustix::time::Timespec {
        tv_sec: time.as_secs() as i64,
        tv_nsec: time.subsec_nanos().into(),
    };
    let woken = futex::wait(bell.word(), futex::Flags::empty(), value, Some(&time));
    bell.disarm();
    match woken {
        Err(rustix::io::Errno::TIMEDOUT) if limit < longest => Woken::TimedOut,
        Err(rustix::io::Errno::TIMEDOUT) => Woken::Overslept,
        _ => Woken::Rung,
    }
}
