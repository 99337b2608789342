//! Standard output and the log.

use std::io::{self, IsTerminal as _, Write};

use serde_json::Value;
use tracing_subscriber::EnvFilter;

use crate::cli::{Cli, Command};
use crate::fail::Failure;

/// Standard output. A reader that goes away ends the command quietly, without a signal and so
/// with time to leave the bus.
pub struct Output {
    stdout: io::BufWriter<Box<dyn Write + Send>>,
    is_terminal: bool,
}

impl Output {
    /// Standard output.
    pub fn new() -> Self {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        Output { is_terminal, ..Output::over(stdout) }
    }

    /// Anything else that takes what a command prints.
    pub fn over(writer: impl Write + Send + 'static) -> Self {
        let writer: Box<dyn Write + Send> = Box::new(writer);
        Output { stdout: io::BufWriter::with_capacity(1 << 16, writer), is_terminal: false }
    }

    /// Writes a line; it is seen at once on a terminal, else at the next [`flush`](Self::flush).
    ///
    /// # Errors
    /// Standard output's.
    pub fn line(&mut self, line: impl AsRef<str>) -> Result<(), Failure> {
        writeln!(self.stdout, "{}", line.as_ref()).map_err(|error| Failure::output(&error))?;
        if self.is_terminal { self.flush() } else { Ok(()) }
    }

    /// Writes text as it is.
    ///
    /// # Errors
    /// Standard output's.
    pub fn text(&mut self, text: impl AsRef<str>) -> Result<(), Failure> {
        self.stdout.write_all(text.as_ref().as_bytes()).map_err(|error| Failure::output(&error))
    }

    /// Writes a value on a line of its own.
    ///
    /// # Errors
    /// Standard output's.
    pub fn json(&mut self, value: &Value) -> Result<(), Failure> {
        self.line(value.to_string())
    }

    /// Writes a value over several lines, for people and programs alike.
    ///
    /// # Errors
    /// Standard output's.
    pub fn json_pretty(&mut self, value: &Value) -> Result<(), Failure> {
        self.line(format!("{value:#}"))
    }

    /// Hands over what was written so far.
    ///
    /// # Errors
    /// Standard output's.
    pub fn flush(&mut self) -> Result<(), Failure> {
        self.stdout.flush().map_err(|error| Failure::output(&error))
    }

    /// Is it a terminal?
    pub const fn is_terminal(&self) -> bool {
        self.is_terminal
    }
}

impl Default for Output {
    fn default() -> Self {
        Output::new()
    }
}

/// Sends the log to stderr: what `RUST_LOG` asks for, else what `-v` does.
pub fn start_log(cli: &Cli) {
    // These say more of packets and connections themselves, as their models do.
    let level = match (&cli.command, cli.global.verbose) {
        (Command::Dump(_), _) | (_, 0) => "warn",
        (_, 1) => "info",
        (_, 2) => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    // A log that is set already, as in tests, stays.
    let _ = log.try_init();
}
