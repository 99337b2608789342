//! Selective acknowledgements as a receiver sends them: RFC 2018 §4, RFC 2883 §4.

use super::net::*;
use crate::tcp::*;

/// Bytes of A's stream from `offset` on arrive at B, whose answers A never hears.
fn arrive(net: &mut Net, b: ConnId, offset: u32, len: usize) {
    let first = net.b.table.get(b).expect("it lives").irs + 1;
    net.judge(|_, _| Fate::Drop);
    net.forge(Side::A, b, |forged| {
        forged.header.seq = first + offset;
        forged.data = vec![7; len];
    });
    net.run_for(ms(1));
}

/// The blocks of B's last segment, from the first byte of A's data on, and what it acknowledges.
fn told(net: &Net) -> (u32, Vec<(u32, u32)>) {
    let first = net.log.iter().find(|sent| sent.has(Flags::SYN)).expect("a SYN").seg.seq + 1;
    let last = net.sent_by(Side::B).pop().expect("it has answered").seg;
    let blocks = last.options.sack.iter().map(|b| (b.left - first, b.right - first)).collect();
    (last.ack - first, blocks)
}

#[test]
fn it_is_agreed_on_by_both_syns_or_not_used() {
    for (ours, theirs) in [(true, true), (true, false), (false, true)] {
        let with = |sack| TcpConfig { sack, ..TcpConfig::default() };
        let mut net = Net::with(with(ours), with(theirs));
        let (a, b) = net.established();
        let syns: Vec<_> = net.log.iter().filter(|sent| sent.has(Flags::SYN)).collect();
        assert_eq!(syns[0].seg.options.sack_permitted, ours);
        assert_eq!(syns[1].seg.options.sack_permitted, ours && theirs);
        assert_eq!(net.info(Side::A, a).sack, ours && theirs);
        assert_eq!(net.info(Side::B, b).sack, ours && theirs);
        let only_syns = |sent: &Sent| !sent.seg.options.sack_permitted || sent.has(Flags::SYN);
        assert!(net.log.iter().all(only_syns));
        // Data out of order are told of if that was agreed on, and else just answered.
        arrive(&mut net, b, 500, 500);
        let blocks = if ours && theirs { vec![(500, 1000)] } else { vec![] };
        assert_eq!(told(&net), (0, blocks));
    }
}

#[test]
fn blocks_tell_of_the_newest_first_and_repeat_the_others() {
    // RFC 2018 §7: the first four of eight segments come, the second, fourth, sixth and eighth
    // of which are lost.
    let mut net = Net::new();
    let (_, b) = net.established();
    for (i, blocks) in [
        (0, vec![]),
        (1000, vec![(1000, 1500)]),
        (2000, vec![(2000, 2500), (1000, 1500)]),
        (3000, vec![(3000, 3500), (2000, 2500), (1000, 1500)]),
        // The fourth, late: one block for three.
        (1500, vec![(1000, 2500), (3000, 3500)]),
    ] {
        arrive(&mut net, b, i, 500);
        assert_eq!(told(&net), (500, blocks), "{i}");
    }
    // The second, and with it all but the last.
    arrive(&mut net, b, 500, 500);
    assert_eq!(told(&net), (2500, vec![(3000, 3500)]));
    arrive(&mut net, b, 2500, 500);
    assert_eq!(told(&net), (3500, vec![]));
}

#[test]
fn four_blocks_fit_without_timestamps_and_three_beside_them() {
    for (timestamps, most) in [(true, 3), (false, 4)] {
        let config = TcpConfig { timestamps, ..TcpConfig::default() };
        let mut net = Net::with(config, TcpConfig::default());
        let (_, b) = net.established();
        for i in 1..8 {
            arrive(&mut net, b, 1000 * i, 500);
        }
        let blocks: Vec<_> = (0..most).map(|i| 7000 - 1000 * i).map(|l| (l, l + 500)).collect();
        assert_eq!(told(&net), (0, blocks));
    }
}

#[test]
fn what_was_acknowledged_and_comes_again_is_told_of_once() {
    let mut net = Net::new();
    let (_, b) = net.established();
    arrive(&mut net, b, 0, 1000);
    // RFC 2883 §4.1.1: all of it came before.
    arrive(&mut net, b, 500, 500);
    assert_eq!(told(&net), (1000, vec![(500, 1000)]));
    // RFC 2883 §4.2.1: a part of it is new.
    arrive(&mut net, b, 700, 500);
    assert_eq!(told(&net), (1200, vec![(700, 1000)]));
    arrive(&mut net, b, 1500, 500);
    assert_eq!(told(&net), (1200, vec![(1500, 2000)]), "a duplicate is told of once");
    assert_eq!(net.b.table.counters().dsacks_old_out, 2);
    assert_eq!(net.b.table.counters().dsacks_ofo_out, 0);
}

#[test]
fn what_waits_beyond_a_hole_and_comes_again_is_told_of_with_its_block() {
    let mut net = Net::new();
    let (_, b) = net.established();
    arrive(&mut net, b, 3000, 500);
    arrive(&mut net, b, 1000, 1000);
    // RFC 2883 §4.1.3 and rule (5): the duplicate, then the block around it.
    arrive(&mut net, b, 1500, 500);
    assert_eq!(told(&net), (0, vec![(1500, 2000), (1000, 2000), (3000, 3500)]));
    // What fills the hole and reaches into what waited.
    arrive(&mut net, b, 0, 1200);
    assert_eq!(told(&net), (2000, vec![(1000, 1200), (3000, 3500)]));
    assert_eq!(net.b.table.counters().dsacks_ofo_out, 2);
}

#[test]
fn a_fin_beyond_a_hole_is_told_of_as_its_number() {
    let mut net = Net::new();
    let (_, b) = net.established();
    net.judge(|_, _| Fate::Drop);
    let first = net.b.table.get(b).expect("it lives").irs + 1;
    let fin = |net: &mut Net, at: u32, len: usize| {
        net.forge(Side::A, b, |forged| {
            (forged.header.seq, forged.data) = (first + at, vec![7; len]);
            forged.header.flags = Flags::ACK | Flags::FIN;
        });
        net.run_for(ms(1));
    };
    fin(&mut net, 1500, 0);
    assert_eq!(told(&net), (0, vec![(1500, 1501)]));
    arrive(&mut net, b, 1000, 500);
    assert_eq!(told(&net), (0, vec![(1000, 1501)]));
    assert_eq!(net.state(Side::B, b), State::Established);
    arrive(&mut net, b, 0, 1000);
    assert_eq!(told(&net), (1501, vec![]));
    assert_eq!(net.state(Side::B, b), State::CloseWait);
}

#[test]
fn a_stack_without_dsack_tells_of_no_duplicate() {
    let config = TcpConfig { dsack: false, ..TcpConfig::default() };
    let mut net = Net::with(TcpConfig::default(), config);
    let (_, b) = net.established();
    arrive(&mut net, b, 0, 1000);
    arrive(&mut net, b, 0, 1000);
    assert_eq!(told(&net), (1000, vec![]));
    assert_eq!(net.b.table.counters().dsacks_old_out, 0);
}

#[test]
fn data_leave_room_for_the_blocks_that_their_segments_carry() {
    let mut net = Net::new();
    let (_, b) = net.established();
    arrive(&mut net, b, 3000, 500);
    arrive(&mut net, b, 1000, 500);
    net.log.clear();
    net.clean();
    assert_eq!(net.send(Side::B, b, &[1; 100_000]), Ok(100_000));
    net.run_for(ms(50));
    let segments: Vec<_> =
        net.log.iter().filter(|s| s.by == Side::B && s.seg.data_len > 0).collect();
    assert!(segments.len() > 60);
    for sent in segments {
        let options = sent.seg.options.len() as u32;
        assert_eq!((options, sent.seg.options.sack.len()), (32, 2));
        assert!(20 + 20 + options + sent.seg.data_len <= 1500, "{sent:?}");
    }
    // The holes are filled, and segments are as large as before.
    arrive(&mut net, b, 0, 3000);
    net.log.clear();
    net.clean();
    assert_eq!(net.send(Side::B, b, &[1; 100_000]), Ok(100_000));
    net.run_for(ms(50));
    assert!(net.log.iter().any(|sent| sent.seg.data_len == 1448));
}
