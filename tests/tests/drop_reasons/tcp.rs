//! TCP: segments that no connection wants.

use std::time::Duration;

use libnet::DropReason;
use libnet::route::Route;
use libnet::world::LinkConfig;
use libnetinet::tcp::MemoryLimits;
use rumpnet::{InetConfig, TcpListener, TcpStream};
use rumpnet_tests::frames::Tcp;
use rumpnet_tests::frames::flags::{ACK, RST, SYN};
use rumpnet_tests::lab::Lab;

use crate::link;

const PORT: u16 = 80;
const PEER_PORT: u16 = 5_000;
/// The station's initial sequence number.
const ISS: u32 = 1_000;

/// A listener on the stack, and the station's side of a connection to it.
struct Talk {
    lab: Lab,
    listener: TcpListener,
    /// What the station sends next, and what it expects next.
    seq: u32,
    ack: u32,
    timestamps: bool,
}

impl Talk {
    fn new(config: InetConfig) -> Talk {
        let lab = Lab::with(config, LinkConfig::default()).unwrap();
        lab.introduce();
        let listener = lab.stack.tcp_listen("10.0.0.1:80").unwrap();
        Talk { lab, listener, seq: ISS, ack: 0, timestamps: false }
    }

    fn segment(&self, flags: u8) -> Tcp {
        let ack = if flags & ACK == 0 { 0 } else { self.ack };
        let mut segment = Tcp::new(PEER_PORT, PORT, self.seq, ack, flags);
        if self.timestamps {
            segment.options = timestamp(1_000_000);
        }
        segment
    }

    fn send(&self, segment: &Tcp, payload: &[u8]) {
        self.lab.send_ip(&segment.build(&self.lab.ip(6), payload));
    }

    /// The station's handshake.
    fn connect(&mut self) {
        let syn = self.segment(SYN);
        self.lab.sent();
        self.send(&syn, b"");
        let frames = self.lab.sent();
        let answer = frames.iter().find(|frame| frame.len() >= 54 && frame[23] == 6);
        let answer = answer.expect("a SYN-ACK");
        assert_eq!(answer[47] & (SYN | ACK | RST), SYN | ACK);
        let iss = u32::from_be_bytes(answer[38..42].try_into().unwrap());
        (self.seq, self.ack) = (ISS + 1, iss.wrapping_add(1));
        self.send(&self.segment(ACK), b"");
    }

    fn connected(config: InetConfig) -> (Talk, TcpStream) {
        let mut talk = Talk::new(config);
        talk.connect();
        let (stream, _) = talk.listener.accept().unwrap();
        (talk, stream)
    }

    /// Sends a segment within an open connection; the reason's counter.
    fn one(reason: DropReason, flags: u8, change: impl FnOnce(&mut Tcp)) -> u64 {
        let (talk, _stream) = Talk::connected(InetConfig::default());
        let mut segment = talk.segment(flags);
        change(&mut segment);
        talk.send(&segment, b"data");
        talk.lab.drops(reason)
    }
}

fn timestamp(value: u32) -> Vec<u8> {
    let mut option = vec![1, 1, 8, 10];
    option.extend(value.to_be_bytes());
    option.extend([0; 4]);
    option
}

pub(crate) fn malformed() -> u64 {
    Talk::one(DropReason::TcpMalformed, ACK, |segment| segment.data_offset = Some(3))
}

pub(crate) fn checksum() -> u64 {
    Talk::one(DropReason::TcpChecksum, ACK, |segment| segment.checksum_error = 1)
}

pub(crate) fn no_connection() -> u64 {
    Talk::one(DropReason::TcpNoConnection, ACK, |segment| segment.dst = 81)
}

pub(crate) fn out_of_window() -> u64 {
    Talk::one(DropReason::TcpOutOfWindow, ACK, |segment| {
        segment.seq = segment.seq.wrapping_add(1 << 30);
    })
}

pub(crate) fn paws() -> u64 {
    let mut talk = Talk::new(InetConfig::default());
    talk.timestamps = true;
    talk.connect();
    let mut old = talk.segment(ACK);
    old.options = timestamp(999_000);
    talk.send(&old, b"data");
    talk.lab.drops(DropReason::TcpPaws)
}

pub(crate) fn bad_ack() -> u64 {
    Talk::one(DropReason::TcpBadAck, ACK, |segment| segment.ack = segment.ack.wrapping_add(5_000))
}

pub(crate) fn no_ack() -> u64 {
    Talk::one(DropReason::TcpNoAck, 0, |_| {})
}

pub(crate) fn challenged() -> u64 {
    Talk::one(DropReason::TcpChallenged, SYN, |_| {})
}

pub(crate) fn challenge_limited() -> u64 {
    let mut config = InetConfig::default();
    config.tcp.challenge_acks_per_second = 1;
    let (talk, _stream) = Talk::connected(config);
    (0..20).for_each(|_| talk.send(&talk.segment(SYN), b""));
    talk.lab.drops(DropReason::TcpChallengeLimited)
}

pub(crate) fn listen_overflow() -> u64 {
    let mut config = InetConfig::default();
    config.tcp.backlog_max = 1;
    config.tcp.syn_cookies = rumpnet::libnetinet::tcp::SynCookies::Never;
    let talk = Talk::new(config);
    for port in 0..50 {
        talk.send(&Tcp::new(6_000 + port, PORT, ISS, 0, SYN), b"");
    }
    talk.lab.drops(DropReason::TcpListenOverflow)
}

pub(crate) fn reassembly_full() -> u64 {
    let mut config = InetConfig::default();
    config.tcp.reassembly_runs = 4;
    let (talk, _stream) = Talk::connected(config);
    for i in 1..20 {
        let mut segment = talk.segment(ACK);
        segment.seq = segment.seq.wrapping_add(i * 100);
        talk.send(&segment, b"island");
    }
    talk.lab.drops(DropReason::TcpReassemblyFull)
}

pub(crate) fn memory() -> u64 {
    let mut config = InetConfig::default();
    config.tcp.memory = MemoryLimits::of(2_000);
    let (mut talk, _stream) = Talk::connected(config);
    for _ in 0..3 {
        talk.send(&talk.segment(ACK), &[0; 900]);
        talk.seq = talk.seq.wrapping_add(900);
    }
    talk.lab.drops(DropReason::TcpMemory)
}

pub(crate) fn data_after_close() -> u64 {
    let (talk, stream) = Talk::connected(InetConfig::default());
    drop(stream);
    talk.lab.world.run_for(Duration::from_millis(10));
    talk.send(&talk.segment(ACK), b"too late");
    talk.lab.drops(DropReason::TcpDataAfterClose)
}

pub(crate) fn bad_signature() -> u64 {
    let (talk, stream) = Talk::connected(InetConfig::default());
    let peer = stream.peer_addr().unwrap().ip();
    let key = libnet::socket::Md5Key::new(peer, b"secret");
    stream.socket().set_option(libnet::socket::SocketOption::Md5Key(key)).unwrap();
    talk.send(&talk.segment(ACK), b"not signed");
    talk.lab.drops(DropReason::TcpBadSignature)
}

pub(crate) fn table_full() -> u64 {
    let mut config = InetConfig::default();
    config.tcp.connections_max = 1;
    let (talk, _stream) = Talk::connected(config);
    talk.send(&Tcp::new(PEER_PORT + 1, PORT, ISS, 0, SYN), b"");
    talk.lab.drops(DropReason::TcpTableFull)
}

/// A route is told to carry less than a SYN, which must not be fragmented.
pub(crate) fn too_big() -> u64 {
    let lab = Lab::new().unwrap();
    let mut route = Route::connected("10.0.0.9/32".parse().unwrap(), link::IFACE);
    route.mtu = Some(40);
    lab.stack.inet().unwrap().add_route(route).unwrap();
    let second = Duration::from_secs(1);
    let refused = lab.stack.tcp_connect_timeout(&"10.0.0.9:80".parse().unwrap(), second);
    assert!(refused.is_err());
    lab.drops(DropReason::TooBig)
}

pub(crate) fn zero_window() -> u64 {
    let mut config = InetConfig::default();
    config.tcp.receive_buffer_bytes = 4_096;
    let (mut talk, stream) = Talk::connected(config);
    for _ in 0..200 {
        talk.send(&talk.segment(ACK), &[0; 1_000]);
        talk.seq = talk.seq.wrapping_add(1_000);
    }
    // What did not fit was not taken: the station goes back to what was acknowledged.
    let acked = talk.lab.sent().iter().rev().find_map(|frame| {
        (frame.len() >= 54 && frame[23] == 6)
            .then(|| u32::from_be_bytes(frame[42..46].try_into().unwrap()))
    });
    talk.seq = acked.expect("an acknowledgement");
    talk.send(&talk.segment(ACK), b"one more");
    drop(stream);
    talk.lab.drops(DropReason::TcpZeroWindow)
}
