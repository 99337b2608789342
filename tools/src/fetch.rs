//! `rumpnet fetch`: a file by HTTP/1.1, through a stack.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rumpnet::Stack;
use serde_json::json;

use crate::cli::{Global, Sockets};
use crate::fail::{Failure, Outcome, Status};
use crate::host::{self, Create};
use crate::signals::Interrupts;
use crate::units::{self, parse_seconds};

mod exchange;
pub(crate) mod probe;
mod save;
mod url;

use exchange::{Exchange, ExchangeError};
use save::{Save, Saved};
use url::Url;

/// How often it is looked whether the user has had enough.
const PATIENCE: Duration = Duration::from_millis(100);

/// `rumpnet fetch`.
#[derive(Args, Debug)]
#[command(after_help = "\
Only http:, and only addresses: stacks have neither TLS nor names yet. FILE is there when all of it
is, or not at all.
Exit status: 0 done; 1 not, or with -f the server refused; 2 wrong usage.")]
pub struct FetchArgs {
    #[command(flatten)]
    sockets: Sockets,
    /// What to get: http://ADDRESS[:PORT]/PATH
    #[arg(value_name = "URL", value_parser = Url::parse)]
    url: Url,
    /// Write to FILE instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write to a file that is called as the last part of the URL
    #[arg(short = 'O', long, conflicts_with = "output")]
    remote_name: bool,
    /// Ask for the headers only, and print them
    #[arg(short = 'I', long)]
    head: bool,
    /// Send this header too, or in place of our own of that name; may be given several times. Another
    /// server, to which a redirect leads, gets no Authorization, Proxy-Authorization, Cookie and Host
    #[arg(short = 'H', long, value_name = "NAME: VALUE", value_parser = parse_header)]
    header: Vec<(HeaderName, HeaderValue)>,
    /// Fail, and save nothing, when the server's status is 400 or above
    #[arg(short, long)]
    fail: bool,
    /// Follow so many redirects at most
    #[arg(long, value_name = "N", default_value_t = 10)]
    max_redirects: u32,
    /// Give up when nothing happened for SECONDS
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = parse_seconds)]
    timeout: Duration,
    /// Fail, and save nothing, unless the content's SHA-256 is this
    #[arg(long, value_name = "HEX", value_parser = parse_hash)]
    sha256: Option<String>,
    /// No progress bar
    #[arg(short, long)]
    quiet: bool,
}

/// Gets what the URL names.
///
/// # Errors
/// No connection, an answer that is none or not whole, a file that cannot be written.
pub fn run(args: &FetchArgs, global: &Global) -> Outcome {
    let interrupts =
        Interrupts::catch().map_err(|error| Failure::doing("cannot catch signals", &error))?;
    let (_aftermath, stack) = host::start_sockets(&args.sockets, Create::IfAsked, "fetch")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.map_err(|error| Failure::doing("cannot start", &error))?;
    runtime.block_on(async {
        tokio::select! {
            done = fetch(args, global, &stack) => done,
            signal = interrupted(&interrupts) => Ok(Status(128_u8.saturating_add(signal))),
        }
    })
}

/// Waits until the user has had enough; by which signal.
async fn interrupted(interrupts: &Interrupts) -> u8 {
    loop {
        if let Some(signal) = interrupts.stopped_by() {
            return u8::try_from(signal).unwrap_or(0);
        }
        tokio::time::sleep(PATIENCE).await;
    }
}

async fn fetch(args: &FetchArgs, global: &Global, stack: &Stack) -> Outcome {
    let began = Instant::now();
    let (url, mut exchange) = ask(args, stack).await?;
    let status = exchange.response.status();
    let is_refusal = status.is_client_error() || status.is_server_error();
    if args.fail && is_refusal {
        return Err(Failure::new(format!("{url}: the server says {status}")));
    }
    if args.head {
        print_head(&exchange)?;
        return Ok(Status::DONE);
    }
    let path = match (&args.output, args.remote_name) {
        (Some(path), _) => Some(path.clone()),
        (None, true) => Some(PathBuf::from(args.url.file_name())),
        (None, false) => None,
    };
    let saved = save(args, global, &url, &mut exchange, path.as_deref()).await?;
    report(global, path.is_some(), &url, status, &saved, began.elapsed())?;
    Ok(Status::DONE)
}

/// Asks, and follows redirects; the head of the answer that is none.
async fn ask(args: &FetchArgs, stack: &Stack) -> Result<(Url, Exchange), Failure> {
    let method = if args.head { Method::HEAD } else { Method::GET };
    let mut headers: HeaderMap = args.header.iter().cloned().collect();
    let mut url = args.url.clone();
    for _ in 0..=args.max_redirects {
        let server = url.address(stack)?;
        let begun =
            Exchange::begin(stack, server, &url, method.clone(), &headers, args.timeout).await;
        let exchange = begun.map_err(|error| match error {
            ExchangeError::Connect(error) => {
                host::peer_failure(stack, "cannot connect to", server, &error)
            }
            error => failure(&url, &error),
        })?;
        let response = &exchange.response;
        let location = response.headers().get(header::LOCATION);
        let Some(location) = location.filter(|_| is_redirect(response.status())) else {
            return Ok((url, exchange));
        };
        let location = String::from_utf8_lossy(location.as_bytes());
        let next = url.join(&location);
        let next = next.map_err(|error| Failure::new(format!("{url} leads elsewhere: {error}")))?;
        tracing::info!(from = %url, to = %next, "redirected");
        url = next;
        if url.server != args.url.server {
            // RFC 9110 §15.4: what was meant for one server is not for another.
            PERSONAL.iter().for_each(|name| drop(headers.remove(name)));
        }
    }
    Err(Failure::new(format!(
        "{url}: more than {} redirects: see --max-redirects",
        args.max_redirects
    )))
}

/// Headers that are for the server alone that the user has named.
const PERSONAL: [HeaderName; 4] =
    [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION, header::HOST];

/// RFC 9110 §15.4: those that name another place for the same thing.
fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Takes the content to its end.
async fn save(
    args: &FetchArgs,
    global: &Global,
    url: &Url,
    exchange: &mut Exchange,
    path: Option<&Path>,
) -> Result<Saved, Failure> {
    let name = path.map_or("standard output".to_owned(), |path| path.display().to_string());
    let cannot = |error: io::Error| match path {
        None => Failure::output(&error),
        Some(_) => Failure::new(format!("cannot write {name}: {}", host::plain(&error))),
    };
    let size = hyper::body::Body::size_hint(exchange.response.body()).exact();
    let progress = progress(args, global, path.is_some(), size);
    let mut save = Save::open(path, args.sha256.is_some() || global.json).map_err(cannot)?;
    while let Some(bytes) = exchange.next().await.map_err(|error| failure(url, &error))? {
        save.write(&bytes).map_err(cannot)?;
        progress.inc(bytes.len() as u64);
    }
    progress.finish_and_clear();
    save.finish(args.sha256.as_deref()).map_err(|error| match error {
        save::SaveError::Hash { .. } => Failure::new(format!("{url}: {error}")),
        save::SaveError::Write(error) => cannot(error),
    })
}

/// A bar on a terminal, unless the content goes there.
fn progress(args: &FetchArgs, global: &Global, to_file: bool, size: Option<u64>) -> ProgressBar {
    let is_elsewhere = to_file || !io::stdout().is_terminal();
    if args.quiet || global.json || !is_elsewhere {
        return ProgressBar::hidden();
    }
    let (bar, template) = match size {
        Some(size) => (
            ProgressBar::with_draw_target(Some(size), ProgressDrawTarget::stderr()),
            "[{wide_bar}] {bytes}/{total_bytes} {binary_bytes_per_sec}",
        ),
        None => (
            ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()),
            "{spinner} {bytes} {binary_bytes_per_sec}",
        ),
    };
    bar.with_style(
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
    )
}

fn print_head(exchange: &Exchange) -> Result<(), Failure> {
    let response = &exchange.response;
    let mut text = format!("{:?} {}\n", response.version(), response.status()).into_bytes();
    for (name, value) in response.headers() {
        text.extend_from_slice(name.as_str().as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.as_bytes());
        text.push(b'\n');
    }
    io::stdout().write_all(&text).map_err(|error| Failure::output(&error))
}

/// With `--json`: on standard output, or on stderr if the content went there.
fn report(
    global: &Global,
    to_file: bool,
    url: &Url,
    status: StatusCode,
    saved: &Saved,
    took: Duration,
) -> Result<(), Failure> {
    let rate = saved.bytes as f64 * 8.0 / took.as_secs_f64().max(1e-9);
    tracing::info!(%url, %status, bytes = saved.bytes, rate = units::bit_rate(rate), "fetched");
    if !global.json {
        return Ok(());
    }
    let report = json!({
        "url": url.to_string(), "status": status.as_u16(), "bytes": saved.bytes,
        "seconds": took.as_secs_f64(), "sha256": saved.sha256,
    });
    let line = format!("{report}\n");
    let written = match to_file {
        true => io::stdout().write_all(line.as_bytes()),
        false => io::stderr().write_all(line.as_bytes()),
    };
    written.map_err(|error| Failure::output(&error))
}

fn failure(url: &Url, error: &ExchangeError) -> Failure {
    Failure::new(format!("{url}: {error}"))
}

fn parse_header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let wrong = || format!("`{text}` is not a header: write one as in 'Host: example.org'");
    let (name, value) = text.split_once(':').ok_or_else(wrong)?;
    let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| wrong())?;
    let value = HeaderValue::from_str(value.trim()).map_err(|_| wrong())?;
    Ok((name, value))
}

fn parse_hash(text: &str) -> Result<String, String> {
    let is_hash = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hash {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(format!("`{text}` is not a SHA-256: write 64 hexadecimal digits"))
    }
}
