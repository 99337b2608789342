//! Options of TCP sockets.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use libnet::errno;
use libnet::socket::{Family, OptionKey, SocketOption, TcpInfo};

use super::{Role, State, StreamSocket, info};
use crate::inet::Inet;
use crate::shard::Shard;
use crate::tcp::{
    AuthKeys, ConnOptions, FastOpen, KeyError, State as TcpState, TcpInfo as Snapshot,
    defer_accept_time,
};
use crate::wide::Wide;

/// Ranges of options, `tcp(7)`: seconds of `TCP_KEEPIDLE` and `TCP_KEEPINTVL`, probes.
const KEEP_SECONDS: std::ops::RangeInclusive<u64> = 1..=32_767;
const SYN_RETRIES: std::ops::RangeInclusive<u32> = 1..=127;
/// `TCP_FIN_TIMEOUT_MAX`: longer stays are as long as this.
const LONGEST_FIN_WAIT_2: Duration = Duration::from_secs(120);
const KEEP_PROBES: std::ops::RangeInclusive<u32> = 1..=127;
/// The smallest `TCP_MAXSEG` that Linux takes, and the largest.
const SEGMENT_BYTES: std::ops::RangeInclusive<u32> = 88..=32_767;
/// The bits of the traffic class that ECN uses.
const ECN_BITS: u8 = 0b11;
/// Bytes of the smallest `TCP_WINDOW_CLAMP`: half of the smallest buffer, as on Linux.
const WINDOW_CLAMP_MIN: u32 = BUFFER_BYTES_MIN / 2;
/// Bytes of the smallest buffer.
const BUFFER_BYTES_MIN: u32 = 2_304;

impl Inet {
    /// `setsockopt(2)`.
    pub(crate) fn stream_set_option(
        &self,
        socket: &StreamSocket,
        option: SocketOption,
    ) -> io::Result<()> {
        let mut state = socket.state();
        match option {
            SocketOption::V6Only(_) => socket.may_set_v6_only(&state)?,
            // As on Linux: for IPv6 it is none of a stream's, for IPv4 it is a wrong one.
            SocketOption::MulticastTtl(_) if socket.family == Family::Inet6 => {
                return Err(errno::no_such_option());
            }
            // As on Linux: it can be taken away from a socket that is not connected.
            SocketOption::WindowClamp(0) if !matches!(state.role, Role::Fresh) => {
                return Err(errno::invalid());
            }
            // As on Linux: before it is connected, and what listeners have no use for not at these.
            SocketOption::FastOpenQueue(_) | SocketOption::FastOpenNoCookie(_)
                if !matches!(state.role, Role::Fresh | Role::Listening(_)) =>
            {
                return Err(errno::invalid());
            }
            SocketOption::FastOpenConnect(_) => self.may_connect_by_data(&state)?,
            SocketOption::Md5Key(ref key)
                if socket.family == Family::Inet && key.peer.is_ipv6() =>
            {
                return Err(errno::invalid());
            }
            _ => {}
        }
        if let SocketOption::AoCurrent(_) | SocketOption::AoNext(_) = option {
            let role = state.role.clone();
            drop(state);
            return self.use_key(&role, &option);
        }
        let quick_ack = match option {
            SocketOption::QuickAck(on) => Some(on),
            _ => None,
        };
        let moves_low_water = matches!(option, SocketOption::ReceiveLowWater(_));
        apply(self.wide(), &mut state.options, option)?;
        let (role, options) = (state.role.clone(), state.options.conn.clone());
        if let Role::Listening(listener) = &role {
            // Under the socket's lock: of two calls, the later one's options stay.
            listener.set_options(options);
            return Ok(());
        }
        drop(state);
        if let Role::Connection(place, _) = role {
            self.engine().with_shard(place.shard, |core, now| {
                let tcp = core.tcp_mut();
                match quick_ack {
                    Some(on) => tcp.set_quick_ack(now, place.conn, on),
                    None => tcp.set_options(now, place.conn, options),
                }
                if moves_low_water {
                    socket.look_again();
                }
            });
        }
        Ok(())
    }

    /// `getsockopt(2)`.
    pub(crate) fn stream_get_option(
        &self,
        socket: &Arc<StreamSocket>,
        key: OptionKey,
    ) -> io::Result<SocketOption> {
        if key == OptionKey::PathMtu {
            let info = self.stream_info(socket).ok_or_else(errno::not_connected)?;
            return Ok(SocketOption::PathMtu(info.path_mtu_bytes));
        }
        if key == OptionKey::Info {
            return Ok(SocketOption::Info(Box::new(self.linux_info(&socket.role()))));
        }
        if matches!(key, OptionKey::AoCurrent | OptionKey::AoNext) {
            let (current, next) = self.keys_in_use(&socket.role())?;
            return Ok(match key {
                OptionKey::AoCurrent => SocketOption::AoCurrent(current),
                _ => SocketOption::AoNext(next),
            });
        }
        if let (OptionKey::QuickAck, Role::Connection(place, _)) = (key, socket.role()) {
            let quick = self.engine().with_shard(place.shard, |core, _| {
                core.tcp().get(place.conn).is_none_or(|conn| conn.is_quick_ack())
            });
            return Ok(SocketOption::QuickAck(quick));
        }
        let state = socket.state();
        let (o, c) = (&state.options, &state.options.conn);
        let tcp = &self.wide().config().tcp;
        let or = |set: u32, default: u32| if set == 0 { default } else { set };
        let time = |set: Duration, default: Duration| if set.is_zero() { default } else { set };
        Ok(match key {
            OptionKey::ReuseAddr => SocketOption::ReuseAddr(c.sharing.reuse_addr),
            OptionKey::ReusePort => SocketOption::ReusePort(c.sharing.reuse_port),
            OptionKey::Broadcast => SocketOption::Broadcast(o.broadcast),
            OptionKey::KeepAlive => SocketOption::KeepAlive(c.keepalive),
            OptionKey::SendBufferBytes => {
                let bytes = or(c.send_buffer_bytes, tcp.send_buffer_bytes);
                let grown = self.info_of(&state.role).map(|info| info.send_limit_bytes);
                SocketOption::SendBufferBytes(grown.unwrap_or(bytes))
            }
            OptionKey::ReceiveBufferBytes => {
                let bytes = or(c.receive_buffer_bytes, tcp.receive_buffer_bytes);
                let grown = self.info_of(&state.role).map(|info| info.receive_limit_bytes);
                SocketOption::ReceiveBufferBytes(grown.unwrap_or(bytes))
            }
            OptionKey::ReceiveLowWater => {
                SocketOption::ReceiveLowWater(c.receive_low_water_bytes.max(1))
            }
            OptionKey::NotSentLowWater => SocketOption::NotSentLowWater(c.not_sent_low_water_bytes),
            OptionKey::WindowClamp => SocketOption::WindowClamp(c.window_clamp_bytes),
            OptionKey::Linger => SocketOption::Linger(o.linger),
            OptionKey::NoDelay => SocketOption::NoDelay(c.nodelay),
            OptionKey::Cork => SocketOption::Cork(c.cork),
            OptionKey::QuickAck => SocketOption::QuickAck(c.quick_ack),
            OptionKey::SynRetries => {
                SocketOption::SynRetries(or(c.syn_retries.into(), tcp.syn_retries.into()))
            }
            OptionKey::Linger2 => {
                let whole = |time: Duration| Duration::from_secs(time.as_secs());
                SocketOption::Linger2(c.fin_wait_2.map(|own| time(own, whole(tcp.fin_wait_2))))
            }
            OptionKey::UrgentInline => SocketOption::UrgentInline(c.urgent_inline),
            OptionKey::KeepIdle => {
                SocketOption::KeepIdle(time(c.keepalive_idle, tcp.keepalive_idle))
            }
            OptionKey::KeepInterval => {
                SocketOption::KeepInterval(time(c.keepalive_interval, tcp.keepalive_interval))
            }
            OptionKey::KeepCount => {
                let probes = or(c.keepalive_probes.into(), tcp.keepalive_probes.into());
                SocketOption::KeepCount(probes)
            }
            OptionKey::UserTimeout => SocketOption::UserTimeout(c.user_timeout),
            OptionKey::MaxSegmentBytes => {
                let limit = u32::from(c.max_segment_bytes);
                SocketOption::MaxSegmentBytes(self.segment_bytes(&state.role, limit))
            }
            OptionKey::DeferAccept => {
                SocketOption::DeferAccept(defer_accept_time(tcp, c.defer_accept))
            }
            OptionKey::FastOpenQueue => SocketOption::FastOpenQueue(c.fast_open_queue),
            OptionKey::FastOpenConnect => SocketOption::FastOpenConnect(c.fast_open_connect),
            OptionKey::AoRequired => {
                SocketOption::AoRequired(c.auth.as_ref().is_some_and(|keys| keys.requires_ao()))
            }
            OptionKey::FastOpenNoCookie => SocketOption::FastOpenNoCookie(c.fast_open_no_cookie),
            OptionKey::FastOpenKeys => {
                SocketOption::FastOpenKeys(c.fast_open_keys.as_deref().copied().unwrap_or_default())
            }
            OptionKey::Congestion => {
                let algorithm = c.congestion_control.unwrap_or(tcp.congestion_control);
                SocketOption::Congestion(algorithm.name().to_owned())
            }
            OptionKey::MaxPacingRate => {
                let none = c.max_pacing_rate == 0;
                SocketOption::MaxPacingRate(if none { u64::MAX } else { c.max_pacing_rate })
            }
            OptionKey::Ttl if c.ttl > 0 => SocketOption::Ttl(c.ttl),
            OptionKey::Ttl => SocketOption::Ttl(self.wide().usual_hops(socket.family)),
            OptionKey::Tos => SocketOption::Tos(c.tos),
            OptionKey::V6Only if socket.family == Family::Inet6 => SocketOption::V6Only(o.v6_only),
            OptionKey::BindToDevice => SocketOption::BindToDevice(o.device.clone()),
            _ => return Err(errno::no_such_option()),
        })
    }

    /// May `TCP_FASTOPEN_CONNECT` be changed? As on Linux: of a fresh socket, where connects may at all.
    fn may_connect_by_data(&self, state: &State) -> io::Result<()> {
        if !self.wide().config().tcp.fast_open.has(FastOpen::CLIENT) {
            return Err(errno::not_supported());
        }
        let fresh = matches!(state.role, Role::Fresh) && state.deferred.is_none();
        if fresh { Ok(()) } else { Err(errno::invalid()) }
    }

    /// Which keys of TCP-AO a connection uses.
    fn use_key(&self, role: &Role, option: &SocketOption) -> io::Result<()> {
        let Role::Connection(place, _) = *role else { return Err(errno::not_connected()) };
        let found = self.engine().with_shard(place.shard, |core, _| match *option {
            SocketOption::AoCurrent(id) => core.tcp_mut().sign_with(place.conn, id),
            SocketOption::AoNext(id) => core.tcp_mut().ask_for_key(place.conn, id),
            _ => false,
        });
        if found { Ok(()) } else { Err(errno::no_such_file()) }
    }

    fn keys_in_use(&self, role: &Role) -> io::Result<(u8, u8)> {
        let Role::Connection(place, _) = *role else { return Err(errno::not_connected()) };
        let keys = |core: &mut Shard| core.tcp_mut().keys_in_use(place.conn);
        self.engine().with_shard(place.shard, |core, _| keys(core)).ok_or_else(errno::no_such_file)
    }

    /// A connection's segment size, else what was asked for, else the default of RFC 9293 §3.7.1.
    fn segment_bytes(&self, role: &Role, limit: u32) -> u32 {
        match role {
            Role::Connection(..) => {
                self.info_of(role).map_or(limit, |info| u32::from(info.snd_mss_bytes))
            }
            _ => {
                if limit == 0 {
                    536
                } else {
                    limit
                }
            }
        }
    }

    /// `TCP_INFO`, of any stream socket.
    fn linux_info(&self, role: &Role) -> TcpInfo {
        match role {
            Role::Listening(listener) => info::of_listener(listener),
            _ => self.info_of(role).map_or_else(
                || info::of_state(TcpState::Closed),
                |conn| info::of_connection(&conn),
            ),
        }
    }

    fn info_of(&self, role: &Role) -> Option<Snapshot> {
        let Role::Connection(place, _) = role else { return None };
        self.engine().with_shard(place.shard, |core, now| core.tcp().info(now, place.conn))
    }
}

impl StreamSocket {
    /// As on Linux: at a socket of IPv6 that is not bound yet.
    fn may_set_v6_only(&self, state: &State) -> io::Result<()> {
        if self.family != Family::Inet6 {
            return Err(errno::no_such_option());
        }
        let fresh = state.bound.is_none() && matches!(state.role, Role::Fresh);
        if fresh { Ok(()) } else { Err(errno::invalid()) }
    }
}

/// Changes the keys that sign a socket's segments; connections that share them keep theirs.
fn change_keys(
    conn: &mut ConnOptions,
    change: impl FnOnce(&mut AuthKeys) -> Result<(), KeyError>,
) -> io::Result<()> {
    let mut keys = conn.auth.as_deref().cloned().unwrap_or_default();
    change(&mut keys).map_err(|error| match error {
        KeyError::Exists => errno::exists(),
        KeyError::NotFound => errno::no_such_file(),
        KeyError::TooMany => errno::no_buffers(),
        KeyError::Unavailable => errno::no_such_option(),
        _ => errno::invalid(),
    })?;
    conn.auth = (!keys.is_empty()).then(|| Arc::new(keys));
    Ok(())
}

fn apply(wide: &Wide, options: &mut super::Options, option: SocketOption) -> io::Result<()> {
    let conn = &mut options.conn;
    let check = |fits: bool| if fits { Ok(()) } else { Err(errno::invalid()) };
    match option {
        SocketOption::ReuseAddr(on) => conn.sharing.reuse_addr = on,
        SocketOption::ReusePort(on) => conn.sharing.reuse_port = on,
        SocketOption::Broadcast(on) => options.broadcast = on,
        SocketOption::V6Only(on) => {
            options.v6_only = on;
            conn.sharing.both_families = !on;
        }
        SocketOption::Linger(linger) => options.linger = linger,
        SocketOption::KeepAlive(on) => conn.keepalive = on,
        SocketOption::NoDelay(on) => conn.nodelay = on,
        SocketOption::Cork(on) => conn.cork = on,
        SocketOption::QuickAck(on) => conn.quick_ack = on,
        SocketOption::SynRetries(retries) => {
            check(SYN_RETRIES.contains(&retries))?;
            conn.syn_retries = retries as u8;
        }
        SocketOption::Linger2(time) => {
            let whole = |time: Duration| Duration::from_secs(time.as_secs());
            conn.fin_wait_2 = time.map(|time| whole(time).min(LONGEST_FIN_WAIT_2));
        }
        SocketOption::UrgentInline(on) => conn.urgent_inline = on,
        SocketOption::SendBufferBytes(bytes) => {
            let most = wide.config().tcp.send_buffer_option_max_bytes;
            conn.send_buffer_bytes = bytes.min(most).max(BUFFER_BYTES_MIN);
        }
        SocketOption::ReceiveBufferBytes(bytes) => {
            let most = wide.config().tcp.receive_buffer_option_max_bytes;
            conn.receive_buffer_bytes = bytes.min(most).max(BUFFER_BYTES_MIN);
        }
        SocketOption::ReceiveLowWater(bytes) => conn.receive_low_water_bytes = bytes,
        SocketOption::NotSentLowWater(bytes) => conn.not_sent_low_water_bytes = bytes,
        SocketOption::WindowClamp(bytes) => {
            conn.window_clamp_bytes = if bytes == 0 { 0 } else { bytes.max(WINDOW_CLAMP_MIN) };
        }
        SocketOption::KeepIdle(time) => {
            check(KEEP_SECONDS.contains(&time.as_secs()))?;
            conn.keepalive_idle = time;
        }
        SocketOption::KeepInterval(time) => {
            check(KEEP_SECONDS.contains(&time.as_secs()))?;
            conn.keepalive_interval = time;
        }
        SocketOption::KeepCount(probes) => {
            check(KEEP_PROBES.contains(&probes))?;
            conn.keepalive_probes = probes as u8;
        }
        SocketOption::UserTimeout(time) => conn.user_timeout = time,
        SocketOption::MaxSegmentBytes(bytes) => {
            check(bytes == 0 || SEGMENT_BYTES.contains(&bytes))?;
            conn.max_segment_bytes = bytes as u16;
        }
        SocketOption::DeferAccept(time) => conn.defer_accept = time,
        SocketOption::FastOpenQueue(most) => {
            // As on Linux, which takes no more than connections may wait.
            conn.fast_open_queue = most.min(wide.config().tcp.backlog_max);
        }
        SocketOption::FastOpenConnect(on) => conn.fast_open_connect = on,
        SocketOption::FastOpenNoCookie(on) => conn.fast_open_no_cookie = on,
        SocketOption::FastOpenKeys(keys) => {
            check(keys.primary().is_some())?;
            conn.fast_open_keys = Some(Arc::new(keys));
        }
        SocketOption::Md5Key(key) => change_keys(conn, |keys| keys.set_md5(key))?,
        SocketOption::AoKey(key) => change_keys(conn, |keys| keys.add_ao(key))?,
        SocketOption::AoKeyRemoved(key) => change_keys(conn, |keys| keys.remove_ao(&key))?,
        SocketOption::AoRequired(on) => change_keys(conn, |keys| {
            keys.require_ao(on);
            Ok(())
        })?,
        SocketOption::Congestion(name) => {
            check(!name.is_empty())?;
            let known = wide.config().tcp.controllers.algorithm(&name);
            conn.congestion_control = Some(known.map_err(|_| errno::no_such_file())?);
        }
        SocketOption::MaxPacingRate(rate) => {
            conn.max_pacing_rate = if rate == u64::MAX { 0 } else { rate.max(1) };
        }
        SocketOption::Ttl(ttl) => {
            check(ttl > 0)?;
            conn.ttl = ttl;
        }
        // As on Linux: RFC 3168 §5 gives these two bits to the protocol.
        SocketOption::Tos(tos) => conn.tos = tos & !ECN_BITS,
        // As on Linux: a stream has one peer.
        SocketOption::MulticastTtl(_) | SocketOption::MulticastInterface(_) => {
            return Err(errno::invalid());
        }
        // As on Linux: a stream is in no group.
        SocketOption::JoinGroup(_) | SocketOption::LeaveGroup(_) => {
            return Err(errno::protocol_error());
        }
        SocketOption::BindToDevice(name) => {
            conn.sharing.iface = match name.as_str() {
                "" => None,
                name => Some(wide.iface_by_name(name).ok_or_else(errno::no_device)?),
            };
            options.device = name;
        }
        _ => return Err(errno::no_such_option()),
    }
    Ok(())
}
