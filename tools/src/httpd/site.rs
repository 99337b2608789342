//! What is answered to a request.

use std::fs::{File, Metadata};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::header::{self, HeaderValue};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Version};

use super::Counters;
use super::body::{Answer, FileBody};
use super::listing;
use super::range::{self, Wanted};
use super::root::{Found, Missing, Root};

/// Bytes of a path and query at most; longer ones are answered by 414.
const MAX_URI_BYTES: usize = 8 * 1024;

/// The folder, as it is seen by HTTP.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) root: Root,
    pub(super) counters: Arc<Counters>,
}

impl Site {
    /// The answer. It needs no body of the request's.
    pub(super) fn answer<B>(&self, request: &Request<B>) -> Response<Answer> {
        let uri = request.uri();
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut answer = short(StatusCode::METHOD_NOT_ALLOWED);
            put(&mut answer, header::ALLOW, "GET, HEAD");
            return answer;
        }
        // RFC 9112 §3.2: a request without Host is no request of HTTP/1.1, one with two is none at all.
        let hosts = request.headers().get_all(header::HOST).iter().count();
        if hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11) {
            return short(StatusCode::BAD_REQUEST);
        }
        if uri.path_and_query().is_some_and(|path| path.as_str().len() > MAX_URI_BYTES) {
            return short(StatusCode::URI_TOO_LONG);
        }
        match self.root.find(uri.path()) {
            Ok(Found::File(file, metadata)) => self.file(file, &metadata, uri.path(), request),
            Ok(Found::Folder(folder)) => self.folder(&folder, request),
            Err(missing) => short(match missing {
                Missing::Malformed => StatusCode::BAD_REQUEST,
                Missing::Nothing => StatusCode::NOT_FOUND,
                Missing::Forbidden => StatusCode::FORBIDDEN,
                Missing::Busy => StatusCode::SERVICE_UNAVAILABLE,
            }),
        }
    }

    fn folder<B>(&self, folder: &File, request: &Request<B>) -> Response<Answer> {
        let url_path = request.uri().path();
        if !url_path.ends_with('/') {
            let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
            // One slash in front: two would be another host.
            let there = format!("/{}/{query}", url_path.trim_start_matches('/'));
            let mut answer = short(StatusCode::MOVED_PERMANENTLY);
            put(&mut answer, header::LOCATION, &there);
            return answer;
        }
        if let Some((file, metadata)) = self.root.find_in(url_path, "index.html") {
            return self.file(file, &metadata, "index.html", request);
        }
        match listing::page(folder, url_path) {
            Ok(page) => {
                let mut answer = Response::new(Either::Left(Full::new(Bytes::from(page))));
                put(&mut answer, header::CONTENT_TYPE, "text/html; charset=utf-8");
                answer
            }
            Err(_) => short(StatusCode::SERVICE_UNAVAILABLE),
        }
    }

    fn file<B>(
        &self,
        file: File,
        metadata: &Metadata,
        url_path: &str,
        request: &Request<B>,
    ) -> Response<Answer> {
        let (size, asked) = (metadata.len(), request.headers());
        let version = FileVersion::of(metadata);
        // RFC 9110 §14.2: of all methods GET alone has ranges.
        let range = asked.get(header::RANGE).filter(|_| *request.method() == Method::GET);
        let wanted = match range.and_then(|range| range.to_str().ok()) {
            Some(range) if version.allows_part(asked) => range::wanted(range, size),
            _ => Wanted::Whole,
        };
        let mut answer = if version.is_known(asked) {
            empty(StatusCode::NOT_MODIFIED)
        } else {
            match wanted {
                Wanted::Whole => self.bytes(StatusCode::OK, file, 0..size),
                Wanted::Part(part) => {
                    let told = format!("bytes {}-{}/{size}", part.start, part.end - 1);
                    let mut answer = self.bytes(StatusCode::PARTIAL_CONTENT, file, part);
                    put(&mut answer, header::CONTENT_RANGE, &told);
                    answer
                }
                Wanted::Unsatisfiable => {
                    let mut answer = short(StatusCode::RANGE_NOT_SATISFIABLE);
                    put(&mut answer, header::CONTENT_RANGE, &format!("bytes */{size}"));
                    return answer;
                }
            }
        };
        put(&mut answer, header::CONTENT_TYPE, &content_type(url_path));
        put(&mut answer, header::ACCEPT_RANGES, "bytes");
        put(&mut answer, header::ETAG, &version.tag);
        if let Some(modified) = version.modified {
            put(&mut answer, header::LAST_MODIFIED, &httpdate::fmt_http_date(modified));
        }
        answer
    }

    fn bytes(
        &self,
        status: StatusCode,
        file: File,
        part: std::ops::Range<u64>,
    ) -> Response<Answer> {
        let body = FileBody::new(file, part, Arc::clone(&self.counters));
        let mut answer = Response::new(Either::Right(body));
        *answer.status_mut() = status;
        answer
    }
}

/// Which version of a file there is, to be compared with one that a client has.
struct FileVersion {
    tag: String,
    /// To the second; `None` for times that HTTP cannot say.
    modified: Option<SystemTime>,
}

impl FileVersion {
    fn of(metadata: &Metadata) -> Self {
        let since = metadata.modified().ok();
        let since = since.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
        let nanos = since.map_or(0, |since| since.as_nanos());
        let seconds = since.map(|since| since.as_secs()).filter(|&seconds| seconds < YEAR_10000);
        FileVersion {
            tag: format!("\"{nanos:x}-{:x}\"", metadata.len()),
            modified: seconds.map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)),
        }
    }

    /// Does the client have it already? RFC 9110 §13.2.2: a tag decides before a date.
    fn is_known(&self, asked: &HeaderMap) -> bool {
        if let Some(tags) = asked.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok()) {
            return tags
                .split(',')
                .map(|tag| tag.trim().trim_start_matches("W/"))
                .any(|tag| tag == self.tag || tag == "*");
        }
        let since = asked.get(header::IF_MODIFIED_SINCE).and_then(date);
        since.zip(self.modified).is_some_and(|(since, modified)| modified <= since)
    }

    /// May a part be sent? RFC 9110 §13.1.5: not if the client's other parts are of another version.
    fn allows_part(&self, asked: &HeaderMap) -> bool {
        let Some(condition) = asked.get(header::IF_RANGE) else { return true };
        condition == &self.tag || (self.modified.is_some() && date(condition) == self.modified)
    }
}

fn date(value: &HeaderValue) -> Option<SystemTime> {
    httpdate::parse_http_date(value.to_str().ok()?).ok()
}

fn content_type(url_path: &str) -> String {
    let mime = mime_guess::from_path(Path::new(url_path)).first_or_octet_stream();
    let charset = if mime.type_() == "text" { "; charset=utf-8" } else { "" };
    format!("{mime}{charset}")
}

fn empty(status: StatusCode) -> Response<Answer> {
    let mut answer = Response::new(Either::Left(Full::default()));
    *answer.status_mut() = status;
    answer
}

/// A status and what it means, for people.
fn short(status: StatusCode) -> Response<Answer> {
    let mut answer = empty(status);
    *answer.body_mut() = Either::Left(Full::new(Bytes::from(format!("{status}\n"))));
    put(&mut answer, header::CONTENT_TYPE, "text/plain; charset=utf-8");
    answer
}

/// Adds a header; one with a value that is none is left out.
fn put(answer: &mut Response<Answer>, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}

/// The second in which the first year begins that HTTP's dates have no room for.
const YEAR_10000: u64 = 253_402_300_800;
