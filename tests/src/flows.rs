//! Flows over a line in a world: what a path is like, who sends over it, and how much arrives.

use std::io::Write;
use std::time::Duration;

use libnet::impair::{Impairments, Overflow, Way};
use libnet::socket::SocketOption;
use libnet::world::Actor;
use libnetinet::tcp::{CongestionAlgorithm, TcpInfo};
use rumpnet::{InetConfig, TcpStream};

use crate::goodput::Goodput;
use crate::lab::{Pair, PairConfig};

/// Of 1,514 bytes of frame, 1,448 are data.
const DATA_OF_FRAME: (u64, u64) = (1_448, 1_514);

/// How long frames are held back so that others overtake.
const REORDER: Duration = Duration::from_millis(5);

/// A path: bits per second, the round trip, and a queue for so many bandwidth-delay products.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// Of the way there, link header included, bits per second.
    pub rate: u64,
    /// Without the queue.
    pub rtt: Duration,
    /// Bandwidth-delay products that the queue before the wire holds, ten frames at least.
    pub queue: f64,
    /// The share of frames that is lost at random.
    pub loss: f64,
    /// The share of frames that is held back, for 5 ms at most.
    pub reorder: f64,
}

impl Line {
    /// A clean one with a queue of one bandwidth-delay product.
    pub const fn new(megabits: u64, rtt_ms: u64) -> Self {
        let rtt = Duration::from_millis(rtt_ms);
        Line { rate: megabits * 1_000_000, rtt, queue: 1.0, loss: 0.0, reorder: 0.0 }
    }

    /// Bytes that the path holds without its queue.
    pub fn bdp_bytes(&self) -> u64 {
        self.rate / 8 * self.rtt.as_millis() as u64 / 1_000
    }

    /// The way there: rate, queue and losses; the way back has neither.
    fn there(&self) -> Impairments {
        let frames = (self.bdp_bytes() as f64 * self.queue / 1_514.0) as usize;
        // The jitter is what breaks the step in which flows would go, and makes seeds differ.
        let mut link = Impairments::none().rate(self.rate).delay(self.rtt / 2).loss(self.loss);
        link.jitter = self.rtt / 200;
        if self.reorder > 0.0 {
            link = link.reorder(self.reorder).reorder_by(REORDER);
        }
        (link.queue.frames, link.queue.overflow) = (frames.max(10), Overflow::Drops);
        link
    }

    /// What of the rate is data, bits per second.
    pub fn most(&self) -> u64 {
        self.rate * DATA_OF_FRAME.0 / DATA_OF_FRAME.1
    }
}

/// Flows from a to b over one line.
#[derive(Debug)]
pub struct Flows {
    /// The two stacks.
    pub pair: Pair,
    goodputs: Vec<Goodput>,
    streams: Vec<TcpStream>,
    _actors: Vec<Actor<()>>,
}

/// Buffers of so many bytes, which do not grow.
///
/// # Panics
/// Beyond 4 GiB.
pub fn with_buffers(bytes: u64) -> InetConfig {
    let mut config = InetConfig::default();
    let bytes = u32::try_from(bytes).expect("a buffer fits");
    config.tcp.send_buffer_bytes = bytes;
    config.tcp.send_buffer_max_bytes = bytes;
    config.tcp.receive_buffer_bytes = bytes;
    config.tcp.receive_buffer_max_bytes = bytes;
    config
}

impl Flows {
    /// Two stacks that know each other, and the line between them.
    ///
    /// # Panics
    /// A stack did not start.
    pub fn new(line: &Line, inet: InetConfig, seed: u64) -> Self {
        let pair = Pair::new(&PairConfig { inet, ..PairConfig::new(seed) }).expect("they start");
        // The neighbours know each other before anything is lost.
        drop(pair.a.tcp_connect((pair.addrs[1], 1)));
        pair.segment.impair(pair.ports[0], Way::Out, line.there());
        let back = Impairments::none().delay(line.rtt / 2);
        pair.segment.impair(pair.ports[1], Way::Out, back);
        Flows { pair, goodputs: Vec::new(), streams: Vec::new(), _actors: Vec::new() }
    }

    /// A flow more, which sends from now on.
    ///
    /// # Panics
    /// It did not connect.
    pub fn start(&mut self, algorithm: CongestionAlgorithm) {
        let port = 9 + self.streams.len() as u16;
        let to = (self.pair.addrs[1], port);
        let listener = self.pair.b.tcp_listen(to).expect("a free port");
        let (goodput, reader) = Goodput::read_from(&self.pair.world, listener);
        self._actors.push(reader);
        let stream = self.pair.a.tcp_connect(to).expect("it connects");
        let name = algorithm.name().to_owned();
        stream.socket().set_option(SocketOption::Congestion(name)).expect("it is built in");
        let mut writer = stream.try_clone().expect("another handle");
        let name = format!("writer {port}");
        let writes = move || while writer.write_all(&[7; 1 << 18]).is_ok() {};
        self._actors.push(self.pair.world.spawn(&name, writes));
        self.goodputs.push(goodput);
        self.streams.push(stream);
    }

    /// Bits per second of each flow in the next stretch of time.
    pub fn measure(&self, time: Duration) -> Vec<u64> {
        let before: Vec<u64> = self.goodputs.iter().map(Goodput::bytes).collect();
        self.pair.world.run_for(time);
        let after = self.goodputs.iter().map(Goodput::bytes);
        let millis = time.as_millis() as u64;
        after.zip(before).map(|(after, before)| (after - before) * 8 * 1_000 / millis).collect()
    }

    /// What the sender knows of a flow.
    ///
    /// # Panics
    /// There is no such flow, or it has ended.
    pub fn info(&self, flow: usize) -> TcpInfo {
        let inet = self.pair.a.inet().expect("an IP stack");
        inet.tcp_info(self.streams[flow].socket().id()).expect("it is connected")
    }
}
