//! The control connection, as iperf3 speaks it: a cookie, state bytes, and JSON behind its length.
//!
//! ```text
//! client                                server
//!   cookie, 37 bytes           ──>
//!                              <──        PARAM_EXCHANGE, or ACCESS_DENIED
//!   parameters, JSON           ──>
//!                              <──        CREATE_STREAMS
//!   … a connection per stream to the same port, which begins with the cookie; UDP: a hello …
//!                              <──        TEST_START, TEST_RUNNING
//!   … the traffic …
//!   TEST_END                   ──>
//!                              <──        EXCHANGE_RESULTS
//!   results, JSON              ──>
//!                              <──        results, JSON; DISPLAY_RESULTS
//!   IPERF_DONE                 ──>
//! ```
//! Request and response are not iperf3's. A client asks for them by the parameter `rumpnet`, which
//! iperf3 overlooks; a server that knows it says EXTENSION and where (`{"port": …}`) before
//! CREATE_STREAMS, so that a client learns which of the two it is.

use std::io::{self, Read, Write};
use std::time::Duration;

use libnet::Ready;
use libnet::net::TcpStream;
use libnet::socket::SocketOption;
use serde_json::Value;

use crate::fail::Failure;
use crate::host;

/// Bytes of a message at most.
const MAX_MESSAGE_BYTES: u32 = 1 << 20;
/// How long the other side may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of a cookie with the zero behind it.
pub(super) const COOKIE_BYTES: usize = 37;

/// What tells a client's connections from others': 36 letters and digits, and a zero.
pub(super) type Cookie = [u8; COOKIE_BYTES];

/// A state, in one byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    TestStart = 1,
    TestRunning = 2,
    TestEnd = 4,
    ParamExchange = 9,
    CreateStreams = 10,
    ServerTerminate = 11,
    ClientTerminate = 12,
    ExchangeResults = 13,
    DisplayResults = 14,
    IperfDone = 16,
    /// Ours: the parameter `rumpnet` was understood.
    Extension = 100,
    /// -2: two numbers follow, iperf3's and the system's.
    ServerError = 254,
    /// -1.
    AccessDenied = 255,
}

impl State {
    const ALL: [State; 13] = [
        State::TestStart,
        State::TestRunning,
        State::TestEnd,
        State::ParamExchange,
        State::CreateStreams,
        State::ServerTerminate,
        State::ClientTerminate,
        State::ExchangeResults,
        State::DisplayResults,
        State::IperfDone,
        State::Extension,
        State::ServerError,
        State::AccessDenied,
    ];

    fn from_byte(byte: u8) -> Option<State> {
        State::ALL.into_iter().find(|state| *state as u8 == byte)
    }
}

/// A new cookie.
///
/// # Errors
/// The machine has no entropy.
pub(super) fn cookie() -> io::Result<Cookie> {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut cookie = [0; COOKIE_BYTES];
    getrandom::fill(&mut cookie[..COOKIE_BYTES - 1]).map_err(io::Error::other)?;
    for byte in &mut cookie[..COOKIE_BYTES - 1] {
        *byte = LETTERS[usize::from(*byte) % LETTERS.len()];
    }
    Ok(cookie)
}

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

    pub(super) fn send_cookie(&self, cookie: &Cookie) -> Result<(), Failure> {
        (&self.0).write_all(cookie).map_err(lost)
    }

    pub(super) fn take_cookie(&self) -> Result<Cookie, Failure> {
        let mut cookie = [0; COOKIE_BYTES];
        (&self.0).read_exact(&mut cookie).map_err(lost)?;
        Ok(cookie)
    }

    pub(super) fn say(&self, state: State) -> Result<(), Failure> {
        (&self.0).write_all(&[state as u8]).map_err(lost)
    }

    /// Tells a client that it cannot be, in iperf3's way: its own number and the system's.
    pub(super) fn refuse(&self, why: Refusal) {
        let mut message = vec![State::ServerError as u8];
        message.extend((why as u32).to_be_bytes());
        message.extend(0_u32.to_be_bytes());
        // It may have gone already.
        let _ = (&self.0).write_all(&message);
    }

    /// The next state, which is to be `wanted`.
    pub(super) fn expect(&self, wanted: State) -> Result<(), Failure> {
        match self.next()? {
            state if state == wanted => Ok(()),
            state => Err(self.unexpected(state)),
        }
    }

    /// The next state.
    pub(super) fn next(&self) -> Result<State, Failure> {
        read_state(&mut &self.0).map_err(lost)
    }

    /// Waits for the next state as long as `goes_on` says.
    pub(super) fn next_while(&self, goes_on: impl Fn() -> bool) -> Result<State, Failure> {
        const LOOK_EVERY: Duration = Duration::from_millis(200);
        let interest = Ready::READABLE | Ready::HANGUP;
        while goes_on() {
            let ready = self.0.socket().wait_ready(interest, Some(LOOK_EVERY)).map_err(lost)?;
            if ready.intersects(interest) {
                return self.next();
            }
        }
        Err(Failure::new("interrupted"))
    }

    /// Has the other side said something, or gone?
    pub(super) fn has_news(&self) -> bool {
        self.0.socket().ready().is_ok_and(|r| r.intersects(Ready::READABLE | Ready::HANGUP))
    }

    /// What a state means that was not expected now.
    pub(super) fn unexpected(&self, state: State) -> Failure {
        Failure::new(match state {
            State::AccessDenied => "the server is busy running a test; try again later".to_owned(),
            State::ServerTerminate => "the server has terminated".to_owned(),
            State::ClientTerminate => "the client has terminated".to_owned(),
            State::ServerError => {
                let mut numbers = [0; 8];
                let number = match (&self.0).read_exact(&mut numbers) {
                    Ok(()) => u32::from_be_bytes([numbers[0], numbers[1], numbers[2], numbers[3]]),
                    Err(_) => 0,
                };
                format!("the server refused: {}", Refusal::text(number))
            }
            state => format!("the other side said {state:?} at a wrong time"),
        })
    }

    pub(super) fn give(&self, message: &Value) -> Result<(), Failure> {
        let text = message.to_string();
        let mut bytes = Vec::with_capacity(text.len() + 4);
        bytes.extend((text.len() as u32).to_be_bytes());
        bytes.extend(text.as_bytes());
        (&self.0).write_all(&bytes).map_err(lost)
    }

    pub(super) fn take(&self) -> Result<Value, Failure> {
        read_message(&mut &self.0).map_err(lost)
    }
}

/// The next state.
pub(super) fn read_state(from: &mut impl Read) -> io::Result<State> {
    let mut byte = [0; 1];
    from.read_exact(&mut byte)?;
    State::from_byte(byte[0]).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The next JSON message, behind its length.
pub(super) fn read_message(from: &mut impl Read) -> io::Result<Value> {
    let mut len = [0; 4];
    from.read_exact(&mut len)?;
    let len = u32::from_be_bytes(len);
    if len > MAX_MESSAGE_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut text = vec![0; len as usize];
    from.read_exact(&mut text)?;
    serde_json::from_slice(&text).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Why a server takes no test, in iperf3's numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refusal {
    /// `IENUMSTREAMS`.
    Streams = 6,
    /// `IEBLOCKSIZE`.
    Block = 7,
    /// `IEDURATION`.
    Duration = 5,
    /// `IEUNIMP`.
    Unimplemented = 13,
    /// `IERECVPARAMS`.
    Parameters = 114,
    /// `IESTREAMACCEPT`: a stream did not come.
    Accept = 204,
}

impl Refusal {
    /// What iperf3 means by a number.
    pub(super) fn text(number: u32) -> String {
        match number {
            6 => format!("too many streams; {} do", super::MAX_STREAMS),
            7 => "such a block size does not do".to_owned(),
            5 => "such a duration does not do".to_owned(),
            13 => "it has no such test".to_owned(),
            114 => "it does not understand the parameters".to_owned(),
            204 => "a stream did not come".to_owned(),
            number => format!("iperf3's error {number}"),
        }
    }
}

fn lost(error: io::Error) -> Failure {
    let text = match error.kind() {
        io::ErrorKind::UnexpectedEof => "the other side closed the control connection".to_owned(),
        io::ErrorKind::InvalidData => "the other side is no iperf3".to_owned(),
        io::ErrorKind::WouldBlock => "the other side does not answer".to_owned(),
        _ => format!("control connection: {}", host::plain(&error)),
    };
    Failure::new(text)
}

/// Did the socket's own time-out pass? The connection's is another error.
pub(super) fn is_timeout(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_iperf3s_bytes() {
        for state in State::ALL {
            assert_eq!(State::from_byte(state as u8), Some(state));
        }
        assert_eq!(State::AccessDenied as u8, (-1_i8) as u8);
        assert_eq!(State::ServerError as u8, (-2_i8) as u8);
        assert_eq!(State::from_byte(3), None);
    }

    #[test]
    fn cookies_are_36_letters_and_a_zero_and_never_the_same() {
        let (one, other) = (cookie().unwrap(), cookie().unwrap());
        assert!(one[..36].iter().all(u8::is_ascii_alphanumeric));
        assert_eq!(one[36], 0);
        assert_ne!(one, other);
    }
}
