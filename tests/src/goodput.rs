//! How much a transfer moves in a world: what tests of floods and of bad links compare.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use libnet::world::{Actor, World};
use rumpnet::{InetConfig, TcpListener};

/// Bytes that a reader in the world has read so far.
#[derive(Clone, Debug, Default)]
pub struct Goodput(Arc<AtomicU64>);

impl Goodput {
    /// Takes the listener's first connection and reads it to its end, or its first error.
    ///
    /// # Panics
    /// The reader does, when nobody connects.
    pub fn read_from(world: &World, listener: TcpListener) -> (Goodput, Actor<()>) {
        let goodput = Goodput::default();
        let count = Arc::clone(&goodput.0);
        let reader = world.spawn("reader", move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut buf = vec![0; 1 << 16];
            while let Ok(n @ 1..) = stream.read(&mut buf) {
                count.fetch_add(n as u64, Ordering::Relaxed);
            }
        });
        (goodput, reader)
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Gives all connections buffers of 1 MiB, which do not grow: what two runs hold can be compared.
pub fn fix_buffers(config: &mut InetConfig) {
    let tcp = &mut config.tcp;
    (tcp.receive_buffer_bytes, tcp.send_buffer_bytes) = (1 << 20, 1 << 20);
    (tcp.receive_buffer_max_bytes, tcp.send_buffer_max_bytes) = (1 << 20, 1 << 20);
}
