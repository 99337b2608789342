//! UDP: numbered datagrams, so that the receiver can count what is missing.
//!
//! ```text
//! 0      4       8                16               24
//! +------+-------+----------------+----------------+---------
//! |magic | stream| number, from 1 | sent, ns       | filler
//! +------+-------+----------------+----------------+---------
//! ```
//! Number 0 says hello: it tells the server where the stream comes from, and is sent back.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::time::{Duration, Instant};

use libnet::net::UdpSocket;

use super::control::is_timeout;
use super::counters::{Counters, Pace};
use super::plan::Plan;
use super::streams::{PATIENCE, throttle};

pub(super) const HEADER_BYTES: usize = 24;

const MAGIC: u32 = 0x7275_6d70;
/// How often a hello is repeated.
const HELLO_EVERY: Duration = Duration::from_millis(100);
const HELLO_TRIES: usize = 50;
/// How long a receiver waits for stragglers after the end.
const LINGER: Duration = Duration::from_millis(200);

/// A datagram's header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header {
    pub(super) stream: u32,
    pub(super) number: u64,
    sent_ns: u64,
}

impl Header {
    fn write(self, datagram: &mut [u8]) {
        datagram[..4].copy_from_slice(&MAGIC.to_be_bytes());
        datagram[4..8].copy_from_slice(&self.stream.to_be_bytes());
        datagram[8..16].copy_from_slice(&self.number.to_be_bytes());
        datagram[16..24].copy_from_slice(&self.sent_ns.to_be_bytes());
    }

    pub(super) fn read(datagram: &[u8]) -> Option<Self> {
        let (magic, rest) = datagram.split_first_chunk::<4>()?;
        let (stream, rest) = rest.split_first_chunk::<4>()?;
        let (number, rest) = rest.split_first_chunk::<8>()?;
        let (sent, _) = rest.split_first_chunk::<8>()?;
        (u32::from_be_bytes(*magic) == MAGIC).then(|| Header {
            stream: u32::from_be_bytes(*stream),
            number: u64::from_be_bytes(*number),
            sent_ns: u64::from_be_bytes(*sent),
        })
    }
}

/// Says hello until it comes back.
pub(super) fn greet(socket: &UdpSocket, stream: u32) -> io::Result<()> {
    let mut hello = [0; HEADER_BYTES];
    Header { stream, number: 0, sent_ns: 0 }.write(&mut hello);
    socket.set_read_timeout(Some(HELLO_EVERY))?;
    let mut buffer = [0; HEADER_BYTES];
    for _ in 0..HELLO_TRIES {
        socket.send(&hello)?;
        match socket.recv(&mut buffer) {
            Ok(_) if buffer == hello => return Ok(()),
            Ok(_) => {}
            Err(error) if is_timeout(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// Waits for every stream's hello and sends it back; where each comes from.
pub(super) fn meet(socket: &UdpSocket, streams: u16) -> io::Result<Vec<SocketAddr>> {
    socket.set_read_timeout(Some(HELLO_EVERY))?;
    let mut peers = vec![None; usize::from(streams)];
    let mut buffer = [0; HEADER_BYTES];
    let began = Instant::now();
    while peers.contains(&None) {
        match socket.recv_from(&mut buffer) {
            Ok((bytes, from)) => {
                let hello = Header::read(&buffer[..bytes]).filter(|header| header.number == 0);
                let Some(hello) = hello else { continue };
                if let Some(peer) = peers.get_mut(hello.stream as usize) {
                    *peer = Some(from);
                    socket.send_to(&buffer[..bytes], from)?;
                }
            }
            Err(error) if is_timeout(&error) => {}
            Err(error) => return Err(error),
        }
        if began.elapsed() > HELLO_EVERY * HELLO_TRIES as u32 {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
    Ok(peers.into_iter().flatten().collect())
}

/// Goes on sending hellos back until it is over: the answer to the last one may have been lost.
pub(super) fn answer_hellos(
    socket: &UdpSocket,
    streams: u16,
    is_over: &AtomicBool,
) -> io::Result<()> {
    /// How long the start may have to wait for us.
    const PATIENCE: Duration = Duration::from_millis(10);
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut buffer = [0; HEADER_BYTES];
    while !is_over.load(Acquire) {
        match socket.recv_from(&mut buffer) {
            Ok((bytes, from)) => {
                let hello = Header::read(&buffer[..bytes]).filter(|header| header.number == 0);
                if hello.is_some_and(|hello| hello.stream < u32::from(streams)) {
                    socket.send_to(&buffer[..bytes], from)?;
                }
            }
            Err(error) if is_timeout(&error) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Sends numbered datagrams at the plan's rate until told to stop.
pub(super) fn send(
    socket: &UdpSocket,
    to: SocketAddr,
    stream: u32,
    plan: &Plan,
    counters: &Counters,
    pace: &Pace,
) -> io::Result<()> {
    let mut datagram = vec![0x5a; plan.block_bytes as usize];
    let mut left = plan.bytes_per_stream();
    let mut number = 0;
    socket.set_write_timeout(Some(PATIENCE))?;
    while pace.goes_on() && left > 0 {
        throttle(plan, counters, pace);
        number += 1;
        let sent_ns = u64::try_from(pace.started().elapsed().as_nanos()).unwrap_or(u64::MAX);
        Header { stream, number, sent_ns }.write(&mut datagram);
        match socket.send_to(&datagram, to) {
            Ok(bytes) => {
                counters.bytes.fetch_add(bytes as u64, Relaxed);
                counters.packets.fetch_add(1, Relaxed);
                left = left.saturating_sub(bytes as u64);
            }
            Err(error) if is_timeout(&error) => number -= 1,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What a receiver remembers of one stream.
#[derive(Debug, Default)]
struct Seen {
    highest: u64,
    /// Arrival less sending, in nanoseconds, of the datagram before.
    transit_ns: Option<i64>,
}

/// Receives the datagrams of one stream until told to stop.
pub(super) fn receive_one(
    socket: &UdpSocket,
    stream: u32,
    counters: &Arc<Counters>,
    pace: &Pace,
) -> io::Result<()> {
    // Its own is the only one that counts; the others' places stay empty.
    let mut all: Vec<Arc<Counters>> = (0..stream).map(|_| Arc::default()).collect();
    all.push(Arc::clone(counters));
    receive(socket, &all, pace)
}

/// Receives the datagrams of all streams, each into its counters, until told to stop.
pub(super) fn receive(
    socket: &UdpSocket,
    counters: &[Arc<Counters>],
    pace: &Pace,
) -> io::Result<()> {
    let mut seen: Vec<Seen> = counters.iter().map(|_| Seen::default()).collect();
    let mut buffer = vec![0; 65_536];
    let mut quiet_since = Instant::now();
    socket.set_read_timeout(Some(PATIENCE))?;
    while pace.goes_on() || quiet_since.elapsed() < LINGER {
        let bytes = match socket.recv_from(&mut buffer) {
            Ok((bytes, _)) => bytes,
            Err(error) if is_timeout(&error) => continue,
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
            Err(error) => return Err(error),
        };
        quiet_since = Instant::now();
        let Some(header) = Header::read(&buffer[..bytes]).filter(|header| header.number > 0) else {
            continue;
        };
        let stream = header.stream as usize;
        let (Some(seen), Some(counters)) = (seen.get_mut(stream), counters.get(stream)) else {
            continue;
        };
        let arrived_ns = u64::try_from(pace.started().elapsed().as_nanos()).unwrap_or(u64::MAX);
        seen.take(header, arrived_ns, counters);
        counters.bytes.fetch_add(bytes as u64, Relaxed);
        counters.packets.fetch_add(1, Relaxed);
    }
    Ok(())
}

impl Seen {
    fn take(&mut self, header: Header, arrived_ns: u64, counters: &Counters) {
        if header.number > self.highest {
            counters.lost.fetch_add(header.number - self.highest - 1, Relaxed);
            self.highest = header.number;
        } else {
            // It was counted as lost when a later one came.
            counters.out_of_order.fetch_add(1, Relaxed);
            let _ = counters.lost.fetch_update(Relaxed, Relaxed, |lost| lost.checked_sub(1));
        }
        let transit = arrived_ns.wrapping_sub(header.sent_ns).cast_signed();
        if let Some(before) = self.transit_ns.replace(transit) {
            // RFC 3550 §6.4.1: J += (|D| - J) / 16.
            let change = transit.wrapping_sub(before).unsigned_abs() as f64;
            let jitter = counters.jitter_ns.load(Relaxed) as f64;
            counters.jitter_ns.store((jitter + (change - jitter) / 16.0) as u64, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(numbers: &[u64]) -> Counters {
        let counters = Counters::default();
        let mut seen = Seen::default();
        for &number in numbers {
            seen.take(Header { stream: 0, number, sent_ns: 0 }, 0, &counters);
        }
        counters
    }

    #[test]
    fn gaps_are_lost_until_they_come_late() {
        let counters = take(&[1, 2, 5, 3]);
        assert_eq!(counters.read().lost, 1);
        assert_eq!(counters.read().out_of_order, 1);
    }

    #[test]
    fn headers_round_trip_and_others_are_refused() {
        let header = Header { stream: 3, number: 7, sent_ns: 99 };
        let mut bytes = [0; HEADER_BYTES];
        header.write(&mut bytes);
        assert_eq!(Header::read(&bytes), Some(header));
        assert_eq!(Header::read(&bytes[..23]), None);
        bytes[0] ^= 1;
        assert_eq!(Header::read(&bytes), None);
    }
}
