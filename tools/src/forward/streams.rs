//! Connections: each is one task, which carries both directions.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use libnet::SockType;
use libnet::socket::SocketOption;
use tokio::time::timeout;
use tracing::info;

use super::{Served, Shared};
use crate::aio::TaskSocket;
use crate::host;
use crate::serve::{self, Counter, Place};

/// Bytes taken from one side at a time; the other takes them before there are more, so that no
/// connection holds more than this each way, and whoever is slow slows the other down.
const CHUNK_BYTES: usize = 256 * 1024;
/// Accepts connections for as long as it is polled.
pub(super) async fn serve(listener: TaskSocket, served: Arc<Served>, shared: Arc<Shared>) {
    let begin = |near, peer, place| {
        drop(tokio::spawn(carry(near, peer, Arc::clone(&served), Arc::clone(&shared), place)));
    };
    serve::accept(listener, shared.streams.clone(), &served.counters.accepting, begin).await;
}

/// One end of a connection. It is reset when dropped, unless both directions have ended well:
/// what was cut short must not look whole.
struct Leg {
    socket: TaskSocket,
    ended_well: bool,
}

impl Leg {
    fn new(socket: TaskSocket) -> Self {
        // What comes is passed on as it comes; a peer that has vanished is found out some time.
        // A domain without these options does without.
        let _ = socket.socket().set_option(SocketOption::NoDelay(true));
        let _ = socket.socket().set_option(SocketOption::KeepAlive(true));
        Leg { socket, ended_well: false }
    }
}

impl Drop for Leg {
    fn drop(&mut self) {
        if !self.ended_well {
            self.socket.reset_on_close();
        }
    }
}

/// Counts a connection as over, however its task ends.
struct Over(Arc<Served>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.counters.accepting.over.add(1);
    }
}

async fn carry(
    near: TaskSocket,
    peer: SocketAddr,
    served: Arc<Served>,
    shared: Arc<Shared>,
    _place: Place,
) {
    let (mapping, counters) = (&served.mapping.text, &served.counters);
    let _over = Over(Arc::clone(&served));
    let mut near = Leg::new(near);
    let far = tokio::select! {
        far = connect(&served, &shared) => far,
        error = near.socket.failed() => {
            counters.reset.add(1);
            return info!(mapping, %peer, %error, "connection given up before the target answered");
        }
    };
    let (mut far, target) = match far {
        Ok(connected) => connected,
        Err(error) => {
            match error.kind() {
                io::ErrorKind::ConnectionRefused => counters.refused.add(1),
                // It did connect.
                io::ErrorKind::ConnectionReset => counters.reset.add(1),
                _ => counters.failed.add(1),
            }
            let error = host::plain(&error);
            return info!(mapping, %peer, error, "connection reset: no target");
        }
    };
    info!(mapping, %peer, %target, "connection");
    match relay(&near.socket, &far.socket, &counters.there_bytes, &counters.back_bytes).await {
        Ok(()) => {
            (near.ended_well, far.ended_well) = (true, true);
            info!(mapping, %peer, "connection closed");
        }
        Err(error) => {
            counters.reset.add(1);
            info!(mapping, %peer, error = host::plain(&error), "connection reset");
        }
    }
}

/// Connects to the first target that answers.
async fn connect(served: &Served, shared: &Shared) -> io::Result<(Leg, SocketAddr)> {
    let mut last = io::ErrorKind::AddrNotAvailable.into();
    for &target in &served.mapping.targets {
        let attempt = async {
            let far =
                Leg::new(TaskSocket::open(served.connecting(shared), target, SockType::Stream)?);
            far.socket.connect(target).await?;
            io::Result::Ok(far)
        };
        match timeout(shared.connect_timeout, attempt).await {
            Ok(Ok(far)) => return Ok((far, target)),
            Ok(Err(error)) => last = error,
            Err(_) => last = libnet::errno::timed_out(),
        }
    }
    Err(last)
}

/// Carries both directions until both have ended; an error, should one of the sides fail.
async fn relay(
    near: &TaskSocket,
    far: &TaskSocket,
    there: &Counter,
    back: &Counter,
) -> io::Result<()> {
    let both = async { tokio::try_join!(pump(near, far, there), pump(far, near, back)) };
    // A reset is passed on at once, whatever either direction waits for.
    tokio::select! {
        ended = both => ended.map(|_| ()),
        error = near.failed() => Err(error),
        error = far.failed() => Err(error),
    }
}

/// Carries one direction to its end, and closes it.
async fn pump(from: &TaskSocket, to: &TaskSocket, passed: &Counter) -> io::Result<()> {
    let mut chunks = VecDeque::new();
    while from.recv_bytes(CHUNK_BYTES, &mut chunks).await? > 0 {
        while let Some(chunk) = chunks.front_mut() {
            let sent = to.send_bytes(chunk).await?;
            passed.add(sent);
            drop(chunk.split_to(sent));
            if chunk.is_empty() {
                chunks.pop_front();
            }
        }
        // Two fast sides would never wait: other connections have their turn too.
        tokio::task::consume_budget().await;
    }
    to.finish()
}
