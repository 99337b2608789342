//! Half-open connections of listeners: what the answer to a SYN leaves behind, small and bounded.

use std::sync::Arc;
use std::time::Duration;

use libnet::{IfIndex, Instant};

use super::auth::ConnAuth;
use super::config::{ConnOptions, TcpConfig};
use super::ctx::Ctx;
use super::ecn::{Answer, EcnField, answer_of_listener};
use super::listen::Listener;
use super::offer::{first_window, window_shift};
use super::options::{Options, Timestamps};
use super::path::PathInfo;
use super::segment::{Flags, FourTuple, Header, Segment};
use super::seq::SeqNumber;
use super::slab::{List, Oldest, Slab};
use super::syncookie::{Kept, clock_with};
use super::tcb::{offered_mss, timestamp};
use super::tuning::Tuning;

/// A SYN that was answered, until its answer is acknowledged: about 150 bytes instead of a connection.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) tuple: FourTuple,
    pub(super) listener: Arc<Listener>,
    pub(super) auth: Option<Box<ConnAuth>>,
    /// The interface that its answers leave by.
    pub(super) iface: IfIndex,
    /// The one that its segments must come by and leave by, if any.
    pub(super) bound: Option<IfIndex>,
    pub(super) iss: SeqNumber,
    /// The SYN's number and what it asked for.
    pub(super) irs: SeqNumber,
    pub(super) ts_recent: u32,
    pub(super) syn_flags: Flags,
    pub(super) syn_ecn: EcnField,
    /// The rest of that octet of its IP header.
    pub(super) syn_dscp: u8,
    /// One of its SYNs asked for no ECN.
    pub(super) plain_syn: bool,
    pub(super) syn_wnd: u16,
    pub(super) peer_mss: Option<u16>,
    pub(super) peer_shift: Option<u8>,
    pub(super) sack: bool,
    pub(super) timestamps: bool,
    /// The window and the shift that the SYN-ACK offers.
    pub(super) rcv_shift: u8,
    pub(super) rcv_wnd: u16,
    /// Time-outs so far.
    pub(super) retries: u8,
    /// A SYN-ACK was sent more than once: its acknowledgement is no measurement.
    pub(super) resent: bool,
    /// The peer has acknowledged; the connection waits for room or for data.
    pub(super) acked: bool,
    /// It is over; a RST is still to be sent.
    pub(super) dying: bool,
    /// The SYN-ACK brings a Fast Open cookie.
    pub(super) gives_cookie: bool,
    /// Nothing was remembered: all of this comes from a cookie.
    pub(super) from_cookie: bool,
    /// When the SYN came.
    pub(super) created_at: Instant,
    /// When the timer was started last.
    pub(super) timed_at: Instant,
    /// When a segment that does not fit was answered last; `ZERO`: never.
    pub(super) answered_at: Instant,
}

impl Request {
    /// What a listener's SYN asks for; our number and the interface are set by the caller.
    pub(super) fn new(now: Instant, syn: &Segment, listener: Arc<Listener>) -> Self {
        Request {
            tuple: syn.tuple,
            listener,
            auth: None,
            iface: IfIndex(0),
            bound: None,
            iss: SeqNumber::default(),
            irs: syn.seq,
            ts_recent: syn.options.timestamps.map_or(0, |timestamps| timestamps.value),
            syn_flags: syn.flags,
            syn_ecn: syn.ecn,
            syn_dscp: syn.dscp,
            plain_syn: false,
            syn_wnd: syn.wnd,
            peer_mss: syn.options.mss,
            peer_shift: syn.options.window_shift,
            sack: syn.options.sack_permitted,
            timestamps: syn.options.timestamps.is_some(),
            rcv_wnd: 0,
            rcv_shift: 0,
            retries: 0,
            resent: false,
            acked: false,
            dying: false,
            gives_cookie: false,
            from_cookie: false,
            created_at: now,
            timed_at: now,
            answered_at: Instant::ZERO,
        }
    }

    /// The SYN once more, as far as it counts.
    pub(super) fn syn(&self) -> Segment {
        let timestamps = self.timestamps.then_some(Timestamps { value: self.ts_recent, echo: 0 });
        let options = Options {
            mss: self.peer_mss,
            window_shift: self.peer_shift,
            sack_permitted: self.sack,
            timestamps,
            ..Options::default()
        };
        Segment {
            tuple: self.tuple,
            seq: self.irs,
            ack: SeqNumber::default(),
            flags: self.syn_flags,
            ecn: self.syn_ecn,
            dscp: self.syn_dscp,
            wnd: self.syn_wnd,
            urgent: 0,
            options,
            data_offset: 0,
            data_len: 0,
        }
    }

    /// What the SYN-ACK offers, by the SYN and by what the listener and the stack are set to now.
    pub(super) fn decide_offer(&mut self, config: &TcpConfig, options: &ConnOptions) {
        self.timestamps &=
            config.timestamps && self.auth.as_ref().is_none_or(|auth| auth.leaves_timestamps());
        self.sack &= config.sack;
        self.peer_shift = self.peer_shift.filter(|_| config.window_scaling);
        self.decide_window(config, options);
    }

    /// The window and its shift, by what the listener and the stack are set to now.
    pub(super) fn decide_window(&mut self, config: &TcpConfig, options: &ConnOptions) {
        self.rcv_wnd = first_window(Tuning::new(config, options).receive_limit, options);
        self.rcv_shift = window_shift(config, options);
    }

    /// The SYN-ACK, the first one or one that comes again: whatever was set since, it offers what was
    /// decided.
    pub(super) fn syn_ack(
        &mut self,
        now: Instant,
        ctx: &Ctx,
        options: &ConnOptions,
        way: &PathInfo,
    ) -> Header {
        let config = &ctx.config;
        let Answer { flags: mut ecn, option: mut marked_bytes } = answer_of_listener(config, self);
        let timestamps = self.timestamps.then(|| {
            let offset = ctx.secrets.timestamp_offset(self.tuple.local, self.tuple.remote);
            let clock = timestamp(now, 0);
            let kept = Kept { shift: self.peer_shift, sack: self.sack, ecn: ecn != Flags::NONE };
            let clock = if self.from_cookie { clock_with(clock, &kept) } else { clock };
            Timestamps { value: clock.wrapping_add(offset), echo: self.ts_recent }
        });
        if self.from_cookie && !self.timestamps {
            // Nothing would tell us of them again.
            (self.peer_shift, self.sack, ecn) = (None, false, Flags::NONE);
            marked_bytes = None;
        }
        let options = Options {
            // RFC 9293 §3.7.1 (MUST-14, SHOULD-5): always.
            mss: Some(offered_mss(&self.tuple, options, way.mtu)),
            // RFC 7323 §2.2, RFC 2018 §2: in a SYN-ACK only what the SYN had.
            window_shift: self.peer_shift.map(|_| self.rcv_shift),
            sack_permitted: self.sack,
            timestamps,
            marked_bytes,
            ..Options::default()
        };
        Header {
            seq: self.iss,
            ack: self.rcv_nxt(),
            flags: Flags::SYN | Flags::ACK | ecn,
            wnd: self.rcv_wnd,
            urgent: 0,
            options,
        }
    }

    /// RCV.NXT.
    pub(super) fn rcv_nxt(&self) -> SeqNumber {
        self.irs + 1
    }
}

/// Names a request as long as it is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct RequestId {
    pub(super) index: u32,
    use_number: u32,
}

/// All requests of a shard, with their timers.
///
/// ```text
///  level 0 (sent once):       oldest … newest    all wait 1 s
///  level 1 (one time-out):    oldest … newest    all wait 2 s
///  …
/// ```
/// Those of a level wait equally long, so that a level's order of coming is its order of leaving,
/// and a doubly-linked list through the entries is all the timer that they need.
#[derive(Debug)]
pub(super) struct Requests {
    entries: Slab<Entry>,
    uses: u32,
    levels: [List; LEVELS],
    first_wait: Duration,
    longest_wait: Duration,
    next_deadline: Instant,
}

#[derive(Debug)]
struct Entry {
    use_number: u32,
    request: Option<Request>,
}

impl Requests {
    /// None yet.
    pub(super) fn new(config: &TcpConfig) -> Self {
        Requests {
            entries: Slab::new(),
            uses: 0,
            levels: [List::EMPTY; LEVELS],
            first_wait: config.rto_initial,
            longest_wait: config.rto_max,
            next_deadline: Instant::MAX,
        }
    }

    /// Adds one; its timer runs from its `timed_at`, which is now.
    pub(super) fn insert(&mut self, request: Request) -> u32 {
        self.uses = self.uses.wrapping_add(1);
        let entry = Entry { use_number: self.uses, request: Some(request) };
        let index = self.entries.insert(entry);
        self.link(index);
        index
    }

    pub(super) fn get(&self, index: u32) -> Option<&Request> {
        self.entries.get(index)?.request.as_ref()
    }

    /// For what does not concern its timer.
    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut Request> {
        self.entries.get_mut(index)?.request.as_mut()
    }

    pub(super) fn id(&self, index: u32) -> RequestId {
        let use_number = self.entries.get(index).map_or(0, |entry| entry.use_number);
        RequestId { index, use_number }
    }

    /// Is it still there?
    pub(super) fn holds(&self, id: RequestId) -> bool {
        let entry = self.entries.get(id.index);
        entry.is_some_and(|entry| entry.use_number == id.use_number && entry.request.is_some())
    }

    pub(super) fn remove(&mut self, index: u32) -> Option<Request> {
        self.unlink(index);
        let request = self.entries.get_mut(index)?.request.take()?;
        self.entries.release(index);
        Some(request)
    }

    /// The answer was sent again: the timer starts anew.
    pub(super) fn restart(&mut self, now: Instant, index: u32) {
        self.unlink(index);
        if let Some(request) = self.get_mut(index) {
            request.timed_at = now;
            self.link(index);
        }
    }

    /// The timer has fired: one more try, after twice as long.
    pub(super) fn back_off(&mut self, now: Instant, index: u32) {
        self.unlink(index);
        if let Some(request) = self.get_mut(index) {
            request.retries = request.retries.saturating_add(1);
            request.timed_at = now;
            self.link(index);
        }
    }

    /// One whose timer has fired.
    pub(super) fn expired(&self, now: Instant) -> Option<u32> {
        if self.next_deadline > now {
            return None;
        }
        let mut oldest = self.levels.iter().filter_map(List::oldest);
        oldest.find(|&index| self.deadline_of(index) <= now)
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        (self.len() > 0).then_some(self.next_deadline)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Request)> {
        self.entries.all().filter_map(|(index, entry)| Some((index, entry.request.as_ref()?)))
    }

    /// When its timer fires.
    pub(super) fn deadline_of(&self, index: u32) -> Instant {
        self.get(index)
            .map_or(Instant::MAX, |request| request.timed_at + self.wait(request.retries))
    }

    fn wait(&self, retries: u8) -> Duration {
        let doubled = self.first_wait.saturating_mul(1 << level_of(retries));
        doubled.min(self.longest_wait.max(self.first_wait))
    }

    fn link(&mut self, index: u32) {
        let Some(request) = self.get(index) else { return };
        let level = level_of(request.retries);
        if self.entries.push(&mut self.levels[level], index) == Oldest::Changed {
            self.next_deadline = self.next_deadline.min(self.deadline_of(index));
        }
    }

    fn unlink(&mut self, index: u32) {
        let Some(request) = self.get(index) else { return };
        let level = level_of(request.retries);
        if self.entries.unlink(&mut self.levels[level], index) == Oldest::Changed {
            let oldest = self.levels.iter().filter_map(List::oldest);
            let due = oldest.map(|index| self.deadline_of(index));
            self.next_deadline = due.min().unwrap_or(Instant::MAX);
        }
    }
}

/// The list that a request is in.
fn level_of(retries: u8) -> usize {
    usize::from(retries).min(LEVELS - 1)
}

/// Time-outs after which the wait does not grow any more.
const LEVELS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::family::Zone;
    use crate::tcp::ConnOptions;

    fn request(now: Instant, port: u16) -> Request {
        let any = std::net::SocketAddr::from(([10, 0, 0, 1], 80));
        let listener = Arc::new(Listener::new(any, 1, 1, ConnOptions::new()));
        let tuple = FourTuple {
            local: any.ip(),
            remote: [10, 0, 0, 2].into(),
            local_port: 80,
            remote_port: port,
            zone: Zone::NONE,
        };
        let syn = Segment {
            tuple,
            seq: SeqNumber::new(7),
            ack: SeqNumber::default(),
            flags: Flags::SYN,
            ecn: EcnField::NotEct,
            dscp: 0,
            wnd: 1000,
            urgent: 0,
            options: Options::default(),
            data_offset: 20,
            data_len: 0,
        };
        Request::new(now, &syn, listener)
    }

    fn at(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    #[test]
    fn one_takes_at_most_152_bytes() {
        assert!(size_of::<Entry>() <= 152, "{} bytes", size_of::<Entry>());
    }

    #[test]
    fn timers_fire_in_order_and_wait_twice_as_long_each_time() {
        let mut requests = Requests::new(&TcpConfig::default());
        let first = requests.insert(request(at(0), 1));
        let second = requests.insert(request(at(500), 2));
        assert_eq!(requests.next_deadline(), Some(at(1_000)));
        assert_eq!(requests.expired(at(999)), None);
        assert_eq!(requests.expired(at(1_000)), Some(first));
        requests.back_off(at(1_000), first);
        assert_eq!(requests.expired(at(1_400)), None);
        assert_eq!(requests.next_deadline(), Some(at(1_500)));
        requests.restart(at(1_200), second);
        assert_eq!(requests.next_deadline(), Some(at(2_200)));
        assert_eq!(requests.expired(at(2_200)), Some(second));
        assert!(requests.remove(second).is_some());
        assert_eq!(requests.next_deadline(), Some(at(3_000)));
        assert_eq!(requests.expired(at(3_000)), Some(first));
    }

    #[test]
    fn an_id_finds_nothing_once_its_request_has_gone() {
        let mut requests = Requests::new(&TcpConfig::default());
        let first = requests.insert(request(at(0), 1));
        let id = requests.id(first);
        assert!(requests.holds(id));
        assert_eq!(requests.remove(first).map(|request| request.tuple.remote_port), Some(1));
        assert!(!requests.holds(id));
        assert_eq!((requests.len(), requests.next_deadline()), (0, None));
        let again = requests.insert(request(at(0), 2));
        assert_eq!(again, id.index);
        assert!(!requests.holds(id), "its place was given to another");
    }

    #[test]
    fn the_wait_does_not_grow_past_the_longest() {
        let mut requests = Requests::new(&TcpConfig::default());
        let index = requests.insert(request(at(0), 1));
        for _ in 0..40 {
            requests.back_off(at(0), index);
        }
        assert_eq!(requests.deadline_of(index), at(120_000));
    }
}
