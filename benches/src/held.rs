//! Children that hold a network namespace, and take commands.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use nix::sched::{CloneFlags, unshare};

use crate::pair::wrong;

/// A child that holds a namespace, or does something between two, until it is dropped.
#[derive(Debug)]
pub struct Held {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Held {
    /// Starts this executable again with `words`; `None` if it may not do what it is for.
    ///
    /// # Errors
    /// The host's.
    pub fn spawn(words: &[&str]) -> io::Result<Option<Held>> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let out = child.stdout.take().ok_or_else(|| wrong("a child has no output"))?;
        let mut held = Held { child, out: BufReader::new(out) };
        Ok((held.hear()? == "ready").then_some(held))
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Says a line to it, in general a command to run in its namespace.
    ///
    /// # Errors
    /// It did not do it.
    pub fn ask(&mut self, command: &str) -> io::Result<()> {
        let stdin = self.child.stdin.as_mut().ok_or_else(|| wrong("a child has no input"))?;
        writeln!(stdin, "{command}")?;
        if self.hear()? == "done" { Ok(()) } else { Err(wrong(command)) }
    }

    fn hear(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.out.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // The end of its input ends it.
        self.child.stdin = None;
        let _ = self.child.wait();
    }
}

/// Holds a namespace of its own and runs commands in it, until standard input ends.
///
/// # Errors
/// Those of standard input and output.
pub fn hold() -> io::Result<()> {
    if unshare(CloneFlags::CLONE_NEWNET).is_err() || virtif::loopback_up().is_err() {
        return say("refused");
    }
    say("ready")?;
    for line in io::stdin().lines() {
        let line = line?;
        let mut words = line.split(' ');
        let status = Command::new(words.next().unwrap_or_default()).args(words).status();
        say(if status.is_ok_and(|status| status.success()) { "done" } else { "failed" })?;
    }
    Ok(())
}

/// A line to whoever started this child.
///
/// # Errors
/// Those of standard output.
pub fn say(text: &str) -> io::Result<()> {
    println!("{text}");
    io::stdout().flush()
}
