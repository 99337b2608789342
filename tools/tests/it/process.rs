//! Processes of the command under test, with bounded waits. A dropped one is ended.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// Nothing here takes longer, on any machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A folder for one test, with a bus in it.
pub(crate) struct Place {
    pub(crate) folder: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Place { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn bus(&self) -> String {
        self.path("t.bus").display().to_string()
    }

    /// `--if` for a host of 10.0.0.0/24.
    pub(crate) fn interface(&self, host: u8) -> String {
        format!("--if=shmif:{},addr=10.0.0.{host}/24", self.bus())
    }

    /// A node that is up.
    pub(crate) fn node(&self, name: &str, host: u8) -> Process {
        let node = Process::start(&["node", &self.interface(host), "--name", name, "--echo", "7"]);
        node.wait_for("answers ping");
        node
    }

    pub(crate) fn run<S: AsRef<str>>(&self, args: &[S]) -> Ended {
        let args: Vec<&str> = args.iter().map(AsRef::as_ref).collect();
        Process::start(&args).finish()
    }
}

/// A running process.
pub(crate) struct Process {
    child: Child,
    lines: Receiver<String>,
    errors: Receiver<String>,
}

/// One that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Process {
    pub(crate) fn start(args: &[&str]) -> Self {
        Process::with_input(args, Stdio::null())
    }

    pub(crate) fn with_input(args: &[&str], input: Stdio) -> Self {
        Process::spawn(Command::new(env!("CARGO_BIN_EXE_rumpnet")).args(args), input)
    }

    /// Another program, or one that runs the command.
    pub(crate) fn spawn(command: &mut Command, input: Stdio) -> Self {
        let mut child = command
            .env_remove("RUST_LOG")
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = read_lines(child.stdout.take().unwrap());
        let errors = read_lines(child.stderr.take().unwrap());
        Process { child, lines, errors }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes to its standard input and closes it.
    pub(crate) fn feed(&mut self, bytes: Vec<u8>) {
        let mut input = self.child.stdin.take().unwrap();
        std::thread::spawn(move || {
            // One that does not want it all has its reasons.
            let _ = input.write_all(&bytes);
        });
    }

    /// Writes to its standard input, which stays open.
    pub(crate) fn feed_line(&mut self, line: &str) {
        let input = self.child.stdin.as_mut().unwrap();
        input.write_all(line.as_bytes()).unwrap();
        input.flush().unwrap();
    }

    /// The next line of its output that holds `text`.
    pub(crate) fn wait_for(&self, text: &str) -> String {
        wait_for(&self.lines, text)
    }

    /// The next line of its output that holds `text`, if it comes within `patience`.
    pub(crate) fn line_within(&self, text: &str, patience: Duration) -> Option<String> {
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(text) => return Some(line),
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }

    /// The next line of its stderr that holds `text`.
    pub(crate) fn wait_for_error(&self, text: &str) -> String {
        wait_for(&self.errors, text)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Waits for its end; what it wrote and was not waited for.
    pub(crate) fn finish(mut self) -> Ended {
        let (out, err) = (rest(&self.lines), rest(&self.errors));
        let status = self.child.wait().unwrap();
        Ended { status: status.code(), out, err }
    }

    /// Sends a signal and waits for its end.
    pub(crate) fn stop(self, signal: Signal) -> Ended {
        self.signal(signal);
        self.finish()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended already is what it should be.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_lines(source: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut source = BufReader::new(source);
        let mut line = Vec::new();
        while source.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            let text = String::from_utf8_lossy(&line).into_owned();
            line.clear();
            if sender.send(text).is_err() {
                return;
            }
        }
    });
    receiver
}

fn wait_for(lines: &Receiver<String>, text: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    let mut seen = String::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match lines.recv_timeout(left) {
            Ok(line) if line.contains(text) => return line,
            Ok(line) => seen.push_str(&line),
            Err(error) => panic!("{error} while waiting for {text:?}; there was:\n{seen}"),
        }
    }
}

fn rest(lines: &Receiver<String>) -> String {
    let deadline = Instant::now() + PATIENCE;
    let mut all = String::new();
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => all.push_str(&line),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return all,
            Err(error) => panic!("{error} while waiting for the end; there was:\n{all}"),
        }
    }
}
