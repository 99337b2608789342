//! Decides how much to send; builds nothing.

use libnet::Instant;

use super::{DataKind, DataPlan, SendPlan};
use crate::tcp::cc::CongestionControl;
use crate::tcp::recovery::{Frto, Phase};
use crate::tcp::state::State;
use crate::tcp::tcb::{Connection, Owed};

impl Connection {
    /// The next segment, as things are.
    pub(super) fn decide(&self) -> SendPlan {
        if self.has_said_all() {
            return SendPlan::Nothing;
        }
        if self.owed.reset {
            return SendPlan::Reset;
        }
        if !self.state.is_synchronized() {
            return self.decide_handshake();
        }
        if self.state == State::TimeWait {
            return self.decide_ack();
        }
        // RFC 9768 §3.2.2.1 (SHOULD): nor must the first.
        if self.ecn.owes_code {
            return SendPlan::Ack { duplicate: false };
        }
        // Acknowledgements that count must not ride on data (RFC 5681 §2).
        if self.owed.dup_acks > 0 {
            return SendPlan::Ack { duplicate: true };
        }
        if let Some(plan) = self.decide_data() {
            return SendPlan::Data(plan);
        }
        if self.owed.keepalive {
            return SendPlan::Keepalive;
        }
        self.decide_ack()
    }

    /// Is there surely nothing to send? Asked several times for each segment, so that it looks only at
    /// what most connections are known by.
    fn has_said_all(&self) -> bool {
        self.state.is_synchronized()
            && self.owed == Owed::default()
            && !self.ecn.owes_code
            && (!self.mode.fin_queued || self.mode.fin_acked)
            && self.snd_nxt == self.snd_una + self.buffered_to_send()
            && !self.tx.board.has_waiting()
    }

    fn decide_data(&self) -> Option<DataPlan> {
        if (self.owed.head || self.owed.tail)
            && let Some(plan) = self.decide_head().or_else(|| self.decide_tail())
        {
            return Some(plan);
        }
        if self.deadlines.pace == Instant::MAX
            && let Some(plan) = self.decide_paced()
        {
            return Some(plan);
        }
        if self.owed.window_probe { self.decide_probe() } else { None }
    }

    /// What is lost, or next in line; pacing may keep it back.
    fn decide_paced(&self) -> Option<DataPlan> {
        if self.tx.board.has_waiting()
            && let Some(plan) = self.decide_lost()
        {
            return Some(plan);
        }
        if self.mode.searches_mtu
            && let Some(plan) = self.decide_mtu_probe()
        {
            return Some(plan);
        }
        self.decide_next()
    }

    fn decide_handshake(&self) -> SendPlan {
        match self.state {
            State::SynSent | State::SynReceived if self.owed.syn => SendPlan::Syn,
            // RFC 7413 §4.2.2: the answer need not wait for the end of the handshake.
            State::SynReceived if self.mode.fast_open => {
                let data = self.decide_next().filter(|plan| plan.len > 0);
                data.map_or(self.decide_ack(), |plan| {
                    SendPlan::Data(DataPlan { fin: false, ..plan })
                })
            }
            State::SynReceived => self.decide_ack(),
            _ => SendPlan::Nothing,
        }
    }

    fn decide_ack(&self) -> SendPlan {
        if self.owed.ack || self.owed.dup_acks > 0 {
            return SendPlan::Ack { duplicate: false };
        }
        SendPlan::Nothing
    }

    /// The first unacknowledged segment again: the peer's window held it once, so it holds it now.
    fn decide_head(&self) -> Option<DataPlan> {
        if !self.owed.head || self.snd_una == self.snd_max {
            return None;
        }
        let buffered = self.buffered_to_send();
        let sent = (self.snd_max - self.snd_una).min(buffered);
        let len = sent.min(self.segment_bytes());
        let fin = self.fin_sent() && len == buffered;
        let (seq, push) = (self.snd_una, len == buffered);
        Some(DataPlan { seq, len, fin, push, kind: DataKind::Head })
    }

    /// RFC 8985 §7.3: one segment of new data, or else the last one again, whatever the congestion
    /// window says.
    fn decide_tail(&self) -> Option<DataPlan> {
        if !self.owed.tail || self.snd_una == self.snd_max {
            return None;
        }
        let kind = DataKind::Tail;
        let data_end = self.snd_una + self.buffered_to_send();
        let window = (self.snd_una + self.snd_wnd).saturating_since(self.snd_nxt);
        let unsent = data_end.saturating_since(self.snd_nxt);
        let len = unsent.min(window).min(self.segment_bytes());
        if len > 0 && self.snd_nxt == self.snd_max {
            let push = len == unsent;
            return Some(DataPlan { seq: self.snd_nxt, len, fin: false, push, kind });
        }
        let last = self.tx.board.last()?;
        let fin = last.end.gt(data_end);
        let end = last.end - u32::from(fin);
        // Nothing is SACKed, so that a whole segment can be made of several small ones.
        let len = end.saturating_since(self.snd_una).min(self.segment_bytes());
        Some(DataPlan { seq: end - len, len, fin, push: end == data_end, kind })
    }

    /// What is lost, in the order of its numbers, as far as the windows allow.
    fn decide_lost(&self) -> Option<DataPlan> {
        let (seq, len) = self.tx.board.next_lost(self.largest_segment())?;
        let news_first = self.tx.phase == Phase::Loss(Frto::NewData);
        if !self.mode.sack || (news_first && self.decide_next().is_some()) {
            return None;
        }
        // The peer's window held it once; the first of it may go even if it has shrunk since.
        let window = (self.snd_una + self.snd_wnd).saturating_since(seq);
        let window = if seq == self.snd_una { window.max(self.segment_bytes()) } else { window };
        let (room, most) = (self.send_room(), len.min(window));
        let len =
            if most <= room { most } else { room / self.segment_bytes() * self.segment_bytes() };
        let data_end = self.snd_una + self.buffered_to_send();
        let fin = len > 0 && (seq + len).gt(data_end);
        let (len, push) = (len - u32::from(fin), seq + len == data_end);
        (len > 0 || fin).then_some(DataPlan { seq, len, fin, push, kind: DataKind::Lost })
    }

    /// Bytes that congestion control and recovery let out now.
    pub(in crate::tcp) fn send_room(&self) -> u32 {
        if self.is_reducing() {
            return self.tx.prr.credit();
        }
        if !self.mode.sack {
            let extra = self.recovery.extra_bytes(u32::from(self.mss));
            return self.cwnd().saturating_add(extra).saturating_sub(self.flight());
        }
        match self.tx.phase {
            Phase::Recovery if !self.tx.cc.is_model_based() => self.tx.prr.credit(),
            _ => self.cwnd().saturating_sub(self.pipe()),
        }
    }

    /// The congestion window, a segment at least: one segment of before the path's MTU grew is less,
    /// and nothing would ever leave.
    fn cwnd(&self) -> u32 {
        self.tx.cc.cwnd_bytes().max(u32::from(self.mss))
    }

    /// What is next in line, as far as the windows allow.
    fn decide_next(&self) -> Option<DataPlan> {
        let data_end = self.snd_una + self.buffered_to_send();
        let fin_left = self.mode.fin_queued && !self.mode.fin_acked && self.snd_nxt.le(data_end);
        let unsent = data_end.saturating_since(self.snd_nxt);
        if unsent == 0 && !fin_left {
            return None;
        }
        let window = (self.snd_una + self.snd_wnd).saturating_since(self.snd_nxt);
        let usable = window.min(self.send_room());
        let len = self.size_segment(unsent, usable)?;
        let fin = fin_left && len == unsent && window > len;
        if len == 0 && !fin {
            return None;
        }
        // RFC 9293 §3.9.1.2 (MUST-60, MUST-61): PSH on the last buffered segment.
        let push = len > 0 && len == unsent;
        Some(DataPlan { seq: self.snd_nxt, len, fin, push, kind: DataKind::Next })
    }

    /// Bytes of the next segment; `None`: it is too small to be worth it now.
    fn size_segment(&self, unsent: u32, usable: u32) -> Option<u32> {
        let mss = self.segment_bytes();
        let len = unsent.min(usable);
        if len >= mss {
            let most = self.largest_segment();
            if len > most {
                return Some(most);
            }
            let whole = len - len % mss;
            if len == unsent && self.may_send_small() {
                return Some(len);
            }
            return Some(whole);
        }
        // RFC 9293 §3.8.6.2.1 (MUST-38), with D the data and U the usable window: (2), all of the
        // data fit, and Nagle agrees;
        if len == unsent && self.may_send_small() {
            return Some(len);
        }
        // (3), at least half of the largest window ever seen, and nothing is under way.
        let idle = self.snd_nxt == self.snd_una;
        if idle && len > 0 && len >= self.max_snd_wnd / 2 && len < unsent {
            return Some(len);
        }
        // (4), the override, is the persist timer's.
        None
    }

    /// A super-segment, but not more than half of the congestion window, so that two are under
    /// way and acknowledgements keep coming, and no more than pacing lets out at once.
    fn largest_segment(&self) -> u32 {
        let mss = self.segment_bytes();
        if self.must_not_be_cut() {
            return mss;
        }
        let half = self.tx.cc.cwnd_bytes() / 2;
        // What every segment carries in options, the super-segment carries once.
        let most = u32::from(self.super_bytes).saturating_sub(u32::from(self.mss) - mss);
        (most.min(half).min(self.tx.pacer.quantum()) / mss * mss).max(mss)
    }

    /// May a segment smaller than the MSS go out?
    ///
    /// DEVIATES RFC 9293 §3.7.4 (SHOULD-7), Nagle: held back only while another *small* segment is
    /// not acknowledged (Minshall's form, as Linux has it), else the end of every large write
    /// waits for a delayed ACK.
    fn may_send_small(&self) -> bool {
        if self.mode.corked {
            // As on Linux: the cork holds longer than TCP_NODELAY, but neither the end of the stream
            // nor urgent data nor what was sent before.
            return self.mode.fin_queued
                || self.snd_nxt.lt(self.snd_max)
                || self.cold.pushed.is_some_and(|end| self.snd_nxt.lt(end))
                || self.sends_urgent();
        }
        self.mode.nodelay
            || self.mode.fin_queued
            || self.snd_nxt.lt(self.snd_max)
            || self.snd_small.le(self.snd_una)
            || self.sends_urgent()
    }

    /// One byte past the window, or what the window has room for: RFC 9293 §3.8.6.1 (MUST-36).
    fn decide_probe(&self) -> Option<DataPlan> {
        let buffered = self.buffered_to_send();
        let window = self.snd_wnd.clamp(1, self.segment_bytes());
        let len = buffered.min(window);
        let fin = len == 0 && self.mode.fin_queued && !self.mode.fin_acked;
        if len == 0 && !fin {
            return None;
        }
        let (seq, push) = (self.snd_una, len == buffered);
        Some(DataPlan { seq, len, fin, push, kind: DataKind::WindowProbe })
    }
}
