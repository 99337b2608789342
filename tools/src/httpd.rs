//! `rumpnet httpd`: a folder, by HTTP/1.1.
//!
//! hyper speaks the protocol over our sockets. It needs no sockets of its own and no runtime, and
//! what waits for a slow client is a task, not a thread.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use libnet::socket::SocketOption;
use serde_json::json;
use tokio::time::timeout;
use tracing::{debug, info};

use crate::aio::TaskSocket;
use crate::cli::{Global, Sockets};
use crate::control::ControlArgs;
use crate::fail::{Failure, Outcome, Status};
use crate::host::{self, Create};
use crate::http::{HttpStream, TaskTimer};
use crate::output::Output;
use crate::serve::{self, Accepting, BACKLOG, Counter, Place, Places};
use crate::signals::{Asked, Interrupts};
use crate::tasks;
use crate::units::parse_seconds;
use crate::zone::Zoned;

mod body;
mod listing;
pub(crate) mod probe;
mod range;
mod root;
mod site;

use body::Answer;
use root::Root;
use site::Site;

/// Bytes of a request's line and headers at most; longer ones are answered by 431.
const MAX_HEADER_BYTES: usize = 32 * 1024;
/// Bytes that hyper holds of what is read or written at most.
const MAX_BUFFER_BYTES: usize = 512 * 1024;
/// Descriptors for each connection: its socket's, where that is the host's, and its file's.
const FILES_EACH: u64 = 2;
/// Descriptors that are no connection's.
const OTHER_FILES: u64 = 64;

/// `rumpnet httpd`.
#[derive(Args, Debug)]
#[command(after_help = "\
GET and HEAD, keep-alive, ranges, If-Modified-Since, If-None-Match, index.html, listings. No link
and no .. leads out of DIR. Ctrl-C ends, Ctrl-\\ prints counters, -v logs every request.")]
pub struct HttpdArgs {
    #[command(flatten)]
    sockets: Sockets,
    /// The folder to serve, all of it
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The port to listen on; 0: any free one, which is printed
    #[arg(short, long, value_name = "PORT", default_value_t = 80)]
    port: u16,
    /// The address to listen at [default: all of the stack's; with --sockin: 127.0.0.1]
    #[arg(short = 'B', long, value_name = "ADDRESS")]
    bind: Option<Zoned>,
    /// Connections at once; more wait in the listener's queue
    #[arg(long, value_name = "N", default_value_t = 1024,
        value_parser = clap::value_parser!(u32).range(1..=60_000))]
    max_connections: u32,
    /// Close a connection on which nothing was asked for, or taken, for SECONDS
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = parse_seconds)]
    timeout: Duration,
    /// What `rumpnet ls` lists the stack as [default: httpd]
    #[arg(long, value_name = "NAME", default_value = "httpd", hide_default_value = true)]
    name: String,
    #[command(flatten)]
    control: ControlArgs,
}

/// What was served.
#[derive(Debug, Default)]
struct Counters {
    accepting: Accepting,
    /// Answers by the first digit of their status, 1 to 5.
    answers: [Counter; 5],
    /// Bytes of files, without headers and listings.
    body_bytes: Counter,
}

/// Serves until told to stop.
///
/// # Errors
/// No such folder, no bus, a port that is taken.
pub fn run(args: &HttpdArgs, global: &Global) -> Outcome {
    if args.sockets.interfaces.interfaces.is_empty() && !args.sockets.sockin {
        return Err(Failure::usage(
            "httpd needs an interface: add --if shmif:my.bus,addr=10.0.0.1/24, or --sockin",
        ));
    }
    let interrupts =
        Interrupts::catch().map_err(|error| Failure::doing("cannot catch signals", &error))?;
    let counters = Arc::new(Counters::default());
    let root = Root::open(&args.folder).map_err(|error| folder_failure(args, &error))?;
    let site = Arc::new(Site { root, counters: Arc::clone(&counters) });
    tasks::allow_files(u64::from(args.max_connections) * FILES_EACH + OTHER_FILES);
    let (_aftermath, stack) = host::start_sockets(&args.sockets, Create::IfAsked, &args.name)?;
    let interfaces = &args.sockets.interfaces.interfaces;
    let _control = args.control.open(&stack, interfaces, &args.name)?;
    let any = || match args.sockets.sockin {
        true => Ipv4Addr::LOCALHOST.into(),
        false => host::any_address(&stack),
    };
    let at = match &args.bind {
        Some(bind) => bind.at(&stack, args.port)?,
        None => SocketAddr::new(any(), args.port),
    };
    let listener = TaskSocket::listen(&stack, at, BACKLOG)
        .map_err(|error| host::listen_failure("", at, args.sockets.sockin, &error))?;
    let at = listener.socket().local_addr().unwrap_or(at);
    let runtime =
        tasks::runtime().map_err(|error| Failure::doing("cannot start threads", &error))?;
    let mut output = Output::new();
    introduce(args, at, global, &mut output)?;
    drop(runtime.spawn(serve(listener, site, args.max_connections, args.timeout)));
    while interrupts.channel().recv().is_ok_and(|asked| asked == Asked::Report) {
        report("report", &counters, global, &mut output)?;
    }
    tasks::end(runtime);
    report("end", &counters, global, &mut output)?;
    Ok(Status::DONE)
}

fn folder_failure(args: &HttpdArgs, error: &io::Error) -> Failure {
    let hint = match error.kind() {
        io::ErrorKind::Unsupported => ": Linux 5.6 or later is needed, for openat2",
        _ => "",
    };
    let folder = args.folder.display();
    Failure::usage(format!("cannot serve {folder}: {}{hint}", host::plain(error)))
}

async fn serve(listener: TaskSocket, site: Arc<Site>, max_connections: u32, patience: Duration) {
    let begin = |socket, peer, place| {
        drop(tokio::spawn(connection(socket, peer, Arc::clone(&site), patience, place)));
    };
    serve::accept(listener, Places::new(max_connections), &site.counters.accepting, begin).await;
}

/// Counts a connection as over, however its task ends.
struct Over(Arc<Site>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.counters.accepting.over.add(1);
    }
}

async fn connection(
    socket: TaskSocket,
    peer: SocketAddr,
    site: Arc<Site>,
    patience: Duration,
    _place: Place,
) {
    let _over = Over(Arc::clone(&site));
    // Answers go out as they are made; a domain without the option does without.
    let _ = socket.socket().set_option(SocketOption::NoDelay(true));
    let socket = Arc::new(socket);
    let stream = HttpStream::new(Arc::clone(&socket), patience);
    let service = service_fn(async |request| Ok::<_, Infallible>(answer(&site, peer, &request)));
    let mut builder = http1::Builder::new();
    builder
        .timer(TaskTimer)
        .header_read_timeout(patience)
        .max_header_size(MAX_HEADER_BYTES)
        .max_buf_size(MAX_BUFFER_BYTES)
        .half_close(true);
    if let Err(error) = builder.serve_connection(stream, service).await {
        debug!(%peer, %error, "connection ended");
    }
    // To close over what it still sends would be a reset, and that may overtake the last answer.
    if socket.finish().is_ok() {
        let _ = timeout(LINGER, drain(&socket)).await;
    }
}

/// Takes what a client still sends until it closes too, up to a bound.
async fn drain(socket: &TaskSocket) {
    let (mut left_bytes, mut chunks) = (MAX_DRAINED_BYTES, std::collections::VecDeque::new());
    while let Ok(bytes @ 1..) = socket.recv_bytes(left_bytes.min(65_536), &mut chunks).await {
        chunks.clear();
        left_bytes -= bytes;
        if left_bytes == 0 {
            return;
        }
    }
}

fn answer(site: &Site, peer: SocketAddr, request: &Request<Incoming>) -> Response<Answer> {
    let answer = site.answer(request);
    let status = answer.status().as_u16();
    if let Some(counter) = site.counters.answers.get(usize::from(status / 100).wrapping_sub(1)) {
        counter.add(1);
    }
    let bytes = answer.body().size_hint().exact();
    info!(%peer, method = %request.method(), uri = %request.uri(), status, bytes, "request");
    answer
}

/// Says what is served; programs wait for this line.
fn introduce(
    args: &HttpdArgs,
    at: SocketAddr,
    global: &Global,
    output: &mut Output,
) -> Result<(), Failure> {
    let folder = args.folder.display();
    if global.json {
        output.json(&json!({
            "event": "up", "pid": std::process::id(), "at": at.to_string(),
            "folder": folder.to_string(),
        }))?;
    } else {
        output.line(format!("{folder} is served at http://{at}/"))?;
        output.line("Ctrl-C ends, Ctrl-\\ prints counters")?;
    }
    output.flush()
}

fn report(
    event: &str,
    counters: &Counters,
    global: &Global,
    output: &mut Output,
) -> Result<(), Failure> {
    let a = &counters.accepting;
    let [begun, failed, at_limit, bytes] =
        [&a.begun, &a.failed, &a.at_limit, &counters.body_bytes].map(Counter::get);
    let answers = counters.answers.each_ref().map(Counter::get);
    if global.json {
        let [_, ok, moved, client, server] = answers;
        output.json(&json!({
            "event": event, "connections": begun, "open": a.open(), "failed": failed,
            "at_limit": at_limit, "body_bytes": bytes,
            "answers": {"2xx": ok, "3xx": moved, "4xx": client, "5xx": server},
        }))?;
    } else {
        let all: u64 = answers.iter().sum();
        let [_, ok, ..] = answers;
        output.line(format!(
            "{begun} connections, {} open, {failed} not accepted, {at_limit} times at the limit; \
             {all} answers, {} of them refusals, {bytes} bytes of files",
            a.open(),
            all - ok - answers[2],
        ))?;
    }
    output.flush()
}

/// How long a client may still send when it was told all it will be.
const LINGER: Duration = Duration::from_secs(2);
/// How much: more than may be under way when it learns that.
const MAX_DRAINED_BYTES: usize = 16 << 20;
