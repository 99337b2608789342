//! Inputs to start from: a connection is brought to each state, and something arrives there.

use super::setup::Setup;
use super::step::{Forged, Step};

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const PSH: u8 = 8;
const ACK: u8 = 16;
const URG: u8 = 32;

/// Flows, in the order in which they are seen: the strangers', then those of the first connection.
const TO_LISTENER: u8 = 0;
const TO_NOBODY: u8 = 1;
const TO_A: u8 = 2;

/// What programs have, in the order in which they got it.
const OF_A: u8 = 0;
const OF_B: u8 = 1;

/// `Step::End`'s numbers.
const SHUT_WRITE: u8 = 0;
const DRAIN: u8 = 2;
const ABORT: u8 = 3;

/// One for each state, with each congestion control, and for what few connections use.
pub(in crate::parsers) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (control, steps) in (0u8..).zip(states().into_iter().chain(life())) {
        let basics = (control % 3) << Setup::CONTROL_SHIFT;
        seeds.push(input(Setup { basics, ..Setup::default() }, &steps));
    }
    let bulk = bulk();
    for basics in [
        Setup::IPV6,
        Setup::NO_SACK,
        Setup::NO_TIMESTAMPS | 1 << Setup::CONTROL_SHIFT,
        Setup::NO_SCALING | 2 << Setup::CONTROL_SHIFT,
        Setup::POOR,
        Setup::PLAIN | 2 << Setup::CONTROL_SHIFT,
    ] {
        seeds.push(input(Setup { basics, ..Setup::default() }, &bulk));
    }
    for marks in [1, 3 | 2 << 3, 1 << 5, 2 << 5] {
        seeds.push(input(Setup { marks, ..Setup::default() }, &bulk));
    }
    for listener in [Setup::COOKIES, Setup::DEFER, Setup::MD5, Setup::AO, Setup::KEEPALIVE] {
        seeds.push(input(Setup { listener, ..Setup::default() }, &bulk));
    }
    let listener = Setup::FAST_OPEN;
    seeds.push(input(Setup { listener, ..Setup::default() }, &early_data()));
    let listener = Setup::SHORT_QUEUE | Setup::ABORT_ON_OVERFLOW;
    seeds.push(input(Setup { listener, ..Setup::default() }, &flood()));
    seeds
}

fn input(setup: Setup, steps: &[Step]) -> Vec<u8> {
    let mut bytes = setup.bytes();
    steps.iter().for_each(|step| step.write(&mut bytes));
    bytes
}

fn forge(flow: u8, flags: u8) -> Step {
    Step::Forge(Forged::next(flow, flags))
}

fn forge_data(flow: u8, flags: u8, seq: i16, bytes: u16) -> Step {
    Step::Forge(Forged { seq, bytes, ..Forged::next(flow, flags) })
}

fn forge_sack(flow: u8, back: u8, blocks: [(u8, u8); 3]) -> Step {
    let more = Forged::ACK_OLDEST;
    Step::Forge(Forged { more, ack: i16::from(back), blocks, ..Forged::next(flow, ACK) })
}

fn lost() -> Step {
    Step::Deliver { count: 63, fate: 1 }
}

fn run(millis: u8) -> Step {
    Step::Run { millis }
}

fn write(conn: u8, bytes: u16) -> Step {
    Step::Write { conn, how: 0, bytes }
}

fn read(conn: u8) -> Step {
    Step::Read { conn, how: 0, bytes: u16::MAX }
}

fn end(conn: u8, how: u8) -> Step {
    Step::End { conn, how }
}

/// To ESTABLISHED, and more after that.
fn then(more: impl IntoIterator<Item = Step>) -> Vec<Step> {
    let begin = [Step::Connect { how: 0, early_bytes: 0 }, run(5), Step::Accept];
    begin.into_iter().chain(more).collect()
}

/// Each state, and what may come there: data, FIN, SYN, RST, an ICMP error, time.
fn states() -> Vec<Vec<Step>> {
    let connect = || Step::Connect { how: 0, early_bytes: 0 };
    let here = |flow: u8| {
        [
            forge_data(flow, ACK | PSH, 0, 1_448),
            forge_data(flow, ACK | PSH, 3_000, 1_000),
            forge_data(flow, ACK | URG, -20, 60),
            Step::Icmp { flow, kind: 0, seq: 0, mtu: 1_300 },
            forge(flow, SYN),
            forge(flow, ACK | FIN),
            Step::Wait { unit: 1, count: 50 },
            Step::Forge(Forged { seq: 1, ..Forged::next(flow, RST) }),
            forge(flow, RST),
        ]
    };
    let listen = vec![
        Step::Forge(Forged { options: 0x0f, value: 7, ..Forged::next(TO_LISTENER, SYN) }),
        forge(TO_LISTENER, ACK),
        Step::Accept,
    ];
    let syn_received = vec![forge(TO_LISTENER, SYN), Step::Wait { unit: 2, count: 1 }];
    let syn_sent = vec![connect(), lost(), Step::Wait { unit: 2, count: 1 }];
    let opened = Forged { options: 0x0f, value: 200, ..Forged::next(TO_A, SYN | ACK) };
    let simultaneous = vec![connect(), lost(), forge(TO_A, SYN), forge(TO_A, ACK)];
    let crossing = vec![connect(), lost(), forge(TO_A, SYN), end(OF_A, DRAIN), forge(TO_A, ACK)];
    let fin_wait_1 = then([end(OF_A, SHUT_WRITE), lost()]);
    let fin_wait_2 = then([end(OF_A, SHUT_WRITE), run(5)]);
    let close_wait = then([end(OF_B, SHUT_WRITE), run(60)]);
    // Its FIN does not acknowledge ours.
    let crossed = Step::Forge(Forged { ack: -1, ..Forged::next(TO_A, FIN | ACK) });
    let closing = then([end(OF_A, SHUT_WRITE), lost(), crossed]);
    let last_ack = then([end(OF_B, SHUT_WRITE), run(60), end(OF_A, DRAIN), lost()]);
    let time_wait = then([end(OF_A, DRAIN), run(5), end(OF_B, DRAIN), run(5)]);
    let mut states: Vec<Vec<Step>> = vec![
        [listen, here(TO_LISTENER).to_vec()].concat(),
        [syn_received, here(TO_LISTENER).to_vec()].concat(),
        [syn_sent.clone(), here(TO_A).to_vec()].concat(),
        [syn_sent, vec![Step::Forge(opened)], here(TO_A).to_vec()].concat(),
        here(TO_NOBODY).to_vec(),
        crossing,
        [fin_wait_1.clone(), vec![forge(TO_A, RST)]].concat(),
        [closing.clone(), vec![forge(TO_A, RST)]].concat(),
    ];
    for there in
        [simultaneous, then([]), fin_wait_1, fin_wait_2, close_wait, closing, last_ack, time_wait]
    {
        states.push([there, here(TO_A).to_vec()].concat());
    }
    states
}

/// The ways that a connection ends by itself.
fn life() -> Vec<Vec<Step>> {
    let both_shut = then([
        end(OF_A, SHUT_WRITE),
        end(OF_B, SHUT_WRITE),
        run(10),
        Step::Wait { unit: 2, count: 70 },
    ]);
    let closed = then([
        write(OF_A, 9_000),
        end(OF_A, DRAIN),
        run(50),
        read(OF_B),
        end(OF_B, DRAIN),
        run(50),
        forge(TO_A, ACK | FIN),
        forge(TO_A, SYN),
        Step::Wait { unit: 2, count: 70 },
    ]);
    let aborted = then([write(OF_A, 9_000), end(OF_A, ABORT), run(5), end(OF_B, 4)]);
    let refused = vec![
        Step::Listener { what: 0, value: 0 },
        Step::Connect { how: 0, early_bytes: 9 },
        run(5),
    ];
    let orphaned = then([end(OF_A, DRAIN), run(5), Step::Wait { unit: 2, count: 70 }]);
    let gone = then([Step::Stack { what: 2, value: 0 }, run(5), Step::Stack { what: 1, value: 0 }]);
    let timed_out = then([
        write(OF_A, 9_000),
        lost(),
        Step::Wait { unit: 3, count: 15 },
        lost(),
        Step::Wait { unit: 2, count: 255 },
        lost(),
        Step::Wait { unit: 2, count: 255 },
        Step::Wait { unit: 2, count: 255 },
        Step::Wait { unit: 2, count: 255 },
    ]);
    vec![both_shut, closed, aborted, refused, orphaned, gone, timed_out]
}

/// Data both ways, with losses, lies about what came, a window that closes, and marks.
fn bulk() -> Vec<Step> {
    then([
        write(OF_A, 29_000),
        Step::Write { conn: OF_B, how: 1, bytes: 20_000 },
        run(20),
        read(OF_B),
        write(OF_A, 29_000),
        Step::Deliver { count: 0, fate: 1 },
        run(30),
        read(OF_B),
        write(OF_A, 29_000),
        Step::Deliver { count: 2, fate: 4 },
        Step::Deliver { count: 1, fate: 3 },
        Step::Deliver { count: 0, fate: 2 },
        Step::Deliver { count: 0, fate: 5 },
        run(50),
        write(OF_A, 20_000),
        forge_sack(TO_A, 0, [(4, 2), (9, 1), (0, 0)]),
        forge_sack(TO_A, 0, [(4, 4), (200, 3), (8, 200)]),
        forge_sack(TO_A, 100, [(2, 2), (0, 0), (0, 0)]),
        Step::Wait { unit: 1, count: 100 },
        lost(),
        Step::Icmp { flow: TO_A, kind: 0, seq: 0, mtu: 1_290 },
        run(250),
        Step::Set { conn: OF_A, option: 1, value: 2 },
        Step::Set { conn: OF_A, option: 4, value: 5_000 },
        Step::Write { conn: OF_A, how: 2, bytes: 100 },
        Step::Forge(Forged { wnd: 0, ..Forged::next(TO_A, ACK) }),
        Step::Wait { unit: 2, count: 20 },
        Step::Path { what: 0, value: 1_400 },
        run(250),
        Step::Read { conn: OF_B, how: 3, bytes: 1 },
        Step::Read { conn: OF_B, how: 2, bytes: u16::MAX },
        Step::Set { conn: OF_B, option: 11, value: 0 },
        Step::Set { conn: OF_A, option: 19, value: 2 },
        write(OF_B, 500),
        run(100),
        end(OF_A, DRAIN),
        run(100),
        end(OF_B, DRAIN),
        run(100),
    ])
}

/// A cookie is asked for, used, and forged.
fn early_data() -> Vec<Step> {
    let connect = |early_bytes| Step::Connect { how: 8, early_bytes };
    vec![
        connect(0),
        run(5),
        Step::Accept,
        end(OF_A, DRAIN),
        run(5),
        end(OF_B, DRAIN),
        run(5),
        connect(500),
        Step::Deliver { count: 0, fate: 0 },
        Step::Accept,
        write(3, 3_000),
        lost(),
        Step::Forge(Forged {
            options: 0x1f,
            value: 1,
            bytes: 100,
            ..Forged::next(TO_LISTENER, SYN)
        }),
        Step::Wait { unit: 2, count: 1 },
        run(50),
        end(3, DRAIN),
        connect(700),
        Step::Deliver { count: 0, fate: 0 },
        Step::Accept,
        end(5, SHUT_WRITE),
        run(50),
    ]
}

/// More connects than may wait.
fn flood() -> Vec<Step> {
    let mut steps = Vec::new();
    for _ in 0..6 {
        steps.extend([
            Step::Connect { how: 0, early_bytes: 0 },
            Step::Forge(Forged { flags: SYN, seq: 9, ..Forged::next(TO_LISTENER, SYN) }),
        ]);
    }
    steps.extend([run(20), Step::Accept, run(200), Step::Listener { what: 3, value: 2 }]);
    steps.extend([Step::Wait { unit: 2, count: 3 }, Step::Listener { what: 0, value: 0 }, run(9)]);
    steps
}

#[cfg(test)]
mod tests {
    use libnetinet::tcp::{State, TransitionCounts};

    use super::*;
    use crate::parsers::connections::moves_of;

    #[test]
    fn every_state_is_reached_and_left_on_every_way_that_there_is() {
        let mut moves = TransitionCounts::default();
        seeds().iter().for_each(|seed| moves.merge(&moves_of(seed)));
        for to in State::ALL {
            let entered: u64 = State::ALL.iter().map(|&from| moves.get(from, to)).sum();
            assert!(entered > 0, "{to} is never reached");
        }
        assert_eq!(moves.never_made(), []);
    }

    /// Inputs of `scripts/fuzz` that once broke what is asserted.
    #[test]
    fn what_fuzzing_found_is_found_no_more() {
        // A probe of a larger MTU than a router had just named.
        let probe: &[u8] =
            b"\x3d\x00\x58\xee\xf1\x00\xf1\x58\x58\x58\x5a\x00\x00\x00\x14\x58\x58\x58\x0b\x00\
              \x81\xcb\xff\xff\x00\x00\x00\x00\x00\x00\x00\x0b\x58\x40\x2a\x03\x00\x96\xac\x58\
              \x00\x00\x3d\x00\x58\x00\x2a\x03\x07\x00\x00\x58\xcb\xf1\x58\x58\x58\x5a\x00\x00\
              \x00\x14\x58\x58\x58\x0b\x00\x81\xcb\x58\x58\x58\x81\xcb\x00\x00\x58\x58\x58\x81\
              \xcb\x0e\x00\x01\x00\x00\x02\x00\x00\x00\x31";
        // A cookie that an old segment brought back: the connection begins anew.
        let cookie: &[u8] =
            b"\x01\x00\x2e\xa7\xa1\xf1\xf1\x01\x00\x00\x00\x00\x00\x00\x02\xb5\x00\x2b\xb4\xb4\
              \x2b\xf6\x67\xb4\x7a\x01\x02\x07\x7a\x2d\x19\x7a\x65\x14\x65\x58\x50\x58\x81\xcb\
              \x00\x00\x18\x18\x18\x18\x18";
        // A listener whose buffer was made smaller while a handshake went on.
        let smaller: &[u8] =
            b"\x81\x00\x87\x00\x00\x00\x00\xb5\x00\x00\x51\x01\x00\x00\x00\x00\xf1\x00\x00\x28\
              \x6f\x26\x58\x51\x00\x40\x29\x2b\x2c\x00\x00\x35\x8a\x00\x00\x00\x00\x00\x00\xf1\
              \x28\x6f\x26\x58\x51\x93\xa0\x00\x00\x00\x00\x38\x38\x38\x38\x38\x38\x38\x38\x38\
              \x38\x38\x38\x38\x38\x38\x30\x65\x65\x65\x00\x00\x00\x58\x00\x00\x14\xf1\x51\x5c\
              \xe1\xf1\x00\xf5\x93\x3b\x00";
        // A little of a write that found no memory, in a piece for all of it, above a bound that was lowered.
        let bound: &[u8] =
            b"\x00\x00\x71\x02\x01\x00\x00\x00\x08\x05\x02\x03\x00\x00\x71\x48\x03\x01\x01\x01\
              \x00\x04\x02\x09\x01\xb3\x00\x0d\x02\x29\x00\x00\x00\x00\x00\x00\x00\x00\x00\x06\
              \x00\x13\x00\x02\x03\x01\xff\x00\x01\xf4\x08\x64\x05\xeb\xeb\xeb\xeb\xeb\xeb\xeb\
              \xeb\xeb\xeb\xeb\xeb\xeb\xeb\xeb\xeb\xeb\xeb\xeb\xeb\xeb\x02\x03\x00\x00\x71\x48\
              \x03\x01\x01\x01\x00\x04\x02\x09\x01\xeb\xeb\xeb\xeb\xeb\xeb\xeb\xeb\xeb\xeb\xeb\
              \xeb\xeb\xeb\xeb\xeb\xeb\xeb\xeb\xeb\xeb\xeb\x00\x02\x08\x64\x05\x01\x00\x02\x06\
              \x00\x04\x13\x88\x03\x00\x02\x00\x9c\xf2\xfc\x10\x00\x00\x00\x00\x00\x00\x00\x00\
              \x00\x01\xeb\x8e\xeb\xeb\x00\x02\x08\x64\x05\x01\x00\x02\x06\x00\x04\x13\x88\x03\
              \x00\x02\x00\x9c\xf2\xfc\x10\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\xb7\xb7\
              \xb7\xb7\xb7\xb7\xb7\xb7\xb7\xb7\xb7\xb7\xb7\xb7\xb7\xb7\xb7\xb7\xbf\xb7\xb7\xb7\
              \xb7\xb7\xb7\x00\x00\x00\x00\x00\x00\x07\x64\x05\x00\x02\x08\x08\x64\x01\x02\x05\
              \x64";
        // A buffer that was set to much, to little, and then to grow by itself.
        let grows: &[u8] =
            b"\x00\x00\x20\x00\x01\x00\x00\x00\x08\x05\x06\x03\x00\x00\x71\x48\x03\x01\x01\x4e\
              \x20\x08\x14\x04\x01\x00\xff\xff\x03\x00\x00\x31\x48\x42\x42\x42\x42\x42\x42\x42\
              \x42\x42\x42\x42\x42\x42\x42\x42\x42\x42\x42\x42\x42\x42\x42\x42\x42\x42\x42\x42\
              \x42\x42\x42\x42\x42\x42\x42\x42\x42\x42\x42\x42\x42\x42\x42\x42\x42\x42\x42\x42\
              \x42\x42\x42\x42\x42\x42\x42\x42\x42\x42\x42\x42\x42\x42\x42\x42\x42\x42\x42\x42\
              \x42\x42\x42\x42\x42\x42\x42\x42\x42\x42\x42\x42\x42\x42\xfe\xff\xff\xff\x42\x42\
              \x42\x42\x42\x42\x42\x42\x42\x42\x42\x42\x42\x42\x42\x42\x42\x42\x42\x42\x42\x42\
              \x42\x42\x42\x42\x42\x42\x00\x00\x01\x08\x1e\x04\x01\x00\xff\xff\x03\x00\x00\x71\
              \x48\x00\x02\x04\x00\x01\x03\x00\xff\xff\xff\x07\x00\x02\x00\x00\x05\x08\x32\x03\
              \x00\x02\x01\x08\x1e\x04\x01\x08\x64";
        // A SYN with data whose answer was acknowledged before it left.
        let early: &[u8] =
            b"\x00\x00\x0d\x02\x01\x08\x00\x00\x08\x05\x02\x05\x00\x02\x08\x05\x05\x01\x02\x08\
              \x04\x01\x08\x01\xf4\x00\x00\x00\x02\x03\x03\x00\x14\x04\x01\x15\x00\x00\x00\x00\
              \x00\x2c\x00\x00\x00\xff\xff\x03\x00\x00\x71\x48\x00\x00\x01\x08\x1e\x04\x01\x0b\
              \xb8\x00\x3f\x01\x0d\x00\x02\x00\x00\x00\x00\x00\xff\xff\x05\x38\x1e\x04\x01\x00\
              \x01\x00\x00\x00\x08\x05\x02\x03\x00\x00\x71\x48\x03\x01\x01\x4e\x99\x00\x04\x04\
              \xc8\x00\x01\x00\x00\x00\x02\x00\x09\x71\x48\x00\x02\x10\x00\x00\x00\x1f\x00\x00\
              \x05\x00\x01\x00\x00\x00\x08\x05\x02\x03\x00\x00\x00\xdf\xff\xdd\x05\x00\x01\x00\
              \x04\x00\x00\x00\x00\x01\x00\x02\x09\x01\x00\x00\x0d\x02\x10\x00\x00\x00\x00\x10\
              \xff\xff\x00\x00\x01\x00\x00\x1e\x04\x01\x00\x01\x00\x00\x00\x08\x05\x02\x03\x00\
              \x00\x71\x48\x03\x01\x01\x4e\x99\x00\x04\x04\xc8\x00\x01\x00\x00\x00\x02\x00\x09\
              \x71\x48\x00\x02\x10\x00\x00\x00\x1f\x0c\x00\x00\x64\x1f\x01\x00\x00\x00\x00\x00\
              \x00\x07\x02\x01\x08\x31\x45\x03\x02\x01\x08\x02\xbc\x2c\x00\x00\x00\x00\x00\x00\
              \x00\x33";
        // A path whose MTU grew after a time-out: the window of one segment was less than one of now.
        let larger: [&[u8]; 2] = [
            b"\x00\x00\x00\x10\x01\x00\x00\x10\xfb\xf6\x00\x01\x00\x00\x04\x01\xf7\xfe\xff\xff\
              \x27\x27\x27\x27\x27\x27\x27\x27\x27\x27\x27\x27\x27\x27\x27\x27\x27\x27\x27\x27\
              \x27\x27\x27\x27\x27\x27\x27\x27\x27\x27\x27\x27\x27\x27\x27\x40\x0d\x03\x00\x27\
              \x27\x27\x27\x27\x27\x27\x27\x27\x27\x27\x00\x01\x00\x02\x01\x00\x00\x00\x08\x05\
              \x02\x03\x00\x00\x71\x48\x03\x01\x01\x4e\x20\x64\x00\x3f\x01\x09\x02\x00\x00\x00\
              \x05\x0a\x08\xfa\x06\x00\x01\x00\x02\x46\x00\x04\x13\x88\x03\x00\x02\x00\x64\x0d\
              \x02\x10\x56\x55\x55\x55\x55\x55\x55\x05\x00\x01\x00\x00\x00\x00\x00\x00\x00\x07\
              \x02\x14\x0a\x00\x05\x78\x08\xfa\x04\x01\x03\x00\x01\x04\x01\x02\xff\xff\x06\x01\
              \x0b\x00\x00\x09\x01\x00\x00\x0d\x88\x40\x00\x00\x01\x00\x00\x00\x08\x05\x02\x03\
              \x08\x14\x29\x29\x29\x29\x29\x29\x29\x29\x29\x29\x29\x29\xff\xff\x27\x27\x27\x27\
              \x27\x27\x27\x27\x27\x27\x27\x27\x27\x27\xff\xff\xff\xff\x27\x95\x27\x27\xe7\x29\
              \x29\x27\x27\x27\x27\x27\x27\x27\x01\x04\x01\x02\xff\x9f\x93\x06\x01\x0b\x27\x27\
              \x27\x27\x27\x27\x27\x27\x27\x27\x27\x27\x27\x27\x27\x27\x27\x01\x04\x01\x02\xff\
              \x00\x06\x0b\x06\x01\x9f\x00\x93\x00\x13\x6b\x02\x03\x01\x08\x64\x2a\x00\x02\x08\
              \x64\x04\x01\x02\x08\x64",
            b"\xa0\x01\x30\x82\x00\x00\xc9\xc9\xf6\xc9\xc9\x27\xc9\xc9\xc9\xc9\xc9\xc9\xc9\xc9\
              \xc9\xc9\xc9\xc9\xc9\xc9\x89\xc9\xc9\xc9\xc9\xc9\xc9\xc9\xc9\xc9\xc9\xc9\xc9\xc9\
              \xc9\xc9\xc9\xc9\xc9\xc9\xc9\xc9\xc9\xc9\xc9\xc9\xc9\xc9\xc9\xc9\xc9\xc9\xc9\xc9\
              \xc9\x28\xc9\xc9\x00\x74\x5d\x17\x45\xd1\x74\x5d\x32\x00\x00\x71\x48\x03\x01\x01\
              \x4e\x20\x2e\x80\x00\x00\x00\x01\x00\x00\x00\x00\x3f\x05\x00\x00\x00\x07\x02\x14\
              \x0a\x00\x05\x08\x33\x03\x04\x01\x03\x00\x00\x00\x71\x48\x03\x01\x01\x4e\x20\x2e\
              \x14\x01\x00\x4e\x00\x02\xe8\xba\x2e\x8b\xa2\xe8\xba\xc9\xc9\xc7\xc7\xc7\xc7\xc7\
              \x00\x00\x40\x00\x01\x04\x04\xc8\x03\x08\xc8\x0d\x02\x10\x00\x00\x00\x64\x10\xff\
              \xff\x00\x00\x01\x00\x02\x02\x00\x00\x00\x00\xf9\xfe\x9b\xf9\x3f\x01\x09\x02\x00\
              \x00\x00\x05\x0a\x08\xfa\x06\x00\x03\x00\x00\x00\x00\x00\x00\x00\x01\x00\x02\x06\
              \x00\x01\x00\x02\x02\x00\x00\x00\x00\x07\x01\x64\x00\x3f\x01\x09\x02\x00\x00\x2f\
              \x05\x0a\x08\xfa\xc7\xc7\xc7\xc7\xc7\xc7\xc7\xc7\xc7\xc7\x00\x00\x60\x10\x01\x00\
              \x00\x00\x08\x05\xfd",
        ];
        for input in [probe, cookie, smaller, bound, grows, early, larger[0], larger[1]] {
            let moves = moves_of(input);
            assert!(moves.get(State::SynSent, State::Established) > 0);
        }
    }
}
