//! `net.core`: what holds for sockets of every kind.

use super::entry::{Sysctl, config, number};
use super::value::{Kind, Value};

/// The least buffer that Linux sets, bytes.
const LEAST_BUFFER_BYTES: u64 = 2_304;
const MOST_BYTES: u64 = 1 << 30;

pub(super) const TABLE: &[Sysctl] = &[
    number!(
        "net.core.rmem_default",
        datagram.receive_buffer_bytes,
        LEAST_BUFFER_BYTES,
        MOST_BYTES,
        "bytes",
        "SO_RCVBUF of a new UDP, raw or ping socket"
    )
    .for_new(),
    config!(
        "net.core.rmem_max",
        Kind::Number { least: LEAST_BUFFER_BYTES, most: MOST_BYTES },
        "bytes",
        "the largest SO_RCVBUF that a socket can be given",
        |config| Value::number(config.datagram.max_receive_buffer_bytes),
        |config, value| {
            config.datagram.max_receive_buffer_bytes = value.to();
            config.tcp.receive_buffer_option_max_bytes = value.to();
        }
    )
    .linux("4194304"),
    number!(
        "net.core.somaxconn",
        tcp.backlog_max,
        0,
        i32::MAX as u64,
        "connections",
        "the most that wait for accept at a listener, whatever listen asks for"
    )
    .for_new(),
    number!(
        "net.core.wmem_max",
        tcp.send_buffer_option_max_bytes,
        LEAST_BUFFER_BYTES,
        MOST_BYTES,
        "bytes",
        "the largest SO_SNDBUF that a TCP socket can be given"
    )
    .linux("4194304"),
];
