//! A node's counters by HTTP, at an address of the host: `node --metrics`.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use rumpnet::{Inet, Stack};
use tokio::runtime::{Builder, Runtime};
use tracing::debug;

use crate::aio::TaskSocket;
use crate::fail::Failure;
use crate::host;
use crate::http::{HttpStream, TaskTimer};
use crate::serve::{Accepting, Place, Places, accept};

/// Connections at once; more wait in the listener's queue.
const MAX_CONNECTIONS: u32 = 16;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 16;
/// How long a client may take to ask, and to take the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of a request's line and headers at most.
const MAX_HEADER_BYTES: usize = 16 << 10;

/// Answers until it is dropped.
#[derive(Debug)]
pub struct Served {
    at: SocketAddr,
    runtime: Option<Runtime>,
}

impl Served {
    /// Where it listens.
    pub const fn at(&self) -> SocketAddr {
        self.at
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            crate::tasks::end(runtime);
        }
    }
}

/// Answers `GET /metrics` at `at` with what is counted of `stack`; `name` is what its node is called.
///
/// # Errors
/// The address cannot be listened at; the host has no room for a thread.
pub fn serve(stack: &Stack, name: &str, at: SocketAddr) -> Result<Served, Failure> {
    let inet = stack.inet().ok_or_else(|| Failure::usage("--metrics needs a stack of our own"))?;
    // The node ends its stack when it wants to, not when a scraper has gone.
    let about = Arc::new(About { inet: Arc::downgrade(inet), name: name.to_owned() });
    let host = host::host_sockets()?;
    let listener = TaskSocket::listen(&host, at, BACKLOG)
        .map_err(|error| host::listen_failure("--metrics: ", at, true, &error))?;
    let at = listener.socket().local_addr().unwrap_or(at);
    let runtime = runtime().map_err(|error| Failure::doing("cannot start a thread", &error))?;
    drop(runtime.spawn(async move {
        let accepting = Accepting::default();
        let begin = |socket, _, place| {
            drop(tokio::spawn(connection(socket, Arc::clone(&about), place)));
        };
        accept(listener, Places::new(MAX_CONNECTIONS), &accepting, begin).await;
    }));
    Ok(Served { at, runtime: Some(runtime) })
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(1).thread_name("metrics").enable_time().build()
}

struct About {
    inet: Weak<Inet>,
    name: String,
}

async fn connection(socket: TaskSocket, about: Arc<About>, _place: Place) {
    let socket = Arc::new(socket);
    let stream = HttpStream::new(Arc::clone(&socket), PATIENCE);
    let service = service_fn(async |request| Ok::<_, Infallible>(answer(&about, &request)));
    let mut builder = http1::Builder::new();
    builder.timer(TaskTimer).header_read_timeout(PATIENCE).max_buf_size(MAX_HEADER_BYTES);
    if let Err(error) = builder.serve_connection(stream, service).await {
        debug!(%error, "a connection for metrics ended");
    }
}

fn answer<B>(about: &About, request: &Request<B>) -> Response<Full<Bytes>> {
    let plain = |status, text: &'static str| {
        let mut answer = Response::new(Full::from(text));
        *answer.status_mut() = status;
        answer
    };
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "GET /metrics\n");
    }
    if request.uri().path() != "/metrics" {
        return plain(StatusCode::NOT_FOUND, "see /metrics\n");
    }
    let Some(inet) = about.inet.upgrade() else {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "the node is ending\n");
    };
    let mut answer = Response::new(Full::from(super::text(&inet, &about.name)));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}
