//! ICMP errors about a connection: believed only if they quote what is under way.

use libnet::Instant;

use super::auth::ConnAuth;
use super::ctx::Ctx;
use super::error::ConnError;
use super::path::PathInfo;
use super::segment::FourTuple;
use super::seq::SeqNumber;
use super::state::State;
use super::tcb::{Connection, fixed_header_bytes};
use crate::ipv6::header::MIN_MTU;

/// What an ICMP error says, of either family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum IcmpErrorKind {
    /// Network unreachable, or of that class.
    NetUnreachable,
    /// Host unreachable, or of that class; also our own neighbour resolution's.
    HostUnreachable,
    /// The host does not speak TCP.
    ProtocolUnreachable,
    /// Nobody listens, or an administrator forbids it.
    PortUnreachable,
    /// Time exceeded, parameter problem, source quench: nothing to act on.
    Transient,
    /// Fragmentation needed, packet too big: the next hop's MTU, bytes; 0: not said (RFC 1191 §5).
    TooBig {
        /// The next hop's MTU.
        mtu: u32,
    },
}

/// An ICMP error with the part of our segment that it quotes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IcmpError {
    /// What it says.
    pub kind: IcmpErrorKind,
    /// The quoted segment's ends, ours as `local`.
    pub tuple: FourTuple,
    /// The quoted segment's sequence number.
    pub seq: SeqNumber,
    /// Length of the quoted IP packet, bytes.
    pub ip_bytes: u32,
}

impl Connection {
    /// Acts on an ICMP error; `false` if it quotes nothing that is under way.
    ///
    /// RFC 5927 §4.1, RFC 9293 §3.9.2.2: the number must lie between SND.UNA and SND.NXT.
    pub fn on_icmp(&mut self, now: Instant, ctx: &mut Ctx, error: &IcmpError) -> bool {
        let quoted = error.seq.ge(self.snd_una) && error.seq.lt(self.snd_max);
        if !quoted || self.state == State::Closed {
            return false;
        }
        if self.ignores(error.kind) {
            ctx.counters.ao_icmps_dropped += 1;
            return true;
        }
        if self.state == State::SynSent && error.kind != IcmpErrorKind::Transient {
            // RFC 7413 §4.1.3.1 (MUST): it counts as an answer that refuses.
            self.lose_fast_open(now, ctx);
        }
        match error.kind {
            IcmpErrorKind::TooBig { mtu } => self.on_too_big(now, ctx, mtu, error.ip_bytes),
            IcmpErrorKind::Transient => {}
            IcmpErrorKind::NetUnreachable => self.on_unreachable(ctx, ConnError::NetUnreachable),
            IcmpErrorKind::HostUnreachable => self.on_unreachable(ctx, ConnError::HostUnreachable),
            IcmpErrorKind::ProtocolUnreachable => {
                self.on_unreachable(ctx, ConnError::ProtocolUnreachable);
            }
            IcmpErrorKind::PortUnreachable => self.on_unreachable(ctx, ConnError::Refused),
        }
        true
    }

    /// RFC 5925 §7.8 (MUST): hard errors, which anybody can make, do not disturb a connection that is
    /// signed by TCP-AO once it is established.
    fn ignores(&self, kind: IcmpErrorKind) -> bool {
        let signed = matches!(self.cold.auth.as_deref(), Some(ConnAuth::Ao(_)));
        let hard = match kind {
            IcmpErrorKind::ProtocolUnreachable | IcmpErrorKind::PortUnreachable => true,
            // Its codes are those of IPv4 alone.
            IcmpErrorKind::TooBig { .. } => self.tuple.local.is_ipv4(),
            _ => false,
        };
        signed && hard && self.state.is_synchronized()
    }

    /// RFC 9293 §3.9.2.2 (MUST-56): soft errors do not end a connection.
    /// DEVIATES RFC 9293 §3.9.2.2: before it is established they do, so that a connect to nobody
    /// fails at once (RFC 5461 §4.1, as Linux does); and afterwards hard errors do not (SHOULD-57),
    /// since they are easily forged (RFC 5927 §5.2).
    fn on_unreachable(&mut self, ctx: &mut Ctx, error: ConnError) {
        if matches!(self.state, State::SynSent | State::SynReceived) {
            ctx.counters.attempt_fails += 1;
            self.finish(ctx, Some(error));
        } else {
            self.cold.soft_error = Some(error);
        }
    }

    /// The layer below could not take a segment.
    pub(super) fn on_path_error(&mut self, ctx: &mut Ctx, kind: IcmpErrorKind) {
        let error = match kind {
            IcmpErrorKind::HostUnreachable => ConnError::HostUnreachable,
            _ => ConnError::NetUnreachable,
        };
        if self.state != State::Closed {
            self.on_unreachable(ctx, error);
        }
    }

    /// Routes have changed: another interface, another MTU.
    pub(super) fn set_path(&mut self, way: &PathInfo) {
        self.iface = way.iface;
        self.path_mtu = way.mtu;
        self.bound_mtu_search(way.mtu);
        self.cold.gso_max_bytes = way.gso_max_bytes;
        self.update_mss();
    }

    /// RFC 1191 §6.4, §6.5: smaller segments, and what was too big again at once, without a change
    /// of the congestion window.
    fn on_too_big(&mut self, now: Instant, ctx: &mut Ctx, mtu: u32, quoted_bytes: u32) {
        let mtu = if mtu > 0 { mtu } else { plateau_below(quoted_bytes.min(self.path_mtu)) };
        // RFC 8201 §4: every link of IPv6 carries as much.
        let least = if self.tuple.local.is_ipv4() { ctx.config.path_mtu_min } else { MIN_MTU };
        let floor = least.max(fixed_header_bytes(&self.tuple) + 88);
        let mtu = mtu.max(floor);
        // RFC 1191 §3: never up; RFC 5927 §7.2: a segment must have been larger.
        if mtu >= self.path_mtu {
            return;
        }
        self.path_mtu = mtu;
        self.bound_mtu_search(mtu);
        self.update_mss();
        ctx.counters.path_mtu_shrunk += 1;
        if self.state.is_synchronized() && self.snd_max.gt(self.snd_una) {
            match self.mode.sack {
                true => self.resend_all(now),
                false => {
                    self.snd_nxt = self.snd_una;
                    self.tx.reducing = false;
                }
            }
            self.owed.head = true;
            self.rtt.cancel();
            self.restart_timeout(now);
        }
    }
}

/// RFC 1191 §7.1: the next plateau below the size that did not pass.
fn plateau_below(bytes: u32) -> u32 {
    PLATEAUS.into_iter().find(|&plateau| plateau < bytes).unwrap_or(68)
}

const PLATEAUS: [u32; 10] = [32_000, 17_914, 8_166, 4_352, 2_002, 1_492, 1_006, 508, 296, 68];
