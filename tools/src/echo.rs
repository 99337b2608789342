//! The echo service (RFC 862), by TCP and UDP, for trying things out.

use std::collections::VecDeque;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use libnet::net::{TcpListener, TcpStream, UdpSocket};
use rumpnet::Stack;
use tracing::{debug, info};

use crate::host;

/// Connections served at a time; more are closed at once.
const MAX_CONNECTIONS: usize = 256;
/// Bytes taken from a connection at a time.
const CHUNK_BYTES: usize = 256 * 1024;
/// How long a blocked call sleeps before it looks whether to end.
const PATIENCE: Duration = Duration::from_millis(100);

/// The running service. Dropping it ends its threads, so that they hold no socket any more.
#[derive(Debug)]
pub struct Echo {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Echo {
    /// Serves `port` on threads of its own.
    ///
    /// # Errors
    /// The port is in use.
    pub fn serve(stack: &Stack, port: u16) -> io::Result<Self> {
        let addr = SocketAddr::new(host::any_address(stack), port);
        let listener = stack.tcp_listen(addr)?;
        listener.socket().set_read_timeout(Some(PATIENCE))?;
        let socket = stack.udp_bind(addr)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let stop = Arc::new(AtomicBool::new(false));
        let mut echo = Echo { stop: Arc::clone(&stop), threads: Vec::new() };
        let flag = Arc::clone(&stop);
        echo.threads.push(spawn("echo-tcp", move || accept(&listener, &flag))?);
        echo.threads.push(spawn("echo-udp", move || datagrams(&socket, &stop))?);
        Ok(echo)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            // One that panicked holds no socket either.
            let _ = thread.join();
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work)
}

fn accept(listener: &TcpListener, stop: &Arc<AtomicBool>) {
    let open = Arc::new(AtomicUsize::new(0));
    while !stop.load(Ordering::Acquire) {
        let (stream, peer) = match listener.accept() {
            Ok(accepted) => accepted,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => {
                info!(%error, "echo: no more connections");
                break;
            }
        };
        let Some(place) = Place::take(&open) else {
            info!(%peer, "echo: refused, {MAX_CONNECTIONS} connections are open");
            continue;
        };
        let flag = Arc::clone(stop);
        let spawned = spawn("echo-conn", move || {
            let ended = stream_back(&stream, &flag);
            debug!(%peer, ?ended, "echo: connection closed");
            drop(stream);
            drop(place);
        });
        if let Err(error) = spawned {
            info!(%peer, %error, "echo: refused");
        }
    }
    // Every connection looks at the flag at least this often.
    while open.load(Ordering::Acquire) > 0 {
        std::thread::sleep(PATIENCE / 10);
    }
}

/// One of the connections served at a time; given back however its thread ends.
#[derive(Debug)]
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(open: &Arc<AtomicUsize>) -> Option<Self> {
        // Only the one accepting thread takes any, so that none comes between the two.
        if open.load(Ordering::Acquire) >= MAX_CONNECTIONS {
            return None;
        }
        open.fetch_add(1, Ordering::AcqRel);
        Some(Place(Arc::clone(open)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn stream_back(stream: &TcpStream, stop: &AtomicBool) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let mut chunks = VecDeque::new();
    while !stop.load(Ordering::Acquire) {
        match stream.recv_bytes(CHUNK_BYTES, &mut chunks) {
            Ok(0) => return stream.shutdown(Shutdown::Write),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        while let Some(chunk) = chunks.front_mut().filter(|_| !stop.load(Ordering::Acquire)) {
            match stream.send_bytes(chunk) {
                Ok(sent) => drop(chunk.split_to(sent)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            if chunk.is_empty() {
                chunks.pop_front();
            }
        }
    }
    Ok(())
}

fn datagrams(socket: &UdpSocket, stop: &AtomicBool) {
    let mut buffer = vec![0; 65_536];
    while !stop.load(Ordering::Acquire) {
        match socket.recv_from(&mut buffer) {
            Ok((bytes, from)) => {
                if let Err(error) = socket.send_to(&buffer[..bytes], from) {
                    debug!(%from, %error, "echo: not sent back");
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // An ICMP error about an earlier datagram is no reason to stop.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) => return info!(%error, "echo: no more datagrams"),
        }
    }
}
