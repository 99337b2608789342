//! One request and its answer, over a connection of their own.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response};
use libnet::{SockType, errno};
use rumpnet::Stack;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::url::Url;
use crate::aio::TaskSocket;
use crate::http::HttpStream;

/// Why an exchange did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExchangeError {
    /// No connection.
    #[error("{0}")]
    Connect(io::Error),
    /// The answer is none of HTTP, or it was cut short.
    #[error("{}", why(.0))]
    Http(#[from] hyper::Error),
    /// Nothing came for too long.
    #[error("nothing came for {} s: see --timeout", .0.as_secs_f64())]
    Silent(Duration),
}

/// An answer whose head is there. Its connection is dropped with it.
pub(super) struct Exchange {
    pub(super) response: Response<Incoming>,
    connection: JoinHandle<hyper::Result<()>>,
    patience: Duration,
}

impl Exchange {
    /// Asks `server` for `url`, with `headers` beside our own or in place of them.
    ///
    /// # Errors
    /// No connection, no answer in time, or none of HTTP.
    pub(super) async fn begin(
        stack: &Stack,
        server: SocketAddr,
        url: &Url,
        method: Method,
        headers: &HeaderMap,
        patience: Duration,
    ) -> Result<Self, ExchangeError> {
        let socket =
            TaskSocket::open(stack, server, SockType::Stream).map_err(ExchangeError::Connect)?;
        let connected = timeout(patience, socket.connect(server)).await;
        connected.unwrap_or_else(|_| Err(errno::timed_out())).map_err(ExchangeError::Connect)?;
        let stream = HttpStream::new(Arc::new(socket), patience);
        let (mut sender, connection) = http1::handshake(stream).await?;
        let connection = tokio::spawn(connection);
        let answered = timeout(patience, sender.send_request(request(url, method, headers))).await;
        let response = answered.map_err(|_| ExchangeError::Silent(patience))??;
        Ok(Exchange { response, connection, patience })
    }

    /// The next of the content; `None` at its end.
    ///
    /// # Errors
    /// It was cut short, or nothing came for too long.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, ExchangeError> {
        loop {
            let frame = timeout(self.patience, self.response.body_mut().frame()).await;
            match frame.map_err(|_| ExchangeError::Silent(self.patience))? {
                None => return Ok(None),
                // Trailers are nobody's content.
                Some(frame) => {
                    if let Ok(bytes) = frame?.into_data() {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

fn request(url: &Url, method: Method, headers: &HeaderMap) -> Request<Empty<Bytes>> {
    const AGENT: &str = concat!("rumpnet/", env!("CARGO_PKG_VERSION"));
    let mut request = Request::new(Empty::new());
    *request.method_mut() = method;
    // Both were parsed as parts of a URI.
    *request.uri_mut() = url.path.parse().unwrap_or_default();
    let own = request.headers_mut();
    if let Ok(host) = HeaderValue::from_str(&url.host) {
        own.insert(header::HOST, host);
    }
    own.insert(header::USER_AGENT, HeaderValue::from_static(AGENT));
    own.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    own.insert(header::CONNECTION, HeaderValue::from_static("close"));
    for name in headers.keys() {
        own.remove(name);
        for value in headers.get_all(name) {
            own.append(name, value.clone());
        }
    }
    request
}

/// hyper's errors name what it did; what went wrong is behind.
fn why(error: &hyper::Error) -> String {
    use std::error::Error as _;
    let source = error.source();
    let io = source.and_then(|source| source.downcast_ref::<io::Error>());
    let is_cut = io.is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof);
    match (io, source) {
        _ if is_cut || error.is_incomplete_message() => {
            "the connection ended before the answer did".to_owned()
        }
        _ if error.is_parse() => format!("the answer is none of HTTP: {error}"),
        (Some(error), _) => crate::host::plain(error),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}
