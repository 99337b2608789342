//! One of the demonstration's hosts: does what it is told on standard input, a JSON command per
//! line, and answers in JSON on standard output.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use clap::Args;
use crossbeam_channel::{Receiver, bounded};
use libnet::IpCidr;
use rumpnet::Stack;
use serde_json::{Value, json};

use super::capture::{self, Recording};
use crate::echo::Echo;
use crate::fail::{Failure, Outcome, Status};
use crate::host::{self, Create};
use crate::ifspec::{IfKind, IfSpec};
use crate::perf::histogram::Histogram;
use crate::perf::rounds;
use crate::ping;

/// `rumpnet demo-host`.
#[derive(Args, Debug)]
pub struct DemoHostArgs {
    /// What the bus lists it as
    #[arg(long)]
    name: String,
    /// The bus's file
    #[arg(long)]
    bus: PathBuf,
    /// Its address, with its network
    #[arg(long)]
    addr: IpCidr,
    /// Write down what is sent, up to a bound
    #[arg(long)]
    record: PathBuf,
    /// The port to echo on
    #[arg(long)]
    echo: Option<u16>,
}

/// Bytes of the file read, sent or received at a time.
const CHUNK_BYTES: usize = 1 << 20;
/// How often a transfer says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_millis(50);
/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// Serves until told to leave, or until whoever started it is gone.
///
/// # Errors
/// The bus cannot be joined.
pub fn run(args: &DemoHostArgs) -> Outcome {
    let mut spec = IfSpec::new(IfKind::Shmif, &args.bus);
    spec.addrs.push(args.addr);
    let stack = host::start(&[spec], Create::IfAsked, &args.name)?;
    let recording = capture::record(&stack, &args.record).map_err(|error| {
        Failure::doing(format_args!("cannot write {}", args.record.display()), &error)
    })?;
    let echo = args.echo.map(|port| Echo::serve(&stack, port)).transpose();
    let _echo = echo.map_err(|error| Failure::doing("echo", &error))?;
    let commands = commands().map_err(|error| Failure::doing("standard input", &error))?;
    say(&json!({"event": "up"}))?;
    for command in commands {
        let name = command["do"].as_str().unwrap_or_default();
        if name == "leave" {
            break;
        }
        match obey(&stack, &recording, name, &command) {
            Ok(mut result) => {
                if result["event"].is_null() {
                    result["event"] = name.into();
                }
                say(&result)?;
            }
            Err(error) => say(&json!({"event": "failed", "error": format!("{name}: {error}")}))?,
        }
    }
    Ok(Status::DONE)
}

fn obey(stack: &Stack, recording: &Recording, name: &str, command: &Value) -> io::Result<Value> {
    match name {
        "stop_recording" => {
            recording.flush()?;
            Ok(json!({"written": recording.written(), "skipped": recording.skipped()}))
        }
        "ping" => ping_round(stack, command),
        "send" => send(stack, parse(&command["to"])?, &path(command)),
        "receive" => receive(stack, command["port"].as_u64().unwrap_or(0) as u16, &path(command)),
        "udp_echo" => udp_echo(stack, parse(&command["to"])?, &command["sizes"]),
        "rounds" => measure_rounds(stack, parse(&command["to"])?, millis(&command["ms"])),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Lines of standard input as commands. Its end means that whoever started us is gone: whatever
/// we are at, nobody waits for it.
fn commands() -> io::Result<Receiver<Value>> {
    let (sender, receiver) = bounded(16);
    std::thread::Builder::new().name("commands".to_owned()).spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            let command: Value = serde_json::from_str(&line).unwrap_or_default();
            let is_last = command["do"].as_str() == Some("leave");
            if sender.send(command).is_err() || is_last {
                return;
            }
        }
        std::process::exit(1);
    })?;
    Ok(receiver)
}

fn say(event: &Value) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let written = writeln!(stdout, "{event}").and_then(|()| stdout.flush());
    written.map_err(|error| Failure::output(&error))
}

fn ping_round(stack: &Stack, command: &Value) -> io::Result<Value> {
    let to: IpAddr = parse(&command["to"])?;
    let count = command["count"].as_u64().unwrap_or(1).min(1000) as u16;
    let times = ping::round::ask(stack, to, count, millis(&command["patience_ms"]))?;
    let ms: Vec<f64> = times.iter().map(|time| time.as_nanos() as f64 / 1e6).collect();
    Ok(json!({"ms": ms}))
}

fn send(stack: &Stack, to: SocketAddr, path: &Path) -> io::Result<Value> {
    let mut file = File::open(path)?;
    let began = Instant::now();
    let stream = stack.tcp_connect(to)?;
    let mut sent = 0;
    let mut buffer = BytesMut::new();
    loop {
        buffer.resize(CHUNK_BYTES, 0);
        let bytes = file.read(&mut buffer)?;
        if bytes == 0 {
            break;
        }
        let mut chunk: Bytes = buffer.split_to(bytes).freeze();
        while !chunk.is_empty() {
            let taken = stream.send_bytes(&chunk)?;
            sent += taken as u64;
            let _ = chunk.split_to(taken);
        }
    }
    stream.shutdown(Shutdown::Write)?;
    // The other side closes when it has everything.
    let _ = (&stream).read(&mut [0; 1])?;
    Ok(json!({"event": "sent", "bytes": sent, "seconds": began.elapsed().as_secs_f64()}))
}

fn receive(stack: &Stack, port: u16, path: &Path) -> io::Result<Value> {
    let listener = stack.tcp_listen(SocketAddr::new(host::any_address(stack), port))?;
    say(&json!({"event": "listening"})).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
    let (stream, _) = listener.accept()?;
    let mut file = File::create(path)?;
    let began = Instant::now();
    let mut reported = began;
    let mut received = 0u64;
    let mut chunks = VecDeque::new();
    loop {
        let bytes = stream.recv_bytes(CHUNK_BYTES, &mut chunks)?;
        if bytes == 0 {
            break;
        }
        for chunk in chunks.drain(..) {
            file.write_all(&chunk)?;
        }
        received += bytes as u64;
        if reported.elapsed() > PROGRESS_EVERY {
            reported = Instant::now();
            say(&json!({"event": "progress", "bytes": received}))
                .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    Ok(json!({"event": "received", "bytes": received, "seconds": seconds}))
}

fn udp_echo(stack: &Stack, to: SocketAddr, sizes: &Value) -> io::Result<Value> {
    let socket = stack.udp_bind(SocketAddr::new(host::any_address(stack), 0))?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(ANSWER_WITHIN))?;
    let mut buffer = vec![0; 65_536];
    let mut intact = 0;
    for size in sizes.as_array().into_iter().flatten().filter_map(Value::as_u64) {
        let datagram: Vec<u8> = (0..size).map(|at| (at * 31 % 251) as u8).collect();
        socket.send(&datagram)?;
        match socket.recv(&mut buffer) {
            Ok(bytes) if buffer[..bytes] == datagram => intact += 1,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(json!({"intact": intact}))
}

fn measure_rounds(stack: &Stack, to: SocketAddr, duration: Duration) -> io::Result<Value> {
    let stream = stack.tcp_connect(to)?;
    let latency = Histogram::default();
    let began = Instant::now();
    rounds::ask(&stream, 1, &latency, || began.elapsed() < duration, || {})?;
    let micros = |duration: Duration| duration.as_nanos() as f64 / 1000.0;
    let count = latency.count();
    Ok(json!({
        "transactions": count,
        "transactions_per_second": count as f64 / began.elapsed().as_secs_f64(),
        "p50_us": micros(latency.percentile(50.0)), "p99_us": micros(latency.percentile(99.0)),
    }))
}

fn parse<T: std::str::FromStr>(value: &Value) -> io::Result<T> {
    let text = value.as_str().unwrap_or_default();
    text.parse().map_err(|_| io::ErrorKind::InvalidInput.into())
}

fn path(command: &Value) -> PathBuf {
    PathBuf::from(command["path"].as_str().unwrap_or_default())
}

fn millis(value: &Value) -> Duration {
    Duration::from_millis(value.as_u64().unwrap_or(0))
}
