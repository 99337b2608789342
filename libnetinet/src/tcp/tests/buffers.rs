//! Buffers that grow: with what is read in a round trip, and with the congestion window.

use std::time::Duration;

use super::net::*;
use super::window::receiver;
use crate::tcp::*;

/// A wire that takes `per_ms` bytes of data each millisecond, one way, and delays by `delay`.
fn paced(net: &mut Net, delay: Duration, bytes_per_ms: u64) {
    net.delay = delay;
    let (start, mut free_at) = (net.now, 0u64);
    net.judge(move |sent, _| {
        let now = sent.at.since(start).as_nanos() as u64;
        let took = u64::from(sent.seg.data_len) * 1_000_000 / bytes_per_ms;
        free_at = free_at.max(now) + took;
        Fate::Late(Duration::from_nanos(free_at - now))
    });
}

/// Sends for `duration` and reads `read` bytes of what came at each step; bytes that were read.
fn stream(net: &mut Net, tx: ConnId, rx: ConnId, duration: Duration, read: usize) -> usize {
    let (end, data, mut got) = (net.now + duration, vec![5; 1 << 20], 0);
    while net.now < end {
        while net.send(Side::A, tx, &data).is_ok() {}
        let mut room = vec![0; read];
        let now = net.now;
        let into = &mut [std::io::IoSliceMut::new(&mut room)];
        got += net.b.table.recv(now, rx, RecvInto::Copy(into)).unwrap_or(0);
        if !net.step(end) {
            break;
        }
    }
    got
}

#[test]
fn a_reader_that_keeps_up_gets_a_window_for_a_long_fast_path() {
    let mut net = Net::new();
    net.delay = ms(50);
    let (a, b) = net.established();
    // 100 Mbit/s and 100 ms: 1.25 MB are under way.
    paced(&mut net, ms(50), 12_500);
    stream(&mut net, a, b, secs(5), 1 << 20);
    let got = stream(&mut net, a, b, secs(5), 1 << 20);
    assert!(got > 5_000 * 12_500 * 90 / 100, "{got} bytes in 5 s");
    let (sender, receiver) = (net.info(Side::A, a), net.info(Side::B, b));
    assert!(receiver.receive_limit_bytes >= 2_500_000, "{receiver:?}");
    assert!(sender.send_limit_bytes >= 1_250_000, "{sender:?}");
    assert!(receiver.rcv_rtt >= ms(95), "{:?}", receiver.rcv_rtt);
}

#[test]
fn a_reader_that_is_slow_does_not_get_a_larger_buffer() {
    let mut net = Net::new();
    net.delay = ms(20);
    let (a, b) = net.established();
    assert!(net.send(Side::A, a, &[5; 1 << 16]).is_ok());
    net.run_for(ms(50));
    for _ in 0..400 {
        while net.send(Side::A, a, &[5; 1 << 16]).is_ok() {}
        net.run_for(ms(10));
        let (now, mut room) = (net.now, [0; 4_000]);
        let into = &mut [std::io::IoSliceMut::new(&mut room)];
        net.b.table.recv(now, b, RecvInto::Copy(into)).expect("there are data");
    }
    let info = net.info(Side::B, b);
    // 16 kB in each round trip of 40 ms, and what slow start may make of that.
    assert!(info.receive_limit_bytes < 256 << 10, "{info:?}");
    assert!(info.receive_queue_bytes > 100_000);
}

#[test]
fn a_buffer_that_was_set_stays_as_it_was_set() {
    let mut net = Net::new();
    let mut options = ConnOptions::new();
    (options.receive_buffer_bytes, options.send_buffer_bytes) = (100_000, 50_000);
    let (a, b) = net.established_with(options.clone(), options);
    net.transfer(Side::A, a, b, &vec![1; 8 << 20], secs(60));
    let (sender, receiver) = (net.info(Side::A, a), net.info(Side::B, b));
    assert_eq!((receiver.receive_limit_bytes, sender.send_limit_bytes), (100_000, 50_000));
    // What it may hold fits the field with a shift of one.
    assert_eq!(net.log[0].seg.options.window_shift, Some(1));
}

#[test]
fn nothing_grows_where_the_stack_says_so() {
    let config = TcpConfig { receive_buffer_grows: false, ..TcpConfig::default() };
    let mut net = Net::with(TcpConfig::default(), config);
    let (a, b) = net.established();
    net.transfer(Side::A, a, b, &vec![1; 8 << 20], secs(60));
    let limit = TcpConfig::default().receive_buffer_bytes;
    assert_eq!(net.info(Side::B, b).receive_limit_bytes, limit);
    assert!(net.info(Side::B, b).rcv_space_bytes > limit / 2, "it was measured all the same");
}

#[test]
fn a_buffer_grows_to_its_largest_and_no_further() {
    let receive = TcpConfig { receive_buffer_max_bytes: 300_000, ..TcpConfig::default() };
    let send = TcpConfig { send_buffer_max_bytes: 200_000, ..TcpConfig::default() };
    let mut net = Net::with(send, receive);
    let (a, b) = net.established();
    net.transfer(Side::A, a, b, &vec![1; 8 << 20], secs(60));
    let (sender, receiver) = (net.info(Side::A, a), net.info(Side::B, b));
    assert_eq!((receiver.receive_limit_bytes, sender.send_limit_bytes), (300_000, 200_000));
}

#[test]
fn a_writer_on_a_slow_path_keeps_little_before_it() {
    let mut net = Net::new();
    net.delay = ms(10);
    let (a, b) = net.established();
    // 8 Mbit/s: 20 kB are under way. Congestion control finds no loss here, and the peer's window
    // ends its growth.
    paced(&mut net, ms(10), 1_000);
    stream(&mut net, a, b, secs(10), 1 << 20);
    let info = net.info(Side::A, a);
    assert!(info.send_limit_bytes <= 2 * info.cwnd_bytes.max(65_160), "{info:?}");
}

#[test]
fn a_pause_is_no_round_trip() {
    let mut net = Net::new();
    net.delay = ms(5);
    let (a, b) = net.established();
    for _ in 0..50 {
        net.transfer(Side::A, a, b, &vec![1; 200_000], secs(10));
        net.run_for(secs(10));
    }
    let info = net.info(Side::B, b);
    assert!(info.rcv_rtt < ms(50), "{:?}", info.rcv_rtt);
    assert!(info.receive_limit_bytes < 2 << 20, "{}", info.receive_limit_bytes);
}

#[test]
fn the_right_edge_never_goes_back_while_a_buffer_grows() {
    // RFC 9293 §3.8.6 (SHOULD-14), RFC 7323 §2.4.
    let mut net = Net::new();
    net.delay = ms(20);
    let (a, b) = net.established();
    net.judge(|sent, n| if sent.seg.data_len > 0 && n % 97 == 0 { Fate::Drop } else { Fate::Pass });
    net.transfer(Side::A, a, b, &vec![1; 4 << 20], secs(60));
    let shift = net.log[1].seg.options.window_shift.expect("it scales");
    let mut edge = None::<SeqNumber>;
    for sent in net.log.iter().filter(|sent| sent.by == Side::B && !sent.has(Flags::SYN)) {
        let right = sent.seg.ack + (u32::from(sent.seg.wnd) << shift);
        assert!(edge.is_none_or(|edge| right.ge(edge)), "{edge:?} to {right:?}");
        edge = Some(right);
    }
    assert!(net.info(Side::B, b).receive_limit_bytes > 256 << 10);
}

#[test]
fn a_writer_goes_on_while_a_hole_holds_what_is_sacked() {
    let mut net = Net::new();
    net.delay = ms(20);
    let mut options = ConnOptions::new();
    options.send_buffer_bytes = 30_000;
    let (a, _) = net.established_with(options, ConnOptions::new());
    net.a.told();
    let mut data_segments = 0;
    net.judge(move |sent, _| {
        data_segments += u32::from(sent.seg.data_len > 0);
        if sent.seg.data_len > 0 && data_segments == 5 { Fate::Drop } else { Fate::Pass }
    });
    assert_eq!(net.send(Side::A, a, &[1; 50_000]), Ok(30_000));
    net.run_for(ms(45));
    // Four are acknowledged, five SACKed: there is room for four, less than a third of the buffer.
    assert_eq!(net.info(Side::A, a).sacked_bytes, 5 * 1448);
    assert!(net.a.told().contains(libnet::Ready::WRITABLE));
    assert!(net.send(Side::A, a, &[1; 50_000]).is_ok_and(|taken| taken > 3 * 1448));
}

#[test]
fn a_send_buffer_takes_no_more_than_its_low_water_beyond_what_is_sent() {
    // Its own, or the stack's.
    for (own, of_stack) in [(8_000, u32::MAX), (0, 8_000), (8_000, 100)] {
        let config = TcpConfig { not_sent_low_water_bytes: of_stack, ..TcpConfig::default() };
        let mut options = ConnOptions::new();
        options.not_sent_low_water_bytes = own;
        let mut net = Net::with(config, TcpConfig::default());
        let (a, b) = net.established_with(options, ConnOptions::new());
        check_low_water(&mut net, a, b);
    }
}

fn check_low_water(net: &mut Net, a: ConnId, b: ConnId) {
    net.a.told();
    assert_eq!(net.send(Side::A, a, &[1; 50_000]), Ok(8_000));
    assert_eq!(net.send(Side::A, a, b"more"), Err(SendError::WouldBlock));
    assert_eq!(net.info(Side::A, a).notsent_bytes, 8_000);
    // They leave, and the writer goes on before any of it is acknowledged.
    net.pump(Side::A);
    assert_eq!(net.info(Side::A, a).notsent_bytes, 0);
    net.a.table.take_events(&mut net.a.events);
    assert!(net.a.told().contains(libnet::Ready::WRITABLE));
    assert_eq!(net.send(Side::A, a, &[1; 50_000]), Ok(8_000));
    let (tx, rx) = (a, b);
    net.run_for(secs(1));
    assert_eq!(net.recv(Side::B, rx).map(|got| got.len()), Ok(16_000));
    net.transfer(Side::A, tx, rx, &vec![1; 1 << 20], secs(60));
}

#[test]
fn a_window_is_no_larger_than_its_clamp() {
    let mut net = Net::new();
    let mut options = ConnOptions::new();
    options.window_clamp_bytes = 20_480;
    let (a, b) = net.established_with(ConnOptions::new(), options);
    net.transfer(Side::A, a, b, &vec![1; 1 << 20], secs(60));
    let told: Vec<&Sent> = net.log.iter().filter(|sent| sent.by == Side::B).collect();
    // As on Linux: such a window needs no shift.
    assert_eq!(told[0].seg.options.window_shift, Some(0));
    let told: Vec<u32> = told.iter().map(|sent| u32::from(sent.seg.wnd)).collect();
    assert_eq!((told[0], told.iter().max()), (20_480, Some(&20_480)), "that of the SYN-ACK, too");
}

#[test]
fn a_reader_that_waits_for_many_bytes_is_not_woken_by_few() {
    let mut net = Net::new();
    let mut options = ConnOptions::new();
    options.receive_low_water_bytes = 5_000;
    let (a, b) = net.established_with(ConnOptions::new(), options);
    net.b.told();
    let readable = libnet::Ready::READABLE;
    for (len, ready) in [(4_000, false), (900, false), (100, true)] {
        assert_eq!(net.send(Side::A, a, &vec![1; len]), Ok(len));
        net.run_for(secs(1));
        assert_eq!(net.b.told().contains(readable), ready);
        assert_eq!(net.b.table.ready(b).contains(readable), ready);
    }
    // What is there can be had, and the end of the stream is told of all the same.
    assert_eq!(net.recv(Side::B, b).map(|got| got.len()), Ok(5_000));
    assert_eq!(net.send(Side::A, a, b"the end"), Ok(7));
    net.close(Side::A, a);
    net.run_for(secs(1));
    assert!(net.b.table.ready(b).contains(readable));
}

#[test]
fn what_holds_a_sender_back_is_told_with_its_time() {
    let mut net = Net::new();
    net.delay = ms(50);
    let mut options = ConnOptions::new();
    (options.send_buffer_bytes, options.receive_buffer_bytes) = (10_000, 20_000);
    let (a, b) = net.established_with(options.clone(), options);
    let idle = net.info(Side::A, a);
    assert!(idle.busy_time.is_zero() && idle.rwnd_limited.is_zero());
    // All of a small buffer is under way, and more would be sent.
    stream(&mut net, a, b, secs(2), 1 << 20);
    let info = net.info(Side::A, a);
    assert!(info.sndbuf_limited > ms(1_500), "{info:?}");
    assert!(info.rwnd_limited < ms(100), "{info:?}");
    // Nobody reads any more: the window shuts.
    for _ in 0..4 {
        let _ = net.send(Side::A, a, &[1; 10_000]);
        net.run_for(secs(1));
    }
    assert!(net.info(Side::A, a).notsent_bytes > 9_900, "a full buffer");
    net.run_for(secs(10));
    let (before, info) = (info, net.info(Side::A, a));
    assert!(info.rwnd_limited > secs(10), "{info:?}");
    assert_eq!(info.sndbuf_limited, before.sndbuf_limited, "the window is to blame");
    assert!(info.busy_time >= info.rwnd_limited + info.sndbuf_limited, "{info:?}");
    // All is read and acknowledged: nothing to do any more.
    while net.info(Side::A, a).in_flight_bytes > 0 || net.info(Side::A, a).notsent_bytes > 0 {
        let _ = net.recv(Side::B, b);
        net.run_for(ms(100));
    }
    let busy = net.info(Side::A, a).busy_time;
    net.run_for(secs(5));
    assert_eq!(net.info(Side::A, a).busy_time, busy);
}

#[test]
fn a_buffer_that_grows_by_itself_again_holds_what_was_promised() {
    let mut net = Net::new();
    let (a, b) = net.established_with(ConnOptions::new(), receiver(500_000));
    net.transfer(Side::A, a, b, &[1; 100_000], secs(5));
    let promised = net.info(Side::B, b).rcv_wnd_bytes;
    assert!(promised > 400_000, "{promised}");
    for bytes in [3_000, 0] {
        net.b.table.set_options(net.now, b, receiver(bytes));
        assert_eq!(net.info(Side::B, b).rcv_wnd_bytes, promised);
        net.b.table.check_invariants();
    }
    assert!(net.info(Side::B, b).receive_limit_bytes >= promised);
}
