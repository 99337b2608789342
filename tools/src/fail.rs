//! How a command ends: its exit status, and what it says when it could not do what it was asked.

use std::fmt;
use std::io::{self, Write as _};
use std::process::ExitCode;

/// A process's exit status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status(pub u8);

impl Status {
    /// It worked.
    pub const DONE: Status = Status(0);
    /// It was tried and did not work out.
    pub const FAILED: Status = Status(1);
    /// It could not be tried: wrong usage, or no interface to try it on.
    pub const USAGE: Status = Status(2);
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> ExitCode {
        ExitCode::from(status.0)
    }
}

/// What a command ends with.
pub type Outcome = Result<Status, Failure>;

/// Why a command could not go on.
#[derive(Debug)]
pub struct Failure {
    status: Status,
    /// What was wrong and what to do; `None`: whoever read our output has gone, which is no news.
    message: Option<String>,
    /// The message stands alone, without our name in front, as another program has it.
    is_verbatim: bool,
}

impl Failure {
    /// It did not work out; `message` says what was wrong and what to do.
    pub fn new(message: impl Into<String>) -> Self {
        Failure { status: Status::FAILED, message: Some(message.into()), is_verbatim: false }
    }

    /// In the words of another program, which end with its status.
    pub fn verbatim(message: impl Into<String>, status: Status) -> Self {
        Failure { status, message: Some(message.into()), is_verbatim: true }
    }

    /// It could not be tried.
    pub fn usage(message: impl Into<String>) -> Self {
        Failure::new(message).with_status(Status::USAGE)
    }

    /// As [`new`](Self::new), of `error` met when doing `what`.
    pub fn doing(what: impl fmt::Display, error: &dyn fmt::Display) -> Self {
        Failure::new(format!("{what}: {error}"))
    }

    /// Writing to stdout failed; a closed pipe is a reader that has seen enough.
    pub fn output(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Failure { status: Status::DONE, message: None, is_verbatim: false };
        }
        Failure::doing("cannot write to standard output", error)
    }

    /// The same with another exit status.
    #[must_use]
    pub fn with_status(mut self, status: Status) -> Self {
        if self.message.is_some() {
            self.status = status;
        }
        self
    }

    /// The exit status.
    pub const fn status(&self) -> Status {
        self.status
    }

    /// Says it on stderr.
    pub fn report(&self) {
        if let Some(line) = self.line() {
            // Where stderr is closed nobody could read it anyway.
            let _ = io::stderr().write_all(line.as_bytes());
        }
    }

    /// What [`report`](Self::report) says.
    pub fn line(&self) -> Option<String> {
        let message = self.message.as_ref()?;
        Some(if self.is_verbatim {
            format!("{message}\n")
        } else {
            format!("rumpnet: {message}\n")
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message.as_deref().unwrap_or("the reader has gone"))
    }
}
