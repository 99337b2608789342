//! Requests of any paths and headers, answered from a folder with something beside it.

use std::os::unix::fs::symlink;
use std::path::Path;

use hyper::body::Body as _;
use hyper::{Request, StatusCode, header};

use super::root::Root;
use super::site::Site;

/// Bytes of what lies outside; nothing inside is as long.
const OUTSIDE_BYTES: usize = 0xabcd;

/// A request: its path in the first line, a header in each of the others.
pub(crate) fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut lines = text.split('\n');
    let mut request = Request::get(lines.next().unwrap_or_default());
    for line in lines {
        if let Some((name, value)) = line.split_once(": ") {
            request = request.header(name, value);
        }
    }
    // What hyper takes for no request never gets to us.
    let Ok(request) = request.header(header::HOST, "10.0.0.1").body(()) else { return };
    let place = tempfile::tempdir().expect("a folder can be made");
    furnish(place.path());
    let root = Root::open(&place.path().join("inside")).expect("it is there");
    let answer = Site { root, counters: Default::default() }.answer(&request);
    let told = |name| answer.headers().get(name).map_or("", |value| value.to_str().unwrap_or(""));
    assert!(!told(header::ETAG).ends_with(&format!("-{OUTSIDE_BYTES:x}\"")), "nothing outside");
    if answer.status() == StatusCode::PARTIAL_CONTENT {
        let part = told(header::CONTENT_RANGE).trim_start_matches("bytes ");
        let (part, size) = part.split_once('/').expect("a range of a size");
        let (first, last) = part.split_once('-').expect("a first and a last byte");
        let number = |text: &str| text.parse::<u64>().expect("a number");
        assert!(number(first) <= number(last) && number(last) < number(size));
        assert_eq!(answer.body().size_hint().exact(), Some(number(last) + 1 - number(first)));
    }
}

/// A folder `inside` with a file, another folder and links, and a file beside it.
fn furnish(place: &Path) {
    let inside = place.join("inside");
    let made = std::fs::create_dir_all(inside.join("sub"))
        .and_then(|()| std::fs::write(place.join("outside"), vec![0; OUTSIDE_BYTES]))
        .and_then(|()| std::fs::write(inside.join("a"), [7; 100]))
        .and_then(|()| std::fs::write(inside.join("sub/index.html"), "it"))
        .and_then(|()| symlink("../outside", inside.join("out")))
        .and_then(|()| symlink("sub", inside.join("in")));
    made.expect("a folder can be furnished");
}

/// Requests as browsers make them, and as they should not be made.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let seeds = [
        "/a",
        "/",
        "/a\nrange: bytes=5-9",
        "/a\nrange: bytes=-9\nif-range: \"1-64\"",
        "/%61?q\nrange: bytes=200-\nif-none-match: W/\"1\", *",
        "/in/../sub/\nif-modified-since: Sun, 06 Nov 1994 08:49:37 GMT",
        "/%2e%2e/outside",
        "/out",
        "//sub",
    ];
    seeds.iter().map(|seed| seed.as_bytes().to_vec()).collect()
}
