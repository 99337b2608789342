//! What congestion control makes of a path, in virtual time: goodput, queues, shares.

use std::io::Write;
use std::time::Duration;

use libnet::impair::{Impairments, Overflow, Way};
use libnet::socket::SocketOption;
use libnet::world::Actor;
use rumpnet::libnetinet::tcp::{CongestionAlgorithm, TcpInfo};
use rumpnet::{InetConfig, TcpStream};
use rumpnet_tests::goodput::Goodput;
use rumpnet_tests::lab::{Pair, PairConfig};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
/// Of 1,514 bytes of frame, 1,448 are data.
const DATA_OF_FRAME: (u64, u64) = (1_448, 1_514);

/// A path: bits per second, the round trip, and a queue for so many bandwidth-delay products.
#[derive(Clone, Copy, Debug)]
struct Line {
    rate: u64,
    rtt: Duration,
    queue: f64,
    loss: f64,
}

impl Line {
    const fn new(megabits: u64, rtt_ms: u64) -> Self {
        let rtt = Duration::from_millis(rtt_ms);
        Line { rate: megabits * 1_000_000, rtt, queue: 1.0, loss: 0.0 }
    }

    fn bdp_bytes(&self) -> u64 {
        self.rate / 8 * self.rtt.as_millis() as u64 / 1_000
    }

    /// The way there: rate, queue and losses; the way back has neither.
    fn there(&self) -> Impairments {
        let frames = (self.bdp_bytes() as f64 * self.queue / 1_514.0) as usize;
        // The jitter is what breaks the step in which flows would go, and makes seeds differ.
        let mut link = Impairments::none().rate(self.rate).delay(self.rtt / 2).loss(self.loss);
        link.jitter = self.rtt / 200;
        (link.queue.frames, link.queue.overflow) = (frames.max(10), Overflow::Drops);
        link
    }

    /// What of the rate is data, bits per second.
    fn most(&self) -> u64 {
        self.rate * DATA_OF_FRAME.0 / DATA_OF_FRAME.1
    }
}

/// Flows from a to b over one line.
struct Flows {
    pair: Pair,
    goodputs: Vec<Goodput>,
    streams: Vec<TcpStream>,
    _actors: Vec<Actor<()>>,
}

/// Buffers of so many bytes.
fn with_buffers(bytes: u64) -> InetConfig {
    let mut config = InetConfig::default();
    let bytes = u32::try_from(bytes).expect("a buffer fits");
    config.tcp.send_buffer_bytes = bytes;
    config.tcp.send_buffer_max_bytes = bytes;
    config.tcp.receive_buffer_bytes = bytes;
    config.tcp.receive_buffer_max_bytes = bytes;
    config
}

impl Flows {
    fn new(line: &Line, inet: InetConfig, seed: u64) -> Self {
        let pair = Pair::new(&PairConfig { inet, ..PairConfig::new(seed) }).expect("they start");
        // The neighbours know each other before anything is lost.
        drop(pair.a.tcp_connect((pair.addrs[1], 1)));
        pair.segment.impair(pair.ports[0], Way::Out, line.there());
        let back = Impairments::none().delay(line.rtt / 2);
        pair.segment.impair(pair.ports[1], Way::Out, back);
        Flows { pair, goodputs: Vec::new(), streams: Vec::new(), _actors: Vec::new() }
    }

    fn start(&mut self, algorithm: CongestionAlgorithm) {
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
    fn measure(&self, time: Duration) -> Vec<u64> {
        let before: Vec<u64> = self.goodputs.iter().map(Goodput::bytes).collect();
        self.pair.world.run_for(time);
        let after = self.goodputs.iter().map(Goodput::bytes);
        let millis = time.as_millis() as u64;
        after.zip(before).map(|(after, before)| (after - before) * 8 * 1_000 / millis).collect()
    }

    fn info(&self, flow: usize) -> TcpInfo {
        let inet = self.pair.a.inet().expect("an IP stack");
        inet.tcp_info(self.streams[flow].socket().id()).expect("it is connected")
    }
}

/// Goodput of one flow, thousandths of what the path allows, and the flow.
fn share(line: &Line, algorithm: CongestionAlgorithm, warm_up: Duration, time: Duration) -> u64 {
    let mut flows = Flows::new(line, InetConfig::default(), 3);
    flows.start(algorithm);
    flows.pair.world.run_for(warm_up);
    let bits = flows.measure(time)[0];
    let info = flows.info(0);
    println!("{algorithm} {line:?}: {bits} bit/s of {}, {info:?}", line.most());
    bits * 1_000 / line.most()
}

#[test]
fn cubic_fills_a_gigabit_at_1_ms_and_20_ms() {
    for (rtt, warm_up) in [(1, SECOND), (20, SECOND)] {
        let share = share(&Line::new(1_000, rtt), CongestionAlgorithm::Cubic, warm_up, SECOND);
        assert!(share >= 900, "{share} thousandths at {rtt} ms");
    }
}

#[test]
fn cubic_fills_a_gigabit_at_100_ms() {
    let line = Line::new(1_000, 100);
    let share = share(&line, CongestionAlgorithm::Cubic, 3 * SECOND, 3 * SECOND);
    assert!(share >= 900, "{share} thousandths");
}

#[test]
fn cubic_fills_a_gigabit_at_200_ms() {
    let line = Line::new(1_000, 200);
    let share = share(&line, CongestionAlgorithm::Cubic, 5 * SECOND, 3 * SECOND);
    assert!(share >= 900, "{share} thousandths");
}

/// The less of two flows' shares, thousandths of their sum, and the sum in those of the line: the
/// second begins a second later; measured for 40 s after 20 s.
fn lesser_share(line: &Line, algorithms: [CongestionAlgorithm; 2], seed: u64) -> (u64, u64) {
    let mut flows = Flows::new(line, InetConfig::default(), seed);
    flows.start(algorithms[0]);
    flows.pair.world.run_for(SECOND);
    flows.start(algorithms[1]);
    flows.pair.world.run_for(20 * SECOND);
    let bits = flows.measure(40 * SECOND);
    println!("{algorithms:?}, seed {seed}: {bits:?}");
    let sum = bits[0] + bits[1];
    (bits[0].min(bits[1]) * 1_000 / sum, sum * 1_000 / line.most())
}

/// The median over three seeds.
fn median(mut of: impl FnMut(u64) -> u64) -> u64 {
    let mut all = [of(1), of(2), of(3)];
    all.sort_unstable();
    all[1]
}

#[test]
fn two_cubic_flows_share_within_a_tenth() {
    let line = Line::new(40, 20);
    let less = median(|seed| {
        let (less, sum) = lesser_share(&line, [CongestionAlgorithm::Cubic; 2], seed);
        assert!(sum >= 900, "{sum} thousandths of the line");
        less
    });
    assert!(less >= 450, "{less} thousandths");
}

#[test]
fn bbr_holds_nine_tenths_at_one_loss_in_a_hundred_and_100_ms() {
    let line = Line { loss: 0.01, ..Line::new(100, 100) };
    let share = share(&line, CongestionAlgorithm::Bbr, 5 * SECOND, 20 * SECOND);
    assert!(share >= 900, "{share} thousandths");
}

#[test]
fn bbr_fills_clean_paths_and_leaves_their_queues_short() {
    for (megabits, rtt) in [(100, 20), (1_000, 20), (50, 100)] {
        let line = Line::new(megabits, rtt);
        let mut flows = Flows::new(&line, InetConfig::default(), 7);
        flows.start(CongestionAlgorithm::Bbr);
        flows.pair.world.run_for(3 * SECOND);
        // The queue is what the round trip has beyond the path's.
        let (mut bits, mut queued) = (0, Duration::ZERO);
        for _ in 0..20 {
            bits += flows.measure(100 * MS)[0] / 20;
            queued += flows.info(0).srtt.expect("it was measured").saturating_sub(line.rtt) / 20;
        }
        println!("{line:?}: {bits} bit/s, {queued:?} queued: {:?}", flows.info(0));
        assert!(bits * 10 >= line.most() * 9, "{bits} of {} bit/s", line.most());
        assert!(queued * 3 <= line.rtt.max(6 * MS), "{queued:?} queued on {line:?}");
    }
}

#[test]
fn two_bbr_flows_share_the_path() {
    let (less, sum) = lesser_share(&Line::new(40, 20), [CongestionAlgorithm::Bbr; 2], 11);
    assert!(sum >= 900 && less >= 333, "{less} thousandths of {sum}");
}

#[test]
fn a_bbr_flow_and_a_cubic_one_both_get_on() {
    let both = [CongestionAlgorithm::Cubic, CongestionAlgorithm::Bbr];
    let (less, sum) = lesser_share(&Line::new(40, 20), both, 13);
    assert!(sum >= 900 && less >= 200, "{less} thousandths of {sum}");
}

#[test]
fn larger_buffers_do_not_make_it_slower() {
    // From one bandwidth-delay product, as Linux counts it (twice what is asked for), to 16 MiB.
    let line = Line::new(100, 20);
    let bdp = line.bdp_bytes();
    let mut all = Vec::new();
    for buffer in [2 * bdp, 4 * bdp, 1 << 22, 1 << 24] {
        let mut bits = Vec::new();
        for seed in 0..3 {
            let mut flows = Flows::new(&line, with_buffers(buffer), seed);
            flows.start(CongestionAlgorithm::Cubic);
            flows.pair.world.run_for(3 * SECOND);
            bits.push(flows.measure(10 * SECOND)[0]);
        }
        bits.sort_unstable();
        all.push((buffer, bits[1]));
    }
    println!("{all:?}");
    let best = all.iter().map(|(_, bits)| *bits).max().expect("four");
    for (buffer, bits) in &all {
        assert!(bits * 20 >= best * 19, "{bits} bit/s with {buffer} bytes, {best} is the best");
    }
}
