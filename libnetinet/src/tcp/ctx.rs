//! What the connections of a shard share: settings, keys, counters.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use libnet::pool::Pool;
use libnet::{DropCounters, DropReason, Instant};

use super::budget::{Budget, Quota};
use super::config::TcpConfig;
use super::fast_open::CookieCache;
use super::rcvbuf::ReceiveBuffer;
use super::secrets::Secrets;
use super::sndbuf::SendBuffer;
use super::state::TransitionCounts;

/// What a connection's code is given beside the time and the segment.
#[derive(Debug)]
pub struct Ctx {
    /// Settings.
    pub config: Arc<TcpConfig>,
    /// Keys.
    pub secrets: Secrets,
    /// Why segments were dropped; one value for the stack.
    pub drops: Arc<DropCounters>,
    /// What passed.
    pub counters: TcpCounters,
    /// Which state transitions were made.
    pub transitions: TransitionCounts,
    /// Memory for what is to be sent.
    pub pool: Pool,
    pub(super) spare: Spare,
    /// This shard's part of the memory of all connections.
    pub(super) quota: Quota,
    /// Bytes that were taken where they had landed, since that was last asked.
    pub(super) landed: usize,
    /// Memory is used up: what others hold out of order is to go.
    pub(super) wants_pruning: bool,
    /// What servers gave us.
    pub(super) cookies: CookieCache,
    last_drop: Cell<Option<DropReason>>,
    next_shrink: Instant,
    challenges: ChallengeBudget,
    /// TIME-WAITs do not know when they answered last, so that they share a bound.
    wait_answers: ChallengeBudget,
}

/// What passed a shard's TCP, and what it met. Names follow RFC 4022 where it has one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpCounters {
    /// Connects begun (tcpActiveOpens).
    pub active_opens: u64,
    /// Connections that listeners have made, their handshakes over (tcpPassiveOpens, as on Linux).
    pub passive_opens: u64,
    /// Handshakes that failed (tcpAttemptFails).
    pub attempt_fails: u64,
    /// Connections reset after they were established (tcpEstabResets).
    pub established_resets: u64,
    /// Segments received, a super-segment as one (tcpInSegs).
    pub segments_in: u64,
    /// Segments sent, a super-segment as one (tcpOutSegs).
    pub segments_out: u64,
    /// Bytes of data received in order.
    pub bytes_in: u64,
    /// Of these, bytes that links have put into the memory of callers that waited for them.
    pub bytes_landed: u64,
    /// Bytes of data sent, resent ones among them.
    pub bytes_out: u64,
    /// Segments sent again (tcpRetransSegs).
    pub retransmitted_segments: u64,
    /// Retransmission time-outs.
    pub timeouts: u64,
    /// Fast retransmits.
    pub fast_retransmits: u64,
    /// Segments with RST sent (tcpOutRsts).
    pub resets_out: u64,
    /// Acknowledgements without data sent.
    pub pure_acks_out: u64,
    /// Challenge ACKs sent (RFC 5961; TCPChallengeACK).
    pub challenge_acks_out: u64,
    /// SYNs on connections that are established (TCPSYNChallenge).
    pub syn_challenges: u64,
    /// Answers that were not given because the connection had given one just before
    /// (TCPACKSkippedChallenge and its like).
    pub answers_skipped: u64,
    /// Segments without data that a TIME-WAIT did not answer because it had done so just before,
    /// or could have (TCPACKSkippedTimeWait).
    pub time_wait_answers_skipped: u64,
    /// Resets that a TIME-WAIT ignored (RFC 1337 §3).
    pub time_wait_resets_ignored: u64,
    /// Zero-window probes sent.
    pub window_probes_out: u64,
    /// Keep-alive probes sent.
    pub keepalives_out: u64,
    /// Segments that arrived before others and waited.
    pub out_of_order_in: u64,
    /// Times that memory was short for what a connection received, so that it had to make room
    /// (PruneCalled).
    pub prune_calls: u64,
    /// Receive buffers that were copied together to make room (TCPRcvCollapsed).
    pub receive_collapses: u64,
    /// Connections that let go what came out of order and had been told of (OfoPruned).
    pub out_of_order_pruned: u64,
    /// Times that making room was not enough (RcvPruned).
    pub receive_pruned: u64,
    /// Segments that were next and found no memory (TCPRcvQDrop).
    pub receive_drops: u64,
    /// Segments beyond a hole that found no memory (TCPOFODrop).
    pub out_of_order_drops: u64,
    /// Sends that found no memory, though their buffers had room.
    pub send_refusals: u64,
    /// Connections reset at their close because there were too many such, or no memory
    /// (TCPAbortOnMemory).
    pub aborts_on_memory: u64,
    /// Fast recoveries begun with SACK (TCPSackRecovery).
    pub sack_recoveries: u64,
    /// Segments sent again that were lost again (TCPLostRetransmit).
    pub lost_retransmits: u64,
    /// Tail loss probes sent (TCPLossProbes).
    pub loss_probes: u64,
    /// Losses that a tail loss probe has repaired (TCPLossProbeRecovery).
    pub loss_probe_recoveries: u64,
    /// Peers that threw away what they had told of (TCPSACKReneging).
    pub sack_renegings: u64,
    /// SACK blocks that cannot be true, ignored (TCPSACKDiscard).
    pub sacks_discarded: u64,
    /// DSACKs received (TCPDSACKRecv).
    pub dsacks_in: u64,
    /// Time-outs that F-RTO found to be spurious (TCPSpuriousRTOs).
    pub spurious_timeouts: u64,
    /// Reductions after a time-out that were taken back (TCPLossUndo).
    pub loss_undos: u64,
    /// Reductions taken back because an echo showed the recovery to be spurious at its end
    /// (TCPFullUndo).
    pub full_undos: u64,
    /// The same in the middle of a recovery (TCPPartialUndo).
    pub partial_undos: u64,
    /// Reductions taken back because all that was sent again arrived twice (TCPDSACKUndo).
    pub dsack_undos: u64,
    /// DSACKs sent for data that were acknowledged before (TCPDSACKOldSent).
    pub dsacks_old_out: u64,
    /// DSACKs sent for data that had come out of order before (TCPDSACKOfoSent).
    pub dsacks_ofo_out: u64,
    /// Segments with data that a network had marked (CE), where ECN is in use.
    pub congestion_marks_in: u64,
    /// Windows reduced because the peer told of marks.
    pub congestion_echoes_in: u64,
    /// Connections that have agreed on ECN.
    pub ecn_connections: u64,
    /// SYN cookies sent (SyncookiesSent).
    pub syn_cookies_sent: u64,
    /// SYN cookies that came back (SyncookiesRecv).
    pub syn_cookies_received: u64,
    /// Acknowledgements to a listener that gives cookies, with none of ours (SyncookiesFailed).
    pub syn_cookies_failed: u64,
    /// Times that a listener's queue of SYNs became full and cookies began
    /// (TCPReqQFullDoCookies counts each SYN, which is `syn_cookies_sent`).
    pub syn_floods: u64,
    /// SYNs dropped because the queue of SYNs was full (TCPReqQFullDrop).
    pub syn_queue_drops: u64,
    /// SYNs, and ends of handshakes, that met a full accept queue (ListenOverflows).
    pub listen_overflows: u64,
    /// Handshakes reset because the accept queue was full (TCPAbortOnOverflow).
    pub aborts_on_overflow: u64,
    /// Acknowledgements without data that a listener did not take as the end of a handshake
    /// (TCPDeferAcceptDrop).
    pub deferred_accepts: u64,
    /// Connects whose SYN's data were taken (TCPFastOpenActive).
    pub fast_open_active: u64,
    /// Connects whose SYN's data were not taken (TCPFastOpenActiveFail).
    pub fast_open_active_fails: u64,
    /// Connections begun with the data of a SYN (TCPFastOpenPassive).
    pub fast_open_passive: u64,
    /// The same by a cookie of the other key (TCPFastOpenPassiveAltKey).
    pub fast_open_passive_previous_key: u64,
    /// SYNs whose cookie was not believed (TCPFastOpenPassiveFail).
    pub fast_open_passive_fails: u64,
    /// SYNs whose data were not taken because too many such handshakes were under way
    /// (TCPFastOpenListenOverflow).
    pub fast_open_overflows: u64,
    /// SYNs that asked for a cookie (TCPFastOpenCookieReqd).
    pub fast_open_cookies_asked: u64,
    /// Times that SYNs with data were found to vanish (TCPFastOpenBlackhole).
    pub fast_open_blackholes: u64,
    /// Segments without the MD5 signature that is asked for (TCPMD5NotFound).
    pub md5_not_found: u64,
    /// Segments with an MD5 signature that nobody asked for (TCPMD5Unexpected).
    pub md5_unexpected: u64,
    /// Segments with a wrong MD5 signature (TCPMD5Failure).
    pub md5_failures: u64,
    /// Segments without the signature of TCP-AO that is asked for (TCPAORequired).
    pub ao_required: u64,
    /// Segments with a wrong signature of TCP-AO (TCPAOBad).
    pub ao_bad: u64,
    /// Segments signed by a key of TCP-AO that we do not have (TCPAOKeyNotFound).
    pub ao_keys_not_found: u64,
    /// ICMP errors that a connection signed by TCP-AO has ignored (TCPAODroppedIcmps).
    pub ao_icmps_dropped: u64,
    /// Segments whose signature of TCP-AO is right (TCPAOGood).
    pub ao_good: u64,
    /// Connections that left TIME-WAIT early because there were too many.
    pub time_wait_evicted: u64,
    /// Connections in TIME-WAIT whose place a new one took (RFC 6191).
    pub time_wait_reused: u64,
    /// Probes of paths' MTUs sent.
    pub mtu_probes_out: u64,
    /// Of these, larger segments that arrived (TCPMTUPSuccess).
    pub mtu_probe_successes: u64,
    /// Lost, and nothing else with them (TCPMTUPFail).
    pub mtu_probe_failures: u64,
    /// Times that segments were made smaller because nothing came through.
    pub black_holes: u64,
    /// Path MTUs made smaller by ICMP (RFC 1191).
    pub path_mtu_shrunk: u64,
}

/// `tcp_challenge_ack_limit` at its default: only the connections' own limits count.
const UNLIMITED: u32 = i32::MAX as u32;
/// Answers of all TIME-WAITs of a shard to segments that cannot be right.
const WAIT_ANSWERS_PER_SECOND: u32 = 1_000;
/// Memory that was not used for so long is freed.
const SHRINK_AFTER: Duration = Duration::from_secs(1);

impl Ctx {
    /// A context with all counters at zero.
    pub fn new(config: Arc<TcpConfig>, secrets: Secrets, drops: Arc<DropCounters>) -> Self {
        Ctx {
            config,
            secrets,
            drops,
            counters: TcpCounters::default(),
            transitions: TransitionCounts::default(),
            pool: Pool::default(),
            spare: Spare::default(),
            quota: Quota::new(Arc::new(Budget::default())),
            landed: 0,
            wants_pruning: false,
            cookies: CookieCache::default(),
            last_drop: Cell::new(None),
            next_shrink: Instant::ZERO,
            challenges: ChallengeBudget::default(),
            wait_answers: ChallengeBudget::default(),
        }
    }

    /// Counts a drop.
    pub fn dropped(&self, reason: DropReason) {
        self.drops.count(reason);
        self.last_drop.set(Some(reason));
    }

    /// Why the last segment was dropped, if one was since the last call.
    pub(crate) fn take_last_drop(&self) -> Option<DropReason> {
        self.last_drop.take()
    }

    /// Frees memory for sending that nobody has used since the last time.
    pub(super) fn free_unused(&mut self, now: Instant) {
        if now >= self.next_shrink {
            self.pool.shrink();
            self.spare = Spare::default();
            self.next_shrink = now + SHRINK_AFTER;
        }
    }

    /// May a challenge ACK be sent now? Counts it either way.
    pub(super) fn allow_challenge(&mut self, now: Instant) -> bool {
        let limit = self.config.challenge_acks_per_second;
        if limit == UNLIMITED || self.challenges.allow(now, limit, &self.secrets) {
            self.counters.challenge_acks_out += 1;
            return true;
        }
        self.dropped(DropReason::TcpChallengeLimited);
        false
    }

    /// May a TIME-WAIT answer a segment that cannot be right?
    pub(super) fn allow_wait_answer(&mut self, now: Instant) -> bool {
        let limit = self.config.challenge_acks_per_second.min(WAIT_ANSWERS_PER_SECOND);
        let allowed = self.wait_answers.allow(now, limit, &self.secrets);
        match allowed {
            true => self.counters.challenge_acks_out += 1,
            false => {
                self.counters.time_wait_answers_skipped += 1;
                self.dropped(DropReason::TcpChallengeLimited);
            }
        }
        allowed
    }
}

/// The buffers that were emptied last. A connection has none while it holds no byte; one that asks
/// and answers would get new ones from the heap every time.
#[derive(Debug, Default)]
pub(super) struct Spare {
    send: Option<Box<SendBuffer>>,
    receive: Option<Box<ReceiveBuffer>>,
}

impl Spare {
    /// An empty send buffer.
    pub(super) fn send(&mut self) -> Box<SendBuffer> {
        self.send.take().unwrap_or_default()
    }

    /// An empty receive buffer.
    pub(super) fn receive(&mut self) -> Box<ReceiveBuffer> {
        self.receive.take().unwrap_or_default()
    }

    /// Takes an empty buffer back.
    pub(super) fn keep_send(&mut self, buffer: Option<Box<SendBuffer>>) {
        debug_assert!(buffer.as_ref().is_none_or(|buffer| buffer.is_empty()));
        self.send = buffer;
    }

    /// Takes an empty buffer back.
    pub(super) fn keep_receive(&mut self, buffer: Option<Box<ReceiveBuffer>>) {
        debug_assert!(buffer.as_ref().is_none_or(|buffer| buffer.is_empty()));
        self.receive = buffer;
    }
}

/// RFC 5961 §7: so many challenge ACKs per interval. How many changes from second to second in a
/// way that a stranger cannot foretell, or the shared budget would tell them of other connections.
#[derive(Debug, Default)]
struct ChallengeBudget {
    second: u64,
    left: u32,
}

impl ChallengeBudget {
    fn allow(&mut self, now: Instant, limit: u32, secrets: &Secrets) -> bool {
        let second = now.as_millis() / 1000 + 1;
        if second != self.second {
            self.second = second;
            let half = limit.div_ceil(2);
            self.left = half + (secrets.of_second(second) % u64::from(half.max(1))) as u32;
        }
        let allowed = self.left > 0;
        self.left = self.left.saturating_sub(1);
        allowed
    }
}
