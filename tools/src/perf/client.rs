//! The client's side of a measurement.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use libnet::Family;
use libnet::net::{TcpStream, UdpSocket};
use rumpnet::Stack;

use super::control::{self, Control, Cookie, State};
use super::counters::{self, Baseline, Counters, Figures, Pace};
use super::cpu::Meter;
use super::plan::{Mode, Plan};
use super::report::{Ended, Report};
use super::results::{Results, Role};
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

/// Whom to measure with, and from which address of ours if that is given.
#[derive(Clone, Copy)]
pub(super) struct Ends {
    pub(super) server: SocketAddr,
    pub(super) from: Option<SocketAddr>,
}

/// How long the server may take to accept a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// The shortest time between two reports, as iperf3.
const MIN_INTERVAL: Duration = Duration::from_millis(100);

pub(super) fn run(
    stack: &Stack,
    Ends { server, from }: Ends,
    plan: Plan,
    interval: Duration,
    global: &Global,
    interrupts: &Interrupts,
) -> Outcome {
    let unreachable =
        |error: io::Error| host::peer_failure(stack, "cannot connect to", server, &error);
    let control = host::connect(stack, from, server, Some(CONNECT_WITHIN), interrupts);
    let control = control.map_err(unreachable)?;
    let control = Control::new(control).map_err(unreachable)?;
    let cookie = control::cookie().map_err(|error| Failure::doing("no entropy", &error))?;
    let to = propose(&control, &cookie, server, &plan)?;
    let paths = open(stack, from, to, &plan, &cookie, interrupts)
        .map_err(|error| host::peer_failure(stack, "cannot open a stream to", to, &error))?;
    let ends = paths.iter().map(|path| ends(path, to)).collect();
    let mut report = Report::new(&plan, plan.client_role(), server, ends, global.json);
    control.expect(State::TestStart)?;
    report.begin()?;
    control.expect(State::TestRunning)?;

    let interval = if interval.is_zero() { interval } else { interval.max(MIN_INTERVAL) };
    let test = Test { stack, plan: &plan, control: &control, interrupts, to };
    let measured = test.run(&paths, interval, &mut report)?;
    if !plan.reverse {
        control.say(State::TestEnd)?;
    }
    let remote = exchange(&control, &plan, &measured.results)?;
    drop(paths);
    report.end(&Ended { ours: measured.results, theirs: remote, counters: &measured.counters })?;
    control.say(State::IperfDone)?;
    if let Some(error) = measured.error {
        return Err(Failure::new(error));
    }
    if interrupts.is_stopped() {
        return Err(Failure::new("interrupted; the figures are of the time until then"));
    }
    Ok(Status::DONE)
}

/// Asks for the test; where its streams go.
fn propose(
    control: &Control,
    cookie: &Cookie,
    server: SocketAddr,
    plan: &Plan,
) -> Result<SocketAddr, Failure> {
    control.send_cookie(cookie)?;
    control.expect(State::ParamExchange)?;
    control.give(&plan.to_json())?;
    if !plan.mode.is_rounds() {
        control.expect(State::CreateStreams)?;
        return Ok(server);
    }
    match control.next()? {
        State::Extension => {}
        State::CreateStreams => {
            control.say(State::ClientTerminate)?;
            return Err(Failure::new(
                "the server is iperf3, which has no --rr and --crr; start rumpnet perf -s there",
            ));
        }
        state => return Err(control.unexpected(state)),
    }
    let port = control.take()?["port"].as_u64().and_then(|port| u16::try_from(port).ok());
    let port = port.ok_or_else(|| Failure::new("the server named no port"))?;
    control.expect(State::CreateStreams)?;
    let mut to = server;
    to.set_port(port);
    Ok(to)
}

fn exchange(control: &Control, plan: &Plan, ours: &Results) -> Result<Results, Failure> {
    control.expect(State::ExchangeResults)?;
    control.give(&ours.to_json(plan, plan.client_role()))?;
    let theirs = Results::from_json(&control.take()?, plan, plan.server_role());
    control.expect(State::DisplayResults)?;
    Ok(theirs)
}

fn open(
    stack: &Stack,
    from: Option<SocketAddr>,
    to: SocketAddr,
    plan: &Plan,
    cookie: &Cookie,
    interrupts: &Interrupts,
) -> io::Result<Vec<Path>> {
    (0..plan.streams)
        .map(|_| match plan.mode {
            Mode::Tcp | Mode::RequestResponse => {
                let stream = host::connect(stack, from, to, Some(CONNECT_WITHIN), interrupts)?;
                streams::set_up(&stream, plan)?;
                (&stream).write_all(cookie)?;
                Ok(Path::Tcp(stream))
            }
            Mode::ConnectClose => Ok(Path::Fresh),
            Mode::Udp => {
                let any = SocketAddr::new(Family::of(&to.ip()).unspecified(), 0);
                let socket = stack.udp_bind(from.unwrap_or(any))?;
                socket.connect(to)?;
                datagrams::greet(&socket)?;
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
    /// Of what counts.
    results: Results,
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
        if self.plan.client_role() == Role::Sender {
            let streams = paths.iter().map(|path| match path {
                Path::Tcp(stream) => Some(stream),
                Path::Udp(_) | Path::Fresh => None,
            });
            counters::watch(self.stack, self.plan, streams, &counters);
        }
        let (pace, meter) = (Pace::start(), Meter::start());
        std::thread::scope(|scope| {
            let threads: Vec<_> = paths
                .iter()
                .zip(&counters)
                .map(|(path, counters)| {
                    let pace = &pace;
                    scope.spawn(move || self.stream(path, counters, pace))
                })
                .collect();
            let is_over = || threads.iter().all(std::thread::ScopedJoinHandle::is_finished);
            let watched = self.watch(&pace, interval, &counters, is_over, report);
            pace.stop();
            let seconds = pace.started().elapsed().as_secs_f64();
            // What is under way still comes, and a sender that goes on learns that it is enough.
            let ended = if self.plan.reverse { self.control.say(State::TestEnd) } else { Ok(()) };
            let mut error = None;
            for thread in threads {
                match thread.join() {
                    Ok(Ok(())) => {}
                    Ok(Err(failed)) => error = Some(format!("stream: {}", host::plain(&failed))),
                    Err(_) => error = Some("stream: its thread panicked".to_owned()),
                }
            }
            let load = meter.read();
            let omitted = watched?;
            ended?;
            let results = omitted.results(&counters, seconds, load);
            Ok(Measured { counters: counters.clone(), results, error })
        })
    }

    /// Reports until it is over; what does not count.
    fn watch(
        &self,
        pace: &Pace,
        interval: Duration,
        counters: &[Arc<Counters>],
        is_over: impl Fn() -> bool,
        report: &mut Report,
    ) -> Result<Baseline, Failure> {
        let started = pace.started();
        let counts_from = started + self.plan.omit;
        let end = self.plan.bytes.is_none().then(|| counts_from + self.plan.duration);
        let mut next = (!interval.is_zero()).then(|| started + interval);
        let mut omitting = (!self.plan.omit.is_zero()).then_some(counts_from);
        let mut baseline = Baseline::none(counters.len());
        loop {
            let now = Instant::now();
            let until = [end, next, omitting].into_iter().flatten().min();
            let rest = until.map_or(streams::PATIENCE, |at| at.saturating_duration_since(now));
            if !rest.is_zero() {
                self.interrupts.sleep(rest.min(self.look_every()));
            }
            if self.control.has_news() {
                let state = self.control.next()?;
                return Err(self.control.unexpected(state));
            }
            let now = Instant::now();
            let figures: Vec<Figures> = counters.iter().map(|one| one.read()).collect();
            let has_all = self.plan.bytes.is_some_and(|bytes| baseline.bytes(&figures) >= bytes);
            let done = end.is_some_and(|end| now >= end)
                || is_over()
                || (has_all && omitting.is_none())
                || self.interrupts.is_stopped();
            if omitting.is_some_and(|at| now >= at) {
                omitting = None;
                report.omitted(now.duration_since(started), &figures)?;
                counters.iter().for_each(|one| one.latency.clear());
                baseline = Baseline::new(now.duration_since(started), figures);
                next = next.map(|_| now + interval);
            } else if let Some(at) = next.filter(|at| now >= *at || done) {
                report.interval(now.duration_since(started), &figures)?;
                next = Some(at + interval);
            }
            if done {
                return Ok(baseline);
            }
        }
    }

    /// A number of bytes that come from elsewhere is soon passed.
    fn look_every(&self) -> Duration {
        if self.plan.bytes.is_some() { Duration::from_millis(10) } else { streams::PATIENCE }
    }

    fn stream(&self, path: &Path, counters: &Arc<Counters>, pace: &Pace) -> io::Result<()> {
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
                datagrams::send(socket, self.to, self.plan, counters, pace)
            }
            (Path::Udp(socket), _, true) => {
                datagrams::receive(socket, &[self.to], self.plan, &[counters], pace)
            }
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
