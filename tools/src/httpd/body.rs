//! A file, or a part of it, as the body of an answer.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body_util::{Either, Full};
use hyper::body::{Body, Frame, SizeHint};

use super::Counters;

/// Bytes read at a time.
const CHUNK_BYTES: u64 = 256 * 1024;

/// The body of any answer.
pub(super) type Answer = Either<Full<Bytes>, FileBody>;

/// Bytes of a file, read as they are sent. The reads are done where they are needed: what is often
/// asked for lies in the page cache, and a slow disk holds up one of the threads.
#[derive(Debug)]
pub(super) struct FileBody {
    file: File,
    left: Range<u64>,
    counters: Arc<Counters>,
}

impl FileBody {
    pub(super) fn new(file: File, part: Range<u64>, counters: Arc<Counters>) -> Self {
        FileBody { file, left: part, counters }
    }

    fn read(&self) -> io::Result<Bytes> {
        let bytes = CHUNK_BYTES.min(self.left.end - self.left.start);
        let mut chunk = BytesMut::zeroed(usize::try_from(bytes).unwrap_or(usize::MAX));
        // A file that was cut meanwhile ends the connection: its length was promised.
        self.file.read_exact_at(&mut chunk, self.left.start)?;
        Ok(chunk.freeze())
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        if this.left.is_empty() {
            return Poll::Ready(None);
        }
        let read = this.read();
        if let Ok(chunk) = &read {
            this.left.start += chunk.len() as u64;
            this.counters.body_bytes.add(chunk.len());
        }
        Poll::Ready(Some(read.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.end - self.left.start)
    }
}
