//! What tools ask of a running stack beside its tables: events, the way to a destination, frames of
//! their own, and the end of a connection.

use std::io;
use std::net::IpAddr;

use libnet::errno;
use libnet::iface::IfIndex;
use libnet::packet::Packet;
use libnet::route::Route;
use libnet::socket::SocketId;

use crate::events::Subscription;
use crate::inet::Inet;
use crate::neighbour::NeighbourTable;
use crate::output::Account;
use crate::path::{Path, Reach, Wanted};
use crate::snapshot::{FragmentsHeld, PathEntry, PathKind, SocketEntry, TcpMemory};
use crate::sockets::Socket;
use crate::wide::lock;

impl Inet {
    /// Tells what changes from now on; up to `bound` events wait to be taken, what comes on top is
    /// counted. A link that fails is told of when it is used next, or by
    /// [`check_links`](Self::check_links).
    ///
    /// # Errors
    /// `ENOBUFS` if too many listen already ([`MAX_SUBSCRIPTIONS`](crate::events::MAX_SUBSCRIPTIONS)).
    pub fn subscribe(&self, bound: usize) -> io::Result<Subscription> {
        let now = self.engine().driver().now();
        let events = self.wide().events();
        self.wide().with_neighbours(|table| {
            events.begin(bound, self.engine().interfaces(), NeighbourTable::snapshot(table, now))
        })
    }

    /// A socket as [`sockets`](Self::sockets) has it; `None` if it is gone.
    pub fn socket_by_id(&self, id: SocketId) -> Option<SocketEntry> {
        self.socket_entry(&self.wide().sockets.get(id).ok()?)
    }

    /// Tells subscribers of links that failed or came back while nobody used them.
    pub fn check_links(&self) {
        self.wide().current_view();
    }

    /// The memory of all TCP connections.
    pub fn tcp_memory(&self) -> TcpMemory {
        let budget = &self.wide().tcp_budget;
        TcpMemory {
            granted_bytes: budget.granted_bytes(),
            is_pressed: budget.is_pressed(),
            pressures: budget.pressures(),
            orphans: budget.orphans(),
        }
    }

    /// Bytes that the receive queues of UDP sockets may use; what they do use is no more. The bound:
    /// [`DatagramConfig::udp_memory`](crate::config::DatagramConfig::udp_memory).
    pub fn udp_memory_bytes(&self) -> u64 {
        self.wide().udp_memory.granted_bytes()
    }

    /// What waits for fragments.
    pub fn fragments_held(&self) -> FragmentsHeld {
        self.wide().with_reassembly(|all| all.held())
    }

    /// The way that a packet to `dst` takes now, from `src` and out of `iface` where those are
    /// given.
    ///
    /// # Errors
    /// `ENETUNREACH`, `EHOSTUNREACH`, `EINVAL`: as a sender gets them.
    pub fn path_to(
        &self,
        dst: IpAddr,
        src: Option<IpAddr>,
        iface: Option<IfIndex>,
    ) -> io::Result<PathEntry> {
        let now = self.engine().driver().now();
        let wanted = Wanted { dst, src, iface };
        let path = Path::find(self.wide(), now, wanted).map_err(|none| none.to_io())?;
        Ok(PathEntry {
            dst,
            src: path.src,
            iface: path.iface.index,
            gateway: Some(path.next_hop).filter(|hop| *hop != dst),
            mtu: path.mtu,
            iface_mtu: path.iface.config().mtu,
            kind: match path.reach {
                Reach::Unicast => PathKind::Unicast,
                Reach::Local => PathKind::Local,
                Reach::Broadcast => PathKind::Broadcast,
                Reach::Multicast => PathKind::Multicast,
            },
        })
    }

    /// Adds a route in place of the one with the same destination and metric, if there is one.
    ///
    /// # Errors
    /// As [`add_route`](Self::add_route), but not `EEXIST`.
    pub fn replace_route(&self, route: Route) -> io::Result<()> {
        self.engine().interface(route.iface).ok_or_else(errno::no_device)?;
        self.wide().with_routes(|routes| routes.replace(route))?;
        Ok(())
    }

    /// Sends a frame, link header included, as it is: what a packet socket does.
    ///
    /// # Errors
    /// `ENODEV` for an unknown interface, `ENETDOWN` for one that is down, `EMSGSIZE` for a frame
    /// that is longer than its MTU and header.
    pub fn transmit(&self, index: IfIndex, frame: Packet) -> io::Result<()> {
        let iface = self.engine().interface(index).ok_or_else(errno::no_device)?;
        let config = iface.config();
        if !config.up || !config.running {
            return Err(io::ErrorKind::NetworkDown.into());
        }
        if frame.len() > config.mtu as usize + libnet::EthernetHeader::LEN {
            return Err(errno::message_too_long());
        }
        self.engine().with_shard(0, |shard, _| shard.enqueue(index, frame, Account::Reply));
        Ok(())
    }

    /// Resets a connection, or closes any other socket, whoever holds it: its next call tells of
    /// it. Whether there was such a socket.
    pub fn abort(&self, id: SocketId) -> bool {
        match self.wide().sockets.get(id) {
            Ok(Socket::Stream(socket)) => self.stream_abort(&socket),
            _ => false,
        }
    }

    /// Takes out the routes that `keep` is false for; how many.
    pub fn retain_routes(&self, keep: impl FnMut(&Route) -> bool) -> usize {
        let _one_at_a_time = lock(self.control());
        self.wide().with_routes(|routes| routes.retain(keep))
    }
}
