//! The control connection: JSON messages, each behind its length. Another protocol between client
//! and server would take the place of this file.
//!
//! ```text
//! client                                server
//!   {version, plan}            ──>
//!                              <──        {port} or {error}
//!   … opens its streams to port …
//!   {event: "start"}           ──>
//!                              <──        {event: "started"}
//!   … the traffic …
//!   {event: "end"}             ──>        (reverse: stops sending)
//!                              <──        {results}
//! ```

use std::io::{self, Read, Write};
use std::time::Duration;

use libnet::net::TcpStream;
use libnet::socket::SocketOption;
use serde_json::{Value, json};

use super::plan::Plan;
use crate::fail::Failure;
use crate::host;

/// Grows with every change that the other side must know of.
const VERSION: u64 = 1;
/// Bytes of a message at most.
const MAX_MESSAGE_BYTES: u32 = 1 << 20;
/// How long the other side may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// One end of a control connection.
pub(super) struct Control(TcpStream);

impl Control {
    pub(super) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        // A side that was killed says no good-bye: keepalive finds out.
        for option in [
            SocketOption::KeepIdle(Duration::from_secs(5)),
            SocketOption::KeepInterval(Duration::from_secs(1)),
            SocketOption::KeepCount(5),
            SocketOption::KeepAlive(true),
        ] {
            stream.socket().set_option(option)?;
        }
        Ok(Control(stream))
    }

    /// The client's first message, and the server's answer to it: the port for the streams.
    pub(super) fn propose(&self, plan: &Plan) -> Result<u16, Failure> {
        self.send(&json!({"version": VERSION, "plan": plan.to_json()})).map_err(lost)?;
        let answer = self.receive().map_err(lost)?;
        if let Some(error) = answer["error"].as_str() {
            return Err(Failure::new(format!("the server refused: {error}")));
        }
        let port = answer["port"].as_u64().and_then(|port| u16::try_from(port).ok());
        port.ok_or_else(|| Failure::new("the server answered something that makes no sense"))
    }

    /// The server's side of it.
    pub(super) fn take_proposal(&self) -> Result<Plan, Failure> {
        let message = self.receive().map_err(lost)?;
        if message["version"].as_u64() != Some(VERSION) {
            self.refuse("another version of rumpnet perf; both sides need the same")?;
            return Err(Failure::new("a client of another version"));
        }
        match Plan::from_json(&message["plan"]) {
            Ok(plan) => Ok(plan),
            Err(error) => {
                self.refuse(&error.to_string())?;
                Err(Failure::new(error.to_string()))
            }
        }
    }

    pub(super) fn refuse(&self, why: &str) -> Result<(), Failure> {
        self.send(&json!({"error": why})).map_err(lost)
    }

    pub(super) fn accept(&self, port: u16) -> Result<(), Failure> {
        self.send(&json!({"port": port})).map_err(lost)
    }

    pub(super) fn say(&self, event: &str) -> Result<(), Failure> {
        self.send(&json!({"event": event})).map_err(lost)
    }

    pub(super) fn wait_for(&self, event: &str) -> Result<(), Failure> {
        let message = self.receive().map_err(lost)?;
        if message["event"].as_str() == Some(event) {
            return Ok(());
        }
        let error = message["error"].as_str().unwrap_or("it said something else");
        Err(Failure::new(format!("waiting for \"{event}\" from the other side: {error}")))
    }

    /// Waits for an event as long as `goes_on` says.
    pub(super) fn wait_while(&self, goes_on: impl Fn() -> bool) -> Result<Value, Failure> {
        self.0.set_read_timeout(Some(Duration::from_millis(200))).map_err(lost)?;
        let mut first = [0; 1];
        let waited = loop {
            match self.0.peek(&mut first) {
                Ok(0) => break Err(lost(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => break Ok(()),
                Err(error) if is_timeout(&error) && goes_on() => {}
                Err(error) => break Err(lost(error)),
            }
        };
        self.0.set_read_timeout(Some(PATIENCE)).map_err(lost)?;
        waited?;
        self.receive().map_err(lost)
    }

    pub(super) fn give(&self, results: &Value) -> Result<(), Failure> {
        self.send(results).map_err(lost)
    }

    pub(super) fn take(&self) -> Result<Value, Failure> {
        self.receive().map_err(lost)
    }

    fn send(&self, message: &Value) -> io::Result<()> {
        let text = message.to_string();
        let mut bytes = Vec::with_capacity(text.len() + 4);
        bytes.extend((text.len() as u32).to_be_bytes());
        bytes.extend(text.as_bytes());
        (&self.0).write_all(&bytes)
    }

    fn receive(&self) -> io::Result<Value> {
        let mut len = [0; 4];
        (&self.0).read_exact(&mut len)?;
        let len = u32::from_be_bytes(len);
        if len > MAX_MESSAGE_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut text = vec![0; len as usize];
        (&self.0).read_exact(&mut text)?;
        serde_json::from_slice(&text).map_err(|_| io::ErrorKind::InvalidData.into())
    }
}

fn lost(error: io::Error) -> Failure {
    let text = match error.kind() {
        io::ErrorKind::UnexpectedEof => "the other side closed the control connection".to_owned(),
        io::ErrorKind::InvalidData => "the other side is no rumpnet perf".to_owned(),
        io::ErrorKind::WouldBlock => "the other side does not answer".to_owned(),
        _ => format!("control connection: {}", host::plain(&error)),
    };
    Failure::new(text)
}

/// Did the socket's own time-out pass? The connection's is another error.
pub(super) fn is_timeout(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}
