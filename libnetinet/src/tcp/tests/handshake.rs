//! How connections begin, and how they fail to.

use std::net::SocketAddr;

use libnet::{DropReason, Ready};

use super::net::*;
use super::window::{assert_first_window_stands, receiver};
use crate::tcp::*;

/// Both ends connect to each other at the same time, from fixed ports.
pub(super) fn simultaneous(net: &mut Net) -> (ConnId, ConnId) {
    let a = net.connect_from(5000, ConnOptions::new()).expect("the port is free");
    let remote = SocketAddr::new(net.a.path.addr, 5000);
    let from = ConnectFrom { port: 80, ..ConnectFrom::default() };
    let b = net
        .b
        .table
        .connect(net.now, &mut net.b.path, from, remote, &|_| true)
        .expect("the port is free");
    (a, b)
}

#[test]
fn two_connects_that_cross_make_one_connection() {
    // RFC 9293 §3.5, figure 8.
    let mut net = Net::new();
    let (a, b) = simultaneous(&mut net);
    net.run_for(ms(1));
    assert_eq!(net.state(Side::A, a), State::SynReceived);
    assert_eq!(net.state(Side::B, b), State::SynReceived);
    net.run_for(ms(5));
    assert_eq!(net.state(Side::A, a), State::Established);
    assert_eq!(net.state(Side::B, b), State::Established);
    net.transfer(Side::A, a, b, &[1; 5000], secs(1));
    net.transfer(Side::B, b, a, &[2; 5000], secs(1));
    assert_eq!(net.a.table.counters().timeouts, 0);
}

#[test]
fn crossing_connects_survive_the_loss_of_either_syn_ack() {
    let mut net = Net::new();
    let (a, b) = simultaneous(&mut net);
    net.drop_next(2, |sent| sent.has(Flags::SYN) && sent.has(Flags::ACK));
    net.run_for(secs(5));
    assert_eq!(net.state(Side::A, a), State::Established);
    assert_eq!(net.state(Side::B, b), State::Established);
}

#[test]
fn what_a_syn_offered_stands_where_the_buffer_is_made_smaller_since() {
    let mut net = Net::new();
    let listener = net.listen(4);
    let a = net.connect();
    net.pump(Side::A);
    net.a.table.set_options(net.now, a, receiver(20_000));
    net.run_for(ms(5));
    let b = listener.accept().expect("the handshake is over").id;
    assert_eq!(net.send(Side::B, b, &[1; 60_000]), Ok(60_000));
    net.run_for(secs(1));
    assert_first_window_stands(&net, Side::A);
    assert_eq!(net.info(Side::A, a).receive_queue_bytes, 60_000);
}

#[test]
fn a_connect_to_oneself_is_a_connect_that_crosses_itself() {
    let mut net = Net::new();
    let addr = net.a.path.addr;
    let from = ConnectFrom { port: 80, ..ConnectFrom::default() };
    let remote = SocketAddr::new(addr, 80);
    let id = net.a.table.connect(net.now, &mut net.a.path, from, remote, &|_| true);
    let id = id.expect("the port is free");
    for _ in 0..4 {
        // The wire leads back.
        net.pump(Side::A);
        net.now += ms(1);
        while let Some((meta, packet)) = net.take_from_wire() {
            net.arrive(Side::A, meta.src, meta.dst, 0, packet);
        }
    }
    assert_eq!(net.state(Side::A, id), State::Established);
}

#[test]
fn a_lost_syn_is_sent_again_after_a_second_and_data_begin_carefully() {
    let mut net = Net::new();
    let listener = net.listen(4);
    let a = net.connect();
    net.drop_next(1, |sent| sent.has(Flags::SYN));
    net.run_for(ms(999));
    assert_eq!(net.count(Side::A, Flags::SYN), 1);
    net.run_for(ms(20));
    assert_eq!(net.count(Side::A, Flags::SYN), 2);
    assert_eq!(net.state(Side::A, a), State::Established);
    assert!(listener.accept().is_some());
    let info = net.info(Side::A, a);
    // RFC 5681 §3.1: one segment after a lost SYN; RFC 6298 §5.7: 3 s.
    assert_eq!(info.cwnd_bytes, u32::from(info.snd_mss_bytes));
    assert_eq!(info.rto, secs(3));
}

#[test]
fn a_lost_syn_ack_comes_again() {
    let mut net = Net::new();
    let listener = net.listen(4);
    let a = net.connect();
    net.drop_next(1, |sent| sent.by == Side::B && sent.has(Flags::SYN));
    net.run_for(ms(1_100));
    assert_eq!(net.state(Side::A, a), State::Established);
    assert!(listener.accept().is_some());
}

#[test]
fn a_lost_third_segment_is_made_good_by_data() {
    let mut net = Net::new();
    let listener = net.listen(4);
    let a = net.connect();
    net.drop_next(1, |sent| sent.by == Side::A && sent.seg.flags == Flags::ACK);
    net.run_for(ms(10));
    assert_eq!((net.state(Side::A, a), listener.waiting()), (State::Established, 0));
    assert_eq!(net.send(Side::A, a, b"hello"), Ok(5));
    net.run_for(ms(10));
    let b = listener.accept().expect("the data carried the ACK").id;
    assert_eq!(net.recv(Side::B, b), Ok(b"hello".to_vec()));
}

#[test]
fn a_connect_to_nobody_is_refused() {
    let mut net = Net::new();
    let a = net.connect();
    net.run_for(ms(10));
    assert_eq!(net.state(Side::A, a), State::Closed);
    assert_eq!(net.a.table.take_error(a), Some(ConnError::Refused));
    assert_eq!(net.dropped(Side::B, DropReason::TcpNoConnection), 1);
    assert!(net.a.told().contains(Ready::WRITABLE | Ready::ERROR | Ready::HANGUP));
    assert_eq!(net.a.table.counters().attempt_fails, 1);
    net.close(Side::A, a);
    assert!(net.a.table.is_empty());
}

#[test]
fn an_unanswered_connect_fails_after_ten_retries_and_131_seconds() {
    let mut net = Net::new();
    let a = net.connect();
    net.judge(|_, _| Fate::Drop);
    net.run_for(ms(130_900));
    assert_eq!((net.state(Side::A, a), net.log.len()), (State::SynSent, 11));
    net.run_for(ms(200));
    assert_eq!(net.send(Side::A, a, b"x"), Err(SendError::Failed(ConnError::TimedOut)));
    assert_eq!(net.send(Side::A, a, b"x"), Err(SendError::ShutDown), "an error is told once");
}

#[test]
fn a_host_that_cannot_be_reached_is_named_as_the_reason() {
    let mut net = Net::new();
    net.a.path.broken = Some(PathError::NetUnreachable);
    let failed = net.connect_from(0, ConnOptions::new());
    assert_eq!(failed, Err(ConnectError::Path(PathError::NetUnreachable)));
    net.a.path.broken = None;
    let a = net.connect();
    net.a.path.broken = Some(PathError::HostUnreachable);
    net.run_for(ms(1));
    assert_eq!(net.a.table.take_error(a), Some(ConnError::HostUnreachable));
}

#[test]
fn an_embryo_whose_peer_falls_silent_is_forgotten() {
    let mut net = Net::new();
    let listener = net.listen(4);
    net.connect();
    net.judge(|sent, _| if sent.by == Side::B { Fate::Drop } else { Fate::Pass });
    net.run_for(ms(5));
    assert_eq!((net.b.table.requests(), listener.embryos()), (1, 1));
    net.judge(|_, _| Fate::Drop);
    net.run_for(secs(130));
    assert_eq!((net.b.table.requests(), listener.embryos()), (0, 0));
    assert_eq!(net.count(Side::B, Flags::SYN), 1 + 5);
}

#[test]
fn a_peer_without_options_gets_the_default_segment_size_and_no_scaling() {
    let mut net = Net::new();
    let listener = net.listen(4);
    let (b_addr, a_addr) = (net.b.path.addr, net.a.path.addr);
    let syn = Header {
        seq: SeqNumber::new(77),
        ack: SeqNumber::default(),
        flags: Flags::SYN,
        wnd: 4_000,
        urgent: 0,
        options: Options::default(),
    };
    let tuple = FourTuple {
        local: a_addr,
        remote: b_addr,
        local_port: 9,
        remote_port: 80,
        zone: Zone::NONE,
    };
    net.inject(Side::B, &syn, &tuple, b"");
    net.run_for(ms(1));
    let reply = net.sent_by(Side::B)[0].seg;
    assert_eq!(reply.options.window_shift, None);
    assert_eq!(reply.options.timestamps, None);
    assert_eq!(reply.options.mss, Some(1460));
    let (seq, ack) = (SeqNumber::new(78), reply.seq + 1);
    let third =
        Header { seq, ack, flags: Flags::ACK, wnd: 4_000, urgent: 0, options: Options::default() };
    net.inject(Side::B, &third, &tuple, b"");
    let id = listener.accept().expect("it is established").id;
    let info = net.info(Side::B, id);
    assert_eq!((info.snd_mss_bytes, info.snd_wnd_bytes), (536, 4_000));
    assert!(info.rcv_wnd_bytes <= 65_535);
}

#[test]
fn an_old_syn_ack_is_answered_with_a_reset_and_the_connect_goes_on() {
    let mut net = Net::new();
    let listener = net.listen(4);
    let a = net.connect();
    net.pump(Side::A);
    net.forge(Side::B, a, |forged| {
        forged.header.ack += 1_000;
        forged.header.flags = Flags::SYN | Flags::ACK;
    });
    net.pump(Side::A);
    let reset = net.sent_by(Side::A).last().expect("a reset").seg;
    assert_eq!(reset.flags, Flags::RST);
    assert_eq!(net.state(Side::A, a), State::SynSent);
    // A RST that acknowledges nothing of ours is not believed either.
    net.forge(Side::B, a, |forged| forged.header.flags = Flags::RST);
    net.forge(Side::B, a, |forged| forged.header.flags = Flags::ACK);
    assert_eq!(net.state(Side::A, a), State::SynSent);
    assert_eq!(net.dropped(Side::A, DropReason::TcpNoAck), 2);
    net.run_for(ms(10));
    assert!(listener.accept().is_some());
}

#[test]
fn a_peer_that_has_forgotten_everything_connects_again() {
    // RFC 9293 §3.5.1, half-open connections; RFC 5961 §4.2.
    let mut net = Net::new();
    let listener = net.listen(4);
    let old = net.connect_from(5000, ConnOptions::new()).expect("the port is free");
    net.run_for(ms(10));
    let b = listener.accept().expect("accepted").id;
    net.judge(|_, _| Fate::Drop);
    let now = net.now;
    net.a.table.abort(now, old);
    net.run_for(ms(10));
    net.clean();
    let again = net.connect_from(5000, ConnOptions::new()).expect("the port is free");
    net.run_for(ms(10));
    assert_eq!(net.b.table.take_error(b), Some(ConnError::Reset), "the challenge told it");
    net.run_for(ms(1_100));
    assert_eq!(net.state(Side::A, again), State::Established);
}

#[test]
fn closing_before_the_answer_deletes_the_connection() {
    let mut net = Net::new();
    net.listen(4);
    let a = net.connect();
    net.pump(Side::A);
    net.close(Side::A, a);
    assert!(net.a.table.is_empty());
    net.run_for(ms(10));
    // The SYN-ACK finds nobody, and its RST ends the handshake.
    assert!(net.b.table.is_empty());
}

#[test]
fn closing_while_connects_cross_ends_in_order() {
    let mut net = Net::new();
    let (a, b) = simultaneous(&mut net);
    net.run_for(ms(1));
    assert_eq!(net.state(Side::A, a), State::SynReceived);
    net.shutdown(Side::A, a);
    net.run_for(ms(20));
    assert_eq!(net.state(Side::A, a), State::FinWait2);
    assert_eq!(net.recv(Side::B, b), Ok(Vec::new()));
}

#[test]
fn data_may_ride_with_the_third_segment_and_the_fin_too() {
    let mut net = Net::new();
    let listener = net.listen(4);
    let a = net.connect();
    net.judge(|sent, _| if sent.seg.flags == Flags::ACK { Fate::Drop } else { Fate::Pass });
    net.run_for(ms(2));
    assert_eq!(net.send(Side::A, a, b"all"), Ok(3));
    net.shutdown(Side::A, a);
    net.run_for(ms(5));
    let b = listener.accept().expect("accepted").id;
    assert_eq!(net.recv(Side::B, b), Ok(b"all".to_vec()));
    assert_eq!(net.recv(Side::B, b), Ok(Vec::new()));
    assert_eq!(net.state(Side::B, b), State::CloseWait);
}

#[test]
fn nobody_connects_to_several_or_to_port_zero() {
    let mut net = Net::new();
    for remote in ["224.0.0.1:80", "255.255.255.255:80", "10.0.0.2:0", "0.0.0.0:80", "[::1]:80"] {
        let from = ConnectFrom { addr: Some([10, 0, 0, 1].into()), ..ConnectFrom::default() };
        let remote: SocketAddr = remote.parse().expect("an address");
        let got = net.a.table.connect(net.now, &mut net.a.path, from, remote, &|_| true);
        assert_eq!(got, Err(ConnectError::BadAddress), "{remote}");
    }
}
