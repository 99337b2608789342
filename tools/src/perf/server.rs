//! The server's side: one client after the other, the rest are told to come back.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use libnet::net::{TcpListener, TcpStream, UdpSocket};
use rumpnet::Stack;
use serde_json::{Value, json};

use super::control::{Control, is_timeout};
use super::counters::{Counters, Pace};
use super::cpu::Meter;
use super::plan::{Mode, Plan};
use super::streams::PATIENCE;
use super::{datagrams, report, rounds, streams};
use crate::cli::Global;
use crate::fail::{Failure, Outcome, Status};
use crate::host;
use crate::output::Output;
use crate::signals::Interrupts;

/// How long a client may take to open its streams.
const OPEN_WITHIN: Duration = Duration::from_secs(10);

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
        let test = Test { stack, interrupts, listener: &listener, busy: &busy };
        match test.serve(&control) {
            Ok((plan, results)) => show(global, &plan, &results, &mut output)?,
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
                Ok(control) => return Ok(Some((control, peer))),
                Err(error) => tracing::info!(%peer, %error, "client"),
            },
            Err(error) if is_timeout(&error) => {}
            Err(error) => return Err(Failure::doing("cannot accept", &host::plain(&error))),
        }
    }
    Ok(None)
}

fn show(global: &Global, plan: &Plan, results: &Value, output: &mut Output) -> Result<(), Failure> {
    if global.json {
        return output.json(results);
    }
    report::server_lines(plan, results).iter().try_for_each(|line| output.line(line))
}

/// One measurement.
struct Test<'a> {
    stack: &'a Stack,
    interrupts: &'a Interrupts,
    listener: &'a TcpListener,
    busy: &'a AtomicBool,
}

/// What the client's streams come in by.
enum Door {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

/// Streams that are open.
enum Open {
    Streams(Vec<TcpStream>),
    Datagrams(UdpSocket, Vec<SocketAddr>),
    /// They come one by one.
    Listener(TcpListener),
}

impl Test<'_> {
    fn serve(&self, control: &Control) -> Result<(Plan, Value), Failure> {
        let wrong = |error: io::Error| Failure::doing("stream", &host::plain(&error));
        let plan = control.take_proposal()?;
        let (door, port) = self.open(&plan).map_err(wrong)?;
        control.accept(port)?;
        let open = self.wait_for_streams(door, &plan).map_err(wrong)?;
        wait_for_start(control, &plan, &open)?;
        self.busy.store(true, Ordering::Release);
        let results = std::thread::scope(|scope| {
            // Others are told that we are busy, so that they need not wait to find out.
            scope.spawn(|| self.turn_away());
            let results = self.measure(control, &plan, &open);
            self.busy.store(false, Ordering::Release);
            results
        })?;
        control.give(&results)?;
        // The client closes first, and so keeps the TIME-WAIT.
        let _ = control.wait_while(|| !self.interrupts.is_stopped());
        Ok((plan, results))
    }

    fn turn_away(&self) {
        while self.busy.load(Ordering::Acquire) {
            let Ok((stream, _)) = self.listener.accept() else { continue };
            if let Ok(control) = Control::new(stream) {
                // It may have gone already.
                let _ = control.refuse("the server is busy; try again later");
            }
        }
    }

    fn open(&self, plan: &Plan) -> io::Result<(Door, u16)> {
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        if plan.mode == Mode::Udp {
            let socket = self.stack.udp_bind(any)?;
            let port = socket.local_addr()?.port();
            return Ok((Door::Udp(socket), port));
        }
        let listener = self.stack.tcp_listen(any)?;
        listener.socket().set_read_timeout(Some(PATIENCE))?;
        let port = listener.local_addr()?.port();
        Ok((Door::Tcp(listener), port))
    }

    fn wait_for_streams(&self, door: Door, plan: &Plan) -> io::Result<Open> {
        let listener = match door {
            Door::Udp(socket) => {
                let peers = datagrams::meet(&socket, plan.streams)?;
                return Ok(Open::Datagrams(socket, peers));
            }
            Door::Tcp(listener) if plan.mode == Mode::ConnectClose => {
                return Ok(Open::Listener(listener));
            }
            Door::Tcp(listener) => listener,
        };
        let began = Instant::now();
        let mut open = Vec::new();
        while open.len() < usize::from(plan.streams) {
            match listener.accept() {
                Ok((stream, _)) => open.push(stream),
                Err(error) if is_timeout(&error) && began.elapsed() < OPEN_WITHIN => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Open::Streams(open))
    }

    /// Runs the streams from the client's start to its end.
    fn measure(&self, control: &Control, plan: &Plan, open: &Open) -> Result<Value, Failure> {
        let counters: Vec<Arc<Counters>> = (0..plan.streams).map(|_| Arc::default()).collect();
        let (pace, meter) = (Pace::start(), Meter::start());
        std::thread::scope(|scope| {
            let (pace, counters) = (&pace, &counters[..]);
            let mut threads = Vec::new();
            match open {
                Open::Streams(streams) => {
                    for (stream, counters) in streams.iter().zip(counters) {
                        threads
                            .push(scope.spawn(move || serve_stream(stream, plan, counters, pace)));
                    }
                }
                Open::Datagrams(socket, peers) if plan.reverse => {
                    for (at, (peer, counters)) in peers.iter().zip(counters).enumerate() {
                        threads.push(scope.spawn(move || {
                            datagrams::send(socket, *peer, at as u32, plan, counters, pace)
                        }));
                    }
                }
                Open::Datagrams(socket, _) => {
                    threads.push(scope.spawn(move || datagrams::receive(socket, counters, pace)));
                }
                Open::Listener(listener) => {
                    for _ in 0..plan.streams {
                        threads.push(scope.spawn(move || {
                            let bytes = plan.block_bytes as usize;
                            rounds::accept_and_answer(listener, bytes, || pace.goes_on())
                        }));
                    }
                }
            }
            let started = control.say("started");
            let ended = started.and_then(|()| control.wait_while(|| !self.interrupts.is_stopped()));
            pace.stop();
            let mut error = ended.as_ref().err().map(ToString::to_string);
            for thread in threads {
                match thread.join() {
                    Ok(Ok(())) => {}
                    Ok(Err(failed)) => error = Some(format!("server: {}", host::plain(&failed))),
                    Err(_) => error = Some("server: a thread panicked".to_owned()),
                }
            }
            ended?;
            let all: Vec<Value> = counters.iter().map(|one| one.read().to_json()).collect();
            Ok(json!({
                "seconds": pace.started().elapsed().as_secs_f64(), "streams": all,
                "cpu": meter.read().to_json(), "error": error,
            }))
        })
    }
}

/// Waits for the client's start. Until then it may say hello again.
fn wait_for_start(control: &Control, plan: &Plan, open: &Open) -> Result<(), Failure> {
    let Open::Datagrams(socket, _) = open else { return control.wait_for("start") };
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let answering = scope.spawn(|| datagrams::answer_hellos(socket, plan.streams, &is_over));
        let started = control.wait_for("start");
        is_over.store(true, Ordering::Release);
        let answered = answering.join().unwrap_or_else(|_| Err(io::Error::other("panicked")));
        started?;
        answered.map_err(|error| Failure::doing("stream", &host::plain(&error)))
    })
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
