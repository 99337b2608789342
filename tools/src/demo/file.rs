//! The file that crosses: made, hashed, watched.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};

use crate::fail::Failure;
use crate::signals::Interrupts;

/// Bytes made or hashed at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// Makes a file of `size` bytes, lines of random digits; its SHA-256. It is text so that no program
/// that looks at captures takes it for a protocol.
pub(super) fn make(path: &Path, size: u64, interrupts: &Interrupts) -> Result<String, Failure> {
    let wrong =
        |error: io::Error| Failure::doing(format_args!("cannot write {}", path.display()), &error);
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).map_err(|error| Failure::doing("no entropy", &error))?;
    let mut state = u64::from_le_bytes(seed);
    let mut file = BufWriter::with_capacity(CHUNK_BYTES, File::create(path).map_err(wrong)?);
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut left = size;
    while left > 0 {
        go_on(interrupts)?;
        fill(&mut chunk, &mut state);
        let len = left.min(CHUNK_BYTES as u64);
        let bytes = &chunk[..len as usize];
        hash.update(bytes);
        file.write_all(bytes).map_err(wrong)?;
        left -= len;
    }
    file.flush().map_err(wrong)?;
    Ok(hex(&hash.finalize()))
}

/// A file's SHA-256.
pub(super) fn hash(path: &Path, interrupts: &Interrupts) -> Result<String, Failure> {
    let wrong =
        |error: io::Error| Failure::doing(format_args!("cannot read {}", path.display()), &error);
    let mut file = File::open(path).map_err(wrong)?;
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        go_on(interrupts)?;
        match file.read(&mut chunk).map_err(wrong)? {
            0 => return Ok(hex(&hash.finalize())),
            bytes => hash.update(&chunk[..bytes]),
        }
    }
}

fn go_on(interrupts: &Interrupts) -> Result<(), Failure> {
    if interrupts.is_stopped() { Err(Failure::new("interrupted")) } else { Ok(()) }
}

/// A bar on the terminal; none where stderr is no terminal, or programs read.
pub(super) fn progress(size: u64, json: bool) -> ProgressBar {
    if json {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(
        "file     [{wide_bar}] {bytes}/{total_bytes} {binary_bytes_per_sec}",
    );
    ProgressBar::new(size).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Fills with lines of 63 hexadecimal digits.
fn fill(chunk: &mut [u8], state: &mut u64) {
    for line in chunk.chunks_mut(64) {
        for digits in line.chunks_mut(16) {
            let mut word = next(state);
            for digit in digits {
                *digit = b"0123456789abcdef"[(word & 15) as usize];
                word >>= 4;
            }
        }
        if let Some(end) = line.get_mut(63) {
            *end = b'\n';
        }
    }
}

/// SplitMix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_file_has_the_hash_that_was_said() {
        let folder = tempfile::tempdir().unwrap();
        let interrupts = Interrupts::catch().unwrap();
        let path = folder.path().join("x");
        for size in [0, 1, 1_048_577] {
            let made = make(&path, size, &interrupts).unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().len(), size);
            assert_eq!(hash(&path, &interrupts).unwrap(), made);
        }
    }
}
