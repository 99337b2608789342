//! Raw sockets: a copy of every packet of their protocol, with its header if that is IPv4's.

use std::cell::LazyCell;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::Waker;

use libnet::packet::{Checksum, Packet};
use libnet::socket::{Family, Protocol};
use libnet::stats::DropReason;

use super::build::pseudo_header;
use super::{Datagram, Delivery, Kind, Shared, data_of, peer_matches};
use crate::icmp::error::IcmpError;
use crate::ip::input::IpMeta;
use crate::shard::Shard;

/// `IPPROTO_RAW`: sends whatever its header says, receives nothing.
pub(crate) const IPPROTO_RAW: Protocol = Protocol(255);

/// All raw sockets. Rank: wide. Without any, a packet costs one load.
pub(crate) struct RawTable {
    count: AtomicUsize,
    sockets: RwLock<Vec<Shared>>,
}

impl RawTable {
    /// None.
    pub(crate) const fn new() -> Self {
        RawTable { count: AtomicUsize::new(0), sockets: RwLock::new(Vec::new()) }
    }

    /// Adds a socket.
    pub(crate) fn add(&self, socket: Shared) {
        let mut sockets = self.sockets.write().unwrap_or_else(PoisonError::into_inner);
        sockets.push(socket);
        self.count.store(sockets.len(), Ordering::Release);
    }

    /// Takes a socket out.
    pub(crate) fn remove(&self, socket: &Shared) {
        let mut sockets = self.sockets.write().unwrap_or_else(PoisonError::into_inner);
        sockets.retain(|other| !Arc::ptr_eq(other, socket));
        self.count.store(sockets.len(), Ordering::Release);
    }

    /// Is there none?
    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// Brings an ICMP error to the sockets of the protocol that it is about; whether there are any.
    pub(crate) fn error(
        &self,
        wakes: &mut Vec<Waker>,
        error: &IcmpError,
        _quoted: &Packet,
    ) -> bool {
        let sockets = self.of_protocol(error.protocol, Family::of(&error.src));
        for socket in &sockets {
            let state = socket.state();
            let local = state.local.ip();
            let ours = local.is_unspecified() || local == error.src;
            let theirs = peer_matches(state.remote, error.dst);
            drop(state);
            if ours && theirs {
                socket.report(error, wakes);
            }
        }
        !sockets.is_empty()
    }

    fn of_protocol(&self, protocol: Protocol, family: Family) -> Vec<Shared> {
        if self.is_empty() {
            return Vec::new();
        }
        let sockets = self.sockets.read().unwrap_or_else(PoisonError::into_inner);
        let wanted =
            |socket: &&Shared| socket.kind == Kind::Raw(protocol) && socket.family == family;
        sockets.iter().filter(wanted).map(Arc::clone).collect()
    }
}

/// The sum of an IP packet's data and pseudo header; 0 if the checksum in it is right.
fn sum_of(meta: &IpMeta, data: &[u8]) -> u16 {
    let mut sum = pseudo_header(meta.src, meta.dst, meta.protocol, data.len());
    sum.add(data);
    sum.finish()
}

impl Shard {
    /// Gives copies of a whole datagram to the raw sockets of its protocol; whether there are any.
    pub(crate) fn raw_input(&mut self, meta: &IpMeta, packet: &Packet) -> bool {
        let sockets = self.wide.raw.of_protocol(meta.protocol, Family::of(&meta.src));
        // One that was opened just now begins with the next packet.
        let is_elsewhere = packet.landed_range().is_some();
        if is_elsewhere || sockets.is_empty() || meta.protocol == IPPROTO_RAW {
            return false;
        }
        let mut seen = packet.clone();
        if matches!(seen.checksum, Checksum::Partial { .. }) {
            let _ = seen.complete_checksum();
        }
        // RFC 3542 §3: of IPv6, what follows its headers.
        let skip = if meta.src.is_ipv6() { meta.header_bytes } else { 0 };
        let data = data_of(&seen, skip, usize::MAX);
        let is_sound = LazyCell::new(|| seen.gso.is_some() || sum_of(meta, &data) == 0);
        for socket in sockets {
            let state = socket.state();
            let local = state.local.ip();
            let iface = state.options.iface.as_ref().is_none_or(|(iface, _)| *iface == meta.iface);
            let takes = (local.is_unspecified() || local == meta.dst)
                && peer_matches(state.remote, meta.src)
                && iface;
            let checksum_at = state.options.checksum_at.filter(|_| meta.src.is_ipv6());
            drop(state);
            if !takes || !socket.takes(meta) {
                continue;
            }
            // RFC 3542 §3.1: discarded if it is wrong.
            if checksum_at.is_some_and(|at| !*is_sound || data.len() < usize::from(at) + 2) {
                if meta.protocol != Protocol::ICMPV6 {
                    self.drop_packet(DropReason::RawChecksum);
                }
                continue;
            }
            let from = SocketAddr::new(meta.src, 0);
            let datagram = Datagram::new(data.clone(), from, meta, packet.rx_at);
            if socket.deliver(datagram, || self.wide.config(), &mut self.wakes) == Delivery::Full {
                self.drop_packet(DropReason::SocketBufferFull);
            }
        }
        true
    }
}
