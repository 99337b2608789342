//! Datagrams: each peer has a flow, with a socket of its own towards the target. A flow ends when
//! nothing has passed it for a while.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use libnet::SockType;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{debug, info};

use super::{Served, Shared};
use crate::aio::TaskSocket;
use crate::host;
use crate::serve::Place;

/// Rest after an error that may come again at once.
const PAUSE: Duration = Duration::from_millis(10);

/// What is listened at, and the flows of its peers.
struct Side {
    socket: TaskSocket,
    /// Guards the flows and their times. A leaf, never held over a call.
    flows: Mutex<HashMap<SocketAddr, Flow>>,
    served: Arc<Served>,
    shared: Arc<Shared>,
}

struct Flow {
    socket: Arc<TaskSocket>,
    /// When a datagram passed last, either way.
    used_at: Instant,
}

/// Passes datagrams for as long as it is polled.
pub(super) async fn serve(socket: TaskSocket, served: Arc<Served>, shared: Arc<Shared>) {
    let side = Arc::new(Side { socket, flows: Mutex::default(), served, shared });
    let mut datagram = VecDeque::new();
    loop {
        datagram.clear();
        match side.socket.recv_datagram(&mut datagram).await {
            Ok(peer) => side.pass_on(peer, &datagram).await,
            Err(error) => {
                // The news is about an earlier answer.
                debug!(mapping = side.served.mapping.text, %error, "not received");
                sleep(PAUSE).await;
            }
        }
        tokio::task::consume_budget().await;
    }
}

impl Side {
    async fn pass_on(self: &Arc<Self>, peer: SocketAddr, datagram: &VecDeque<Bytes>) {
        let counters = &self.served.counters;
        let Some(flow) = self.flow(peer).await else {
            return counters.dropped.add(1);
        };
        // All flows go to one target: to wait for its sake holds up nobody else.
        match flow.send_datagram(datagram, None).await {
            Ok(bytes) => {
                counters.there_datagrams.add(1);
                counters.there_bytes.add(bytes);
            }
            Err(error) => self.not_sent(peer, &error),
        }
    }

    /// The peer's flow, which is begun if need be; `None` if there may be no more, or the target
    /// cannot be reached.
    async fn flow(self: &Arc<Self>, peer: SocketAddr) -> Option<Arc<TaskSocket>> {
        if let Some(flow) = self.flows().get_mut(&peer) {
            flow.used_at = Instant::now();
            return Some(Arc::clone(&flow.socket));
        }
        let counters = &self.served.counters;
        let Some(place) = self.shared.flows.now() else {
            counters.accepting.at_limit.add(1);
            return None;
        };
        let socket = match self.connect().await {
            Ok(socket) => Arc::new(socket),
            Err(error) => {
                counters.failed.add(1);
                let mapping = &self.served.mapping.text;
                info!(mapping, %peer, error = host::plain(&error), "no target");
                return None;
            }
        };
        counters.accepting.begun.add(1);
        info!(mapping = self.served.mapping.text, %peer, "flow");
        let flow = Flow { socket: Arc::clone(&socket), used_at: Instant::now() };
        self.flows().insert(peer, flow);
        tokio::spawn(answer(Arc::clone(self), peer, Arc::clone(&socket), place));
        Some(socket)
    }

    async fn connect(&self) -> io::Result<TaskSocket> {
        let mut last = io::ErrorKind::AddrNotAvailable.into();
        for &target in &self.served.mapping.targets {
            let stack = self.served.connecting(&self.shared);
            let socket = TaskSocket::open(stack, target, SockType::Datagram)?;
            match socket.connect(target).await {
                Ok(()) => return Ok(socket),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// A datagram that could not be sent is dropped, as any network may drop it.
    fn not_sent(&self, peer: SocketAddr, error: &io::Error) {
        self.served.counters.dropped.add(1);
        self.note_refusal(error);
        debug!(mapping = self.served.mapping.text, %peer, error = host::plain(error), "not sent");
    }

    fn note_refusal(&self, error: &io::Error) {
        if error.kind() == io::ErrorKind::ConnectionRefused {
            self.served.counters.refused.add(1);
        }
    }

    /// When the flow will have been idle for long enough; `None`: now, and it is forgotten.
    fn deadline(&self, peer: SocketAddr) -> Option<Instant> {
        let mut flows = self.flows();
        let deadline = flows.get(&peer)?.used_at + self.shared.udp_timeout;
        if deadline <= Instant::now() {
            flows.remove(&peer);
            return None;
        }
        Some(deadline)
    }

    fn flows(&self) -> MutexGuard<'_, HashMap<SocketAddr, Flow>> {
        self.flows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Passes the target's answers back until the flow has been idle for long enough.
async fn answer(side: Arc<Side>, peer: SocketAddr, socket: Arc<TaskSocket>, _place: Place) {
    let counters = &side.served.counters;
    let mut datagram = VecDeque::new();
    while let Some(deadline) = side.deadline(peer) {
        datagram.clear();
        match timeout_at(deadline, socket.recv_datagram(&mut datagram)).await {
            Err(_) => continue,
            Ok(Err(error)) => {
                side.note_refusal(&error);
                debug!(%peer, error = host::plain(&error), "no answer");
                sleep(PAUSE).await;
                continue;
            }
            Ok(Ok(_)) => {}
        }
        match side.socket.send_datagram(&datagram, Some(peer)).await {
            Ok(bytes) => {
                counters.back_datagrams.add(1);
                counters.back_bytes.add(bytes);
            }
            Err(error) => side.not_sent(peer, &error),
        }
        if let Some(flow) = side.flows().get_mut(&peer) {
            flow.used_at = Instant::now();
        }
        tokio::task::consume_budget().await;
    }
    counters.accepting.over.add(1);
    info!(mapping = side.served.mapping.text, %peer, "flow ended");
}
