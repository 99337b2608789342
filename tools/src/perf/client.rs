//! The client's side of a measurement.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use libnet::net::{TcpStream, UdpSocket};
use rumpnet::Stack;

use super::control::Control;
use super::counters::{Counters, Figures, Pace};
use super::cpu::{Load, Meter};
use super::plan::{Mode, Plan};
use super::report::{Ended, Report};
use super::{datagrams, rounds, streams};
use crate::cli::Global;
use crate::fail::{Failure, Outcome, Status};
use crate::host;
use crate::signals::Interrupts;

/// What a stream goes over.
enum Path {
    Tcp(TcpStream),
    Udp(UdpSocket),
    /// A connection for each transaction.
    Fresh,
}

/// How long the server may take to accept a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// The shortest time between two reports, as iperf3.
const MIN_INTERVAL: Duration = Duration::from_millis(100);

pub(super) fn run(
    stack: &Stack,
    server: SocketAddr,
    plan: Plan,
    interval: Duration,
    global: &Global,
    interrupts: &Interrupts,
) -> Outcome {
    let unreachable = |error: io::Error| host::peer_failure("cannot connect to", server, &error);
    let control = host::connect(stack, None, server, Some(CONNECT_WITHIN), interrupts);
    let control = control.map_err(unreachable)?;
    let control = Control::new(control).map_err(unreachable)?;
    let port = control.propose(&plan)?;
    let to = SocketAddr::new(server.ip(), port);
    let paths = open(stack, to, &plan)
        .map_err(|error| host::peer_failure("cannot open a stream to", to, &error))?;
    let ends = paths.iter().map(|path| ends(path, to)).collect();
    let mut report = Report::new(&plan, server, ends, global.json);
    report.begin()?;
    control.say("start")?;
    control.wait_for("started")?;

    let interval = if interval.is_zero() { interval } else { interval.max(MIN_INTERVAL) };
    let test = Test { stack, plan: &plan, control: &control, interrupts, to };
    let measured = test.run(&paths, interval, &mut report)?;
    if !plan.reverse {
        control.say("end")?;
    }
    let remote = control.take()?;
    let theirs =
        remote["streams"].as_array().map(|all| all.iter().map(Figures::from_json).collect());
    report.end(&Ended {
        seconds: measured.seconds,
        remote_seconds: remote["seconds"].as_f64().unwrap_or(measured.seconds),
        ours: measured.counters.iter().map(|counters| counters.read()).collect(),
        theirs: theirs.unwrap_or_default(),
        counters: &measured.counters,
        host: measured.load,
        remote: Load::from_json(&remote["cpu"]),
    })?;
    if let Some(error) = measured.error.or_else(|| remote["error"].as_str().map(str::to_owned)) {
        return Err(Failure::new(error));
    }
    if interrupts.is_stopped() {
        return Err(Failure::new("interrupted; the figures are of the time until then"));
    }
    Ok(Status::DONE)
}

fn open(stack: &Stack, to: SocketAddr, plan: &Plan) -> io::Result<Vec<Path>> {
    (0..u32::from(plan.streams))
        .map(|stream| match plan.mode {
            Mode::Tcp | Mode::RequestResponse => {
                stack.tcp_connect_timeout(&to, CONNECT_WITHIN).map(Path::Tcp)
            }
            Mode::ConnectClose => Ok(Path::Fresh),
            Mode::Udp => {
                let any = if to.is_ipv4() {
                    Ipv4Addr::UNSPECIFIED.into()
                } else {
                    Ipv6Addr::UNSPECIFIED.into()
                };
                let socket = stack.udp_bind(SocketAddr::new(any, 0))?;
                socket.connect(to)?;
                datagrams::greet(&socket, stream)?;
                Ok(Path::Udp(socket))
            }
        })
        .collect()
}

fn ends(path: &Path, to: SocketAddr) -> (Option<SocketAddr>, SocketAddr) {
    let local = match path {
        Path::Tcp(stream) => stream.local_addr().ok(),
        Path::Udp(socket) => socket.local_addr().ok(),
        Path::Fresh => None,
    };
    (local, to)
}

/// What all streams share.
struct Test<'a> {
    stack: &'a Stack,
    plan: &'a Plan,
    control: &'a Control,
    interrupts: &'a Interrupts,
    to: SocketAddr,
}

struct Measured {
    counters: Vec<Arc<Counters>>,
    seconds: f64,
    load: Load,
    error: Option<String>,
}

impl Test<'_> {
    fn run(
        &self,
        paths: &[Path],
        interval: Duration,
        report: &mut Report,
    ) -> Result<Measured, Failure> {
        let counters: Vec<Arc<Counters>> = paths.iter().map(|_| Arc::default()).collect();
        let (pace, meter) = (Pace::start(), Meter::start());
        std::thread::scope(|scope| {
            let threads: Vec<_> = paths
                .iter()
                .zip(&counters)
                .enumerate()
                .map(|(at, (path, counters))| {
                    let pace = &pace;
                    scope.spawn(move || self.stream(at as u32, path, counters, pace))
                })
                .collect();
            let is_over = || threads.iter().all(std::thread::ScopedJoinHandle::is_finished);
            let watched = self.watch(&pace, interval, &counters, is_over, report);
            pace.stop();
            let ended = if self.plan.reverse { self.control.say("end") } else { Ok(()) };
            let mut error = None;
            for thread in threads {
                match thread.join() {
                    Ok(Ok(())) => {}
                    Ok(Err(failed)) => error = Some(format!("stream: {}", host::plain(&failed))),
                    Err(_) => error = Some("stream: its thread panicked".to_owned()),
                }
            }
            let (seconds, load) = (pace.started().elapsed().as_secs_f64(), meter.read());
            watched.and(ended)?;
            Ok(Measured { counters: counters.clone(), seconds, load, error })
        })
    }

    /// Reports until it is over.
    fn watch(
        &self,
        pace: &Pace,
        interval: Duration,
        counters: &[Arc<Counters>],
        is_over: impl Fn() -> bool,
        report: &mut Report,
    ) -> Result<(), Failure> {
        let started = pace.started();
        let end = self.plan.bytes.is_none().then(|| started + self.plan.duration);
        let mut next = (!interval.is_zero()).then(|| started + interval);
        loop {
            let now = Instant::now();
            let until = [end, next].into_iter().flatten().min();
            let rest = until.map_or(streams::PATIENCE, |at| at.saturating_duration_since(now));
            if !rest.is_zero() {
                self.interrupts.sleep(rest.min(streams::PATIENCE));
            }
            let now = Instant::now();
            let done =
                end.is_some_and(|end| now >= end) || is_over() || self.interrupts.is_stopped();
            if let Some(at) = next.filter(|at| now >= *at || done) {
                let figures: Vec<Figures> = counters.iter().map(|one| one.read()).collect();
                report.interval(now.duration_since(started), &figures)?;
                next = Some(at + interval);
            }
            if done {
                return Ok(());
            }
        }
    }

    fn stream(
        &self,
        at: u32,
        path: &Path,
        counters: &Arc<Counters>,
        pace: &Pace,
    ) -> io::Result<()> {
        let bytes = self.plan.block_bytes as usize;
        let done = || {
            use std::sync::atomic::Ordering::Relaxed;
            counters.packets.fetch_add(1, Relaxed);
            counters.bytes.fetch_add(self.plan.block_bytes, Relaxed);
        };
        let goes_on = || pace.goes_on();
        match (path, self.plan.mode, self.plan.reverse) {
            (Path::Tcp(stream), Mode::RequestResponse, _) => {
                rounds::ask(stream, bytes, &counters.latency, goes_on, done)
            }
            (Path::Tcp(stream), _, false) => streams::send(stream, self.plan, counters, pace),
            (Path::Tcp(stream), _, true) => streams::receive(stream, self.plan, counters, pace),
            (Path::Udp(socket), _, false) => {
                datagrams::send(socket, self.to, at, self.plan, counters, pace)
            }
            (Path::Udp(socket), _, true) => datagrams::receive_one(socket, at, counters, pace),
            (Path::Fresh, _, _) => rounds::connect_and_ask(
                self.stack,
                self.to,
                bytes,
                &counters.latency,
                goes_on,
                done,
            ),
        }
    }
}
