//! A connection and its congestion control: which it is, what it is told, how fast it lets data out.

use libnet::Instant;

use super::cc::{
    Ack, Begin, CongestionAlgorithm, CongestionControl, Controller, Lost, Sample, initial_window,
    loss_window,
};
use super::config::{ConnOptions, TcpConfig};
use super::rate::{AckSample, Rate};
use super::records::{Marks, Record};
use super::tcb::Connection;

/// How much of the window was used lately. Source: RFC 2861 §3, as Linux has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// When all of it was, or when it was last made smaller for that.
    full_at: Instant,
    /// The most that was in flight since, bytes.
    most: u32,
}

impl Usage {
    /// Nothing sent yet.
    pub(crate) fn new(now: Instant) -> Self {
        Usage { full_at: now, most: 0 }
    }
}

/// The algorithm that a connection with these options uses.
pub(super) fn algorithm(config: &TcpConfig, options: &ConnOptions) -> CongestionAlgorithm {
    options.congestion_control.unwrap_or(config.congestion_control)
}

impl Connection {
    /// A controller for data that begin to flow now.
    pub(super) fn first_controller(&self, now: Instant, config: &TcpConfig) -> Controller {
        let mss = u32::from(self.mss);
        // RFC 5681 §3.1 (MUST): one segment if a SYN or SYN-ACK was lost.
        let cwnd_bytes = if self.mode.syn_lost { loss_window(mss) } else { initial_window(mss) };
        let begin = Begin {
            now,
            mss,
            cwnd_bytes,
            ssthresh_bytes: u32::MAX,
            srtt: self.rtt.srtt().unwrap_or_default(),
            delivered_total: 0,
            seed: self.iss.value(),
        };
        Controller::new(algorithm(config, &self.cold.options), &config.controllers, &begin)
    }

    /// Another controller goes on from where the one so far is, as on Linux.
    pub(super) fn change_controller(&mut self, now: Instant, config: &TcpConfig) {
        let algorithm = algorithm(config, &self.cold.options);
        if algorithm == self.tx.cc.algorithm() {
            return;
        }
        let begin = Begin {
            now,
            mss: u32::from(self.mss),
            cwnd_bytes: self.tx.cc.cwnd_bytes(),
            ssthresh_bytes: self.tx.cc.ssthresh_bytes(),
            srtt: self.rtt.srtt().unwrap_or_default(),
            delivered_total: self.tx.rate.delivered(),
            seed: self.iss.value(),
        };
        self.tx.cc = Controller::new(algorithm, &config.controllers, &begin);
        self.tx.undo.forget();
    }

    /// Data leave at the controller's rate, or at the application's if that is lower.
    pub(super) fn update_pace(&mut self, config: &TcpConfig) {
        let most = self.cold.options.max_pacing_rate;
        let rate = match self.tx.cc.pacing_rate() {
            Some(rate) if most > 0 => Some(rate.min(most)),
            None if most > 0 => Some(most),
            rate => rate,
        };
        match rate {
            Some(rate) => self.tx.pacer.set_rate(rate, u32::from(self.mss)),
            None => {
                self.tx.pacer.set_burst(self.burst_bytes(config));
                self.deadlines.pace = Instant::MAX;
            }
        }
    }

    /// A round trip was measured: what leaves at once without pacing follows from it.
    pub(super) fn update_burst(&mut self, config: &TcpConfig) {
        if self.tx.pacer.rate().is_none() {
            self.tx.pacer.set_burst(self.burst_bytes(config));
        }
    }

    /// Without pacing about a millisecond's worth leaves at once, so that a super-segment does not
    /// fill a slow path's queue by itself; more on paths so short that no queue is theirs. As Linux's
    /// `tcp_update_pacing_rate` and `tcp_tso_autosize`.
    fn burst_bytes(&self, config: &TcpConfig) -> u32 {
        let Some(srtt) = self.rtt.srtt() else { return u32::MAX };
        let (cwnd, ssthresh) = (self.tx.cc.cwnd_bytes(), self.tx.cc.ssthresh_bytes());
        let percent =
            if cwnd < ssthresh / 2 { config.pacing_ss_ratio } else { config.pacing_ca_ratio };
        let worth = u64::from(cwnd) * u64::from(percent) * 10 / srtt.as_micros().max(1) as u64;
        let micros = u64::try_from(self.tx.rack.min_rtt().as_micros()).unwrap_or(u64::MAX);
        let halvings = micros.checked_shr(config.tso_rtt_log.into()).unwrap_or(0);
        let halvings = u32::try_from(halvings).unwrap_or(u32::MAX);
        let short = u64::from(u16::MAX).checked_shr(halvings).unwrap_or(0);
        let burst = u32::try_from(worth + short).unwrap_or(u32::MAX);
        burst.max(2 * u32::from(self.mss))
    }

    /// Tells a controller that looks at samples what an acknowledgement has brought.
    pub(super) fn give_sample(
        &mut self,
        now: Instant,
        config: &TcpConfig,
        told: &AckSample,
        news: SampleNews,
    ) {
        let tx = &*self.tx;
        let sample = Sample {
            now,
            mss: u32::from(self.mss),
            newly_delivered: news.delivered,
            newly_lost: news.lost,
            delivered_total: tx.rate.delivered(),
            prior_delivered: told.prior_delivered,
            delivered: told.rate.bytes,
            interval: told.rate.interval,
            lost: (tx.rate.lost() - told.prior_lost) as u32,
            app_limited: told.rate.app_limited,
            in_flight_then: told.in_flight,
            in_flight: self.pipe(),
            rtt: told.rtt,
            srtt: self.rtt.srtt().unwrap_or_default(),
            window_limited: tx.limited_to.ge(self.snd_una),
            in_recovery: self.is_recovering(),
            sack: self.mode.sack,
            marked: 0,
        };
        self.tx.cc.on_sample(&sample);
        self.update_pace(config);
    }

    /// `acked` bytes of `flight` were acknowledged while nothing is known to be lost.
    pub(in crate::tcp) fn grow_window(
        &mut self,
        now: Instant,
        config: &TcpConfig,
        acked: u32,
        flight: u32,
    ) {
        let (mss, cwnd) = (u32::from(self.mss), self.tx.cc.cwnd_bytes());
        // RFC 7661 §3: a window that was not used says nothing about the path.
        let limited = if cwnd < self.tx.cc.ssthresh_bytes() {
            flight >= cwnd / 2
        } else {
            flight + mss >= cwnd
        };
        if !limited {
            return self.leave_window_unused(now, config, flight);
        }
        self.tx.usage = Usage::new(now);
        let ack = Ack {
            now,
            bytes: acked,
            mss,
            srtt: self.rtt.srtt().unwrap_or_default(),
            rtt: self.mode.sack.then(|| self.tx.rack.rtt()).filter(|rtt| !rtt.is_zero()),
            una: self.snd_una,
            end: self.snd_max,
        };
        self.tx.cc.on_ack(&ack);
    }

    /// RFC 2861 §3, as Linux: what was not used for a time-out shrinks toward what was.
    fn leave_window_unused(&mut self, now: Instant, config: &TcpConfig, flight: u32) {
        self.tx.cc.on_unlimited_ack(now);
        let usage = &mut self.tx.usage;
        usage.most = usage.most.max(flight);
        // A small send buffer is not the application's doing.
        let kept_back = !config.slow_start_after_idle || self.mode.writer_waits;
        if kept_back || now.since(usage.full_at) < self.rtt.rto() {
            return;
        }
        let used = std::mem::replace(usage, Usage::new(now)).most;
        if !self.tx.cc.is_model_based() {
            self.tx.cc.on_unused(used, u32::from(self.mss));
        }
    }

    /// Data leave while nothing is under way.
    pub(super) fn restart_from_idle(&mut self, now: Instant, config: &TcpConfig) {
        if self.tx.cc.takes_samples() {
            let app_limited = self.tx.rate.is_app_limited();
            self.tx.cc.on_restart(now, app_limited);
            self.update_pace(config);
        }
        let (idle, rto) = (now.since(self.tx.data_sent_at), self.rtt.rto());
        // RFC 5681 §4.1: after an idle RTO the window restarts, since nothing clocks it.
        if idle > rto && config.slow_start_after_idle && !self.tx.cc.is_model_based() {
            let timeouts = (idle.as_nanos() - 1) / rto.as_nanos().max(1);
            let timeouts = u32::try_from(timeouts).unwrap_or(u32::MAX);
            self.tx.cc.on_idle(timeouts, u32::from(self.mss));
            self.tx.usage = Usage::new(now);
        }
    }

    /// Losses are being repaired, with SACK or without.
    pub(super) fn is_recovering(&self) -> bool {
        self.recovery.in_recovery() || self.tx.phase != super::recovery::Phase::Open
    }
}

/// What an acknowledgement has brought, bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct SampleNews {
    pub(super) delivered: u32,
    pub(super) lost: u32,
}

/// A record is taken as lost: the account and the controller are told.
pub(super) fn tell_lost(now: Instant, cc: &mut Controller, rate: &mut Rate, record: &Record) {
    rate.on_lost(record.len());
    if cc.takes_samples() {
        cc.on_lost(&Lost {
            now,
            bytes: record.len(),
            seq: record.seq,
            lost: record.stamp.lost_since(rate.lost()),
            in_flight_then: record.stamp.in_flight(),
            app_limited: record.marks.has(Marks::APP_LIMITED),
            delivered_total: rate.delivered(),
        });
    }
}
