//! Arbitrary segments, calls and time against connections in every state: two ends of TCP, programs
//! on both, a wire that does what it is told, and a stranger who knows each connection's numbers.
//!
//! The input is how both ends are set up, and what happens then, step by step. After each step what
//! must hold between the parts of a stack is asserted ([`Table::check_invariants`]), and on the wire
//! that no acknowledgement and no window goes back; in the end both ends are closed, nobody answers,
//! and nothing may be left.
//!
//! [`Table::check_invariants`]: libnetinet::tcp::Table::check_invariants

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use libnetinet::tcp::{
    ConnId, ConnectFrom, IcmpError, IcmpErrorKind, Linger, PathError, RecvInto, TransitionCounts,
};

use self::ends::{End, Ends, Fate, PORT, Side};
use self::setup::Setup;
use self::step::Step;

mod ends;
mod forge;
mod seeds;
mod setup;
mod step;
mod watch;

pub(super) use self::seeds::seeds;

/// Runs one input.
pub(super) fn run(bytes: &[u8]) {
    moves_of(bytes);
}

/// The moves between states that the connections of an input make, its end apart.
///
/// # Panics
/// When an invariant does not hold.
pub fn moves_of(bytes: &[u8]) -> TransitionCounts {
    let mut moves = TransitionCounts::default();
    let Some((setup, mut rest)) = Setup::read(bytes) else { return moves };
    let mut ends = setup.ends();
    for _ in 0..STEPS_MAX {
        let Some((step, after)) = Step::read(rest) else { break };
        rest = after;
        apply(&mut ends, &step);
        ends.settle();
    }
    moves.merge(ends.a.table.transitions());
    moves.merge(ends.b.table.transitions());
    finish(&mut ends);
    moves
}

fn apply(ends: &mut Ends, step: &Step) {
    match *step {
        Step::Forge(ref forged) => forge::arrive(ends, forged),
        Step::Deliver { count, fate } => {
            let fate = Fate::ALL[usize::from(fate) % Fate::ALL.len()];
            ends.deliver(usize::from(count % 64) + 1, fate);
        }
        Step::Connect { how, early_bytes } => connect(ends, how, early_bytes),
        Step::Accept => ends.accept(),
        Step::Write { conn, how, bytes } => {
            with(ends, conn, |ends, side, id| write(ends, side, id, how, bytes));
        }
        Step::Read { conn, how, bytes } => {
            with(ends, conn, |ends, side, id| read(ends, side, id, how, bytes));
        }
        Step::End { conn, how } => with(ends, conn, |ends, side, id| end(ends, side, id, how)),
        Step::Set { conn, option, value } => {
            with(ends, conn, |ends, side, id| setup::set(ends, side, id, option, value));
        }
        Step::Wait { unit, count } => wait(ends, unit, count),
        Step::Run { millis } => ends.run(Duration::from_millis(millis.into())),
        Step::Icmp { flow, kind, seq, mtu } => icmp(ends, flow, kind, seq, mtu),
        Step::Path { what, value } => path(ends, what, value),
        Step::Listener { what, value } => setup::change_listener(ends, what, value),
        Step::Stack { what, value } => setup::change_stack(ends, what, value),
    }
}

/// One of the connections that programs have, if there is any; some of them are over.
fn with(ends: &mut Ends, choice: u8, call: impl FnOnce(&mut Ends, Side, ConnId)) {
    if let Some(&(side, id)) = ends.held.get(usize::from(choice) % ends.held.len().max(1)) {
        call(ends, side, id);
    }
}

/// A connect: of A to B; with the second bit of B to A, where nobody listens; with the third by a
/// port that may be taken; with the fourth, data or the question for a cookie go with the SYN.
fn connect(ends: &mut Ends, how: u8, early_bytes: u16) {
    let from_side = Side::of(how >> 1);
    let (now, backwards) = (ends.now, from_side == Side::B);
    let mut from = ConnectFrom::default();
    from.options = ends.client_options.clone();
    from.fast_open = how & 8 != 0;
    from.early_data = Bytes::from(vec![3; usize::from(early_bytes % 2_000)]);
    if how & 4 != 0 {
        from.port = if backwards { PORT } else { CLIENT_PORT };
    }
    let to = ends.end(from_side.other()).below.addr;
    let remote = SocketAddr::new(to, if backwards { CLIENT_PORT } else { PORT });
    let End { table, below, .. } = ends.end(from_side);
    if let Ok(id) = table.connect(now, below, from, remote, &|_| true) {
        ends.hold(from_side, id);
    }
}

fn write(ends: &mut Ends, side: Side, id: ConnId, how: u8, bytes: u16) {
    let (now, data) = (ends.now, vec![7; usize::from(bytes) % WRITE_MAX]);
    let table = &mut ends.end(side).table;
    // A connection that is over, full or shut refuses.
    let _ = match how % 3 {
        0 => table.send(now, id, &[IoSlice::new(&data)]),
        1 => table.send_shared(now, id, &mut Bytes::from(data)),
        _ => table.send_urgent(now, id, &[IoSlice::new(&data)]),
    };
}

fn read(ends: &mut Ends, side: Side, id: ConnId, how: u8, bytes: u16) {
    let (now, mut buffer) = (ends.now, vec![0; usize::from(bytes)]);
    let slices = &mut [IoSliceMut::new(&mut buffer)];
    let table = &mut ends.end(side).table;
    let mut out = VecDeque::new();
    let taken = match how % 4 {
        0 => table.recv(now, id, RecvInto::Copy(slices)),
        1 => table.recv(now, id, RecvInto::Peek(slices)),
        2 => table.recv(now, id, RecvInto::Take { max_bytes: usize::from(bytes), out: &mut out }),
        _ => table.recv_urgent(now, id, slices),
    };
    let most = usize::from(bytes);
    assert!(taken.is_ok_and(|n| n <= most) || taken.is_err(), "more than was asked for");
}

fn end(ends: &mut Ends, side: Side, id: ConnId, how: u8) {
    let now = ends.now;
    let table = &mut ends.end(side).table;
    match how % 5 {
        0 => drop(table.shutdown_write(now, id)),
        1 => table.shutdown_read(now, id),
        2 => table.close(now, id, Linger::Drain),
        3 => table.close(now, id, Linger::Abort),
        _ => drop(table.take_error(id)),
    }
}

fn wait(ends: &mut Ends, unit: u8, count: u8) {
    let count = u64::from(count);
    match unit % 4 {
        0 => ends.wait(Duration::from_micros(count * 100)),
        1 => ends.wait(Duration::from_millis(count * 5)),
        2 => ends.wait(Duration::from_secs(count)),
        _ => {
            for _ in 0..count % 16 {
                if !ends.skip() {
                    break;
                }
            }
        }
    }
}

fn icmp(ends: &mut Ends, flow: u8, kind: u8, seq: i16, mtu: u16) {
    let flow = ends.flows.get(flow);
    let kind = match kind % 6 {
        0 => IcmpErrorKind::TooBig { mtu: mtu.into() },
        1 => IcmpErrorKind::NetUnreachable,
        2 => IcmpErrorKind::HostUnreachable,
        3 => IcmpErrorKind::ProtocolUnreachable,
        4 => IcmpErrorKind::PortUnreachable,
        _ => IcmpErrorKind::Transient,
    };
    let seq = flow.reached + i32::from(seq).wrapping_sub(1) as u32;
    let error = IcmpError { kind, tuple: flow.tuple, seq, ip_bytes: 1_500 };
    let now = ends.now;
    ends.end(flow.side).table.on_icmp(now, &error);
}

/// The lowest bit tells whose.
fn path(ends: &mut Ends, what: u8, value: u16) {
    let below = &mut ends.end(Side::of(what)).below;
    match what >> 1 & 3 {
        0 => below.mtu = u32::from(value).clamp(1_280, 9_000),
        1 => below.broken = Some(PathError::HostUnreachable),
        2 => below.broken = None,
        _ => below.gso_max_bytes = if value & 1 == 0 { 0 } else { 65_535 },
    }
    below.generation += 1;
}

/// Everybody lets go and nobody answers: in the end nothing is left.
fn finish(ends: &mut Ends) {
    ends.stop_listening();
    ends.accept();
    let now = ends.now;
    for (side, id) in std::mem::take(&mut ends.held) {
        ends.end(side).table.close(now, id, Linger::Drain);
    }
    ends.cut();
    ends.wait(LONG);
    let now = ends.now;
    for side in [Side::A, Side::B] {
        let table = &ends.end(side).table;
        let left: Vec<_> = table.iter().map(|(_, conn)| conn.info(now)).collect();
        assert!(table.is_empty(), "{side:?} still has {left:?}");
        assert_eq!(table.budget().orphans(), 0, "orphans");
        assert_eq!(table.next_deadline(), None, "timers of nobody");
    }
}

/// Steps of one input that are looked at.
const STEPS_MAX: usize = 200;
const WRITE_MAX: usize = 30_000;
/// Of connects that choose their port.
const CLIENT_PORT: u16 = 4_000;
/// All retransmissions of what nobody answers.
const LONG: Duration = Duration::from_secs(5_000);
