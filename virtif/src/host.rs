//! The host's side of a device: its addresses, MTU, and whether it is up, by rtnetlink(7).

use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};
use std::{fs, thread};

use libnet::IpCidr;
use libnet::ethernet::MacAddr;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use rustix::io::Errno;

/// What the host's side of a device is to be.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct HostSide {
    /// Its addresses, each with its network. What it has already stays.
    pub addrs: Vec<IpCidr>,
    /// Gateways of the host's default routes.
    pub gateways: Vec<IpAddr>,
    /// Its MTU in bytes; `None`: as it is.
    pub mtu: Option<u32>,
    /// Its MAC address; `None`: as it is. For taps only.
    pub mac: Option<MacAddr>,
}

/// The host's side could not be set up; the text names the command that an administrator runs.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {source}; an administrator runs `{command}`")]
pub struct HostError {
    what: String,
    command: String,
    source: io::Error,
}

impl From<HostError> for io::Error {
    fn from(error: HostError) -> io::Error {
        io::Error::new(error.source.kind(), error)
    }
}

/// What the host says of an interface of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct HostLink {
    /// Its number.
    pub index: u32,
    /// The largest IP packet, in bytes.
    pub mtu: u32,
    /// Administratively up.
    pub is_up: bool,
}

impl HostSide {
    /// With an address, as it is otherwise.
    pub fn new(addrs: Vec<IpCidr>) -> Self {
        HostSide { addrs, ..HostSide::default() }
    }

    /// Sets the side of `device` up, in this thread's network namespace, takes it up, and waits
    /// until the host hears who looks for its IPv6 addresses: a second at most.
    ///
    /// # Errors
    /// [`HostError`]: `PermissionDenied` without `CAP_NET_ADMIN`, or what the kernel refused.
    pub fn apply(&self, device: &str) -> Result<(), HostError> {
        let netlink = Netlink::open().map_err(|source| HostError {
            what: "no rtnetlink".to_owned(),
            command: format!("ip link set {device} up"),
            source,
        })?;
        let failed =
            |what: String, command: String| move |source| HostError { what, command, source };
        let index = query(device).map(|link| link.index).map_err(failed(
            format!("no interface `{device}` in this namespace"),
            format!("ip link show {device}"),
        ))?;
        if let Some(mac) = self.mac {
            netlink.set_link(index, LinkAttribute::Address(mac.0.to_vec())).map_err(failed(
                format!("cannot set the address of `{device}`"),
                format!("ip link set {device} address {mac}"),
            ))?;
        }
        if let Some(mtu) = self.mtu {
            netlink.set_link(index, LinkAttribute::Mtu(mtu)).map_err(|source| {
                // The kernel does not say what it would take: `TUN_MAX_MTU` less a link header.
                let range = match Errno::from_io_error(&source) {
                    Some(Errno::INVAL) => " (a tap takes 68 to 65521, a tun 68 to 65535)",
                    _ => "",
                };
                failed(
                    format!("cannot set the MTU of `{device}` to {mtu}{range}"),
                    format!("ip link set {device} mtu {mtu}"),
                )(source)
            })?;
        }
        for addr in &self.addrs {
            netlink.add_address(index, addr).map_err(failed(
                format!("cannot give {addr} to `{device}`"),
                format!("ip addr add {addr} dev {device}"),
            ))?;
        }
        netlink.up(index).map_err(failed(
            format!("cannot take `{device}` up"),
            format!("ip link set {device} up"),
        ))?;
        for gateway in &self.gateways {
            netlink.add_default_route(index, *gateway).map_err(failed(
                format!("cannot route through {gateway}"),
                format!("ip route add default via {gateway} dev {device}"),
            ))?;
        }
        if ask(device).is_ok_and(|link| !link.header.flags.contains(LinkFlags::Noarp)) {
            await_groups(device, &self.addrs);
        }
        Ok(())
    }
}

/// Waits until the host is in the groups in which its addresses are asked for, [`LONGEST_WAIT`] at
/// most: it joins them behind our back, and a question whether anybody has an address comes once.
fn await_groups(device: &str, addrs: &[IpCidr]) {
    let groups: Vec<String> = addrs.iter().filter_map(|cidr| group_of(cidr.addr())).collect();
    let deadline = Instant::now() + LONGEST_WAIT;
    while Instant::now() < deadline {
        // Where it cannot be read there is no IPv6 either.
        let Ok(joined) = fs::read_to_string("/proc/thread-self/net/igmp6") else { return };
        let has_joined = |group: &String| {
            joined.lines().map(str::split_whitespace).any(|mut words| {
                words.nth(1) == Some(device) && words.next() == Some(group.as_str())
            })
        };
        if groups.iter().all(has_joined) {
            return;
        }
        thread::sleep(LOOK_AGAIN);
    }
}

/// The group in which an IPv6 address is asked for (RFC 4291 §2.7.1), as the host lists it.
fn group_of(addr: IpAddr) -> Option<String> {
    let IpAddr::V6(addr) = addr else { return None };
    let group = 0xff02_0000_0000_0000_0000_0001_ff00_0000_u128 | (addr.to_bits() & 0xff_ffff);
    Some(format!("{group:032x}"))
}

/// The host takes a few milliseconds, more on a machine that is busy.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Asks the host about one of its interfaces, in this thread's network namespace.
///
/// # Errors
/// `NotFound` if it is not there.
pub fn query(device: &str) -> io::Result<HostLink> {
    let link = ask(device)?;
    let mtu = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Mtu(mtu) => Some(*mtu),
        _ => None,
    });
    Ok(HostLink {
        index: link.header.index,
        mtu: mtu.unwrap_or(crate::DEFAULT_MTU),
        is_up: link.header.flags.contains(LinkFlags::Up),
    })
}

/// Is it a tap or tun, as far as this thread's network namespace knows?
pub(crate) fn is_tap_or_tun(device: &str) -> bool {
    let is_tun = |attribute: &LinkAttribute| match attribute {
        LinkAttribute::LinkInfo(infos) => infos.contains(&LinkInfo::Kind(InfoKind::Tun)),
        _ => false,
    };
    ask(device).is_ok_and(|link| link.attributes.iter().any(is_tun))
}

fn ask(device: &str) -> io::Result<LinkMessage> {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(device.to_owned()));
    match Netlink::open()?.request(RouteNetlinkMessage::GetLink(message), 0)? {
        Some(RouteNetlinkMessage::NewLink(link)) => Ok(link),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Takes the loopback interface of this thread's network namespace up.
///
/// # Errors
/// `PermissionDenied` without `CAP_NET_ADMIN`.
pub fn loopback_up() -> io::Result<()> {
    Netlink::open()?.up(query("lo")?.index)
}

/// A socket on which one request at a time is answered.
pub(crate) struct Netlink(Socket);

impl Netlink {
    pub(crate) fn open() -> io::Result<Self> {
        let socket = Socket::new(NETLINK_ROUTE)?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Netlink(socket))
    }

    fn set_link(&self, index: u32, attribute: LinkAttribute) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes.push(attribute);
        self.request(RouteNetlinkMessage::SetLink(message), NLM_F_ACK).map(drop)
    }

    fn up(&self, index: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        self.request(RouteNetlinkMessage::SetLink(message), NLM_F_ACK).map(drop)
    }

    fn add_address(&self, index: u32, cidr: &IpCidr) -> io::Result<()> {
        let mut message = AddressMessage::default();
        message.header.family = family_of(cidr.addr());
        message.header.prefix_len = cidr.prefix_bits();
        message.header.index = index;
        message.attributes.push(AddressAttribute::Local(cidr.addr()));
        message.attributes.push(AddressAttribute::Address(cidr.addr()));
        match cidr.broadcast() {
            Some(broadcast) => {
                message.attributes.push(AddressAttribute::Broadcast(broadcast));
            }
            // Usable at once: nobody else is on a wire that we make, and we say what we want.
            None if cidr.addr().is_ipv6() => {
                message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
            }
            None => {}
        }
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
        self.request(RouteNetlinkMessage::NewAddress(message), flags).map(drop)
    }

    fn add_default_route(&self, index: u32, gateway: IpAddr) -> io::Result<()> {
        let mut message = RouteMessage::default();
        message.header.address_family = family_of(gateway);
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = RouteProtocol::Static;
        message.header.scope = RouteScope::Universe;
        message.header.kind = RouteType::Unicast;
        message.attributes.push(RouteAttribute::Gateway(RouteAddress::from(gateway)));
        message.attributes.push(RouteAttribute::Oif(index));
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
        self.request(RouteNetlinkMessage::NewRoute(message), flags).map(drop)
    }

    /// Would the host keep what is sent to `addr`?
    pub(crate) fn is_local(&self, addr: IpAddr) -> io::Result<bool> {
        let mut message = RouteMessage::default();
        message.header.address_family = family_of(addr);
        message.header.destination_prefix_length = if addr.is_ipv4() { 32 } else { 128 };
        message.attributes.push(RouteAttribute::Destination(RouteAddress::from(addr)));
        let answer = self.request(RouteNetlinkMessage::GetRoute(message), 0)?;
        Ok(matches!(answer, Some(RouteNetlinkMessage::NewRoute(route))
            if route.header.kind == RouteType::Local))
    }

    /// Sends a request; what was answered to it, if anything but "done".
    fn request(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<Option<RouteNetlinkMessage>> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::from(message));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        uninterrupted(|| self.0.send(&bytes, 0))?;
        let (answer, _) = uninterrupted(|| self.0.recv_from_full())?;
        let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
        match answer.payload {
            NetlinkPayload::Error(error) if error.code.is_some() => Err(plain(error.to_io())),
            NetlinkPayload::InnerMessage(inner) => Ok(Some(inner)),
            _ => Ok(None),
        }
    }
}

/// "No such device" is what `NotFound` is for.
fn plain(error: io::Error) -> io::Error {
    match Errno::from_io_error(&error) {
        Some(Errno::NODEV) => io::Error::new(io::ErrorKind::NotFound, error),
        _ => error,
    }
}

fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

fn family_of(addr: IpAddr) -> AddressFamily {
    match addr {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}
