//! Looks for the largest packets that a path carries by sending some (PLPMTUD), and for black holes that
//! swallow large ones without a word. Source: RFC 4821, RFC 8899.

use libnet::Instant;

use super::config::{MtuProbing, TcpConfig};
use super::ctx::Ctx;
use super::output::{DataKind, DataPlan};
use super::recovery::{Frto, Phase};
use super::seq::SeqNumber;
use super::tcb::{Connection, TIMESTAMP_OPTION_BYTES, fixed_header_bytes};
use super::timers::advice_limit;
use crate::ipv6::header::MIN_MTU;

/// The search for a path's MTU; sizes are of IP packets, bytes.
///
/// ```text
///   low: carried, or believed to be        high: the most that could be
///    |-------------- probe: halfway ---------------|
/// ```
#[derive(Clone, Copy, Debug)]
pub(super) struct MtuSearch {
    low: u32,
    high: u32,
    probe: Option<Probe>,
    /// The most that could be was tried.
    tried_high: bool,
    /// What is left between the bounds is not worth a probe; then it begins anew.
    again_at: Option<Instant>,
}

/// A probe that is under way: data in one packet that is larger than the others.
#[derive(Clone, Copy, Debug)]
struct Probe {
    seq: SeqNumber,
    end: SeqNumber,
    mtu: u32,
}

impl Connection {
    /// The connection is established: the search begins where it is asked for from the start.
    pub(super) fn begin_mtu_search(&mut self, now: Instant, config: &TcpConfig) {
        if config.mtu_probing == MtuProbing::Always {
            self.start_mtu_search(now, config, false);
        }
    }

    fn start_mtu_search(&mut self, now: Instant, config: &TcpConfig, tried_high: bool) {
        let low = self.mtu_of(u32::from(config.base_mss)).max(self.least_mtu(config));
        let high = self.most_mtu();
        let low = low.min(high);
        let mut search = MtuSearch { low, high, probe: None, tried_high, again_at: None };
        search.end_if_close(now, config);
        self.cold.mtu_search = Some(Box::new(search));
        self.mode.searches_mtu = true;
        self.update_mss();
    }

    /// What the search lets segments have, as an IP packet's size.
    pub(super) fn searched_mtu(&self) -> u32 {
        self.cold.mtu_search.as_ref().map_or(u32::MAX, |search| search.low)
    }

    /// Nothing comes through any more, for so many time-outs that the first advice is due: a black hole
    /// may swallow what is large. Source: RFC 4821 §7.7; as Linux does it, before each further time-out
    /// with half the size.
    pub(super) fn suspect_black_hole(&mut self, now: Instant, ctx: &mut Ctx) {
        let config = ctx.config.clone();
        if config.mtu_probing == MtuProbing::Off || self.retries < advice_limit(&config) {
            return;
        }
        let before = self.mss;
        if self.cold.mtu_search.is_none() {
            if u32::from(self.mss) <= u32::from(config.base_mss) {
                return;
            }
            self.start_mtu_search(now, &config, true);
        } else {
            let half = self.mss / 2;
            let mss = half.min(config.base_mss).max(config.mtu_probe_floor);
            let low = self.mtu_of(u32::from(mss)).max(self.least_mtu(&config));
            if let Some(search) = &mut self.cold.mtu_search {
                search.low = search.low.min(low);
            }
            self.update_mss();
        }
        ctx.counters.black_holes += u64::from(self.mss < before);
    }

    /// A router says that no more than `mtu` passes, or the route has changed to that.
    pub(super) fn bound_mtu_search(&mut self, mtu: u32) {
        if let Some(search) = &mut self.cold.mtu_search {
            search.high = search.high.min(mtu);
            search.low = search.low.min(mtu);
            search.probe = search.probe.filter(|probe| probe.mtu <= mtu);
        }
    }

    /// A probe, where one is due and what follows it shows at once whether it was lost.
    ///
    /// RFC 4821 §7.3, §7.4: not while anything is lost or comes out of order, nor with a window so small
    /// that its loss could not be told from congestion.
    pub(super) fn decide_mtu_probe(&self) -> Option<DataPlan> {
        if !self.mode.searches_mtu || !self.mode.sack || self.snd_nxt != self.snd_max {
            return None;
        }
        let search = self.cold.mtu_search.as_ref()?;
        let calm = self.tx.phase == Phase::Open
            && !self.is_reducing()
            && self.tx.board.sacked_bytes() == 0
            && self.segment_bytes() == u32::from(self.mss);
        if search.probe.is_some() || search.again_at.is_some() || !calm {
            return None;
        }
        let mss = u32::from(self.mss);
        // A router may have said that nothing larger passes.
        let most = search.high.checked_sub(self.header_bytes()).filter(|most| *most > mss)?;
        let len = search.next_mtu().saturating_sub(self.header_bytes()).clamp(mss + 1, most);
        let needed = len + FOLLOWING_SEGMENTS * mss;
        let unsent = (self.snd_una + self.buffered_to_send()).saturating_since(self.snd_nxt);
        let window = (self.snd_una + self.snd_wnd).saturating_since(self.snd_nxt);
        let fits = unsent >= needed && window >= needed && self.send_room() >= len;
        let wide = self.flight() + self.send_room() >= LEAST_WINDOW_SEGMENTS * mss;
        let kind = DataKind::MtuProbe;
        (fits && wide).then_some(DataPlan { seq: self.snd_nxt, len, fin: false, push: false, kind })
    }

    /// The probe has left.
    pub(super) fn note_mtu_probe(&mut self, ctx: &mut Ctx, plan: &DataPlan) {
        let mtu = plan.len + self.header_bytes();
        if let Some(search) = &mut self.cold.mtu_search {
            search.probe = Some(Probe { seq: plan.seq, end: plan.seq + plan.len, mtu });
            search.tried_high = true;
            ctx.counters.mtu_probes_out += 1;
        }
    }

    /// All before SND.UNA was acknowledged. Source: RFC 4821 §7.6.1.
    pub(super) fn take_mtu_answer(&mut self, now: Instant, ctx: &mut Ctx) {
        let (una, most) = (self.snd_una, self.most_mtu());
        let Some(search) = &mut self.cold.mtu_search else { return };
        let before = search.low;
        if let Some(probe) = search.probe.filter(|probe| probe.end.le(una)) {
            search.low = search.low.max(probe.mtu.min(search.high));
            search.probe = None;
            ctx.counters.mtu_probe_successes += 1;
        }
        match search.again_at {
            // RFC 4821 §7.7: paths change, and nobody tells that one has grown.
            Some(at) if now >= at => {
                (search.high, search.again_at, search.tried_high) = (most, None, false);
                search.end_if_close(now, &ctx.config);
            }
            _ => search.end_if_close(now, &ctx.config),
        }
        if search.low != before {
            self.update_mss();
        }
    }

    /// What is lost begins with the probe, and is no more than it: the path does not carry it. That is no
    /// congestion, and the window stays (RFC 4821 §7.6.2, RFC 8899 §3, point 7).
    pub(super) fn take_lost_mtu_probe(&mut self, ctx: &mut Ctx) -> bool {
        let (una, lost) = (self.snd_una, self.tx.board.lost_bytes());
        let Some(search) = &mut self.cold.mtu_search else { return false };
        let is_it = |probe: &Probe| probe.seq == una && lost == probe.end - probe.seq;
        let Some(probe) = search.probe.filter(is_it) else { return false };
        search.fail(&probe);
        ctx.counters.mtu_probe_failures += 1;
        self.tx.undo.forget();
        self.tx.probe.forget();
        self.owed.tail = false;
        self.tx.phase = Phase::Loss(Frto::Off);
        self.tx.recover = self.snd_max;
        true
    }

    /// A time-out: one whose probe is the first of what was not acknowledged was lost, too
    /// (RFC 4821 §7.6.4); another says nothing.
    pub(super) fn forget_mtu_probe(&mut self) {
        let una = self.snd_una;
        if let Some(search) = &mut self.cold.mtu_search
            && let Some(probe) = search.probe.take()
            && probe.seq == una
        {
            search.fail(&probe);
        }
    }

    /// Something is sent again, so that what is acknowledged says nothing of the probe.
    pub(super) fn drop_mtu_probe(&mut self) {
        if let Some(search) = &mut self.cold.mtu_search {
            search.probe = None;
        }
    }

    fn header_bytes(&self) -> u32 {
        let timestamps = if self.mode.timestamps { TIMESTAMP_OPTION_BYTES } else { 0 };
        let signature = self.cold.auth.as_ref().map_or(0, |auth| auth.option_bytes());
        fixed_header_bytes(&self.tuple) + timestamps + signature
    }

    fn mtu_of(&self, mss: u32) -> u32 {
        mss + self.header_bytes()
    }

    /// What the peer takes and the first link carries.
    fn most_mtu(&self) -> u32 {
        let by_peer = u32::from(self.cold.peer_mss.min(self.cold.local_mss));
        self.path_mtu.min(by_peer + fixed_header_bytes(&self.tuple))
    }

    /// RFC 8201 §4: every link of IPv6 carries as much; RFC 4821 §7.7 leaves the rest to us.
    fn least_mtu(&self, config: &TcpConfig) -> u32 {
        let floor = self.mtu_of(u32::from(config.mtu_probe_floor));
        if self.tuple.local.is_ipv4() { floor } else { floor.max(MIN_MTU) }
    }
}

impl MtuSearch {
    /// The next size to try: first the most that could be, since that is what most paths carry, then
    /// halfway. Source: RFC 4821 §7.3.
    fn next_mtu(&self) -> u32 {
        if self.tried_high { self.low + (self.high - self.low).div_ceil(2) } else { self.high }
    }

    /// What is left between the bounds is worth no probe: the search ends, for a while.
    fn end_if_close(&mut self, now: Instant, config: &TcpConfig) {
        if self.again_at.is_none() && self.high - self.low < config.mtu_probe_threshold {
            self.again_at = Some(now + config.mtu_probe_interval);
        }
    }

    fn fail(&mut self, probe: &Probe) {
        self.high = (probe.mtu - 1).max(self.low);
        self.probe = None;
    }
}

/// As on Linux: the segments behind a probe that make its loss known.
const FOLLOWING_SEGMENTS: u32 = 4;
/// As on Linux.
const LEAST_WINDOW_SEGMENTS: u32 = 11;
