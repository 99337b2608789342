//! UDP in iperf3's form: numbered datagrams, so that the receiver can count what is missing.
//!
//! ```text
//! 0         4         8            12 or 16
//! +---------+---------+-------------+--------
//! | seconds |   µs    | number      | filler       big-endian; number from 1, 32 or 64 bits
//! +---------+---------+-------------+--------
//! ```
//! Before, the client sends a hello of four bytes, which is answered: so the server learns where the
//! stream comes from.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use libnet::net::UdpSocket;

use super::control::is_timeout;
use super::counters::{Counters, Pace};
use super::plan::Plan;
use super::streams::{PATIENCE, throttle};

/// How often a hello is repeated. iperf3 takes a second one for data, so that it comes late.
const HELLO_EVERY: Duration = Duration::from_secs(1);
const HELLO_TRIES: usize = 10;
/// How long a receiver waits for stragglers after the end.
const LINGER: Duration = Duration::from_millis(200);
/// How long it takes what still comes.
const LINGER_MAX: Duration = Duration::from_secs(2);

/// Hellos and their answers, of today's iperf3 and of the one before 3.10, in the machine's order.
const HELLOS: [(u32, u32); 2] = [(0x3637_3839, 0x3938_3736), (123_456_789, 987_654_321)];

/// A datagram's header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Header {
    /// Since 1970, of the sender's clock.
    sent: Duration,
    number: u64,
}

impl Header {
    fn write(self, wide: bool, datagram: &mut [u8]) {
        // As iperf3: what does not fit wraps.
        datagram[..4].copy_from_slice(&(self.sent.as_secs() as u32).to_be_bytes());
        datagram[4..8].copy_from_slice(&self.sent.subsec_micros().to_be_bytes());
        if wide {
            datagram[8..16].copy_from_slice(&self.number.to_be_bytes());
        } else {
            datagram[8..12].copy_from_slice(&(self.number as u32).to_be_bytes());
        }
    }

    fn read(wide: bool, datagram: &[u8]) -> Option<Self> {
        let (seconds, rest) = datagram.split_first_chunk::<4>()?;
        let (micros, rest) = rest.split_first_chunk::<4>()?;
        let number = match wide {
            true => u64::from_be_bytes(*rest.first_chunk::<8>()?),
            false => u32::from_be_bytes(*rest.first_chunk::<4>()?).into(),
        };
        let sent = Duration::from_secs(u32::from_be_bytes(*seconds).into())
            + Duration::from_micros(u32::from_be_bytes(*micros).into());
        (number > 0).then_some(Header { sent, number })
    }
}

/// What a hello is answered with.
fn answer_to(datagram: &[u8]) -> Option<[u8; 4]> {
    let hello = u32::from_ne_bytes(datagram.try_into().ok()?);
    HELLOS.iter().find(|(known, _)| *known == hello).map(|(_, answer)| answer.to_ne_bytes())
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Says hello until it is answered.
pub(super) fn greet(socket: &UdpSocket) -> io::Result<()> {
    socket.set_read_timeout(Some(HELLO_EVERY))?;
    let mut buffer = [0; 64];
    for _ in 0..HELLO_TRIES {
        socket.send(&HELLOS[0].0.to_ne_bytes())?;
        match socket.recv(&mut buffer) {
            // Data is an answer too: it says that ours was lost.
            Ok(_) => return Ok(()),
            Err(error) if is_timeout(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// Waits for every stream's hello and answers it; where each comes from, in their order.
pub(super) fn meet(socket: &UdpSocket, streams: u16) -> io::Result<Vec<SocketAddr>> {
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut peers = Vec::new();
    let mut buffer = [0; 64];
    let began = Instant::now();
    while peers.len() < usize::from(streams) {
        match socket.recv_from(&mut buffer) {
            Ok((bytes, from)) => {
                let Some(answer) = answer_to(&buffer[..bytes]) else { continue };
                if !peers.contains(&from) {
                    peers.push(from);
                }
                socket.send_to(&answer, from)?;
            }
            Err(error) if is_timeout(&error) || is_refused(&error) => {}
            Err(error) => return Err(error),
        }
        if began.elapsed() > HELLO_EVERY * HELLO_TRIES as u32 {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
    Ok(peers)
}

/// Goes on answering hellos while the server sends: the answer to the last one may have been lost.
pub(super) fn answer_hellos(
    socket: &UdpSocket,
    peers: &[SocketAddr],
    pace: &Pace,
) -> io::Result<()> {
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut buffer = [0; 64];
    while pace.goes_on() {
        match socket.recv_from(&mut buffer) {
            Ok((bytes, from)) => {
                if let Some(answer) = answer_to(&buffer[..bytes]).filter(|_| peers.contains(&from))
                {
                    socket.send_to(&answer, from)?;
                }
            }
            Err(error) if is_timeout(&error) || is_refused(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Is it news about an earlier datagram?
fn is_refused(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionRefused
}

/// Sends numbered datagrams at the plan's rate until told to stop.
pub(super) fn send(
    socket: &UdpSocket,
    to: SocketAddr,
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
        Header { sent: now(), number }.write(plan.wide_counters, &mut datagram);
        match socket.send_to(&datagram, to) {
            Ok(bytes) => {
                counters.bytes.fetch_add(bytes as u64, Relaxed);
                counters.packets.fetch_add(1, Relaxed);
                left = left.saturating_sub(bytes as u64);
            }
            Err(error) if is_timeout(&error) => number -= 1,
            // The other side has closed: it was enough.
            Err(_) if !pace.goes_on() => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Receives the datagrams of all `peers`, each into its counters, until told to stop.
pub(super) fn receive<C: AsRef<Counters>>(
    socket: &UdpSocket,
    peers: &[SocketAddr],
    plan: &Plan,
    counters: &[C],
    pace: &Pace,
) -> io::Result<()> {
    let mut seen: Vec<Seen> = peers.iter().map(|_| Seen::default()).collect();
    let mut buffer = vec![0; 65_536];
    let (mut quiet_since, mut stopped_at) = (Instant::now(), None);
    socket.set_read_timeout(Some(PATIENCE))?;
    loop {
        if !pace.goes_on() {
            let stopped_at: &mut Instant = stopped_at.get_or_insert_with(Instant::now);
            if quiet_since.elapsed() > LINGER || stopped_at.elapsed() > LINGER_MAX {
                return Ok(());
            }
        }
        let (bytes, from) = match socket.recv_from(&mut buffer) {
            Ok(received) => received,
            Err(error) if is_timeout(&error) || is_refused(&error) => continue,
            Err(error) => return Err(error),
        };
        let Some(at) = peers.iter().position(|peer| *peer == from) else { continue };
        if let Some(answer) = answer_to(&buffer[..bytes]) {
            socket.send_to(&answer, from)?;
            continue;
        }
        let Some(header) = Header::read(plan.wide_counters, &buffer[..bytes]) else { continue };
        quiet_since = Instant::now();
        let counters = counters[at].as_ref();
        seen[at].take(header, now(), counters);
        counters.bytes.fetch_add(bytes as u64, Relaxed);
        counters.packets.fetch_add(1, Relaxed);
        counters.note(pace);
    }
}

/// What a receiver remembers of one stream.
#[derive(Debug, Default)]
struct Seen {
    highest: u64,
    /// Arrival less sending, in nanoseconds, of the datagram before.
    transit_ns: Option<i64>,
}

impl Seen {
    fn take(&mut self, header: Header, arrived: Duration, counters: &Counters) {
        if header.number > self.highest {
            counters.lost.fetch_add(header.number - self.highest - 1, Relaxed);
            self.highest = header.number;
        } else {
            // It was counted as lost when a later one came.
            counters.out_of_order.fetch_add(1, Relaxed);
            let _ = counters.lost.fetch_update(Relaxed, Relaxed, |lost| lost.checked_sub(1));
        }
        let nanos = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        let transit = nanos(arrived).wrapping_sub(nanos(header.sent));
        if let Some(before) = self.transit_ns.replace(transit) {
            // RFC 3550 §6.4.1: J += (|D| - J) / 16.
            let change = transit.wrapping_sub(before).unsigned_abs() as f64;
            let jitter = counters.jitter_ns.load(Relaxed) as f64;
            counters.jitter_ns.store((jitter + (change - jitter) / 16.0) as u64, Relaxed);
        }
    }
}

/// Takes any bytes as datagrams of one stream, with either width of number.
pub(super) fn probe(bytes: &[u8]) {
    for wide in [false, true] {
        let (counters, mut seen) = (Counters::default(), Seen::default());
        for datagram in bytes.chunks(16) {
            if answer_to(datagram).is_some() {
                continue;
            }
            let Some(header) = Header::read(wide, datagram) else { continue };
            seen.take(header, Duration::from_secs(1 << 31), &counters);
            assert!(header.number <= seen.highest);
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
            seen.take(Header { sent: Duration::ZERO, number }, Duration::ZERO, &counters);
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
    fn headers_are_iperf3s() {
        let header = Header { sent: Duration::from_micros(1_234_567_890_123_456), number: 7 };
        let mut bytes = [0; 16];
        for wide in [true, false] {
            header.write(wide, &mut bytes);
            assert_eq!(Header::read(wide, &bytes), Some(header));
        }
        let narrow = Header { sent: Duration::new(1, 2_000), number: 3 };
        narrow.write(false, &mut bytes);
        assert_eq!(bytes[..12], [0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3]);
        assert_eq!(Header::read(true, &bytes[..15]), None);
        assert_eq!(Header::read(false, &bytes[..11]), None);
        assert_eq!(Header::read(false, &[0; 12]), None, "numbers begin with 1");
    }

    #[test]
    fn hellos_have_answers_and_nothing_else_has() {
        assert_eq!(answer_to(&0x3637_3839_u32.to_ne_bytes()), Some(0x3938_3736_u32.to_ne_bytes()));
        assert_eq!(answer_to(&987_654_321_u32.to_ne_bytes()), None);
        assert_eq!(answer_to(&[0; 16]), None);
    }
}
