//! The echo service (RFC 862), by TCP and UDP, for trying things out.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use libnet::net::{TcpListener, TcpStream, UdpSocket};
use rumpnet::Stack;
use tracing::{debug, info};

/// Connections served at a time; more are closed at once.
const MAX_CONNECTIONS: usize = 256;
/// Bytes taken from a connection at a time.
const CHUNK_BYTES: usize = 256 * 1024;

/// Serves `port` on threads of its own, until the process ends.
///
/// # Errors
/// The port is in use.
pub fn serve(stack: &Stack, port: u16) -> io::Result<()> {
    let addr = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let listener = stack.tcp_listen(addr)?;
    let socket = stack.udp_bind(addr)?;
    spawn("echo-tcp", move || accept(&listener))?;
    spawn("echo-udp", move || datagrams(&socket))
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).map(drop)
}

fn accept(listener: &TcpListener) {
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        let (stream, peer) = match listener.accept() {
            Ok(accepted) => accepted,
            Err(error) => return info!(%error, "echo: no more connections"),
        };
        if open.fetch_add(1, Ordering::AcqRel) >= MAX_CONNECTIONS {
            open.fetch_sub(1, Ordering::AcqRel);
            info!(%peer, "echo: refused, {MAX_CONNECTIONS} connections are open");
            continue;
        }
        let counter = Arc::clone(&open);
        let spawned = spawn("echo-conn", move || {
            let ended = stream_back(&stream);
            debug!(%peer, ?ended, "echo: connection closed");
            counter.fetch_sub(1, Ordering::AcqRel);
        });
        if spawned.is_err() {
            open.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

fn stream_back(stream: &TcpStream) -> io::Result<()> {
    let mut chunks = VecDeque::new();
    while stream.recv_bytes(CHUNK_BYTES, &mut chunks)? > 0 {
        for mut chunk in chunks.drain(..) {
            while !chunk.is_empty() {
                let sent = stream.send_bytes(&chunk)?;
                let _ = chunk.split_to(sent);
            }
        }
    }
    stream.shutdown(Shutdown::Write)
}

fn datagrams(socket: &UdpSocket) {
    let mut buffer = vec![0; 65_536];
    loop {
        match socket.recv_from(&mut buffer) {
            Ok((bytes, from)) => {
                if let Err(error) = socket.send_to(&buffer[..bytes], from) {
                    debug!(%from, %error, "echo: not sent back");
                }
            }
            // An ICMP error about an earlier datagram is no reason to stop.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) => return info!(%error, "echo: no more datagrams"),
        }
    }
}
