//! SYNs with data: what a listener gives to who may send them, and the connections that they begin.

use std::net::IpAddr;
use std::sync::Arc;

use libnet::{Instant, Packet};

use super::{Event, Table};
use crate::tcp::config::ConnOptions;
use crate::tcp::ctx::Ctx;
use crate::tcp::fast_open::{Asked, Believed, FastOpen, Offer, Try, keys_of};
use crate::tcp::listen::{Accepted, Listener};
use crate::tcp::options::MAX_OPTIONS_BYTES;
use crate::tcp::path::{Path, PathInfo};
use crate::tcp::segment::Segment;
use crate::tcp::tcb::Connection;

/// What a SYN gets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Grant {
    /// A handshake as any other.
    Nothing,
    /// The same, with a cookie for the next time.
    Cookie,
    /// Its data are taken; a place for it is counted.
    Take {
        /// What its SYN-ACK brings.
        option: Offer,
    },
}

impl Table {
    /// RFC 7413 §4.2.2, server: what the SYN asks for, and whether it may have it.
    pub(super) fn grant_fast_open(
        &mut self,
        now: Instant,
        (seg, packet): (&Segment, &Packet),
        listener: &Listener,
        options: &ConnOptions,
    ) -> Grant {
        let mode = self.ctx.config.fast_open;
        let most = match options.fast_open_queue {
            0 if mode.has(FastOpen::EVERY_LISTENER) => listener.backlog(),
            asked => asked,
        };
        if !mode.has(FastOpen::SERVER) || most == 0 {
            return Grant::Nothing;
        }
        let mut list = [0; MAX_OPTIONS_BYTES];
        let list_bytes = Segment::options_in(packet, &mut list);
        let body = seg.options.fast_open.find(&list[..list_bytes]).map(|(_, body)| body);
        let asked = Asked::read(body);
        let without = mode.has(FastOpen::SERVER_NO_COOKIE) || options.fast_open_no_cookie;
        if asked == Asked::ForCookie {
            self.ctx.counters.fast_open_cookies_asked += 1;
        }
        let ends = (seg.tuple.remote, seg.tuple.local);
        let Ctx { config, secrets, counters, .. } = &mut self.ctx;
        let keys = || keys_of(secrets, config, options, now);
        let option = match asked {
            _ if without && seg.data_len > 0 => Offer::Nothing,
            Asked::Nothing => return Grant::Nothing,
            Asked::ForCookie => return Grant::Cookie,
            Asked::With(cookie) => match keys().check(ends, &cookie) {
                Believed::Current => Offer::Nothing,
                Believed::Previous => {
                    counters.fast_open_passive_previous_key += 1;
                    Offer::Cookie(keys().cookie(ends))
                }
                Believed::No => {
                    // RFC 7413 §4.2.2: a handshake as any other, with a valid cookie.
                    counters.fast_open_passive_fails += 1;
                    return Grant::Cookie;
                }
            },
        };
        if !listener.begin_fast_open(now, most) {
            counters.fast_open_overflows += 1;
            return Grant::Nothing;
        }
        Grant::Take { option }
    }

    /// A connection that a SYN with data begins; it waits to be accepted at once.
    pub(super) fn open_fast(
        &mut self,
        now: Instant,
        path: &dyn Path,
        (seg, packet): (&Segment, &Packet),
        listener: Arc<Listener>,
        way: &PathInfo,
        option: Offer,
    ) {
        // It has a place of its own kind.
        listener.end_handshake(true);
        let mut conn = Connection::accept_fast_open(
            now,
            &mut self.ctx,
            (seg, packet),
            way,
            Arc::clone(&listener),
            option,
        );
        conn.route_generation = path.route_generation();
        let tuple = *conn.tuple();
        let id = self.insert(conn);
        let local = (tuple.local, tuple.local_port).into();
        let remote = (tuple.remote, tuple.remote_port).into();
        if listener.promote(Accepted::new(self.shard, id, local, remote)) {
            self.events.push(Event::Accept { token: listener.token() });
            self.settle(now, id.index);
        } else {
            self.abort(now, id);
        }
    }

    /// Is a cookie of this server known, so that a connect can bring data with its SYN?
    pub fn can_open_fast(&mut self, now: Instant, server: IpAddr, options: &ConnOptions) -> bool {
        let mode = self.ctx.config.fast_open;
        let without = mode.has(FastOpen::CLIENT_NO_COOKIE) || options.fast_open_no_cookie;
        match self.ctx.cookies.look_up(server, now) {
            _ if !mode.has(FastOpen::CLIENT) => false,
            Try::Send { .. } => true,
            Try::Ask => without,
            Try::Not => false,
        }
    }

    /// Servers whose Fast Open cookies are remembered.
    pub fn fast_open_servers(&self) -> usize {
        self.ctx.cookies.len()
    }
}
