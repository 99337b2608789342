//! Bulk TCP: one thread per stream, sending or receiving.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use bytes::Bytes;
use libnet::net::TcpStream;
use libnet::socket::SocketOption;

use super::control::is_timeout;
use super::counters::{Counters, Pace};
use super::plan::Plan;

/// How long a blocked call sleeps before it looks whether to stop.
pub(super) const PATIENCE: Duration = Duration::from_millis(100);
/// How long a stream may take to end after it was told to.
const LINGER: Duration = Duration::from_secs(5);

/// Sets what the plan asks of a stream.
pub(super) fn set_up(stream: &TcpStream, plan: &Plan) -> io::Result<()> {
    stream.set_nodelay(plan.no_delay)?;
    let Some(name) = &plan.congestion else { return Ok(()) };
    let set = stream.socket().set_option(SocketOption::Congestion(name.clone()));
    set.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            let known = "try reno, cubic or bbr";
            io::Error::new(
                error.kind(),
                format!("no congestion control is called {name:?}: {known}"),
            )
        }
        _ => error,
    })
}

/// Sends until told to stop, or all is sent; then closes its side.
pub(super) fn send(
    stream: &TcpStream,
    plan: &Plan,
    counters: &Counters,
    pace: &Pace,
) -> io::Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
    let block = Bytes::from(vec![0x5a; plan.block_bytes as usize]);
    let mut left = plan.bytes_per_stream();
    while pace.goes_on() && left > 0 {
        let len = left.min(plan.block_bytes) as usize;
        throttle(plan, counters, pace);
        let sent = match plan.zero_copy {
            true => stream.send_bytes(&block.slice(..len)),
            false => (&*stream).write(&block[..len]),
        };
        match sent {
            Ok(bytes) => {
                counters.bytes.fetch_add(bytes as u64, Relaxed);
                left -= bytes as u64;
            }
            Err(error) if is_timeout(&error) => {}
            // The other side has closed: it was enough.
            Err(_) if !pace.goes_on() => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    match stream.shutdown(Shutdown::Write) {
        Err(_) if !pace.goes_on() => Ok(()),
        done => done,
    }
}

/// Receives until told to stop, and then what is still under way: to the stream's end, or until
/// nothing comes from one who does not end it.
pub(super) fn receive(
    stream: &TcpStream,
    plan: &Plan,
    counters: &Counters,
    pace: &Pace,
) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut buffer = vec![0; plan.block_bytes as usize];
    let mut chunks = VecDeque::new();
    let mut stopped_at = None;
    loop {
        let received = match plan.zero_copy {
            true => stream.recv_bytes(buffer.len(), &mut chunks),
            false => (&*stream).read(&mut buffer),
        };
        chunks.clear();
        let is_over = !pace.goes_on();
        match received {
            Ok(0) => return Ok(()),
            Ok(bytes) => {
                counters.bytes.fetch_add(bytes as u64, Relaxed);
                counters.note(pace);
            }
            Err(error) if is_timeout(&error) => {
                if is_over && !plan.closes_first {
                    return Ok(());
                }
            }
            // It is how iperf3 closes what it did not read.
            Err(_) if is_over => return Ok(()),
            Err(error) => return Err(error),
        }
        if is_over && stopped_at.get_or_insert_with(Instant::now).elapsed() > LINGER {
            // A sender that goes on regardless; the figures are of the time until now.
            return Ok(());
        }
    }
}

/// Sleeps while the stream is ahead of its rate.
pub(super) fn throttle(plan: &Plan, counters: &Counters, pace: &Pace) {
    if plan.bits_per_second == 0 {
        return;
    }
    let bits = counters.bytes.load(Relaxed) as f64 * 8.0;
    let due = Duration::from_secs_f64(bits / plan.bits_per_second as f64);
    while pace.goes_on() {
        let ahead = due.saturating_sub(pace.started().elapsed());
        if ahead.is_zero() {
            return;
        }
        std::thread::sleep(ahead.min(PATIENCE));
    }
}
