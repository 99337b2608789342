//! How connections end, and every move of the state table.

use libnet::{DropReason, Ready};

use super::handshake::simultaneous;
use super::net::*;
use crate::tcp::*;

#[test]
fn one_side_may_go_on_sending_after_the_other_has_closed() {
    let mut net = Net::new();
    let (a, b) = net.established();
    net.shutdown(Side::A, a);
    net.run_for(ms(50));
    assert_eq!((net.state(Side::A, a), net.state(Side::B, b)), (State::FinWait2, State::CloseWait));
    assert_eq!(net.send(Side::A, a, b"x"), Err(SendError::ShutDown));
    net.transfer(Side::B, b, a, &[3; 100_000], secs(2));
    net.shutdown(Side::B, b);
    net.run_for(ms(50));
    assert_eq!((net.state(Side::A, a), net.state(Side::B, b)), (State::TimeWait, State::Closed));
    assert_eq!(net.recv(Side::A, a), Ok(Vec::new()));
}

#[test]
fn both_sides_may_close_at_once() {
    let mut net = Net::new();
    let (a, b) = net.established();
    net.shutdown(Side::A, a);
    net.shutdown(Side::B, b);
    net.run_for(ms(1));
    assert_eq!((net.state(Side::A, a), net.state(Side::B, b)), (State::Closing, State::Closing));
    net.run_for(ms(5));
    assert_eq!((net.state(Side::A, a), net.state(Side::B, b)), (State::TimeWait, State::TimeWait));
    assert_eq!((net.a.table.time_waits(), net.b.table.time_waits()), (1, 1));
}

#[test]
fn lost_fin_is_resent_after_one_rto() {
    let mut net = Net::new();
    let (a, b) = net.established();
    net.drop_next(1, |sent| sent.has(Flags::FIN));
    net.shutdown(Side::A, a);
    net.run_for(ms(199));
    assert_eq!(net.count(Side::A, Flags::FIN), 1);
    net.run_for(ms(10));
    assert_eq!(net.count(Side::A, Flags::FIN), 2);
    assert_eq!((net.state(Side::A, a), net.state(Side::B, b)), (State::FinWait2, State::CloseWait));
}

#[test]
fn the_fin_follows_all_data_and_rides_with_the_last() {
    let mut net = Net::new();
    let (a, b) = net.established();
    assert_eq!(net.send(Side::A, a, &[1; 50_000]), Ok(50_000));
    net.shutdown(Side::A, a);
    net.run_for(ms(100));
    let mut got = 0;
    while let Ok(more) = net.recv(Side::B, b) {
        got += more.len();
        if more.is_empty() {
            break;
        }
    }
    assert_eq!(got, 50_000);
    let fins: Vec<_> = net.log.iter().filter(|sent| sent.has(Flags::FIN)).collect();
    assert_eq!(fins.len(), 1);
    assert!(fins[0].seg.data_len > 0 && fins[0].has(Flags::PSH));
}

#[test]
fn a_fin_before_its_data_waits_for_them() {
    let mut net = Net::new();
    let (a, b) = net.established();
    net.drop_next(1, |sent| sent.seg.data_len > 0);
    assert_eq!(net.send(Side::A, a, &[1; 100]), Ok(100));
    net.pump(Side::A);
    net.shutdown(Side::A, a);
    net.run_for(ms(2));
    assert_eq!(net.count(Side::A, Flags::FIN), 1);
    assert_eq!(net.state(Side::B, b), State::Established);
    // Its answer tells of it, so that the data come again before any time-out.
    net.run_for(ms(20));
    assert_eq!(net.recv(Side::B, b), Ok(vec![1; 100]));
    assert_eq!(net.recv(Side::B, b), Ok(Vec::new()));
    assert_eq!(net.state(Side::B, b), State::CloseWait);
}

#[test]
fn an_orphan_leaves_fin_wait_2_after_a_minute() {
    let mut net = Net::new();
    let (a, _) = net.established();
    net.close(Side::A, a);
    net.run_for(secs(59));
    assert_eq!(net.a.table.len(), 1);
    net.run_for(secs(2));
    assert!(net.a.table.is_empty());
}

#[test]
fn half_closed_and_still_held_stays_in_fin_wait_2() {
    let mut net = Net::new();
    let (a, _) = net.established();
    net.shutdown(Side::A, a);
    net.run_for(secs(10_000));
    assert_eq!(net.state(Side::A, a), State::FinWait2);
}

#[test]
fn closing_with_unread_data_resets() {
    // RFC 9293 §3.6.1, RFC 1122 §4.2.2.13.
    let mut net = Net::new();
    let (a, b) = net.established();
    assert_eq!(net.send(Side::A, a, b"unread"), Ok(6));
    net.run_for(ms(10));
    net.close(Side::B, b);
    net.run_for(ms(10));
    assert_eq!(net.count(Side::B, Flags::RST), 1);
    assert_eq!(net.recv(Side::A, a), Err(RecvError::Failed(ConnError::Reset)));
    assert_eq!(net.recv(Side::A, a), Ok(Vec::new()));
    assert!(net.b.table.is_empty());
}

#[test]
fn data_for_an_orphan_are_answered_with_a_reset() {
    let mut net = Net::new();
    let (a, b) = net.established();
    net.close(Side::B, b);
    net.run_for(ms(10));
    assert_eq!(net.send(Side::A, a, b"too late"), Ok(8));
    net.run_for(ms(10));
    assert_eq!(net.count(Side::B, Flags::RST), 1);
    assert_eq!(net.state(Side::A, a), State::Closed);
    assert_eq!(net.dropped(Side::B, DropReason::TcpDataAfterClose), 1);
    assert_eq!(net.send(Side::A, a, b"more"), Err(SendError::Failed(ConnError::BrokenPipe)));
}

#[test]
fn an_abort_resets_and_drops_what_was_queued() {
    let mut net = Net::new();
    let (a, b) = net.established();
    net.judge(|sent, _| if sent.seg.data_len > 0 { Fate::Drop } else { Fate::Pass });
    assert_eq!(net.send(Side::A, a, &[1; 9000]), Ok(9000));
    net.run_for(ms(5));
    let now = net.now;
    net.a.table.abort(now, a);
    net.run_for(ms(5));
    assert!(net.a.table.is_empty());
    // The RST is beyond what the peer has had: it challenges, and the answer convinces it.
    assert_eq!(net.state(Side::B, b), State::Closed);
    assert_eq!(net.b.table.take_error(b), Some(ConnError::Reset));
}

#[test]
fn a_reader_that_has_shut_down_gets_the_end_and_the_peer_may_go_on() {
    let mut net = Net::new();
    let (a, b) = net.established();
    let now = net.now;
    net.b.table.shutdown_read(now, b);
    assert_eq!(net.send(Side::A, a, &[1; 100_000]), Ok(100_000));
    net.run_for(ms(500));
    assert_eq!(net.recv(Side::B, b), Ok(Vec::new()));
    assert_eq!(net.info(Side::A, a).send_queue_bytes, 0);
}

#[test]
fn the_end_is_told_to_whoever_waits() {
    let mut net = Net::new();
    let (a, b) = net.established();
    net.b.told();
    net.shutdown(Side::A, a);
    net.run_for(ms(5));
    assert_eq!(net.b.told(), Ready::READABLE | Ready::READ_CLOSED);
    assert_eq!(net.b.table.ready(b), Ready::READABLE | Ready::READ_CLOSED | Ready::WRITABLE);
}

#[test]
fn calls_with_a_stale_id_find_nothing() {
    let mut net = Net::new();
    let (a, _) = net.established();
    let now = net.now;
    net.a.table.abort(now, a);
    net.run_for(ms(5));
    assert_eq!(net.send(Side::A, a, b"x"), Err(SendError::ShutDown));
    assert_eq!(net.recv(Side::A, a), Ok(Vec::new()));
    assert_eq!(net.a.table.shutdown_write(now, a), Err(NotConnected));
    assert_eq!(net.a.table.ready(a), Ready::ALL);
    let again = net.connect();
    assert_eq!(again.index, a.index);
    assert!(net.a.table.get(a).is_none());
}

/// Each scene makes some of the moves; together they make them all.
#[test]
fn every_legal_move_of_the_state_table_is_made() {
    let scenes: [fn(&mut Net); 11] = [
        // Active and passive open, and a close from either side.
        |net| {
            let (a, b) = net.established();
            net.close(Side::A, a);
            net.run_for(ms(50));
            net.close(Side::B, b);
            net.run_for(secs(70));
        },
        // Simultaneous open and close.
        |net| {
            let (a, b) = simultaneous(net);
            net.run_for(ms(10));
            net.close(Side::A, a);
            net.close(Side::B, b);
            net.run_for(secs(70));
        },
        // CLOSE in SYN-RECEIVED.
        |net| {
            let (a, _) = simultaneous(net);
            net.run_for(ms(1));
            net.shutdown(Side::A, a);
            net.run_for(ms(10));
        },
        // A listener closes; a connect is refused.
        |net| {
            let listener = net.listen(1);
            net.b.table.remove_listener(&listener);
            assert!(listener.close().is_empty());
            net.connect();
            net.run_for(ms(10));
        },
        // An embryo is reset.
        |net| {
            net.listen(1);
            let a = net.connect();
            net.run_for(ms(1));
            net.a.table.abort(net.now, a);
            net.run_for(ms(10));
        },
        |net| abort_in(net, State::Established),
        |net| abort_in(net, State::FinWait1),
        |net| abort_in(net, State::FinWait2),
        |net| abort_in(net, State::CloseWait),
        |net| abort_in(net, State::Closing),
        |net| abort_in(net, State::LastAck),
    ];
    let mut all = TransitionCounts::default();
    for scene in scenes {
        let mut net = Net::new();
        scene(&mut net);
        all.merge(net.a.table.transitions());
        all.merge(net.b.table.transitions());
    }
    assert_eq!(all.never_made(), []);
}

/// Brings A to `state` and lets a reset of B's end it.
pub(super) fn abort_in(net: &mut Net, state: State) {
    let (a, b) = net.established();
    bring_to(net, a, b, state);
    net.forge(Side::B, a, |forged| forged.header.flags = Flags::RST);
    assert_eq!(net.state(Side::A, a), State::Closed, "{state}");
}

/// Brings A's end of a connection to a synchronized state.
pub(super) fn bring_to(net: &mut Net, a: ConnId, b: ConnId, state: State) {
    match state {
        State::FinWait1 => {
            net.judge(|_, _| Fate::Drop);
            net.shutdown(Side::A, a);
        }
        State::FinWait2 => net.shutdown(Side::A, a),
        State::CloseWait => net.shutdown(Side::B, b),
        State::Closing => {
            net.judge(|sent, _| if sent.has(Flags::FIN) { Fate::Pass } else { Fate::Drop });
            net.shutdown(Side::A, a);
            net.shutdown(Side::B, b);
        }
        State::LastAck => {
            net.shutdown(Side::B, b);
            net.run_for(ms(10));
            net.judge(|_, _| Fate::Drop);
            net.shutdown(Side::A, a);
        }
        _ => {}
    }
    net.run_for(ms(5));
    assert_eq!(net.state(Side::A, a), state);
}
