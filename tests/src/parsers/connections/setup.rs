//! How both ends are set up, and how that changes while they run.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use libnet::socket::{AoKey, Md5Key};
use libnetinet::tcp::{
    AuthKeys, CongestionAlgorithm, ConnId, ConnOptions, EcnOption, EcnPolicy, FastOpen,
    MemoryLimits, MtuProbing, SynCookies, TcpConfig,
};

use super::ends::{Ends, Side};

/// The first bytes of an input.
///
/// ```text
///  0        1          2         3          4
/// +--------+----------+---------+----------+--------
/// | basics | B's, xor | marks   | listener | steps
/// +--------+----------+---------+----------+--------
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Setup {
    /// Bits of [`Setup::IPV6`] and the like.
    pub(super) basics: u8,
    /// In which of these B is different.
    pub(super) other: u8,
    /// ECN's policy, and when bytes are told of; a tenth of it: when MTUs are searched for.
    pub(super) marks: u8,
    /// Bits of [`Setup::COOKIES`] and the like.
    pub(super) listener: u8,
}

impl Setup {
    /// Both speak IPv6.
    pub(super) const IPV6: u8 = 1;
    /// No SACK.
    pub(super) const NO_SACK: u8 = 2;
    /// No timestamps.
    pub(super) const NO_TIMESTAMPS: u8 = 4;
    /// No window scaling.
    pub(super) const NO_SCALING: u8 = 8;
    /// Little memory.
    pub(super) const POOR: u8 = 16;
    /// The layer below takes no super-segments.
    pub(super) const PLAIN: u8 = 32;
    /// The congestion control's number stands in the bits from here.
    pub(super) const CONTROL_SHIFT: u8 = 6;

    /// Half-open connections are not remembered.
    pub(super) const COOKIES: u8 = 1;
    /// Fast Open on both sides.
    pub(super) const FAST_OPEN: u8 = 2;
    /// Listeners wait for data.
    pub(super) const DEFER: u8 = 4;
    /// A full accept queue resets.
    pub(super) const ABORT_ON_OVERFLOW: u8 = 8;
    /// Signed by TCP-MD5.
    pub(super) const MD5: u8 = 16;
    /// Signed by TCP-AO.
    pub(super) const AO: u8 = 32;
    /// Only one connection waits to be accepted.
    pub(super) const SHORT_QUEUE: u8 = 64;
    /// Connections are probed while they are idle, and given up early.
    pub(super) const KEEPALIVE: u8 = 128;

    /// That of `bytes`, and what follows it.
    pub(super) fn read(bytes: &[u8]) -> Option<(Setup, &[u8])> {
        let (&[basics, other, marks, listener], rest) = bytes.split_first_chunk::<4>()?;
        Some((Setup { basics, other, marks, listener }, rest))
    }

    /// As [`read`](Self::read) takes it.
    pub(super) fn bytes(self) -> Vec<u8> {
        vec![self.basics, self.other, self.marks, self.listener]
    }

    /// Both ends, and the listener.
    pub(super) fn ends(self) -> Ends {
        let addrs = addrs(self.basics & Setup::IPV6 != 0);
        let configs = [self.config(self.basics), self.config(self.basics ^ self.other)];
        let gso_max_bytes = if self.basics & Setup::PLAIN == 0 { 65_535 } else { 0 };
        let mut ends = Ends::new(addrs, configs, gso_max_bytes);
        let backlog = if self.has(Setup::SHORT_QUEUE) { 0 } else { 8 };
        ends.listen(backlog, self.options(addrs[0]));
        ends.client_options = self.options(addrs[1]);
        ends
    }

    fn has(self, bit: u8) -> bool {
        self.listener & bit != 0
    }

    fn config(self, basics: u8) -> TcpConfig {
        let mut config = TcpConfig::default();
        config.sack = basics & Setup::NO_SACK == 0;
        config.timestamps = basics & Setup::NO_TIMESTAMPS == 0;
        config.window_scaling = basics & Setup::NO_SCALING == 0;
        config.congestion_control = control(basics >> Setup::CONTROL_SHIFT);
        config.ecn = EcnPolicy::ALL[usize::from(self.marks) % EcnPolicy::ALL.len()];
        config.ecn_option = EcnOption::ALL[usize::from(self.marks / 8) % EcnOption::ALL.len()];
        config.mtu_probing = MtuProbing::ALL[usize::from(self.marks / 32) % MtuProbing::ALL.len()];
        config.abort_on_overflow = self.has(Setup::ABORT_ON_OVERFLOW);
        if self.has(Setup::COOKIES) {
            config.syn_cookies = SynCookies::Always;
        }
        if self.has(Setup::FAST_OPEN) {
            config.fast_open = FastOpen::CLIENT.with(FastOpen::SERVER);
        }
        // So that an input can reach them.
        config.memory =
            MemoryLimits::of(if basics & Setup::POOR == 0 { 4 << 20 } else { 96 << 10 });
        config.connections_max = 24;
        config.syn_backlog_max = 8;
        config.time_wait_max = 4;
        config.orphans_max = 16;
        config.reassembly_runs = 32;
        config.send_records = 64;
        config.send_buffer_max_bytes = 1 << 20;
        config.receive_buffer_max_bytes = 1 << 20;
        config
    }

    fn options(self, peer: IpAddr) -> ConnOptions {
        let mut options = ConnOptions::new();
        options.fast_open_queue = if self.has(Setup::FAST_OPEN) { 4 } else { 0 };
        if self.has(Setup::DEFER) {
            options.defer_accept = Duration::from_secs(3);
        }
        if self.has(Setup::KEEPALIVE) {
            options.keepalive = true;
            options.keepalive_idle = Duration::from_secs(5);
            options.keepalive_interval = Duration::from_secs(1);
            options.user_timeout = Duration::from_secs(20);
        }
        let mut keys = AuthKeys::default();
        if self.has(Setup::MD5) {
            // Where signatures are not built in, there are none.
            let _ = keys.set_md5(Md5Key::new(peer, b"secret"));
        } else if self.has(Setup::AO) {
            let _ = keys.add_ao(AoKey::new(peer, 1, b"secret"));
            let _ = keys.add_ao(AoKey::new(peer, 2, b"another"));
        }
        options.auth = (!keys.is_empty()).then(|| Arc::new(keys));
        options
    }
}

/// A program sets an option of a connection; it has the defaults for the others.
pub(super) fn set(ends: &mut Ends, side: Side, id: ConnId, option: u8, value: u16) {
    let now = ends.now;
    let auth = ends.client_options.auth.clone();
    let table = &mut ends.end(side).table;
    let Some(conn) = table.get(id) else { return };
    let mut options = conn.options().clone();
    let on = value & 1 != 0;
    match option % 21 {
        0 => options.nodelay = on,
        1 => options.congestion_control = Some(control(value as u8)),
        2 => options.send_buffer_bytes = u32::from(value) * 8,
        3 => options.receive_buffer_bytes = u32::from(value) * 8,
        4 => options.max_pacing_rate = u64::from(value) * 100,
        5 => options.user_timeout = Duration::from_millis(value.into()),
        6 => options.max_segment_bytes = value,
        7 => options.keepalive = on,
        8 => options.keepalive_idle = Duration::from_millis(value.into()),
        9 => options.urgent_inline = on,
        10 => options.tos = value as u8,
        11 => options.auth = if on { auth } else { None },
        12 => options.cork = on,
        13 => options.quick_ack = on,
        14 => options.receive_low_water_bytes = value.into(),
        15 => options.not_sent_low_water_bytes = value.into(),
        16 => options.window_clamp_bytes = value.into(),
        17 => options.fin_wait_2 = on.then(|| Duration::from_millis(value.into())),
        18 => table.set_quick_ack(now, id, on),
        19 => drop(table.sign_with(id, value as u8 % 4)),
        _ => drop(table.ask_for_key(id, value as u8 % 4)),
    }
    table.set_options(now, id, options);
}

/// The listener is closed, opened, or has another queue.
pub(super) fn change_listener(ends: &mut Ends, what: u8, value: u8) {
    match (what % 4, ends.listener.clone()) {
        (0, _) => ends.stop_listening(),
        (1, Some(listener)) => listener.set_backlog(u32::from(value % 8)),
        (2, Some(listener)) => {
            let mut options = listener.options();
            options.defer_accept = Duration::from_secs(u64::from(value % 4));
            options.receive_buffer_bytes = u32::from(value) * 256;
            listener.set_options(options);
        }
        (_, old) => {
            let options = old.map_or_else(ConnOptions::new, |old| old.options());
            ends.listen(u32::from(value % 8), options);
        }
    }
}

/// The lowest bit of `what` tells whose.
pub(super) fn change_stack(ends: &mut Ends, what: u8, value: u8) {
    let now = ends.now;
    let end = ends.end(Side::of(what));
    let mut config = TcpConfig::clone(end.table.config());
    let on = value & 1 != 0;
    match what >> 1 & 15 {
        0 => return end.table.abort_all(now),
        1 => return end.table.reset_from(now, end.below.addr),
        2 => config.sack = on,
        3 => config.timestamps = on,
        4 => config.congestion_control = control(value),
        5 => config.ecn = EcnPolicy::ALL[usize::from(value) % EcnPolicy::ALL.len()],
        6 => config.syn_cookies = if on { SynCookies::Always } else { SynCookies::Never },
        7 => config.time_wait_max = usize::from(value % 4),
        8 => config.memory = MemoryLimits::of(u64::from(value.max(8)) << 12),
        9 => config.tail_loss_probe = on,
        10 => config.frto = on,
        11 => config.rfc1337 = on,
        12 => config.window_scaling = on,
        13 => config.mtu_probing = MtuProbing::ALL[usize::from(value) % MtuProbing::ALL.len()],
        14 => config.slow_start_after_idle = on,
        _ => config.receive_buffer_grows = on,
    }
    end.table.set_config(now, Arc::new(config));
}

fn control(choice: u8) -> CongestionAlgorithm {
    CongestionAlgorithm::ALL[usize::from(choice) % CongestionAlgorithm::ALL.len()]
}

fn addrs(six: bool) -> [IpAddr; 2] {
    match six {
        false => [IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2])],
        true => [1, 2].map(|host| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, host])),
    }
}
