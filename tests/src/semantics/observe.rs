//! What can be seen of a thread and of a host's connection without touching either.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A thread of this process that says who it is.
#[derive(Debug, Default)]
pub struct Sleeper(AtomicI32);

impl Sleeper {
    /// The calling thread is the one.
    pub fn is_me(&self) {
        self.0.store(rustix::thread::gettid().as_raw_nonzero().get(), Ordering::Release);
    }

    /// Waits until the thread sleeps and goes on sleeping, at most `patience`; whether it does.
    /// A thread that waits for a lock for a moment sleeps too: hence the second half.
    pub fn waits(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let (mut slept, mut looks) = (None, 0);
        while looks < LOOKS {
            if Instant::now() >= deadline || self.is_gone() {
                return false;
            }
            let now = self.sleep();
            looks = if now.is_some() && now == slept { looks + 1 } else { 0 };
            slept = now;
            thread::park_timeout(Duration::from_millis(1));
        }
        true
    }

    /// Has it said who it is, and ended?
    fn is_gone(&self) -> bool {
        let thread = self.0.load(Ordering::Acquire);
        thread != 0 && !Path::new(&format!("/proc/self/task/{thread}")).exists()
    }

    /// Which of its sleeps the thread is in, if it is in one.
    fn sleep(&self) -> Option<u64> {
        let thread = self.0.load(Ordering::Acquire);
        let status = fs::read_to_string(format!("/proc/self/task/{thread}/status")).ok()?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()
        };
        let sleeps = field("State:")? == "S";
        let count = field("voluntary_ctxt_switches:")?.parse().ok()?;
        sleeps.then_some(count)
    }
}

/// Looks at a sleeping thread that must all find the same sleep.
const LOOKS: u32 = 3;

/// Does a connection of the host's have data to send, nothing under way, and a peer that takes no
/// more? Its window probe timer runs then: `proc(5)`, "tr" of `/proc/net/tcp` is 4.
///
/// # Errors
/// Those of reading the table.
pub fn host_stalls(local: SocketAddr, remote: SocketAddr) -> io::Result<bool> {
    let name = if local.is_ipv4() { "tcp" } else { "tcp6" };
    let table = fs::read_to_string(format!("/proc/thread-self/net/{name}"))?;
    let ends = [hex(local), hex(remote)];
    let row = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let own = row.filter(|row| row.len() > 5 && row[1..3] == ends).map(|row| row[5]);
    Ok(own.into_iter().any(|timer| timer.starts_with(WINDOW_PROBE)))
}

const WINDOW_PROBE: &str = "04:";

/// As the table has it: each word of the address in the host's byte order.
fn hex(addr: SocketAddr) -> String {
    let bytes = match addr.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let (words, _) = bytes.as_chunks::<4>();
    let words: String = words.iter().map(|w| format!("{:08X}", u32::from_ne_bytes(*w))).collect();
    format!("{words}:{:04X}", addr.port())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_thread_that_sleeps_is_told_from_one_that_runs() {
        let (wake, woken) = mpsc::channel::<()>();
        let sleeper = Sleeper::default();
        assert!(!sleeper.waits(Duration::ZERO), "nobody has said who it is");
        thread::scope(|scope| {
            let sleeper = &sleeper;
            scope.spawn(move || {
                sleeper.is_me();
                woken.recv()
            });
            assert!(sleeper.waits(Duration::from_secs(10)));
            wake.send(()).unwrap();
        });
        sleeper.is_me();
        assert!(!sleeper.waits(Duration::from_millis(20)), "the thread that looks does not sleep");
    }
}
