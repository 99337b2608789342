//! The server's side: one client after the other, the rest are told to come back.

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use libnet::net::{TcpListener, TcpStream, UdpSocket};
use rumpnet::Stack;
use serde_json::json;

use super::control::{COOKIE_BYTES, Control, Cookie, Refusal, State, is_timeout};
use super::counters::{self, Baseline, Counters, Pace};
use super::cpu::Meter;
use super::plan::{Mode, Plan};
use super::report::{Ended, Report};
use super::results::{Results, Role};
use super::streams::PATIENCE;
use super::{datagrams, report, rounds, streams};
use crate::cli::Global;
use crate::fail::{Failure, Outcome, Status};
use crate::host;
use crate::output::Output;
use crate::signals::Interrupts;

/// How long a client may take to open its streams.
const OPEN_WITHIN: Duration = Duration::from_secs(10);
/// How long a connection may take to say whose it is.
const COOKIE_WITHIN: Duration = Duration::from_millis(500);

pub(super) fn run(
    stack: &Stack,
    local: SocketAddr,
    one_off: bool,
    global: &Global,
    interrupts: &Interrupts,
) -> Outcome {
    let cannot = |error: io::Error| {
        Failure::new(format!("cannot listen on port {}: {}", local.port(), host::plain(&error)))
    };
    let listener = stack.tcp_listen(local).map_err(cannot)?;
    listener.socket().set_read_timeout(Some(PATIENCE)).map_err(cannot)?;
    let mut output = Output::new();
    let busy = AtomicBool::new(false);
    for number in 1.. {
        if !global.json {
            let rule = "-".repeat(59);
            output.line(format!(
                "{rule}\nServer listening on {} (test #{number})\n{rule}",
                local.port()
            ))?;
            output.flush()?;
        }
        let Some((control, peer)) = next_client(&listener, interrupts)? else { break };
        if !global.json {
            output.line(format!("Accepted connection from {}, port {}", peer.ip(), peer.port()))?;
            output.flush()?;
        }
        let test = Test { stack, interrupts, local, listener: &listener, busy: &busy };
        match test.serve(&control) {
            Ok(done) => done.show(peer, global, &mut output)?,
            Err(failure) => failure.report(),
        }
        output.flush()?;
        if one_off || interrupts.is_stopped() {
            break;
        }
    }
    Ok(Status::DONE)
}

fn next_client(
    listener: &TcpListener,
    interrupts: &Interrupts,
) -> Result<Option<(Control, SocketAddr)>, Failure> {
    while !interrupts.is_stopped() {
        match listener.accept() {
            // One that is gone again is nobody's loss.
            Ok((stream, peer)) => match Control::new(stream) {
                Ok(control) => return Ok(Some((control, host::plain_addr(peer)))),
                Err(error) => tracing::info!(%peer, %error, "client"),
            },
            Err(error) if is_timeout(&error) => {}
            Err(error) => return Err(Failure::doing("cannot accept", &host::plain(&error))),
        }
    }
    Ok(None)
}

/// A measurement that was made.
struct Done {
    plan: Plan,
    ours: Results,
    theirs: Results,
    ends: Vec<(Option<SocketAddr>, SocketAddr)>,
    counters: Vec<Arc<Counters>>,
}

impl Done {
    fn show(self, peer: SocketAddr, global: &Global, output: &mut Output) -> Result<(), Failure> {
        if !global.json {
            let lines = report::server_lines(&self.plan, &self.ours);
            return lines.iter().try_for_each(|line| output.line(line));
        }
        output.flush()?;
        let mut report = Report::new(&self.plan, self.plan.server_role(), peer, self.ends, true);
        report.end(&Ended { ours: self.ours, theirs: self.theirs, counters: &self.counters })
    }
}

/// One measurement.
struct Test<'a> {
    stack: &'a Stack,
    interrupts: &'a Interrupts,
    local: SocketAddr,
    listener: &'a TcpListener,
    busy: &'a AtomicBool,
}

/// Streams that are open.
enum Open {
    Streams(Vec<TcpStream>),
    Datagrams(UdpSocket, Vec<SocketAddr>),
    /// They come one by one.
    Listener(TcpListener),
}

impl Test<'_> {
    fn serve(&self, control: &Control) -> Result<Done, Failure> {
        let cookie = control.take_cookie()?;
        control.say(State::ParamExchange)?;
        let plan = Plan::from_json(&control.take()?).map_err(|error| {
            control.refuse(error.refusal());
            Failure::new(error.to_string())
        })?;
        let open = self.open(control, &plan, &cookie)?;
        control.say(State::TestStart)?;
        self.busy.store(true, Ordering::Release);
        let done = std::thread::scope(|scope| {
            // Others are told that we are busy, so that they need not wait to find out.
            scope.spawn(|| self.turn_away());
            let done = self.measure(control, &plan, &open);
            self.busy.store(false, Ordering::Release);
            done
        });
        let (ours, counters) = match done {
            Ok(done) => done,
            Err(failure) => {
                if self.interrupts.is_stopped() {
                    // It may have gone already.
                    let _ = control.say(State::ServerTerminate);
                }
                return Err(failure);
            }
        };
        let ends = open.ends(self.local);
        // iperf3 waits for what it sent to be taken; ours has closed already.
        drop(open);
        control.say(State::ExchangeResults)?;
        let theirs = Results::from_json(&control.take()?, &plan, plan.client_role());
        control.give(&ours.to_json(&plan, plan.server_role()))?;
        control.say(State::DisplayResults)?;
        // The client closes first, and so keeps the TIME-WAIT.
        let _ = control.next_while(|| !self.interrupts.is_stopped());
        Ok(Done { plan, ours, theirs, ends, counters })
    }

    fn turn_away(&self) {
        while self.busy.load(Ordering::Acquire) {
            if let Ok((stream, _)) = self.listener.accept() {
                turn_away(&stream);
            }
        }
    }

    /// Lets the client open its streams.
    fn open(&self, control: &Control, plan: &Plan, cookie: &Cookie) -> Result<Open, Failure> {
        let wrong = |error: io::Error| {
            control.refuse(Refusal::Accept);
            Failure::doing("stream", &host::plain(&error))
        };
        match plan.mode {
            Mode::Udp => {
                let socket = self.stack.udp_bind(self.local).map_err(wrong)?;
                control.say(State::CreateStreams)?;
                let peers = datagrams::meet(&socket, plan.streams).map_err(wrong)?;
                return Ok(Open::Datagrams(socket, peers));
            }
            Mode::ConnectClose => {
                let mut any = self.local;
                any.set_port(0);
                let listener = self.stack.tcp_listen(any).map_err(wrong)?;
                let port = listener.local_addr().map_err(wrong)?.port();
                control.say(State::Extension)?;
                control.give(&json!({"port": port}))?;
                control.say(State::CreateStreams)?;
                return Ok(Open::Listener(listener));
            }
            Mode::RequestResponse => {
                control.say(State::Extension)?;
                control.give(&json!({"port": self.local.port()}))?;
            }
            Mode::Tcp => {}
        }
        control.say(State::CreateStreams)?;
        self.accept_streams(plan, cookie).map(Open::Streams).map_err(wrong)
    }

    fn accept_streams(&self, plan: &Plan, cookie: &Cookie) -> io::Result<Vec<TcpStream>> {
        let began = Instant::now();
        let mut open = Vec::new();
        while open.len() < usize::from(plan.streams) {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if is_timeout(&error) && began.elapsed() < OPEN_WITHIN => continue,
                Err(error) => return Err(error),
            };
            stream.set_read_timeout(Some(COOKIE_WITHIN))?;
            let mut theirs = [0; COOKIE_BYTES];
            if (&stream).read_exact(&mut theirs).is_ok() && theirs == *cookie {
                streams::set_up(&stream, plan)?;
                open.push(stream);
            } else {
                turn_away(&stream);
            }
        }
        Ok(open)
    }

    /// Runs the streams from the start to the client's end.
    fn measure(
        &self,
        control: &Control,
        plan: &Plan,
        open: &Open,
    ) -> Result<(Results, Vec<Arc<Counters>>), Failure> {
        let counters: Vec<Arc<Counters>> = (0..plan.streams).map(|_| Arc::default()).collect();
        if let (Open::Streams(streams), Role::Sender) = (open, plan.server_role()) {
            counters::watch(self.stack, plan, streams.iter().map(Some), &counters);
        }
        let (pace, meter) = (Pace::start(), Meter::start());
        control.say(State::TestRunning)?;
        std::thread::scope(|scope| {
            let (pace, shared) = (&pace, &counters[..]);
            let threads = start(scope, open, plan, shared, pace);
            let (waited, baseline) = self.wait_for_end(control, plan, shared, pace);
            pace.stop();
            let seconds = pace.started().elapsed().as_secs_f64();
            let mut failed = None;
            for thread in threads {
                match thread.join() {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => failed = Some(Failure::doing("stream", &host::plain(&error))),
                    Err(_) => failed = Some(Failure::new("a stream's thread panicked")),
                }
            }
            match (waited?, failed) {
                (State::TestEnd, None) => {}
                (State::TestEnd, Some(failure)) => return Err(failure),
                (state, _) => return Err(control.unexpected(state)),
            }
            Ok((baseline.results(shared, seconds, meter.read()), counters.clone()))
        })
    }

    /// Waits for the client to say that it is enough; what it said, and what does not count.
    fn wait_for_end(
        &self,
        control: &Control,
        plan: &Plan,
        counters: &[Arc<Counters>],
        pace: &Pace,
    ) -> (Result<State, Failure>, Baseline) {
        let mut baseline = Baseline::none(counters.len());
        if !plan.omit.is_zero() {
            let counts_from = pace.started() + plan.omit;
            while Instant::now() < counts_from
                && !control.has_news()
                && !self.interrupts.is_stopped()
            {
                let rest = counts_from.saturating_duration_since(Instant::now());
                self.interrupts.sleep(rest.min(PATIENCE));
            }
            let figures = counters.iter().map(|one| one.read()).collect();
            baseline = Baseline::new(pace.started().elapsed(), figures);
        }
        (control.next_while(|| !self.interrupts.is_stopped()), baseline)
    }
}

impl Open {
    fn ends(&self, local: SocketAddr) -> Vec<(Option<SocketAddr>, SocketAddr)> {
        match self {
            Open::Streams(streams) => streams
                .iter()
                .filter_map(|stream| {
                    let local = stream.local_addr().ok().map(host::plain_addr);
                    Some((local, host::plain_addr(stream.peer_addr().ok()?)))
                })
                .collect(),
            Open::Datagrams(_, peers) => {
                peers.iter().map(|peer| (Some(local), host::plain_addr(*peer))).collect()
            }
            Open::Listener(_) => Vec::new(),
        }
    }
}

/// Tells one that it cannot be served now.
fn turn_away(stream: &TcpStream) {
    // It may have gone already. What it sent is taken, lest closing resets what we say.
    let mut cookie = [0; COOKIE_BYTES];
    let _ = stream
        .set_read_timeout(Some(COOKIE_WITHIN))
        .and_then(|()| stream.set_write_timeout(Some(COOKIE_WITHIN)))
        .and_then(|()| (&*stream).write_all(&[State::AccessDenied as u8]))
        .and_then(|()| (&*stream).read_exact(&mut cookie));
}

type Thread<'scope> = ScopedJoinHandle<'scope, io::Result<()>>;

/// Starts the streams' threads.
fn start<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    open: &'env Open,
    plan: &'env Plan,
    counters: &'scope [Arc<Counters>],
    pace: &'scope Pace,
) -> Vec<Thread<'scope>> {
    match open {
        Open::Streams(streams) => streams
            .iter()
            .zip(counters)
            .map(|(stream, counters)| {
                scope.spawn(move || serve_stream(stream, plan, counters, pace))
            })
            .collect(),
        Open::Datagrams(socket, peers) if plan.reverse => {
            let send = |(peer, counters): (&'env SocketAddr, &'scope Arc<Counters>)| {
                scope.spawn(move || datagrams::send(socket, *peer, plan, counters, pace))
            };
            let mut threads: Vec<Thread<'scope>> = peers.iter().zip(counters).map(send).collect();
            threads.push(scope.spawn(move || datagrams::answer_hellos(socket, peers, pace)));
            threads
        }
        Open::Datagrams(socket, peers) => {
            vec![scope.spawn(move || datagrams::receive(socket, peers, plan, counters, pace))]
        }
        Open::Listener(listener) => (0..plan.streams)
            .map(|_| {
                let bytes = plan.block_bytes as usize;
                scope.spawn(move || rounds::accept_and_answer(listener, bytes, || pace.goes_on()))
            })
            .collect(),
    }
}

fn serve_stream(
    stream: &TcpStream,
    plan: &Plan,
    counters: &Counters,
    pace: &Pace,
) -> io::Result<()> {
    match (plan.mode, plan.reverse) {
        (Mode::RequestResponse, _) => {
            rounds::answer(stream, plan.block_bytes as usize, || pace.goes_on())
        }
        (_, true) => streams::send(stream, plan, counters, pace),
        (_, false) => streams::receive(stream, plan, counters, pace),
    }
}
