//! TCP Fast Open: cookies that servers give and clients keep. Source: RFC 7413.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use libnet::Instant;

use super::config::TcpConfig;
use super::options::{Extra, KIND_FAST_OPEN};
use super::secrets::Secrets;

/// What of Fast Open is on, the bits of Linux's `net.ipv4.tcp_fastopen`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FastOpen(pub u32);

impl FastOpen {
    /// Connects may send data with their SYN.
    pub const CLIENT: FastOpen = FastOpen(1);
    /// Listeners may take data with a SYN, if they ask for it (`TCP_FASTOPEN`).
    pub const SERVER: FastOpen = FastOpen(2);
    /// Connects send data without a cookie.
    pub const CLIENT_NO_COOKIE: FastOpen = FastOpen(4);
    /// Listeners take data without a cookie.
    pub const SERVER_NO_COOKIE: FastOpen = FastOpen(0x200);
    /// All listeners take data, as many connections at a time as their backlog.
    pub const EVERY_LISTENER: FastOpen = FastOpen(0x400);

    /// Are all bits of `other` set?
    pub const fn has(self, other: FastOpen) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both's bits.
    pub const fn with(self, other: FastOpen) -> FastOpen {
        FastOpen(self.0 | other.0)
    }
}

/// A cookie: 4 to 16 bytes, an even number. Source: RFC 7413 §4.1.1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Cookie {
    bytes: [u8; 16],
    len: u8,
}

impl Cookie {
    /// The cookie in an option's body; `None` for a body that is none (§4.1.1: ignored).
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        if !(4..=16).contains(&body.len()) || !body.len().is_multiple_of(2) {
            return None;
        }
        let mut bytes = [0; 16];
        bytes[..body.len()].copy_from_slice(body);
        Some(Cookie { bytes, len: body.len() as u8 })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// What a SYN's option asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asked {
    /// No such option, or one that is none.
    Nothing,
    /// A cookie.
    ForCookie,
    /// To have its data taken now.
    With(Cookie),
}

impl Asked {
    /// The option's body, if there is one.
    pub(super) fn read(body: Option<&[u8]>) -> Self {
        match body {
            None => Asked::Nothing,
            Some([]) => Asked::ForCookie,
            Some(body) => Cookie::read(body).map_or(Asked::Nothing, Asked::With),
        }
    }
}

/// Whether a cookie of ours is to be believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Believed {
    /// It is the one that is given now.
    Current,
    /// It was made with the key before; a new one goes with the answer.
    Previous,
    /// It is not ours, or too old.
    No,
}

/// The cookie of a client for one of our addresses, by the key of the time.
///
/// RFC 7413 §4.1.2: of its address, by a key that is changed now and then.
pub(super) fn cookie_for(
    secrets: &Secrets,
    config: &TcpConfig,
    (client, server): (IpAddr, IpAddr),
    now: Instant,
) -> Cookie {
    made(secrets, (client, server), period(config, now))
}

/// Checks a cookie that a client brings.
pub(super) fn check(
    secrets: &Secrets,
    config: &TcpConfig,
    ends: (IpAddr, IpAddr),
    cookie: &Cookie,
    now: Instant,
) -> Believed {
    let period = period(config, now);
    if *cookie == made(secrets, ends, period) {
        return Believed::Current;
    }
    match period.checked_sub(1).is_some_and(|last| *cookie == made(secrets, ends, last)) {
        true => Believed::Previous,
        false => Believed::No,
    }
}

fn made(secrets: &Secrets, (client, server): (IpAddr, IpAddr), period: u64) -> Cookie {
    let mut bytes = [0; 16];
    let hash = secrets.fast_open(client, server, period);
    bytes[..8].copy_from_slice(&hash.to_be_bytes());
    Cookie { bytes, len: 8 }
}

fn period(config: &TcpConfig, now: Instant) -> u64 {
    let lifetime = config.fast_open_key_lifetime.as_millis().max(1);
    (u128::from(now.as_millis()) / lifetime) as u64
}

/// What a connection that tries Fast Open remembers until its handshake is over.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Attempt {
    /// Goes with the first SYN, or with each SYN-ACK.
    pub(super) option: Offer,
    /// Bytes of data that go with the SYN at most.
    pub(super) room: u16,
    /// Bytes that went with it.
    pub(super) sent: u16,
}

/// The option that a SYN or SYN-ACK has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Offer {
    /// None.
    #[default]
    Nothing,
    /// An empty one.
    Ask,
    /// A cookie.
    Cookie(Cookie),
}

impl Offer {
    /// As it goes onto the wire.
    pub(super) fn write(&self, extra: &mut Extra) {
        let body = match self {
            Offer::Nothing => return,
            Offer::Ask => &[][..],
            Offer::Cookie(cookie) => cookie.bytes(),
        };
        // A SYN has 20 bytes of other options at most.
        extra.push(KIND_FAST_OPEN, body);
    }
}

/// What clients remember of servers, and of paths that swallow SYNs with data.
#[derive(Debug, Default)]
pub(super) struct CookieCache {
    servers: BTreeMap<IpAddr, Server>,
    /// SYNs with data vanish: none is sent until then.
    disabled_until: Instant,
    /// How often that was found, one time after the other.
    disabled_times: u32,
}

#[derive(Debug)]
struct Server {
    cookie: Option<Cookie>,
    mss: u16,
    used_at: Instant,
    /// SYNs with the option that stayed without an answer since the last one that had one.
    losses: u32,
    lost_at: Instant,
}

/// How a connect may try Fast Open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Try {
    /// Not at all.
    Not,
    /// It asks for a cookie.
    Ask,
    /// Its data go with the SYN, as many as a segment of this server's size holds.
    Send { cookie: Cookie, mss: u16 },
}

impl CookieCache {
    /// What to try with a server now.
    pub(super) fn look_up(&mut self, server: IpAddr, now: Instant) -> Try {
        if now < self.disabled_until {
            return Try::Not;
        }
        let Some(known) = self.servers.get_mut(&server) else { return Try::Ask };
        known.used_at = now;
        // RFC 7413 §4.1.3.1: a path that loses such SYNs is spared, ever longer, as on Linux.
        let spared = BACK_OFF.saturating_mul(1 << known.losses.min(10));
        if known.losses > 1 && now.since(known.lost_at) < spared {
            return Try::Not;
        }
        match known.cookie {
            Some(cookie) => Try::Send { cookie, mss: known.mss },
            None => Try::Ask,
        }
    }

    /// A server has answered a SYN that had the option.
    pub(super) fn answered(
        &mut self,
        server: IpAddr,
        cookie: Option<Cookie>,
        mss: u16,
        now: Instant,
        most: usize,
    ) {
        let Some(known) = self.entry(server, now, most) else { return };
        known.losses = 0;
        // RFC 7413 §4.1.3: with it goes the server's MSS.
        if cookie.is_some() {
            (known.cookie, known.mss) = (cookie, mss);
        }
    }

    /// A SYN with the option stayed without an answer.
    pub(super) fn lost(&mut self, server: IpAddr, now: Instant, most: usize) {
        if let Some(known) = self.entry(server, now, most) {
            (known.losses, known.lost_at) = (known.losses.saturating_add(1), now);
        }
    }

    /// Data that went with a SYN vanish: nobody sends any for a while, for longer each time.
    pub(super) fn disable(&mut self, now: Instant, first: Duration) -> bool {
        if first.is_zero() {
            return false;
        }
        let stay = first.saturating_mul(1 << self.disabled_times.min(6));
        self.disabled_times = self.disabled_times.saturating_add(1);
        self.disabled_until = now + stay;
        true
    }

    /// Data that went with a SYN have arrived.
    pub(super) fn works(&mut self) {
        self.disabled_times = 0;
    }

    /// Servers remembered.
    pub(super) fn len(&self) -> usize {
        self.servers.len()
    }

    fn entry(&mut self, server: IpAddr, now: Instant, most: usize) -> Option<&mut Server> {
        if !self.servers.contains_key(&server) && self.servers.len() >= most {
            let oldest = self.servers.iter().min_by_key(|(_, known)| known.used_at);
            let oldest = *oldest?.0;
            self.servers.remove(&oldest);
        }
        let new = Server { cookie: None, mss: 0, used_at: now, losses: 0, lost_at: Instant::ZERO };
        Some(self.servers.entry(server).or_insert(new))
    }
}

/// How long a server is spared, times two for each loss.
const BACK_OFF: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Instant {
        Instant::from_millis(1_000 * secs)
    }

    fn cookie(byte: u8) -> Cookie {
        Cookie::read(&[byte; 8]).expect("eight bytes are a cookie")
    }

    #[test]
    fn a_cookie_has_4_to_16_bytes_and_an_even_number() {
        for (len, is) in [(2, false), (4, true), (5, false), (16, true), (18, false)] {
            let body = vec![1; len];
            assert_eq!(Cookie::read(&body).is_some(), is, "{len}");
            assert_eq!(Asked::read(Some(&body)) != Asked::Nothing, is, "{len}");
        }
        assert_eq!(Asked::read(Some(&[])), Asked::ForCookie);
    }

    #[test]
    fn a_cookie_is_believed_for_the_time_of_its_key_and_of_the_next() {
        let secrets = Secrets::from_seed([1; 32]);
        let config =
            TcpConfig { fast_open_key_lifetime: Duration::from_secs(100), ..TcpConfig::default() };
        let ends = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let given = cookie_for(&secrets, &config, ends, at(99));
        let checked = |ends, secs| check(&secrets, &config, ends, &given, at(secs));
        assert_eq!(checked(ends, 0), Believed::Current);
        assert_eq!(checked(ends, 100), Believed::Previous);
        assert_eq!(checked(ends, 200), Believed::No);
        let other = ([10, 0, 0, 3].into(), [10, 0, 0, 2].into());
        assert_eq!(checked(other, 0), Believed::No);
    }

    #[test]
    fn the_cache_has_a_bound_and_forgets_what_was_not_used_for_longest() {
        let mut cache = CookieCache::default();
        for n in 0..20u8 {
            cache.answered([10, 0, 0, n].into(), Some(cookie(n)), 1400, at(u64::from(n)), 10);
            cache.look_up([10, 0, 0, 0].into(), at(u64::from(n)));
        }
        assert_eq!(cache.len(), 10);
        let first = cache.look_up([10, 0, 0, 0].into(), at(30));
        assert_eq!(first, Try::Send { cookie: cookie(0), mss: 1400 });
        assert_eq!(cache.look_up([10, 0, 0, 1].into(), at(30)), Try::Ask);
        cache.lost([9, 9, 9, 9].into(), at(30), 0);
        assert!(cache.len() <= 11);
    }

    #[test]
    fn a_path_that_loses_is_spared_ever_longer() {
        let (mut cache, server) = (CookieCache::default(), [10, 0, 0, 1].into());
        cache.answered(server, Some(cookie(1)), 1400, at(0), 10);
        cache.lost(server, at(0), 10);
        assert!(matches!(cache.look_up(server, at(0)), Try::Send { .. }), "one loss is no sign");
        cache.lost(server, at(0), 10);
        assert_eq!(cache.look_up(server, at(239)), Try::Not);
        assert!(matches!(cache.look_up(server, at(240)), Try::Send { .. }));
        cache.lost(server, at(240), 10);
        assert_eq!(cache.look_up(server, at(719)), Try::Not);
        cache.answered(server, None, 1400, at(720), 10);
        assert!(matches!(cache.look_up(server, at(720)), Try::Send { .. }));
    }

    #[test]
    fn a_black_hole_stops_all_for_a_while() {
        let (mut cache, server) = (CookieCache::default(), [10, 0, 0, 1].into());
        assert!(!cache.disable(at(0), Duration::ZERO));
        assert!(cache.disable(at(0), Duration::from_secs(10)));
        assert_eq!(cache.look_up(server, at(9)), Try::Not);
        assert_eq!(cache.look_up(server, at(10)), Try::Ask);
        assert!(cache.disable(at(10), Duration::from_secs(10)));
        assert_eq!(cache.look_up(server, at(29)), Try::Not);
        cache.works();
        assert!(cache.disable(at(30), Duration::from_secs(10)));
        assert_eq!(cache.look_up(server, at(40)), Try::Ask);
    }
}
