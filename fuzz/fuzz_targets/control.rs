#![no_main]

use std::fmt::Debug;
use std::io::BufReader;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tools::control::protocol::{
    Frame, MAX_REPLY_BYTES, MAX_REQUEST_BYTES, Reply, Request, read_line, to_line,
};

/// Reads all lines there are; what was read is written and read again.
fn lines<T: DeserializeOwned + Serialize + PartialEq + Debug>(bytes: &[u8], max: usize) -> Vec<T> {
    // A buffer that ends in the middle of lines.
    let mut reader = BufReader::with_capacity(7, bytes);
    let mut all = Vec::new();
    while let Ok(Some(message)) = read_line::<T>(&mut reader, max) {
        let line = to_line(&message);
        let again = read_line::<T>(&mut &line[..], line.len()).expect("what is written is read");
        assert_eq!(again.as_ref(), Some(&message));
        all.push(message);
    }
    all
}

// What a client may say to a node's control socket, and what a node may say to a client.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    lines::<Request>(bytes, MAX_REQUEST_BYTES);
    lines::<Request>(bytes, 40);
    for reply in lines::<Reply>(bytes, MAX_REPLY_BYTES) {
        if let Reply::Frame(frame) = reply
            && let Some(decoded) = frame.decode()
        {
            assert_eq!(Frame::encode(&decoded), frame.bytes.to_lowercase());
        }
    }
});
