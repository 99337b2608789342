//! Two hosts and a router between them; behind it whatever is longer gets lost, and nobody is told.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use libnet::impair::{Fault, FaultCount, Impairments, Which};
use libnet::link::Offload;
use libnet::socket::Family;
use libnet::world::{LinkConfig, World};
use libnet::{IfIndex, InterfaceSpec};
use libnetinet::Inet;
use rumpnet::{Forwarding, InetConfig, Stack};

use crate::goodput::Goodput;

/// The router's interface to the hole.
pub const TO_HOLE: IfIndex = IfIndex(3);

/// The path.
pub struct BlackHole {
    /// Where they live.
    pub world: World,
    /// The host in front of the router.
    pub here: Stack,
    /// The router; its links take 1,500 bytes.
    pub router: Stack,
    /// The host behind the hole.
    pub there: Stack,
    /// Packets that were lost because of their length.
    pub swallowed: FaultCount,
    longest: Arc<AtomicUsize>,
    family: Family,
}

impl BlackHole {
    /// A path of 20 Mbit/s and 5 ms each way that loses what is longer than `mtu` bytes between
    /// the router and the host there. Both hosts have this configuration; `to_hole` changes the
    /// router's interface to the hole.
    ///
    /// # Panics
    /// When a stack does not start.
    pub fn new(
        family: Family,
        mtu: usize,
        hosts: &InetConfig,
        to_hole: impl FnOnce(InterfaceSpec) -> InterfaceSpec,
    ) -> BlackHole {
        let world = World::new(0xb1ac);
        let good = LinkConfig::default();
        let far = Impairments::none().delay(Duration::from_millis(5)).rate(20_000_000);
        // Checksums and cutting are left to the router's link.
        let left = world.segment(good.clone().offload(Offload::FULL));
        let right = world.segment(good.impairments(far));
        let longest = Arc::new(AtomicUsize::new(mtu));
        let now = Arc::clone(&longest);
        // Ethernet's header does not count.
        let is_longer = move |frame: &[u8]| frame.len() > 14 + now.load(Ordering::Relaxed);
        let swallowed = right.inject("black hole", Which::Every, Fault::Drop, is_longer);
        let bits = if family == Family::Inet6 { 64 } else { 24 };
        let on_left = |host| {
            InterfaceSpec::new(left.next_link()).addr(&format!("{}/{bits}", addr(family, 1, host)))
        };
        let on_right = |host| {
            InterfaceSpec::new(right.next_link()).addr(&format!("{}/{bits}", addr(family, 2, host)))
        };
        let host = |name: &str, interface: InterfaceSpec, gateway: IpAddr| {
            let interface = interface.gateway(&gateway.to_string());
            let builder = Stack::builder().config(hosts.clone()).interface(interface);
            builder.start_in(&world.host(name)).expect("it starts")
        };
        let here = host("here", on_left(2), addr(family, 1, 1));
        let there = host("there", on_right(2), addr(family, 2, 1));
        let router = Stack::builder()
            .forwarding(Forwarding::On)
            .interface(on_left(1))
            .interface(to_hole(on_right(1)))
            .start_in(&world.host("router"))
            .expect("it starts");
        // Until nobody else was found to have the addresses.
        world.run_for(Duration::from_secs(5));
        BlackHole { world, here, router, there, swallowed, longest, family }
    }

    /// Loses what is longer than `mtu` bytes from now on.
    pub fn becomes(&self, mtu: usize) {
        self.longest.store(mtu, Ordering::Relaxed);
    }

    /// Begins to send so many bytes through the hole; what arrives of them.
    ///
    /// # Panics
    /// When there is no connection.
    pub fn send(&self, bytes: usize) -> Goodput {
        self.transfer(&self.here, &self.there, addr(self.family, 2, 2), bytes)
    }

    /// Begins to send so many bytes the other way, from behind the hole.
    ///
    /// # Panics
    /// When there is no connection.
    pub fn fetch(&self, bytes: usize) -> Goodput {
        self.transfer(&self.there, &self.here, addr(self.family, 1, 2), bytes)
    }

    fn transfer(&self, from: &Stack, to: &Stack, addr: IpAddr, bytes: usize) -> Goodput {
        let listener = to.tcp_listen(SocketAddr::from((addr, 0))).expect("a free port");
        let to = listener.local_addr().expect("it listens");
        let (goodput, _reader) = Goodput::read_from(&self.world, listener);
        let mut stream = from.tcp_connect(to).expect("it connects");
        let _ = self.world.spawn("writer", move || -> io::Result<()> {
            let piece = vec![7; 1 << 16];
            let mut left = bytes;
            while left > 0 {
                let n = left.min(piece.len());
                stream.write_all(&piece[..n])?;
                left -= n;
            }
            Ok(())
        });
        goodput
    }

    /// The router's protocols.
    ///
    /// # Panics
    /// Never: it is a stack of our own.
    pub fn routers(&self) -> &Arc<Inet> {
        self.router.inet().expect("a stack of its own")
    }
}

fn addr(family: Family, network: u8, host: u8) -> IpAddr {
    match family {
        Family::Inet6 => {
            std::net::Ipv6Addr::new(0xfd00, 0, 0, network.into(), 0, 0, 0, host.into()).into()
        }
        _ => std::net::Ipv4Addr::new(10, 0, network, host).into(),
    }
}
