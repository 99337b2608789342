//! A frame's bytes as hexadecimal (`-x`), with the letters beside (`-X`).

use std::fmt::Write as _;

/// Whether the printable letters stand beside the bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Letters {
    /// `-x`.
    Without,
    /// `-X`.
    With,
}

/// Appends `\n` and a line per 16 bytes.
pub fn dump(bytes: &[u8], letters: Letters, out: &mut String) {
    for (row, chunk) in bytes.chunks(16).enumerate() {
        let mut line = String::new();
        for pair in chunk.chunks(2) {
            line.push(' ');
            for byte in pair {
                push_byte(*byte, &mut line);
            }
        }
        let _ = write!(out, "\n\t0x{:04x}: ", row * 16);
        match letters {
            Letters::Without => out.push_str(&line),
            Letters::With => {
                let _ = write!(out, "{line:<40}  ");
                out.extend(chunk.iter().map(|&byte| match byte {
                    0x21..=0x7e => char::from(byte),
                    _ => '.',
                }));
            }
        }
    }
}

fn push_byte(byte: u8, line: &mut String) {
    let _ = write!(line, "{byte:02x}");
}
