//! Makes a link of what `--if` says.

use libnet::InterfaceSpec;
use libnet::link::{Link, LinkInfo, Medium};
use rumpnet::Shmif;
use shmif::{AttachError, BusConfig};
use virtif::{BigTcp, FdConfig, FrameHeader, HostSide, Offloads, Virtif, VirtifConfig};

use crate::fail::Failure;
use crate::host::Create;
use crate::ifspec::{Header, IfKind, IfSpec, Switch};
use crate::schedule::Schedules;

/// An interface as a stack takes it; `name` is what a bus lists it as where it does not say.
///
/// # Errors
/// No bus there, or one that cannot be joined; a device that cannot be opened or set up.
pub fn interface(spec: &IfSpec, create: Create, name: &str) -> Result<InterfaceSpec, Failure> {
    let mut interface = InterfaceSpec::new(link(spec, create, name)?);
    interface.addrs.clone_from(&spec.addrs);
    interface.autoconf = spec.autoconf;
    interface.link_local = spec.link_local;
    interface.advertise.clone_from(&spec.advertise);
    interface.gateways.clone_from(&spec.gateways);
    interface.routes.clone_from(&spec.routes);
    interface.mtu = spec.mtu;
    interface.clamp_mss = spec.clamp_mss.unwrap_or_default();
    let schedules = Schedules::of(&spec.impair)?;
    (interface.impair.out, interface.impair.received) = (schedules.out, schedules.received);
    interface.impair.seed = spec.impair.seed.map(|_| spec.impair.full_seed()).transpose()?;
    Ok(interface)
}

/// The link alone.
///
/// # Errors
/// As [`interface`].
pub fn link(spec: &IfSpec, create: Create, name: &str) -> Result<Box<dyn Link>, Failure> {
    match spec.kind {
        IfKind::Shmif => {
            let bus = bus(spec, create, name);
            Ok(Box::new(bus.map_err(|error| Failure::usage(error.to_string()))?))
        }
        IfKind::Tap | IfKind::Tun => Ok(Box::new(device(spec)?)),
        IfKind::Fd => Ok(Box::new(descriptor(spec)?)),
    }
}

fn bus(spec: &IfSpec, create: Create, name: &str) -> Result<Shmif, AttachError> {
    let mut link = if spec.create || create == Create::Always {
        Shmif::create_or_attach(&spec.path, &BusConfig::default())?
    } else {
        Shmif::attach(&spec.path)?
    };
    link = link.name(spec.name.as_deref().unwrap_or(name));
    if let Some(mac) = spec.mac {
        link = link.mac(mac);
    }
    if let Some(mtu) = spec.mtu {
        link = link.mtu(mtu);
    }
    Ok(link)
}

fn device(spec: &IfSpec) -> Result<Virtif, Failure> {
    let mut config = VirtifConfig::default();
    config.medium = if spec.kind == IfKind::Tun { Medium::Ip } else { Medium::Ethernet };
    config.offloads = offloads(spec);
    if spec.big_tcp == Some(Switch::Off) {
        config.big_tcp = BigTcp::Off;
    }
    config.queues = spec.queues.map_or(1, usize::from);
    let name = spec.path.to_string_lossy();
    let mut device =
        Virtif::open_with(&name, &config).map_err(|error| Failure::usage(error.to_string()))?;
    if !spec.host.is_empty() {
        let mut side = HostSide::new(spec.host.clone());
        side.mtu = spec.mtu;
        side.apply(device.device()).map_err(|error| Failure::usage(error.to_string()))?;
        if let Some(mtu) = spec.mtu {
            device = device.mtu(mtu);
        }
    } else if virtif::query(device.device()).is_ok_and(|link| !link.is_up) {
        let name = device.device();
        tracing::warn!(
            "the host's side of {name} is down: add host=ADDRESS/BITS, or run `ip link set {name} up`"
        );
    }
    let LinkInfo { mtu: largest, .. } = device.info();
    if let Some(mtu) = spec.mtu.filter(|mtu| *mtu > largest) {
        let name = device.device();
        return Err(Failure::usage(format!(
            "mtu={mtu} is more than {name} has on the host's side, {largest}: add \
             host=ADDRESS/BITS, or run `ip link set {name} mtu {mtu}`"
        )));
    }
    Ok(match spec.mac {
        Some(mac) => device.mac(mac),
        None => device,
    })
}

fn descriptor(spec: &IfSpec) -> Result<Virtif, Failure> {
    let mut config = FdConfig::default();
    config.mtu = spec.mtu;
    config.offloads = offloads(spec);
    config.header = match spec.header.unwrap_or_default() {
        Header::None => FrameHeader::None,
        Header::Virtio => FrameHeader::Virtio10,
        Header::Virtio12 => FrameHeader::Virtio12,
    };
    if spec.medium == Some(IfKind::Tun) {
        config.medium = Medium::Ip;
    }
    // `IfSpec` lets nothing but digits through.
    let number = spec.path.to_string_lossy().parse().unwrap_or(-1);
    let link = Virtif::from_inherited(number, &config)
        .map_err(|error| Failure::usage(error.to_string()))?;
    Ok(match spec.mac {
        Some(mac) => link.mac(mac),
        None => link,
    })
}

fn offloads(spec: &IfSpec) -> Offloads {
    match spec.offload.unwrap_or_default() {
        Switch::On => Offloads::Auto,
        Switch::Off => Offloads::Off,
    }
}
