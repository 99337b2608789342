//! What the two ends of a run do: bulk, one-byte requests, connections.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::place::cpu_seconds;
use crate::transport::{Stream, Transport};

/// Bytes of a write, and of a read at most.
pub const WRITE_BYTES: usize = 128 << 10;

/// What one run of one end measured.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Payload bytes, round trips, or connections.
    pub count: u64,
    /// How long it took.
    pub seconds: f64,
    /// What it used of a core, user and system.
    pub cpu_seconds: f64,
    /// Median of a round, microseconds.
    pub p50_us: f64,
    /// 99th percentile of a round, microseconds.
    pub p99_us: f64,
}

/// Listens, says where on standard output, and serves one run.
///
/// # Errors
/// As the transport gives them.
pub fn serve(transport: &Transport, mode: &str, ip: &str) -> io::Result<Report> {
    let addr = SocketAddr::new(ip.parse().map_err(|_| wrong("ip"))?, 0);
    let listener = transport.listen(addr)?;
    println!("{}", listener.local_addr()?);
    io::stdout().flush()?;
    let mut stream = listener.accept()?;
    let (start, cpu) = (Instant::now(), cpu_seconds());
    let mut count = 0;
    match mode {
        "bulk" => count = drain(&mut stream)?,
        "rr" => echo(&mut stream)?,
        _ => loop {
            // The first byte says whether another connection follows.
            let mut byte = [0];
            if stream.read(&mut byte)? == 0 || byte[0] == b'q' {
                break;
            }
            stream.write_all(&byte)?;
            count += 1;
            stream = listener.accept()?;
        },
    }
    let seconds = start.elapsed().as_secs_f64();
    Ok(Report { count, seconds, cpu_seconds: cpu_seconds() - cpu, ..Report::default() })
}

/// Reads to the end, and touches every byte.
fn drain(stream: &mut Stream) -> io::Result<u64> {
    let mut buf = vec![0; WRITE_BYTES];
    let (mut count, mut sum) = (0, 0u64);
    loop {
        let n = stream.read(&mut buf)?;
        if n == 0 {
            std::hint::black_box(sum);
            return Ok(count);
        }
        count += n as u64;
        sum ^= touch(&buf[..n]);
    }
}

/// Reads every byte, as fast as memory gives them; the same code for every end.
#[inline(never)]
pub fn touch(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(8);
    let rest = words.remainder().iter().fold(0, |sum, byte| sum ^ u64::from(*byte));
    words.fold(rest, |sum, word| {
        sum ^ u64::from_ne_bytes(word.try_into().expect("chunks of eight bytes"))
    })
}

fn echo(stream: &mut Stream) -> io::Result<()> {
    let mut byte = [0];
    while stream.read(&mut byte)? == 1 {
        stream.write_all(&byte)?;
    }
    Ok(())
}

/// Connects and asks for as long as `duration` says.
///
/// # Errors
/// As the transport gives them.
pub fn ask(
    transport: &Transport,
    mode: &str,
    addr: SocketAddr,
    duration: Duration,
) -> io::Result<Report> {
    let mut stream = transport.connect(addr)?;
    let (start, cpu) = (Instant::now(), cpu_seconds());
    let mut times = Vec::new();
    let mut count = 0u64;
    match mode {
        "bulk" => {
            let data = vec![0x5a; WRITE_BYTES];
            while start.elapsed() < duration {
                stream.write_all(&data)?;
                count += data.len() as u64;
            }
        }
        "rr" => {
            while start.elapsed() < duration {
                let asked = Instant::now();
                round_trip(&mut stream)?;
                times.push(asked.elapsed().as_nanos() as f64 / 1e3);
                count += 1;
            }
        }
        _ => {
            while start.elapsed() < duration {
                let asked = Instant::now();
                round_trip(&mut stream)?;
                drop(stream);
                stream = transport.connect(addr)?;
                times.push(asked.elapsed().as_nanos() as f64 / 1e3);
                count += 1;
            }
            stream.write_all(b"q")?;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let cpu_seconds = cpu_seconds() - cpu;
    drop(stream);
    times.sort_by(f64::total_cmp);
    let at = |q: f64| times.get((times.len() as f64 * q) as usize).copied().unwrap_or(f64::NAN);
    let nan_is_zero = |v: f64| if v.is_nan() { 0.0 } else { v };
    Ok(Report {
        count,
        seconds,
        cpu_seconds,
        p50_us: nan_is_zero(at(0.5)),
        p99_us: nan_is_zero(at(0.99)),
    })
}

fn round_trip(stream: &mut Stream) -> io::Result<()> {
    stream.write_all(b"x")?;
    stream.read_exact(&mut [0])
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what.to_owned())
}
