//! The control socket: how the other commands look into a running stack, and change it.
//!
//! A node opens a unix socket beside its bus. A client says which command it wants to run there; the
//! node runs it on a thread of its own and sends back what the command prints.

pub mod client;
pub mod find;
pub mod place;
pub mod protocol;
pub mod server;

use std::path::PathBuf;

use clap::Args;
use rumpnet::Stack;

use crate::fail::Failure;
use crate::ifspec::{IfKind, IfSpec};
use place::Place;
use server::Server;

/// Where a long-running command has its control socket.
#[derive(Args, Clone, Debug)]
pub struct ControlArgs {
    /// Open the control socket, for `rumpnet ip -n` and others, at PATH [default: beside the first
    /// bus, as BUS.NAME.ctl, else in $XDG_RUNTIME_DIR/rumpnet]
    #[arg(long, value_name = "PATH", conflicts_with = "no_ctl")]
    ctl: Option<PathBuf>,
    /// Open no control socket
    #[arg(long)]
    no_ctl: bool,
}

impl ControlArgs {
    /// Opens the control socket of `stack`, called `name`, as the command line says. Where nobody
    /// asked for a certain place and there is none, it goes without and says so.
    ///
    /// # Errors
    /// The place that was asked for cannot be had.
    pub fn open(
        &self,
        stack: &Stack,
        interfaces: &[IfSpec],
        name: &str,
    ) -> Result<Option<Server>, Failure> {
        // Nobody looks for a stack that reaches nobody.
        let is_alone = interfaces.is_empty() && self.ctl.is_none();
        if self.no_ctl || is_alone || stack.inet().is_none() {
            return Ok(None);
        }
        let bus = interfaces.iter().find(|spec| spec.kind == IfKind::Shmif);
        let opened = match (&self.ctl, bus) {
            (Some(path), _) => Place::at(path, name),
            (None, Some(bus)) => Place::beside(&bus.path, name),
            (None, None) => find::runtime_folder().and_then(|folder| Place::within(&folder, name)),
        };
        let begun = opened.and_then(|place| Server::start(place, stack.clone()));
        match begun {
            Ok(server) => Ok(Some(server)),
            Err(error) if self.ctl.is_some() => {
                let path = self.ctl.as_deref().unwrap_or_else(|| std::path::Path::new(""));
                let what = format!("cannot open the control socket {}", path.display());
                Err(Failure::usage(format!("{what}: {error}")))
            }
            Err(error) => {
                tracing::warn!(%error, "no control socket: say where with --ctl PATH");
                Ok(None)
            }
        }
    }
}
