//! Accepting connections up to a bound, each for a task of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use libnet::errno;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;
use tracing::info;

use crate::aio::TaskSocket;

/// Connections that wait to be accepted at most; a stack or the host's kernel may allow fewer.
pub const BACKLOG: u32 = 1024;
/// Rest after an error that may come again at once, such as one of too many files.
const PAUSE: Duration = Duration::from_millis(100);

/// A counter.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts `n` more.
    pub fn add(&self, n: usize) {
        self.0.fetch_add(n as u64, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What became of those that wanted to be served.
#[derive(Debug, Default)]
pub struct Accepting {
    /// Began to be served.
    pub begun: Counter,
    /// Of those, the ones that are over, however they ended.
    pub over: Counter,
    /// Could not be accepted.
    pub failed: Counter,
    /// Times that somebody had to wait for a place, or got none.
    pub at_limit: Counter,
}

impl Accepting {
    /// How many are served now.
    pub fn open(&self) -> u64 {
        self.begun.get().saturating_sub(self.over.get())
    }
}

/// As many places as may be served at once. Clones share them.
#[derive(Clone, Debug)]
pub struct Places(Arc<Semaphore>);

/// One of the [`Places`]; given back on drop.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
}

impl Places {
    /// `max` places.
    pub fn new(max: u32) -> Self {
        Places(Arc::new(Semaphore::new(max as usize)))
    }

    /// A place, if there is one now.
    pub fn now(&self) -> Option<Place> {
        let permit = Arc::clone(&self.0).try_acquire_owned().ok()?;
        Some(Place { _permit: permit })
    }

    /// A place, waiting for one and counting that if all are taken.
    async fn wait(&self, waited: &Counter) -> Place {
        if let Some(place) = self.now() {
            return place;
        }
        waited.add(1);
        info!("all places are taken (--max-connections): the next connection waits");
        let permit = Arc::clone(&self.0).acquire_owned().await;
        Place { _permit: permit.expect("nobody closes the semaphore") }
    }
}

/// Accepts connections for as long as it is polled, and begins to serve each by `begin`. Who finds
/// all places taken waits in the listener's queue.
pub async fn accept(
    listener: TaskSocket,
    places: Places,
    counters: &Accepting,
    mut begin: impl FnMut(TaskSocket, SocketAddr, Place),
) {
    loop {
        let accepted = match listener.acceptable().await {
            Ok(()) => {
                let place = places.wait(&counters.at_limit).await;
                listener.accept().map(|(socket, peer)| (socket, peer, place))
            }
            Err(error) => Err(error),
        };
        match accepted {
            Ok((socket, peer, place)) => {
                counters.begun.add(1);
                begin(socket, peer, place);
            }
            // Whoever was there has given up.
            Err(error) if errno::is_would_block(&error) => {}
            Err(error) => {
                counters.failed.add(1);
                info!(%error, "not accepted");
                sleep(PAUSE).await;
            }
        }
    }
}
