//! Data that land in the memory of a caller that waits for them.

use bytes::Bytes;
use libnet::engine::StackCore;
use libnet::iface::IfIndex;
use libnet::landing::{Forecast, Landing};
use libnet::link::{Medium, Offload};
use libnet::packet::{Checksum, Packet};
use libnet::socket::{Domain, Protocol, SocketId, SocketOption};
use libnet::stats::DropReason;
use libnet::time::Instant;
use libnet::world::LinkConfig;
use proptest::prelude::*;

use crate::testing::{Net, Node, at, is_ip};

/// More than the least that is worth it, and less than an initial window.
const LARGE: usize = 12_000;

/// Two nodes, a connection over which large segments have gone, and a wire to the second of which
/// nothing gets any more: what reaches it, tests bring.
struct Pair {
    net: Net,
    a: Node,
    b: Node,
    from: SocketId,
    to: SocketId,
}

impl Pair {
    fn new() -> Self {
        let net = Net::with_link(1, LinkConfig::default().offload(Offload::FULL));
        let (a, b) = (net.node(1), net.node(2));
        let listener = b.listener(80);
        let from = a.tcp();
        let _ = a.inet.connect(from, at(2, 80));
        net.run_ms(5);
        let (to, _) = b.inet.accept(listener).unwrap();
        let pair = Pair { net, a, b, from, to };
        assert_eq!(pair.b.inet.forecast(pair.to).map(|_| ()), None, "nothing large has come");
        // The first ones are cut small.
        for _ in 0..2 {
            pair.a.send(from, &[1; LARGE]).unwrap();
            pair.net.run_ms(5);
            assert_eq!(pair.b.got(to).len(), LARGE);
        }
        pair.set_deaf(true);
        pair
    }

    fn set_deaf(&self, deaf: bool) {
        let iface = self.b.inet.engine().interface(IfIndex(2)).unwrap();
        iface.reconfigure(|config| config.up = !deaf);
    }

    /// The frames that sending these bytes makes.
    fn frames_of(&self, data: &[u8]) -> Vec<Bytes> {
        self.net.frames();
        self.a.send(self.from, data).unwrap();
        self.net.run_ms(1);
        let frames = self.net.frames().into_iter();
        let sent: Vec<Bytes> = frames
            .filter(|frame| is_ip(frame, Protocol::TCP) && frame[..6] == self.b.mac.0)
            .collect();
        assert!(!sent.is_empty());
        sent
    }

    fn forecast(&self) -> Forecast {
        self.b.inet.forecast(self.to).expect("large segments in order, and nothing there")
    }

    /// Frames come by the link while a caller waits with `memory`; how many bytes it has then.
    fn bring(&self, forecast: Forecast, memory: &mut [u8], frames: &[Bytes]) -> usize {
        let mut landing = Landing::new(Box::new(forecast), memory);
        let mut packets = frames.iter().map(|frame| through_link(frame, &mut landing)).collect();
        self.set_deaf(false);
        self.b.inet.engine().with_shard(0, |core, now| {
            core.handle_landed(now, IfIndex(2), &mut packets, &mut landing);
        });
        landing.taken()
    }

    fn bytes_landed(&self) -> u64 {
        self.b.inet.tcp_counters()[0].bytes_landed
    }
}

/// What a link does with a frame that it has received.
fn through_link(frame: &Bytes, landing: &mut Landing<'_>) -> Packet {
    let (front, data) = frame.split_at(landing.header_bytes(Medium::Ethernet).min(frame.len()));
    if landing.expects(front, Medium::Ethernet, Checksum::Trusted)
        && (1..=landing.room_bytes()).contains(&data.len())
    {
        landing.room()[..data.len()].copy_from_slice(data);
        let mut packet = landing.land(front, data.len(), Instant::ZERO);
        packet.checksum = Checksum::Trusted;
        return packet;
    }
    let mut packet = Packet::received(frame.clone(), Instant::ZERO);
    packet.checksum = Checksum::Trusted;
    packet
}

/// Bytes that tell where they belong.
fn text(from: usize, bytes: usize) -> Vec<u8> {
    (from..from + bytes).map(|i| (i ^ (i >> 8)) as u8).collect()
}

#[test]
fn data_that_landed_are_received_and_acknowledged() {
    let pair = Pair::new();
    let data = text(0, LARGE);
    let frames = pair.frames_of(&data);
    let mut memory = vec![0; 2 * LARGE];
    let taken = pair.bring(pair.forecast(), &mut memory, &frames);
    assert_eq!(taken, LARGE);
    assert!(memory[..taken] == data);
    assert_eq!(pair.bytes_landed(), LARGE as u64);
    assert!(pair.b.recv(pair.to).is_err(), "it is not there a second time");
    pair.net.run_ms(5);
    let info = pair.a.inet.tcp_info(pair.from).unwrap();
    assert_eq!((info.in_flight_bytes, info.retransmits), (0, 0));
    // And the stream goes on the usual way.
    pair.a.send(pair.from, b"more").unwrap();
    pair.net.run_ms(5);
    assert_eq!(pair.b.got(pair.to), b"more");
}

#[test]
fn what_the_connection_no_longer_expects_takes_the_usual_way() {
    let pair = Pair::new();
    let data = text(0, LARGE);
    let frames = pair.frames_of(&data);
    let forecast = pair.forecast();
    let mut memory = vec![0; LARGE];
    // Others have brought it meanwhile, and nobody has read it.
    assert_eq!(pair.bring(forecast.clone(), &mut [], &frames), 0);
    assert_eq!(pair.bring(forecast, &mut memory, &frames), 0);
    assert_eq!(pair.b.got(pair.to), data);
    assert!(pair.b.recv(pair.to).is_err());
    assert!(pair.b.inet.forecast(pair.to).is_some());
}

#[test]
fn who_listens_to_all_of_tcp_gets_whole_packets() {
    let pair = Pair::new();
    let raw = pair.b.raw(Protocol::TCP);
    let data = text(0, LARGE);
    let frames = pair.frames_of(&data);
    let mut memory = vec![0; LARGE];
    assert_eq!(pair.bring(pair.forecast(), &mut memory, &frames), 0);
    assert_eq!(pair.b.got(pair.to), data);
    assert!(pair.b.got(raw).ends_with(&data));
}

#[test]
fn what_is_dropped_on_its_way_was_not_received() {
    let pair = Pair::new();
    let frames = pair.frames_of(&text(0, LARGE));
    let forecast = pair.forecast();
    let mut bad = frames[0].to_vec();
    bad[14 + 10] ^= 1;
    let mut memory = vec![0; LARGE];
    assert_eq!(pair.bring(forecast, &mut memory, &[bad.into()]), 0, "its IP checksum is wrong");
    assert_eq!(pair.b.dropped(DropReason::IpChecksum), 1);
    assert_eq!(pair.bytes_landed(), 0);
}

#[test]
fn what_landed_for_one_connection_is_nothing_to_another() {
    // As if a link had taken it for the frame that was expected.
    let pair = Pair::new();
    let forecast = pair.forecast();
    pair.set_deaf(false);
    let listener = pair.b.listener(81);
    let other = pair.a.tcp();
    let _ = pair.a.inet.connect(other, at(2, 81));
    pair.net.run_ms(5);
    let (to, _) = pair.b.inet.accept(listener).unwrap();
    pair.set_deaf(true);
    pair.net.frames();
    let data = text(0, 5_000);
    pair.a.send(other, &data).unwrap();
    pair.net.run_ms(1);
    let frames = pair.net.frames();
    let frame = frames.iter().find(|frame| frame.len() > 1_000).unwrap();
    let mut memory = vec![0; LARGE];
    let mut landing = Landing::new(Box::new(forecast), &mut memory);
    let (front, rest) = frame.split_at(landing.header_bytes(Medium::Ethernet));
    landing.room()[..rest.len()].copy_from_slice(rest);
    let mut packet = landing.land(front, rest.len(), Instant::ZERO);
    packet.checksum = Checksum::Trusted;
    pair.set_deaf(false);
    pair.b.inet.engine().with_shard(0, |core, now| {
        core.handle_landed(now, IfIndex(2), &mut vec![packet], &mut landing);
    });
    assert_eq!((landing.taken(), pair.b.dropped(DropReason::TcpNoConnection)), (0, 1));
    pair.net.run_ms(1_000);
    assert_eq!(pair.b.got(to), data, "it was sent again");
}

#[test]
fn there_is_no_forecast_where_it_is_not_plain_what_comes() {
    let pair = Pair::new();
    assert!(pair.b.inet.forecast(pair.to).is_some());
    pair.b.inet.set_option(pair.to, SocketOption::ReceiveLowWater(2)).unwrap();
    assert!(pair.b.inet.forecast(pair.to).is_none(), "it waits for more than there may come");
    pair.b.inet.set_option(pair.to, SocketOption::ReceiveLowWater(1)).unwrap();
    assert!(pair.b.inet.forecast(pair.to).is_some());
    // Small ones: it is not worth it.
    pair.set_deaf(false);
    for _ in 0..20 {
        pair.a.send(pair.from, b"x").unwrap();
        pair.net.run_ms(50);
        pair.b.got(pair.to);
    }
    assert!(pair.b.inet.forecast(pair.to).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However frames and callers' memory come together, the stream is what was sent.
    #[test]
    fn the_stream_is_what_was_sent(
        steps in prop::collection::vec((1usize..14_000, 0usize..20_000, 0u8..4), 1..12),
    ) {
        let pair = Pair::new();
        let (mut sent, mut got) = (Vec::new(), Vec::new());
        for (bytes, room, how) in steps {
            pair.set_deaf(true);
            let data = text(sent.len(), bytes);
            sent.extend_from_slice(&data);
            let mut frames = pair.frames_of(&data);
            match how {
                0 => frames.reverse(),
                1 => frames = frames.iter().flat_map(|frame| [frame.clone(), frame.clone()]).collect(),
                _ => {}
            }
            let mut memory = vec![0; room];
            if let Some(forecast) = pair.b.inet.forecast(pair.to) {
                let taken = pair.bring(forecast, &mut memory, &frames);
                got.extend_from_slice(&memory[..taken]);
            }
            pair.set_deaf(false);
            // What was not brought is sent again.
            for _ in 0..50 {
                pair.net.run_ms(20);
                while let Ok((data, _)) = pair.b.recv(pair.to) {
                    got.extend_from_slice(&data);
                }
                if got.len() == sent.len() {
                    break;
                }
            }
            prop_assert_eq!(&got, &sent);
        }
    }
}
