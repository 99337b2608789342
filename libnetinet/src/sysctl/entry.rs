//! One setting: what it is, where it is kept, and the words in which the tables are written.

use std::io;

use libnet::iface::IfIndex;

use super::value::{Kind, Value};
use crate::config::InetConfig;
use crate::inet::Inet;

/// A setting of a stack, under the name that Linux gives it.
#[derive(Debug)]
pub struct Sysctl {
    name: &'static str,
    kind: Kind,
    unit: &'static str,
    meaning: &'static str,
    applies: Applies,
    linux_default: Option<&'static str>,
    place: Place,
}

/// When a change of a setting is felt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Applies {
    /// By everything, at once.
    AtOnce,
    /// By sockets and connections that are made from then on.
    ToNew,
}

/// Where a setting is kept.
#[derive(Debug)]
pub(super) enum Place {
    /// In the stack's configuration.
    Config {
        get: fn(&InetConfig) -> Value,
        set: fn(&mut InetConfig, &Value),
        /// What is more to be done to a running stack.
        effect: Option<fn(&Inet, &Value)>,
    },
    /// In the configuration, or in what the stack can do; it cannot be set.
    Fixed(fn(&InetConfig) -> Value),
    /// In each interface.
    Interface {
        get: fn(&Inet, IfIndex) -> Option<Value>,
        set: fn(&Inet, IfIndex, &Value) -> io::Result<()>,
        default: u64,
    },
}

impl Sysctl {
    pub(super) const fn new(
        name: &'static str,
        kind: Kind,
        unit: &'static str,
        meaning: &'static str,
        place: Place,
    ) -> Self {
        Sysctl { name, kind, unit, meaning, applies: Applies::AtOnce, linux_default: None, place }
    }

    /// It is felt by what is made from then on.
    pub(super) const fn for_new(mut self) -> Self {
        self.applies = Applies::ToNew;
        self
    }

    /// Linux has another default.
    pub(super) const fn linux(mut self, default: &'static str) -> Self {
        self.linux_default = Some(default);
        self
    }

    /// More is done to a running stack than its configuration changed.
    pub(super) const fn with_effect(mut self, what: fn(&Inet, &Value)) -> Self {
        if let Place::Config { effect, .. } = &mut self.place {
            *effect = Some(what);
        }
        self
    }

    /// Its name; `IF` stands for an interface's.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// What it takes.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// What its numbers count; empty where they count nothing.
    pub const fn unit(&self) -> &'static str {
        self.unit
    }

    /// What it means, in one line.
    pub const fn meaning(&self) -> &'static str {
        self.meaning
    }

    /// When a change is felt.
    pub const fn applies(&self) -> Applies {
        self.applies
    }

    /// Linux's default, where it is another than ours.
    pub const fn linux_default(&self) -> Option<&'static str> {
        self.linux_default
    }

    /// Can it be set?
    pub const fn is_writable(&self) -> bool {
        !matches!(self.place, Place::Fixed(_))
    }

    /// Is there one for each interface?
    pub const fn is_of_interface(&self) -> bool {
        matches!(self.place, Place::Interface { .. })
    }

    /// Our default.
    pub fn default_value(&self) -> Value {
        match self.place {
            Place::Config { get, .. } | Place::Fixed(get) => get(&InetConfig::default()),
            Place::Interface { default, .. } => Value::number(default),
        }
    }

    pub(super) const fn place(&self) -> &Place {
        &self.place
    }
}

/// A field of the configuration that is on or off.
macro_rules! switch {
    ($name:expr, $($field:ident).+, $meaning:expr) => {
        $crate::sysctl::entry::Sysctl::new($name, $crate::sysctl::Kind::Switch, "", $meaning,
            $crate::sysctl::entry::Place::Config {
                get: |config| $crate::sysctl::Value::switch(config.$($field).+),
                set: |config, value| config.$($field).+ = value.is_on(),
                effect: None,
            })
    };
}

/// A field of the configuration that is a number.
macro_rules! number {
    ($name:expr, $($field:ident).+, $least:expr, $most:expr, $unit:literal, $meaning:expr) => {
        $crate::sysctl::entry::Sysctl::new($name,
            $crate::sysctl::Kind::Number { least: $least, most: $most }, $unit, $meaning,
            $crate::sysctl::entry::Place::Config {
                get: |config| $crate::sysctl::Value::number(config.$($field).+),
                set: |config, value| config.$($field).+ = value.to(),
                effect: None,
            })
    };
}

/// A field of the configuration that is a time, told in seconds, milliseconds or microseconds.
macro_rules! time {
    (@of seconds, $time:expr) => { $time.as_secs() };
    (@of milliseconds, $time:expr) => { $time.as_millis() };
    (@of microseconds, $time:expr) => { $time.as_micros() };
    (@to seconds, $number:expr) => { std::time::Duration::from_secs($number) };
    (@to milliseconds, $number:expr) => { std::time::Duration::from_millis($number) };
    (@to microseconds, $number:expr) => { std::time::Duration::from_micros($number) };
    ($name:expr, $($field:ident).+, $least:expr, $most:expr, $unit:ident, $meaning:expr) => {
        $crate::sysctl::entry::Sysctl::new($name,
            $crate::sysctl::Kind::Number { least: $least, most: $most }, stringify!($unit),
            $meaning,
            $crate::sysctl::entry::Place::Config {
                get: |config| {
                    $crate::sysctl::Value::number(time!(@of $unit, config.$($field).+))
                },
                set: |config, value| config.$($field).+ = time!(@to $unit, value.at(0)),
                effect: None,
            })
    };
}

/// A setting of the configuration with a getter and a setter of its own.
macro_rules! config {
    ($name:expr, $kind:expr, $unit:literal, $meaning:expr, $get:expr, $set:expr) => {
        $crate::sysctl::entry::Sysctl::new(
            $name,
            $kind,
            $unit,
            $meaning,
            $crate::sysctl::entry::Place::Config { get: $get, set: $set, effect: None },
        )
    };
}

pub(super) use {config, number, switch, time};
