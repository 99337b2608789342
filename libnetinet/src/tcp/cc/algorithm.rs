//! Which congestion control a connection uses, by name.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::{Begin, CongestionControl};

/// Which algorithm a connection uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
#[non_exhaustive]
pub enum CongestionAlgorithm {
    /// RFC 5681: half the window on a loss, a segment more each round trip.
    NewReno,
    /// RFC 9438 with RFC 9406: the window does not depend on the round trip.
    #[default]
    Cubic,
    /// BBR version 3, draft-ietf-ccwg-bbr: the window and the pace follow from what the path delivers.
    Bbr,
    /// One of the program's own, by its name in [`Controllers`].
    Own(&'static str),
}

impl CongestionAlgorithm {
    /// All that are built in.
    pub const ALL: [CongestionAlgorithm; 3] =
        [CongestionAlgorithm::NewReno, CongestionAlgorithm::Cubic, CongestionAlgorithm::Bbr];

    /// Their names, in that order.
    pub const NAMES: [&'static str; Self::ALL.len()] = {
        let (mut names, mut at) = ([""; Self::ALL.len()], 0);
        while at < names.len() {
            names[at] = Self::ALL[at].name();
            at += 1;
        }
        names
    };

    /// As Linux names it (`net.ipv4.tcp_congestion_control`).
    pub const fn name(self) -> &'static str {
        match self {
            CongestionAlgorithm::NewReno => "reno",
            CongestionAlgorithm::Cubic => "cubic",
            CongestionAlgorithm::Bbr => "bbr",
            CongestionAlgorithm::Own(name) => name,
        }
    }
}

impl fmt::Display for CongestionAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// No algorithm has that name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no such congestion control: use reno, cubic, bbr, or one that the program has added")]
pub struct NoSuchAlgorithm;

impl FromStr for CongestionAlgorithm {
    type Err = NoSuchAlgorithm;

    /// One that is built in; [`Controllers::algorithm`] knows the program's own, too.
    fn from_str(name: &str) -> Result<Self, NoSuchAlgorithm> {
        Self::ALL.into_iter().find(|one| one.name() == name).ok_or(NoSuchAlgorithm)
    }
}

/// Makes controllers of the program's own, one for each connection that asks for its name.
///
/// ```
/// use libnetinet::tcp::{Begin, CongestionControl, ControllerFactory, Sample, TcpConfig};
/// use std::sync::Arc;
///
/// /// Keeps in flight what came through in the last round trip, and half as much again.
/// #[derive(Debug)]
/// struct Echo {
///     cwnd: u32,
/// }
///
/// impl CongestionControl for Echo {
///     fn cwnd_bytes(&self) -> u32 {
///         self.cwnd
///     }
///     fn ssthresh_bytes(&self) -> u32 {
///         u32::MAX
///     }
///     fn is_model_based(&self) -> bool {
///         true
///     }
///     fn on_sample(&mut self, sample: &Sample) {
///         if sample.interval > std::time::Duration::ZERO {
///             self.cwnd = (sample.delivered + sample.delivered / 2).max(10 * sample.mss);
///         }
///     }
///     fn on_loss(&mut self, _flight: u32, _mss: u32) {}
///     fn on_timeout(&mut self, _flight: u32, mss: u32, _again: bool) {
///         self.cwnd = mss;
///     }
/// }
///
/// struct Echoes;
///
/// impl ControllerFactory for Echoes {
///     fn name(&self) -> &'static str {
///         "echo"
///     }
///     fn make(&self, begin: &Begin) -> Box<dyn CongestionControl + Send> {
///         Box::new(Echo { cwnd: begin.cwnd_bytes })
///     }
/// }
///
/// let mut config = TcpConfig::default();
/// assert!(config.controllers.add(Arc::new(Echoes)));
/// config.congestion_control = config.controllers.algorithm("echo").unwrap();
/// ```
pub trait ControllerFactory: Send + Sync {
    /// What its controllers are called, 1 to 15 bytes (`TCP_CONGESTION`); always the same.
    fn name(&self) -> &'static str;

    /// A controller for a connection that begins with it, or changes to it.
    fn make(&self, begin: &Begin) -> Box<dyn CongestionControl + Send>;
}

/// The controllers that connections of a stack can ask for by name: `reno`, `cubic`, `bbr`, and what
/// the program adds.
#[derive(Clone, Default)]
pub struct Controllers {
    own: Vec<Arc<dyn ControllerFactory>>,
}

impl Controllers {
    /// Adds one of the program's own; `false`: its name is taken, empty or too long.
    pub fn add(&mut self, factory: Arc<dyn ControllerFactory>) -> bool {
        let name = factory.name();
        let fits = (1..=MAX_NAME_BYTES).contains(&name.len()) && self.algorithm(name).is_err();
        if fits {
            self.own.push(factory);
        }
        fits
    }

    /// The algorithm of that name.
    ///
    /// # Errors
    /// [`NoSuchAlgorithm`].
    pub fn algorithm(&self, name: &str) -> Result<CongestionAlgorithm, NoSuchAlgorithm> {
        let own = || self.factory(name).map(|own| CongestionAlgorithm::Own(own.name()));
        name.parse().or_else(|_| own().ok_or(NoSuchAlgorithm))
    }

    /// All names (`net.ipv4.tcp_available_congestion_control`).
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        CongestionAlgorithm::NAMES.into_iter().chain(self.own.iter().map(|own| own.name()))
    }

    /// A controller of the program's own.
    pub(super) fn make(
        &self,
        name: &str,
        begin: &Begin,
    ) -> Option<Box<dyn CongestionControl + Send>> {
        self.factory(name).map(|own| own.make(begin))
    }

    fn factory(&self, name: &str) -> Option<&dyn ControllerFactory> {
        self.own.iter().find(|own| own.name() == name).map(|own| &**own)
    }
}

impl fmt::Debug for Controllers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

/// `TCP_CA_NAME_MAX`, less the zero at the end.
const MAX_NAME_BYTES: usize = 15;
