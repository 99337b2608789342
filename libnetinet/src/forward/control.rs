//! Turns forwarding on and off.

use std::io;

use libnet::iface::{ClampMss, IfIndex, IfaceConfig};
use libnet::socket::Family;

use crate::inet::Inet;
use crate::wide::lock;

/// Whether packets for others are passed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Forwarding {
    /// They are: the interface is a router's.
    On,
    /// They are dropped: the interface is a host's.
    Off,
}

impl Inet {
    /// Turns forwarding of a family on or off, on every interface and those that are added later.
    ///
    /// As a host an interface takes what routers advertise; as a router it does not (RFC 4861 §6.2).
    pub fn set_forwarding(&self, family: Family, forwarding: Forwarding) {
        let on = forwarding == Forwarding::On;
        self.change_config(|config| match family {
            Family::Inet => config.forwarding.ipv4 = on,
            _ => config.forwarding.ipv6 = on,
        });
        let _one_at_a_time = lock(&self.control);
        for iface in self.engine().interfaces().filter(|iface| !iface.link.loopback) {
            iface.reconfigure(|config| set(config, family, on));
        }
        self.wide().rebuild_view(self.engine().interfaces());
        for iface in self.engine().interfaces() {
            // RFC 4291 §2.8: routers have groups of their own.
            self.hear_groups(iface.index);
            self.speak_again(iface.index);
        }
    }

    /// Turns forwarding of a family on or off for packets that come by one interface.
    ///
    /// # Errors
    /// `ENODEV` for an unknown interface.
    pub fn set_interface_forwarding(
        &self,
        index: IfIndex,
        family: Family,
        forwarding: Forwarding,
    ) -> io::Result<()> {
        self.reconfigure(index, |config| set(config, family, forwarding == Forwarding::On))?;
        self.hear_groups(index);
        self.speak_again(index);
        Ok(())
    }

    /// Bounds what the SYNs announce that an interface passes on, from now on: connections that
    /// there are keep to what they agreed on.
    ///
    /// # Errors
    /// `ENODEV` for an unknown interface.
    pub fn set_clamp_mss(&self, index: IfIndex, clamp: ClampMss) -> io::Result<()> {
        self.reconfigure(index, |config| config.clamp_mss = clamp)
    }

    /// Is a family forwarded by interfaces that are added?
    pub fn forwarding(&self, family: Family) -> Forwarding {
        let config = self.wide().config();
        let on = match family {
            Family::Inet => config.forwarding.ipv4,
            _ => config.forwarding.ipv6,
        };
        if on { Forwarding::On } else { Forwarding::Off }
    }
}

fn set(config: &mut IfaceConfig, family: Family, on: bool) {
    match family {
        Family::Inet => config.forward4 = on,
        Family::Inet6 => config.forward6 = on,
        _ => {}
    }
}
