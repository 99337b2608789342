//! Active opens, and the ports they take.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use libnet::Instant;

use super::{ConnId, Place, Table};
use crate::family::Zone;
use crate::tcp::config::{ConnOptions, TimeWaitReuse};
use crate::tcp::error::ConnectError;
use crate::tcp::path::{Path, PathInfo};
use crate::tcp::segment::FourTuple;
use crate::tcp::seq::SeqNumber;
use crate::tcp::tcb::Connection;

/// Our end of a connect.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ConnectFrom {
    /// Our address; `None`: the one that fits the route.
    pub addr: Option<IpAddr>,
    /// Our port; 0: one of the ephemeral range.
    pub port: u16,
    /// The connection's options.
    pub options: ConnOptions,
    /// What its events carry.
    pub token: u64,
    /// Try Fast Open: ask the server for a cookie, or send `early_data` with the SYN if one is
    /// known. Source: RFC 7413.
    pub fast_open: bool,
    /// The first data; they go with the SYN if they may, else after the handshake.
    pub early_data: Bytes,
}

impl Table {
    /// Begins a connection; its SYN leaves with the next [`poll_transmit`](Self::poll_transmit).
    ///
    /// `is_ours` tells whether a four-tuple belongs to this shard; with one shard all do. A port
    /// of the ephemeral range is chosen so that it does. Source: RFC 9293 §3.10.1.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub fn connect(
        &mut self,
        now: Instant,
        path: &mut dyn Path,
        from: ConnectFrom,
        remote: SocketAddr,
        is_ours: &dyn Fn(&FourTuple) -> bool,
    ) -> Result<ConnId, ConnectError> {
        check_remote(remote, from.addr)?;
        if self.slots.is_full() || !self.has_memory() {
            return Err(ConnectError::TableFull);
        }
        // RFC 9293 §3.9.1.1 (MUST-43 to MUST-45): the address is fixed now, for good.
        let way = path.route(from.addr, remote.ip(), from.options.sharing.iface)?;
        let zone = Zone::of(way.src, remote.ip(), from.options.sharing.iface.unwrap_or(way.iface));
        let tuple = |local_port| FourTuple {
            local: way.src,
            remote: remote.ip(),
            local_port,
            remote_port: remote.port(),
            zone,
        };
        let (tuple, after) = if from.port != 0 {
            let tuple = tuple(from.port);
            (tuple, self.take_tuple(now, &tuple).ok_or(ConnectError::InUse)?)
        } else {
            self.take_ephemeral(now, &tuple, is_ours).ok_or(ConnectError::NoPort)?
        };
        Ok(self.begin(now, path, from, tuple, &way, after))
    }

    fn begin(
        &mut self,
        now: Instant,
        path: &dyn Path,
        from: ConnectFrom,
        tuple: FourTuple,
        way: &PathInfo,
        after: Option<SeqNumber>,
    ) -> ConnId {
        let mut conn = Connection::connect(now, &mut self.ctx, tuple, way, from.options);
        if let Some(old_snd_nxt) = after {
            conn.start_after(old_snd_nxt);
        }
        conn.route_generation = path.route_generation();
        conn.set_token(from.token);
        if from.fast_open {
            conn.try_fast_open(now, &mut self.ctx);
        }
        let mut early_data = from.early_data;
        conn.send_early(&mut self.ctx, &mut early_data);
        let id = self.insert(conn);
        self.settle(now, id.index);
        id
    }

    /// RFC 6056 §3.3.3, algorithm 3: a keyed offset for each peer, then one port after the other.
    /// Ports of listeners and reserved ones are left out, and the one that would connect an end to itself.
    fn take_ephemeral(
        &mut self,
        now: Instant,
        tuple: &dyn Fn(u16) -> FourTuple,
        is_ours: &dyn Fn(&FourTuple) -> bool,
    ) -> Option<(FourTuple, Option<SeqNumber>)> {
        let range = &self.ctx.config.ephemeral_ports;
        let (first, count) =
            (*range.start(), u32::from(range.end().checked_sub(*range.start())?) + 1);
        let any = tuple(first);
        let offset = self.ctx.secrets.port_offset(any.local, any.remote, any.remote_port);
        for _ in 0..count {
            let step = offset.wrapping_add(self.next_port) % count;
            self.next_port = self.next_port.wrapping_add(1);
            let candidate = tuple(first + step as u16);
            let to_itself = candidate.local == candidate.remote
                && candidate.local_port == candidate.remote_port;
            let listens = self.listeners.contains_key(&candidate.local_port);
            let reserved = self.ctx.config.reserved_ports.contains(candidate.local_port);
            if to_itself || listens || reserved || !is_ours(&candidate) {
                continue;
            }
            if let Some(after) = self.take_tuple(now, &candidate) {
                return Some((candidate, after));
            }
        }
        None
    }

    /// Frees a four-tuple for a new connection: it is unused, or in a TIME-WAIT that timestamps
    /// make safe to take over, whose SND.NXT is given then. `None`: it is in use.
    ///
    /// RFC 6191 §2 is the peer's half of this; ours is RFC 9293 §3.6.1 (MAY-2) with the condition
    /// that our timestamp clock has moved on since (as Linux's `tcp_tw_reuse`).
    fn take_tuple(&mut self, now: Instant, tuple: &FourTuple) -> Option<Option<SeqNumber>> {
        match self.find(tuple) {
            None => Some(None),
            Some(Place::Slot(_) | Place::Request(_)) => None,
            Some(Place::TimeWait(entry)) => {
                let old = self.waits.get(entry);
                let config = &self.ctx.config;
                let aged = self.waits.age(now, entry) >= config.time_wait_reuse_after;
                let may = match config.time_wait_reuse {
                    TimeWaitReuse::Never => false,
                    TimeWaitReuse::Always => true,
                    TimeWaitReuse::Loopback => {
                        tuple.local.is_loopback() || tuple.local == tuple.remote
                    }
                };
                if old.ts_recent.is_none() || !may || !aged || !config.timestamps {
                    return None;
                }
                self.ctx.counters.time_wait_reused += 1;
                self.forget_time_wait(now, entry);
                Some(Some(old.snd_nxt))
            }
        }
    }
}

/// RFC 9293 §3.9.1.1 (MUST-46): no connection to broadcast or multicast.
fn check_remote(remote: SocketAddr, local: Option<IpAddr>) -> Result<(), ConnectError> {
    let ip = remote.ip();
    let broadcast = matches!(ip, IpAddr::V4(addr) if addr.is_broadcast());
    let mixed = local.is_some_and(|local| local.is_ipv4() != ip.is_ipv4());
    if remote.port() == 0 || ip.is_multicast() || ip.is_unspecified() || broadcast || mixed {
        return Err(ConnectError::BadAddress);
    }
    Ok(())
}
