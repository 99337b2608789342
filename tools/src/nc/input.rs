//! Standard input as chunks on a channel, so that nobody is stuck in a read of it.

use std::io::{self, Read};

use bytes::{Bytes, BytesMut};
use crossbeam_channel::{Receiver, bounded, never};

/// Bytes read at a time.
const CHUNK_BYTES: usize = 256 * 1024;
/// Chunks that wait for the network at most.
const CHUNKS: usize = 4;

/// What there is to read; it is disconnected at the end of standard input.
pub(super) fn stream() -> io::Result<Receiver<Bytes>> {
    reader(CHUNK_BYTES)
}

/// As [`stream`], in chunks that a datagram holds.
pub(super) fn datagrams() -> io::Result<Receiver<Bytes>> {
    /// What UDP over IPv4 carries at most.
    const DATAGRAM_BYTES: usize = 65_507;
    reader(DATAGRAM_BYTES)
}

/// Nothing, and no end.
pub(super) fn nothing() -> Receiver<Bytes> {
    never()
}

fn reader(chunk_bytes: usize) -> io::Result<Receiver<Bytes>> {
    let (sender, receiver) = bounded(CHUNKS);
    std::thread::Builder::new().name("stdin".to_owned()).spawn(move || {
        let mut stdin = io::stdin().lock();
        let mut chunk = BytesMut::new();
        loop {
            chunk.resize(chunk_bytes, 0);
            match stdin.read(&mut chunk) {
                Ok(0) => return,
                Ok(bytes) => {
                    if sender.send(chunk.split_to(bytes).freeze()).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return tracing::warn!(%error, "standard input"),
            }
        }
    })?;
    Ok(receiver)
}
