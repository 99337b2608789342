//! Frames from inside a node, by its control socket.

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

use super::source::{Next, Shown};
use crate::control::client::Connection;
use crate::control::find;
use crate::control::protocol::{Frame, Reply, Request, VERSION};
use crate::fail::Failure;

/// A node that sends what passes its interfaces.
pub(super) struct Node {
    replies: Receiver<Result<Reply, String>>,
    name: String,
    missed: u64,
    damage: Option<String>,
}

/// Frames read ahead at most; what is more waits in the node, which counts what it has to leave out.
const READ_AHEAD: usize = 256;

impl Node {
    pub(super) fn open(
        node: &str,
        interface: Option<&str>,
        filter: &[String],
    ) -> Result<Self, Failure> {
        let mut connection = find::connect(Some(node))?;
        let name = connection.name().to_owned();
        let request = Request::Capture {
            version: VERSION,
            interface: interface.map(str::to_owned),
            filter: filter.to_vec(),
        };
        let asked = connection.ask(&request);
        asked.map_err(|error| Failure::doing("the node has gone", &error))?;
        let (sender, replies) = bounded(READ_AHEAD);
        let read = move || read(connection, |reply| sender.send(reply).is_ok());
        let started = std::thread::Builder::new().name("node".to_owned()).spawn(read);
        started.map_err(|error| Failure::doing("cannot start a thread", &error))?;
        Ok(Node { replies, name, missed: 0, damage: None })
    }

    /// As `listening on …` names it.
    pub(super) fn name(&self, interface: Option<&str>) -> String {
        match interface {
            Some(interface) => format!("{interface} of {}", self.name),
            None => format!("all interfaces of {}", self.name),
        }
    }

    pub(super) const fn missed(&self) -> u64 {
        self.missed
    }

    pub(super) fn damage(&mut self) -> Option<String> {
        self.damage.take()
    }

    /// The next frame, or that there was none for `patience`.
    pub(super) fn next(&mut self, patience: Duration) -> Result<Next, Failure> {
        match self.replies.recv_timeout(patience) {
            Ok(Ok(Reply::Frame(frame))) => match show(&frame) {
                Some(shown) => Ok(Next::Frame(Box::new(shown))),
                None => Err(Failure::new("the node sent what is no frame")),
            },
            Ok(Ok(Reply::Missed(frames))) => {
                self.missed += frames;
                Ok(Next::Idle)
            }
            Ok(Ok(Reply::Err(text))) => {
                let text = text.trim_end();
                let text = text.strip_prefix("rumpnet: ").unwrap_or(text);
                Err(Failure::usage(text.to_owned()))
            }
            Ok(Ok(_)) | Err(RecvTimeoutError::Timeout) => Ok(Next::Idle),
            Ok(Err(why)) => {
                self.damage = Some(why);
                Ok(Next::End)
            }
            Err(RecvTimeoutError::Disconnected) => Ok(Next::End),
        }
    }
}

/// Passes on what the node says until it ends, or until nobody listens; the connection ends then.
fn read(mut connection: Connection, mut pass_on: impl FnMut(Result<Reply, String>) -> bool) {
    loop {
        let reply = match connection.next_reply() {
            Ok(Some(Reply::End { .. })) => return,
            Ok(Some(reply)) => Ok(reply),
            Ok(None) => Err("the node has gone".to_owned()),
            Err(error) => Err(format!("the node has gone: {error}")),
        };
        let is_last = reply.is_err();
        if !pass_on(reply) || is_last {
            return;
        }
    }
}

fn show(frame: &Frame) -> Option<Shown> {
    let bytes = frame.decode()?;
    Some(Shown {
        at: Duration::from_nanos(frame.at_ns),
        medium: frame.medium(),
        original_len: bytes.len(),
        bytes: bytes.into(),
        direction: frame.direction.map(Into::into),
        origin: None,
        segment_bytes: frame.segment_bytes,
        interface: Some(frame.interface.clone()),
        dropped: frame.dropped.clone(),
    })
}
