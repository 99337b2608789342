//! Half-open connections as time goes by: answers that are sent again, and how they end without one.

use std::time::Duration;

use libnet::{DropReason, Instant};

use super::Table;
use crate::tcp::config::{ConnOptions, TcpConfig};
use crate::tcp::ecn::flags_of_request;
use crate::tcp::icmp::{IcmpError, IcmpErrorKind};
use crate::tcp::listen::{Listener, Promotion};
use crate::tcp::options::{Options, Timestamps};
use crate::tcp::path::Path;
use crate::tcp::request::Request;
use crate::tcp::segment::{Flags, FourTuple, Header};
use crate::tcp::tcb::timestamp;

impl Table {
    /// What is due at requests.
    pub(super) fn time_requests(&mut self, now: Instant) {
        while let Some(entry) = self.requests.expired(now) {
            let Some(request) = self.requests.get(entry) else { return };
            let limit = request.listener.syn_ack_retries(self.ctx.config.syn_ack_retries);
            let closed = request.listener.has_room() == Promotion::Closed;
            let deferred = deferred_retries(&self.ctx.config, &request.listener);
            let waits_for_data = request.acked && request.retries < deferred;
            if request.dying || closed || (request.retries >= limit && !waits_for_data) {
                self.ctx.counters.attempt_fails += 1;
                self.forget_request(entry);
                continue;
            }
            if request.retries == 0 {
                request.listener.grow_old();
            }
            // The last time gives the peer one more chance to say something.
            let silent = request.acked && request.retries + 1 < deferred;
            self.requests.back_off(now, entry);
            if !silent {
                self.let_answer(entry);
            }
        }
    }

    /// Sends what a request owes: its SYN-ACK again, or a RST as the last thing.
    pub(super) fn transmit_request(&mut self, now: Instant, path: &mut dyn Path, entry: u32) {
        let Some(request) = self.requests.get(entry) else { return };
        if !request.dying {
            return self.resend_syn_ack(now, path, entry);
        }
        let header = Header {
            seq: request.iss + 1,
            ack: request.rcv_nxt(),
            flags: Flags::RST | Flags::ACK,
            wnd: 0,
            urgent: 0,
            options: Options::default(),
        };
        let mut request = request.clone();
        self.ctx.counters.resets_out += 1;
        self.answer_request(now, path, &mut request, &ConnOptions::new(), &header);
        self.forget_request(entry);
    }

    pub(super) fn resend_syn_ack(&mut self, now: Instant, path: &mut dyn Path, entry: u32) {
        let Some(request) = self.requests.get_mut(entry) else { return };
        let tuple = &request.tuple;
        let Ok(way) = path.route(Some(tuple.local), tuple.remote, request.bound) else {
            // As with any other segment: routes may come back.
            return self.ctx.dropped(DropReason::NoRoute);
        };
        (request.resent, request.iface) = (true, way.iface);
        let mut request = request.clone();
        self.ctx.counters.retransmitted_segments += 1;
        let options = request.listener.options();
        self.send_syn_ack(now, path, &mut request, &options, &way);
    }

    /// The ACK that answers what does not fit.
    pub(super) fn acknowledge_request(&mut self, now: Instant, path: &mut dyn Path, entry: u32) {
        let Some(request) = self.requests.get(entry) else { return };
        let mut request = request.clone();
        let FourTuple { local, remote, .. } = request.tuple;
        let offset = self.ctx.secrets.timestamp_offset(local, remote);
        let timestamps = request
            .timestamps
            .then(|| Timestamps { value: timestamp(now, offset), echo: request.ts_recent });
        // RFC 7323 §2.3: unlike that of the SYN-ACK, its window is scaled.
        let shift = request.peer_shift.map_or(0, |_| request.rcv_shift);
        let header = Header {
            seq: request.iss + 1,
            ack: request.rcv_nxt(),
            flags: Flags::ACK | flags_of_request(&self.ctx.config, &request),
            wnd: request.rcv_wnd >> shift,
            urgent: 0,
            options: Options { timestamps, ..Options::default() },
        };
        self.ctx.counters.pure_acks_out += 1;
        let options = request.listener.options();
        self.answer_request(now, path, &mut request, &options, &header);
    }

    /// As [`Connection::on_icmp`]: before it is established an error ends it.
    pub(super) fn on_request_icmp(&mut self, entry: u32, error: &IcmpError) -> bool {
        let quoted = self.requests.get(entry).is_some_and(|request| request.iss == error.seq);
        let soft = matches!(error.kind, IcmpErrorKind::Transient | IcmpErrorKind::TooBig { .. });
        if quoted && !soft {
            self.ctx.counters.attempt_fails += 1;
            self.forget_request(entry);
        }
        quoted
    }

    /// Every request for which `is` holds is told that it is over.
    pub(super) fn reset_requests(&mut self, is: impl Fn(&Request) -> bool) {
        let all = self.requests.iter().filter(|(_, request)| is(request));
        let all: Vec<u32> = all.map(|(entry, _)| entry).collect();
        for entry in all {
            if let Some(request) = self.requests.get_mut(entry) {
                request.dying = true;
                self.let_answer(entry);
            }
        }
    }

    pub(super) fn let_answer(&mut self, entry: u32) {
        if let Some(request) = self.requests.get(entry) {
            self.ready_requests.push(request.iface, self.requests.id(entry));
        }
    }
}

/// How many time-outs of a SYN-ACK an acknowledgement without data is not enough for: as many as fit
/// in the time that the listener asked for, rounded up.
pub(super) fn deferred_retries(config: &TcpConfig, listener: &Listener) -> u8 {
    retries_within(config, listener.options().defer_accept)
}

/// What `TCP_DEFER_ACCEPT` gives when so much time was asked for: it is rounded up to the times at
/// which SYN-ACKs are sent again, as on Linux.
pub fn defer_accept_time(config: &TcpConfig, asked: Duration) -> Duration {
    let (mut wait, mut passed) = (config.rto_initial, Duration::ZERO);
    for _ in 0..retries_within(config, asked) {
        passed = passed.saturating_add(wait);
        wait = wait.saturating_mul(2).min(config.rto_max.max(config.rto_initial));
    }
    passed
}

/// The number of time-outs of a SYN-ACK after which so much time has passed; 0 for no time.
fn retries_within(config: &TcpConfig, time: Duration) -> u8 {
    if time.is_zero() {
        return 0;
    }
    let (mut retries, mut wait, mut passed) = (1, config.rto_initial, config.rto_initial);
    while passed < time && retries < u8::MAX {
        wait = wait.saturating_mul(2).min(config.rto_max.max(config.rto_initial));
        passed = passed.saturating_add(wait);
        retries += 1;
    }
    retries
}
