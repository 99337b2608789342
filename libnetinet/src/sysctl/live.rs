//! Reads and writes settings: of a configuration, and of a stack that runs.

use std::sync::Arc;

use libnet::iface::IfIndex;

use super::entry::Place;
use super::find::find;
use super::{Sysctl, SysctlError, Value, all};
use crate::config::InetConfig;
use crate::inet::Inet;
use crate::wide::lock;

/// A setting of a running stack.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SysctlEntry {
    /// Its name, with that of its interface.
    pub name: String,
    /// What it is now.
    pub value: Value,
    /// What is to be known of it.
    pub sysctl: &'static Sysctl,
}

impl InetConfig {
    /// Sets what Linux calls `name`, to a value as Linux's `sysctl` takes it.
    ///
    /// # Errors
    /// [`SysctlError`]; `OfInterface` for what only a running stack has.
    pub fn set_sysctl(&mut self, name: &str, value: &str) -> Result<(), SysctlError> {
        let (sysctl, _) = find(name)?;
        match sysctl.place() {
            Place::Config { set, .. } => {
                set(self, &sysctl.kind().parse(value)?);
                Ok(())
            }
            Place::Fixed(_) => Err(SysctlError::ReadOnly),
            Place::Interface { .. } => {
                // What is wrong anyway is told at once.
                sysctl.kind().parse(value)?;
                Err(SysctlError::OfInterface)
            }
        }
    }

    /// What Linux calls `name`.
    ///
    /// # Errors
    /// [`SysctlError`]; `OfInterface` for what only a running stack has.
    pub fn sysctl(&self, name: &str) -> Result<Value, SysctlError> {
        match find(name)?.0.place() {
            Place::Config { get, .. } | Place::Fixed(get) => Ok(get(self)),
            Place::Interface { .. } => Err(SysctlError::OfInterface),
        }
    }
}

impl Inet {
    /// The configuration as it is now.
    pub fn config(&self) -> Arc<InetConfig> {
        self.wide().config()
    }

    /// What Linux calls `name`, as it is now.
    ///
    /// # Errors
    /// [`SysctlError`].
    pub fn sysctl(&self, name: &str) -> Result<Value, SysctlError> {
        let (sysctl, iface) = find(name)?;
        match sysctl.place() {
            Place::Config { get, .. } | Place::Fixed(get) => Ok(get(&self.config())),
            Place::Interface { get, .. } => {
                let index = self.interface_of(iface.as_deref())?;
                get(self, index).ok_or(SysctlError::NotOfThisInterface)
            }
        }
    }

    /// Sets what Linux calls `name`, to a value as Linux's `sysctl` takes it, on every shard.
    ///
    /// # Errors
    /// [`SysctlError`]; nothing has changed then.
    pub fn set_sysctl(&self, name: &str, value: &str) -> Result<(), SysctlError> {
        let (sysctl, iface) = find(name)?;
        match sysctl.place() {
            Place::Config { set, effect, .. } => {
                let value = sysctl.kind().parse(value)?;
                self.change_config(|config| set(config, &value));
                if let Some(effect) = effect {
                    effect(self, &value);
                }
                Ok(())
            }
            Place::Fixed(_) => Err(SysctlError::ReadOnly),
            Place::Interface { set, .. } => {
                let value = sysctl.kind().parse(value)?;
                let index = self.interface_of(iface.as_deref())?;
                set(self, index, &value).map_err(|_| SysctlError::NotOfThisInterface)
            }
        }
    }

    /// All settings as they are now, by name.
    pub fn sysctls(&self) -> Vec<SysctlEntry> {
        let config = self.config();
        let mut entries = Vec::new();
        for sysctl in all() {
            match sysctl.place() {
                Place::Config { get, .. } | Place::Fixed(get) => {
                    let name = sysctl.name().to_owned();
                    entries.push(SysctlEntry { name, value: get(&config), sysctl });
                }
                Place::Interface { get, .. } => {
                    for iface in self.engine().interfaces() {
                        let Some(value) = get(self, iface.index) else { continue };
                        let name = sysctl.name().replace("IF", &iface.name);
                        entries.push(SysctlEntry { name, value, sysctl });
                    }
                }
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        entries
    }

    fn interface_of(&self, name: Option<&str>) -> Result<IfIndex, SysctlError> {
        let found = name.and_then(|name| self.wide().iface_by_name(name));
        found.ok_or(SysctlError::NoInterface)
    }

    /// Changes the configuration, everywhere: in what shards share, then in one after the other.
    pub(crate) fn change_config(&self, change: impl FnOnce(&mut InetConfig)) {
        let _one_at_a_time = lock(self.control());
        let mut config = InetConfig::clone(&self.config());
        change(&mut config);
        let config = Arc::new(config);
        self.wide().set_config(&config);
        let tcp = Arc::new(config.tcp.clone());
        for shard in 0..self.engine().shard_count() {
            self.engine().with_shard(shard, |core, now| core.set_config(now, &config, &tcp));
        }
    }
}
