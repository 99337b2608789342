//! A TCP that does what a test tells it to: the other end of a stack's connection.

use std::io::Read;
use std::time::Duration;

use libnet::net::{Socket, TcpListener, TcpStream};
use libnet::socket::SocketOption;

use crate::station::{PEER, Rig, US};
use crate::wire::Tcp;
use crate::wire::tcp::{ACK, FIN, RST, SYN, timestamps_option};

/// The stack's port where tests listen.
pub const PORT: u16 = 80;
/// The station's port.
pub const PEER_PORT: u16 = 4_321;
/// The station's initial sequence number: its numbers wrap within every longer test.
pub const ISS: u32 = 0xffff_fc00;

/// The station's end of a connection.
pub struct Peer<'a> {
    rig: &'a Rig,
    /// The stack's port.
    pub port: u16,
    /// The station's port.
    pub own_port: u16,
    /// The next number that it sends.
    pub seq: u32,
    /// The next number that it expects.
    pub ack: u32,
    /// The window that it announces, as it stands in the header.
    pub window: u16,
    /// Options on every segment but a SYN.
    pub options: Vec<u8>,
    /// The stack's SYN or SYN-ACK.
    pub syn: Tcp,
}

impl<'a> Peer<'a> {
    /// Opens a connection to the stack's [`PORT`], with these options on the SYN.
    ///
    /// # Panics
    /// When nobody listens there.
    pub fn connect(rig: &'a Rig, options: &[u8]) -> Peer<'a> {
        Peer::connect_from(rig, PEER_PORT, options)
    }

    /// As [`connect`](Self::connect), from another port.
    ///
    /// # Panics
    /// When nobody listens there.
    pub fn connect_from(rig: &'a Rig, own_port: u16, options: &[u8]) -> Peer<'a> {
        let mut peer = Peer::new(rig, PORT, own_port);
        let syn = Tcp { options: options.to_vec(), ..peer.segment(SYN, b"") };
        peer.seq = peer.seq.wrapping_add(1);
        rig.say_tcp(&Tcp { ack: 0, ..syn });
        let answer = peer.hear();
        let [answer] = &answer[..] else { panic!("a SYN-ACK and nothing else: {answer:?}") };
        assert!(answer.has(SYN | ACK), "{answer:?}");
        peer.take(answer);
        peer.syn = answer.clone();
        if let Some((theirs, ours)) = answer.timestamps() {
            peer.options = timestamps_option(ours, theirs);
        }
        peer.say(ACK, b"");
        peer
    }

    /// Answers the SYN that the stack has sent, with these options on the SYN-ACK.
    ///
    /// # Panics
    /// When it has sent none.
    pub fn accept(rig: &'a Rig, options: &[u8]) -> Peer<'a> {
        let syn = rig.hear_tcp().into_iter().find(|segment| segment.flags == SYN);
        let syn = syn.expect("a SYN");
        let mut peer = Peer::new(rig, syn.src, syn.dst);
        peer.take(&syn);
        peer.syn = syn;
        let answer = Tcp { options: options.to_vec(), ..peer.segment(SYN | ACK, b"") };
        peer.seq = peer.seq.wrapping_add(1);
        rig.say_tcp(&answer);
        peer
    }

    fn new(rig: &'a Rig, port: u16, own_port: u16) -> Peer<'a> {
        Peer {
            rig,
            port,
            own_port,
            seq: ISS,
            ack: 0,
            window: 65_535,
            options: Vec::new(),
            syn: Tcp::default(),
        }
    }

    /// The next segment with these control bits and data, not sent.
    pub fn segment(&self, flags: u8, data: &[u8]) -> Tcp {
        Tcp {
            src: self.own_port,
            dst: self.port,
            seq: self.seq,
            ack: self.ack,
            flags,
            window: self.window,
            urgent: 0,
            options: self.options.clone(),
            data: data.to_vec(),
        }
    }

    /// Says the next segment, and goes on behind it.
    pub fn say(&mut self, flags: u8, data: &[u8]) {
        let segment = self.segment(flags, data);
        self.seq = segment.next_seq();
        self.rig.say_tcp(&segment);
    }

    /// Says a segment as it is.
    pub fn say_segment(&self, segment: &Tcp) {
        self.rig.say_tcp(segment);
    }

    /// Acknowledges all it has taken.
    pub fn acknowledge(&mut self) {
        self.say(ACK, b"");
    }

    /// What the stack has sent on this connection since, not taken.
    pub fn hear(&self) -> Vec<Tcp> {
        let ours = |segment: &Tcp| segment.dst == self.own_port && segment.src == self.port;
        self.rig.hear_tcp().into_iter().filter(ours).collect()
    }

    /// Takes a segment: what it holds next in order counts as received.
    pub fn take(&mut self, segment: &Tcp) {
        if segment.has(SYN) || segment.seq == self.ack {
            self.ack = segment.next_seq();
        }
    }

    /// Takes all that the stack has sent since; its data, in order.
    pub fn receive(&mut self) -> Vec<u8> {
        let mut data = Vec::new();
        for segment in self.hear() {
            if segment.seq == self.ack {
                data.extend(&segment.data);
            }
            self.take(&segment);
        }
        data
    }

    /// Lets time pass, taking and acknowledging, until the stack falls silent for a moment.
    pub fn receive_all(&mut self) -> Vec<u8> {
        let mut data = Vec::new();
        loop {
            let more = self.receive();
            if more.is_empty() {
                return data;
            }
            data.extend(more);
            self.acknowledge();
        }
    }

    /// Did the stack send a reset since?
    pub fn was_reset(&self) -> bool {
        self.hear().iter().any(|segment| segment.has(RST))
    }

    /// Says FIN.
    pub fn finish(&mut self) {
        self.say(FIN | ACK, b"");
    }
}

/// A listener of the stack at [`PORT`] that does not block.
///
/// # Panics
/// When the port is taken.
pub fn listen(rig: &Rig) -> TcpListener {
    let listener = rig.stack.tcp_listen((US, PORT)).expect("a free port");
    listener.set_nonblocking(true).expect("a socket that lives");
    listener
}

/// The stack's end of the connection that waits to be accepted; it does not block.
///
/// # Panics
/// When none waits.
pub fn accepted(listener: &TcpListener) -> TcpStream {
    let (stream, _) = listener.accept().expect("a connection waits");
    stream.set_nonblocking(true).expect("a socket that lives");
    stream
}

/// A connection that the station opened, without options, and the stack's end of it.
pub fn established(rig: &Rig) -> (Peer<'_>, TcpStream) {
    established_with(rig, &[])
}

/// A connection that the station opened with these options on its SYN, and the stack's end of it.
pub fn established_with<'a>(rig: &'a Rig, options: &[u8]) -> (Peer<'a>, TcpStream) {
    let listener = listen(rig);
    let peer = Peer::connect(rig, options);
    let stream = accepted(&listener);
    (peer, stream)
}

/// A socket of the stack that has begun to connect to the station from port 5000.
///
/// # Panics
/// When it cannot begin.
pub fn connecting(rig: &Rig, options: &[SocketOption]) -> Socket {
    use libnet::{Family, Protocol, SockType};
    let socket = rig.stack.socket(Family::Inet, SockType::Stream, Protocol::TCP);
    let socket = socket.expect("TCP is served");
    socket.set_nonblocking(true);
    for option in options {
        socket.set_option(option.clone()).expect("an option of TCP");
    }
    socket.bind((US, 5_000).into()).expect("a free port");
    let begun = socket.connect((PEER, PEER_PORT).into());
    let error = begun.expect_err("a handshake takes time");
    assert_eq!(error.raw_os_error(), Some(115), "EINPROGRESS: {error}");
    rig.run(Duration::from_millis(1));
    socket
}

/// Everything that can be read from a stream now; `None` at its end.
///
/// # Panics
/// When the connection is broken.
pub fn read_all(mut stream: &TcpStream) -> Option<Vec<u8>> {
    let mut data = Vec::new();
    let mut buffer = [0; 4_096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) if data.is_empty() => return None,
            Ok(0) => return Some(data),
            Ok(n) => data.extend(&buffer[..n]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Some(data),
            Err(error) => panic!("a connection that works: {error}"),
        }
    }
}
