//! A bus as a link: opening it, naming oneself, joining.

use std::io;
use std::path::Path;

use libnet::InterfaceSpec;
use libnet::ethernet::MacAddr;
use libnet::link::{Link, LinkControl, LinkInfo, LinkQueue, LinkStats, Offload, RxFilter};

use crate::bus::Bus;
use crate::error::AttachError;
use crate::file::{Access, BusFile, monotonic_ns};
use crate::layout::BusConfig;
use crate::member::Member;
use crate::rx::Rx;
use crate::slot::{Filter, Identity, Name};
use crate::tx::Tx;

/// A bus that a stack can join: the file is open and checked, no slot is taken yet.
///
/// Joining happens when the link is started: only then can the bus be full, the disk full or the
/// address in use, and only then do others see the member. Dropping both halves of the queue
/// frees the slot; so does the death of the process, however sudden.
///
/// ```no_run
/// use libnet::link::Link;
/// use shmif::{BusConfig, Shmif};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let link = Shmif::create_or_attach("my.bus", &BusConfig::default())?.name("alice");
/// let (queues, control) = Box::new(link).start()?;
/// # Ok(())
/// # }
/// ```
pub struct Shmif {
    bus: Bus,
    mac: MacAddr,
    mtu: u32,
    name: String,
}

impl Shmif {
    /// Opens the bus at `path`, which must exist.
    ///
    /// # Errors
    /// [`AttachError`]: there is none, it is something else, damaged or truncated, of another
    /// version, or not ours to write.
    pub fn attach(path: impl AsRef<Path>) -> Result<Self, AttachError> {
        Self::on(BusFile::open(path.as_ref(), Access::Member)?)
    }

    /// Opens the bus at `path`, or makes it there. `config` is for a new bus; one that exists
    /// keeps its own.
    ///
    /// # Errors
    /// As [`attach`](Self::attach), and when the file cannot be made.
    pub fn create_or_attach(
        path: impl AsRef<Path>,
        config: &BusConfig,
    ) -> Result<Self, AttachError> {
        Self::on(BusFile::open_or_create(path.as_ref(), config)?)
    }

    fn on(file: BusFile) -> Result<Self, AttachError> {
        let path = file.path.clone();
        let mut random = [0; 6];
        getrandom::fill(&mut random)
            .map_err(|error| AttachError::Io { path, error: io::Error::other(error) })?;
        let mtu = file.geometry.mtu;
        let bus = Bus::map(file, Access::Member)?;
        let name = format!("pid{}", std::process::id());
        Ok(Shmif { bus, mac: MacAddr::local(random), mtu, name })
    }

    /// Our address on the segment; a random one of the locally administered if not set.
    #[must_use]
    pub fn mac(mut self, mac: MacAddr) -> Self {
        self.mac = mac;
        self
    }

    /// The largest IP packet that we send and take, in bytes: at most the bus's, 68 at least.
    #[must_use]
    pub fn mtu(mut self, mtu: u32) -> Self {
        self.mtu = mtu;
        self
    }

    /// What `ls` shows for us, at most 48 bytes of UTF-8; `pid` and the process id if not set.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// An interface over it with an address, as `10.0.0.1/24`.
    pub fn addr(self, cidr: &str) -> InterfaceSpec {
        InterfaceSpec::new(self).addr(cidr)
    }

    /// An interface over it with a default route through `gateway`.
    pub fn gateway(self, gateway: &str) -> InterfaceSpec {
        InterfaceSpec::new(self).gateway(gateway)
    }

    /// Joins the bus.
    ///
    /// # Errors
    /// [`AttachError`]: the address is in use or none, the MTU does not fit, the bus or the disk
    /// is full.
    pub fn join(self) -> Result<(LinkQueue, Box<dyn LinkControl>), AttachError> {
        if !self.mac.is_unicast() {
            return Err(AttachError::BadMac(self.mac));
        }
        let bus_mtu = self.bus.geometry().mtu;
        if !(68..=bus_mtu).contains(&self.mtu) {
            return Err(AttachError::BadMtu { asked: self.mtu, bus: bus_mtu });
        }
        let identity = Identity {
            mac: self.mac,
            filter: Filter::default(),
            pid: std::process::id(),
            mtu: self.mtu,
            since_ns: monotonic_ns(),
            name: Name::new(&self.name),
        };
        let member = Member::join(self.bus, identity)?;
        let tx = Tx::new(member.clone());
        let rx = Rx::new(member.clone());
        member.go_live();
        let control = Control { member };
        Ok((LinkQueue { rx: Box::new(rx), tx: Box::new(tx) }, Box::new(control)))
    }
}

impl Link for Shmif {
    fn info(&self) -> LinkInfo {
        let target = self.bus.file.path.display().to_string();
        let mut info = LinkInfo::ethernet("shmif", target, self.mac, self.mtu);
        info.offload = Offload::FULL;
        info
    }

    fn start(self: Box<Self>) -> io::Result<(Vec<LinkQueue>, Box<dyn LinkControl>)> {
        let (queue, control) = self.join()?;
        Ok((vec![queue], control))
    }
}

impl std::fmt::Debug for Shmif {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shmif")
            .field("path", &self.bus.file.path)
            .field("mac", &self.mac)
            .field("mtu", &self.mtu)
            .field("name", &self.name)
            .finish()
    }
}

/// The control half of a member.
struct Control {
    member: std::sync::Arc<Member>,
}

impl LinkControl for Control {
    fn set_filter(&mut self, filter: &RxFilter) -> io::Result<()> {
        self.member.set_filter(Filter::from_rx(filter));
        Ok(())
    }

    fn stats(&self) -> LinkStats {
        self.member.stats()
    }
}
