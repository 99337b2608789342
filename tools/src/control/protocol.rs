//! What is said over a control socket: a line of JSON each.
//!
//! ```text
//! node    {"hello":{"version":1,"name":"alice","pid":4711}}
//! client  {"run":{"version":1,"argv":["ip","addr"]}}
//! node    {"out":"1: lo0: <LOOPBACK,UP,LOWER_UP> …\n"}   any number, {"err":…} and {"frame":…} too
//! client  "stop"                                          when its user has seen enough
//! node    {"end":{"status":0}}
//! ```

use std::io::{self, BufRead};
use std::num::NonZeroU16;

use libnet::capture::Direction;
use libnet::link::Medium;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The protocol's version. A node refuses another one, and says so.
pub const VERSION: u32 = 1;
/// The longest line that a node takes, bytes.
pub const MAX_REQUEST_BYTES: usize = 64 << 10;
/// The longest line that a client takes, bytes: a frame of 256 KiB in hexadecimal, and more.
pub const MAX_REPLY_BYTES: usize = 1 << 20;

/// What a client asks for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// To run a command in the node. Once per connection.
    Run {
        /// [`VERSION`].
        version: u32,
        /// The subcommand and its arguments.
        argv: Vec<String>,
    },
    /// To see the frames that pass. Once per connection, in place of [`Run`](Self::Run).
    Capture {
        /// [`VERSION`].
        version: u32,
        /// One interface alone, by its name.
        interface: Option<String>,
        /// Which frames, in the language of `rumpnet dump`.
        filter: Vec<String>,
    },
    /// To end what runs, as Ctrl-C does.
    Stop,
    /// To say how it is going, as Ctrl-\ does.
    Report,
}

/// What a node answers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// The first line: who is there.
    Hello {
        /// [`VERSION`].
        version: u32,
        /// What the node is called.
        name: String,
        /// Its process.
        pid: u32,
    },
    /// Standard output.
    Out(String),
    /// Standard error.
    Err(String),
    /// A frame.
    Frame(Box<Frame>),
    /// So many frames passed that could not be sent in time.
    Missed(u64),
    /// The end.
    End {
        /// The exit status.
        status: u8,
    },
}

/// A frame that passed an interface, or a packet that was dropped.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Frame {
    /// Nanoseconds since the Unix epoch.
    pub at_ns: u64,
    /// The interface's name.
    pub interface: String,
    /// Does it begin with an Ethernet header? Else with its IP header.
    pub ethernet: bool,
    /// Which way it went; of a packet that was dropped before it left, nothing.
    pub direction: Option<Way>,
    /// Of a super-segment: payload bytes of each piece.
    pub segment_bytes: Option<NonZeroU16>,
    /// Why it was dropped, if it was: names of reasons.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<String>,
    /// The bytes, in hexadecimal.
    pub bytes: String,
}

/// Which way a frame went.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// Received.
    In,
    /// Sent.
    Out,
}

impl From<Direction> for Way {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::In => Way::In,
            Direction::Out => Way::Out,
        }
    }
}

impl From<Way> for Direction {
    fn from(way: Way) -> Self {
        match way {
            Way::In => Direction::In,
            Way::Out => Direction::Out,
        }
    }
}

impl Frame {
    /// What it begins with.
    pub const fn medium(&self) -> Medium {
        if self.ethernet { Medium::Ethernet } else { Medium::Ip }
    }

    /// Its bytes; `None` if they are no hexadecimal.
    pub fn decode(&self) -> Option<Vec<u8>> {
        let digits = self.bytes.as_bytes();
        if !digits.len().is_multiple_of(2) {
            return None;
        }
        let digit =
            |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        digits.chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
    }

    /// Bytes as they stand in [`bytes`](Self::bytes).
    pub fn encode(bytes: &[u8]) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 15)]);
        let mut text = String::with_capacity(2 * bytes.len());
        for byte in bytes {
            text.push(digit(byte >> 4));
            text.push(digit(*byte));
        }
        text
    }
}

/// Why a line could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LineError {
    /// The other end has gone, or was too slow.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Longer than is allowed.
    #[error("a line is longer than {0} bytes")]
    TooLong(usize),
    /// Not what is said here.
    #[error("a line is not of this protocol: {0}")]
    Malformed(serde_json::Error),
}

/// Reads a line of at most `max_bytes`; `None` at the end. An unfinished last line is no line.
///
/// # Errors
/// [`LineError`]; after it the connection is of no use.
pub fn read_line<T: DeserializeOwned>(
    from: &mut impl BufRead,
    max_bytes: usize,
) -> Result<Option<T>, LineError> {
    let mut line = Vec::new();
    loop {
        let available = from.fill_buf()?;
        if available.is_empty() {
            return Ok(None);
        }
        let end = available.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(available.len(), |at| at + 1);
        if line.len() + taken > max_bytes {
            return Err(LineError::TooLong(max_bytes));
        }
        line.extend_from_slice(&available[..taken]);
        from.consume(taken);
        if end.is_some() {
            return serde_json::from_slice(&line).map(Some).map_err(LineError::Malformed);
        }
    }
}

/// A message as a line.
pub fn to_line(message: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).expect("these have no keys but text");
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_are_as_they_are_documented() {
        let hello = Reply::Hello { version: 1, name: "alice".into(), pid: 4711 };
        let line = to_line(&hello);
        let text = "{\"hello\":{\"version\":1,\"name\":\"alice\",\"pid\":4711}}\n";
        assert_eq!(String::from_utf8(line).unwrap(), text);
        assert_eq!(to_line(&Request::Stop), b"\"stop\"\n");
        let read: Option<Request> =
            read_line(&mut &b"{\"run\":{\"version\":1,\"argv\":[\"ip\"]}}\n"[..], 100).unwrap();
        assert_eq!(read, Some(Request::Run { version: 1, argv: vec!["ip".into()] }));
    }

    #[test]
    fn an_endless_line_is_refused_before_it_is_kept() {
        let mut endless = io::BufReader::new(io::repeat(b'x'));
        let read = read_line::<Request>(&mut endless, MAX_REQUEST_BYTES);
        assert!(matches!(read, Err(LineError::TooLong(MAX_REQUEST_BYTES))), "{read:?}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut from = &bytes[..];
            while let Ok(Some(_)) = read_line::<Request>(&mut from, 64) {}
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let frame = Frame {
                at_ns: 0, interface: String::new(), ethernet: true, direction: None,
                segment_bytes: None, dropped: Vec::new(), bytes: text,
            };
            let _ = frame.decode();
        }

        #[test]
        fn bytes_come_back_from_hexadecimal(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let frame = Frame {
                at_ns: 0, interface: String::new(), ethernet: true, direction: Some(Way::In),
                segment_bytes: None, dropped: Vec::new(), bytes: Frame::encode(&bytes),
            };
            prop_assert_eq!(frame.decode(), Some(bytes));
        }
    }
}
