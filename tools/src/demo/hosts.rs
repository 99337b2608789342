//! The demonstration's processes, seen from the one that starts them.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use libnet::Family;
use serde_json::{Value, json};

use super::ECHO_PORT;
use crate::fail::Failure;
use crate::signals::Interrupts;

/// Their names.
pub(super) const HOSTS: [&str; 3] = ["a", "b", "c"];

/// How long a host may be silent when it has something to do.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long it may take to leave.
const LEAVE_WITHIN: Duration = Duration::from_secs(10);

/// The processes. Dropping this ends them.
pub(super) struct Hosts<'a> {
    running: Vec<Host>,
    interrupts: &'a Interrupts,
    family: Family,
}

struct Host {
    name: &'static str,
    child: Child,
    input: ChildStdin,
    events: Receiver<Value>,
}

impl<'a> Hosts<'a> {
    /// None yet; they are to have addresses of this family.
    pub(super) fn new(interrupts: &'a Interrupts, family: Family) -> Self {
        Hosts { running: Vec::new(), interrupts, family }
    }

    /// The address of a host.
    pub(super) fn addr(&self, name: &str) -> IpAddr {
        let number = HOSTS.iter().position(|host| *host == name).map_or(9, |at| at as u8 + 1);
        match self.family {
            Family::Inet6 => Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, number.into()).into(),
            _ => Ipv4Addr::new(10, 77, 0, number).into(),
        }
    }

    /// Starts all three, and waits until each is up.
    pub(super) fn start(&mut self, bus: &Path, folder: &Path) -> Result<(), Failure> {
        for name in HOSTS {
            self.running.push(Host::start(name, self.addr(name), bus, folder)?);
        }
        HOSTS.iter().try_for_each(|name| self.wait(name, "up").map(drop))
    }

    /// Gives a host something to do.
    pub(super) fn tell(&mut self, name: &str, command: &Value) -> Result<(), Failure> {
        let host = self.find(name)?;
        let line = format!("{command}\n");
        host.input
            .write_all(line.as_bytes())
            .map_err(|error| Failure::doing(format_args!("host {name} has gone"), &error))
    }

    /// Gives a host something to do and waits until it is done; the result.
    pub(super) fn ask(&mut self, name: &str, command: &Value) -> Result<Value, Failure> {
        self.tell(name, command)?;
        self.wait(name, command["do"].as_str().unwrap_or_default())
    }

    /// Waits for an event of a host.
    pub(super) fn wait(&mut self, name: &str, event: &str) -> Result<Value, Failure> {
        self.wait_with(name, event, |_| {})
    }

    /// Waits for an event of a host; `on_progress` sees what it says meanwhile.
    pub(super) fn wait_with(
        &mut self,
        name: &str,
        event: &str,
        on_progress: impl Fn(&Value),
    ) -> Result<Value, Failure> {
        let interrupts = self.interrupts;
        let host = self.find(name)?;
        let mut patience_ends = Instant::now() + PATIENCE;
        loop {
            if interrupts.is_stopped() {
                return Err(Failure::new("interrupted"));
            }
            match host.events.recv_timeout(Duration::from_millis(100)) {
                Ok(said) if said["event"].as_str() == Some(event) => return Ok(said),
                Ok(said) if said["event"].as_str() == Some("failed") => {
                    let error = said["error"].as_str().unwrap_or("no reason given");
                    return Err(Failure::new(format!("host {name}: {error}")));
                }
                Ok(said) => {
                    on_progress(&said);
                    patience_ends = Instant::now() + PATIENCE;
                }
                Err(RecvTimeoutError::Timeout) if Instant::now() < patience_ends => {}
                Err(RecvTimeoutError::Timeout) => {
                    return Err(Failure::new(format!("host {name} said nothing for 20 s")));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Failure::new(format!("host {name} ended too early")));
                }
            }
        }
    }

    /// Asks all to leave, and waits until they have.
    pub(super) fn leave(&mut self) -> Result<(), Failure> {
        for name in HOSTS {
            self.tell(name, &json!({"do": "leave"}))?;
        }
        for mut host in self.running.drain(..) {
            host.wait_for_end()?;
        }
        Ok(())
    }

    fn find(&mut self, name: &str) -> Result<&mut Host, Failure> {
        let host = self.running.iter_mut().find(|host| host.name == name);
        host.ok_or_else(|| Failure::new(format!("host {name} is not running")))
    }
}

/// Where a host writes down what it sends.
pub(super) fn recording(folder: &Path, host: &str) -> PathBuf {
    folder.join(format!("host-{host}.pcapng"))
}

impl Host {
    fn start(name: &'static str, addr: IpAddr, bus: &Path, folder: &Path) -> Result<Self, Failure> {
        let wrong = |error: std::io::Error| {
            Failure::doing(format_args!("cannot start host {name}"), &error)
        };
        let mut command = Command::new(std::env::current_exe().map_err(wrong)?);
        command.arg("demo-host").arg("--name").arg(name);
        command.arg("--bus").arg(bus).arg("--addr");
        command.arg(format!("{addr}/{}", if addr.is_ipv4() { 24 } else { 64 }));
        command.arg("--record").arg(recording(folder, name));
        if name == "c" {
            command.arg("--echo").arg(ECHO_PORT.to_string());
        }
        let log = File::create(folder.join(format!("host-{name}.log"))).map_err(wrong)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().map_err(wrong)?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Failure::new(format!("host {name} has no pipes")));
        };
        let (sender, events) = bounded(1024);
        let reader = move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let Ok(event) = serde_json::from_str(&line) else { continue };
                if sender.send(event).is_err() {
                    return;
                }
            }
        };
        let host = Host { name, child, input, events };
        std::thread::Builder::new().name(format!("host {name}")).spawn(reader).map_err(wrong)?;
        Ok(host)
    }

    fn wait_for_end(&mut self) -> Result<(), Failure> {
        // Its events end when its output does.
        let deadline = Instant::now() + LEAVE_WITHIN;
        while self.events.recv_deadline(deadline).is_ok() {}
        if Instant::now() >= deadline {
            return Err(Failure::new(format!("host {} did not leave within 10 s", self.name)));
        }
        let status = self.child.wait();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(Failure::new(format!("host {} ended with {status}", self.name))),
            Err(error) => Err(Failure::doing(format_args!("host {}", self.name), &error)),
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // One that has ended already is what it should be.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
