//! TCP Fast Open: cookies that servers give and clients keep. Source: RFC 7413.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use libnet::Instant;
use siphasher::sip::SipHasher24;

use super::config::{ConnOptions, TcpConfig};
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
    /// It was made with the other key; a new one goes with the answer.
    Previous,
    /// It is not ours, or too old.
    No,
}

/// The keys of a listener's cookies: its own, else the stack's, else the secret one of the time and
/// the one before it.
///
/// RFC 7413 §4.1.2: a key is changed now and then, which is the caller's part where it has set one.
pub(super) fn keys_of(
    secrets: &Secrets,
    config: &TcpConfig,
    options: &ConnOptions,
    now: Instant,
) -> Keys {
    let own = options.fast_open_keys.as_deref().unwrap_or(&config.fast_open_keys);
    if let Some(primary) = own.primary() {
        return Keys { primary: *primary, backup: own.backup().copied() };
    }
    let lifetime = config.fast_open_key_lifetime.as_millis().max(1);
    let period = (u128::from(now.as_millis()) / lifetime) as u64;
    Keys {
        primary: secrets.fast_open_key(period),
        backup: period.checked_sub(1).map(|last| secrets.fast_open_key(last)),
    }
}

/// Keys of cookies: the one that they are made with, and another one that is believed.
pub(super) struct Keys {
    primary: [u8; 16],
    backup: Option<[u8; 16]>,
}

impl Keys {
    /// The cookie of a client for one of our addresses.
    pub(super) fn cookie(&self, ends: (IpAddr, IpAddr)) -> Cookie {
        made(&self.primary, ends)
    }

    /// Checks a cookie that a client brings.
    pub(super) fn check(&self, ends: (IpAddr, IpAddr), cookie: &Cookie) -> Believed {
        if *cookie == made(&self.primary, ends) {
            return Believed::Current;
        }
        match self.backup.is_some_and(|backup| *cookie == made(&backup, ends)) {
            true => Believed::Previous,
            false => Believed::No,
        }
    }
}

/// Made as Linux makes them, so that it may be one of several servers with the same keys:
/// SipHash-2-4 of both addresses, the client's first, as 8 bytes that begin with the lowest.
fn made(key: &[u8; 16], (client, server): (IpAddr, IpAddr)) -> Cookie {
    let hasher = SipHasher24::new_with_key(key);
    let hash = match (client, server) {
        (IpAddr::V4(client), IpAddr::V4(server)) => {
            hasher.hash([client.octets(), server.octets()].as_flattened())
        }
        (client, server) => {
            let octets = |addr| match addr {
                IpAddr::V4(addr) => Ipv4Addr::to_ipv6_mapped(&addr).octets(),
                IpAddr::V6(addr) => addr.octets(),
            };
            hasher.hash([octets(client), octets(server)].as_flattened())
        }
    };
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&hash.to_le_bytes());
    Cookie { bytes, len: 8 }
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
    use std::sync::Arc;

    use libnet::socket::FastOpenKeys;

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
        let at_time = |secs| keys_of(&secrets, &config, &ConnOptions::new(), at(secs));
        let given = at_time(99).cookie(ends);
        let checked = |ends, secs| at_time(secs).check(ends, &given);
        assert_eq!(checked(ends, 0), Believed::Current);
        assert_eq!(checked(ends, 100), Believed::Previous);
        assert_eq!(checked(ends, 200), Believed::No);
        let other = ([10, 0, 0, 3].into(), [10, 0, 0, 2].into());
        assert_eq!(checked(other, 0), Believed::No);
    }

    #[test]
    fn cookies_are_those_that_linux_makes_with_the_same_key() {
        // Source: tools/testing/selftests/net/packetdrill/ksft_runner.sh of Linux.
        let words = [0xa1a1_a1a1u32, 0xb2b2_b2b2, 0xc3c3_c3c3, 0xd4d4_d4d4].map(u32::to_le_bytes);
        let key: [u8; 16] = words.as_flattened().try_into().expect("16 bytes");
        let four = ("192.0.2.1", "192.168.0.1");
        let six = ("fd3d:fa7b:d17d::1", "fd3d:0a0b:17d6::1");
        for ((client, server), key, cookie) in [
            (four, key, 0x3021_b9d8_8901_7eebu64),
            (four, [0; 16], 0xb7c1_2350_a90d_c8f5),
            (six, key, 0xc1d1_e974_2a47_a9bc),
            (six, [0; 16], 0x82af_1a8f_9a20_5c34),
        ] {
            let ends = (client.parse().expect("an address"), server.parse().expect("an address"));
            assert_eq!(made(&key, ends).bytes(), cookie.to_be_bytes());
        }
    }

    #[test]
    fn keys_that_were_set_do_not_change_and_those_of_a_listener_are_before_the_stacks() {
        let secrets = Secrets::from_seed([1; 32]);
        let ends = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let mut config = TcpConfig::default();
        let mut options = ConnOptions::new();
        let secret = keys_of(&secrets, &config, &options, at(0)).cookie(ends);
        config.fast_open_keys = FastOpenKeys::new([1; 16], Some([2; 16]));
        let set = keys_of(&secrets, &config, &options, at(0)).cookie(ends);
        assert!(set != secret && set == made(&[1; 16], ends));
        let later = keys_of(&secrets, &config, &options, at(1_000_000));
        assert_eq!(later.check(ends, &set), Believed::Current);
        assert_eq!(later.check(ends, &made(&[2; 16], ends)), Believed::Previous);
        assert_eq!(later.check(ends, &secret), Believed::No);
        options.fast_open_keys = Some(Arc::new(FastOpenKeys::new([3; 16], None)));
        let own = keys_of(&secrets, &config, &options, at(0));
        assert_eq!(own.check(ends, &made(&[3; 16], ends)), Believed::Current);
        assert_eq!(own.check(ends, &set), Believed::No);
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
