//! What a connection tells of itself: counts, times, and what its sender is about.

use libnet::socket::CaState;

use super::net::*;

/// Data segments that a side sent, as the wire has them.
fn on_the_wire(net: &Net, side: Side) -> u64 {
    let lens = net.log.iter().filter(|sent| sent.by == side).map(|sent| sent.seg.data_len);
    lens.map(|len| u64::from(len.div_ceil(1448))).sum()
}

#[test]
fn segments_are_counted_as_the_wire_has_them_and_bytes_once() {
    for cut in [true, false] {
        let mut net = Net::new();
        net.cut = cut;
        let (a, b) = net.established();
        net.transfer(Side::A, a, b, &vec![1; 300_000], secs(5));
        net.run_for(secs(1));
        let (sender, receiver) = (net.info(Side::A, a), net.info(Side::B, b));
        let wire = on_the_wire(&net, Side::A);
        assert!(wire >= 208, "{wire}");
        assert_eq!((sender.data_segments_out, receiver.data_segments_in), (wire, wire), "{cut}");
        assert!(sender.segments_out > wire && receiver.segments_in >= wire);
        assert_eq!(
            (sender.bytes_out, sender.bytes_acked, sender.bytes_resent),
            (300_000, 300_000, 0)
        );
        assert_eq!((receiver.bytes_in, receiver.bytes_acked), (300_000, 0));
        assert_eq!((receiver.data_segments_out, sender.data_segments_in), (0, 0));
        assert_eq!((sender.advertised_mss_bytes, receiver.rcv_mss_bytes), (1448, 1448));
    }
}

#[test]
fn what_is_in_flight_is_not_acknowledged_and_what_waits_not_sent() {
    let mut net = Net::new();
    net.delay = ms(50);
    let (a, _) = net.established();
    assert_eq!(net.send(Side::A, a, &[1; 16_000]), Ok(16_000));
    net.run_for(ms(10));
    let info = net.info(Side::A, a);
    assert_eq!((info.bytes_out, info.bytes_acked), (14_480, 0), "ten segments");
    assert_eq!((info.in_flight_bytes, info.notsent_bytes), (14_480, 1_520));
    assert_eq!((info.since_data_sent, info.ca_state), (ms(10), CaState::Open));
    net.run_for(secs(1));
    let info = net.info(Side::A, a);
    assert_eq!((info.bytes_acked, info.notsent_bytes), (16_000, 0));
    assert!(info.since_heard > ms(500) && info.since_data_sent > ms(500), "{info:?}");
    assert!(info.busy_time >= ms(200) && info.busy_time < ms(400), "{info:?}");
}

#[test]
fn a_loss_is_told_while_it_is_repaired_and_counted_after() {
    let mut net = Net::new();
    net.delay = ms(20);
    let (a, b) = net.established();
    net.drop_next(1, |sent| sent.seg.data_len > 0);
    assert_eq!(net.send(Side::A, a, &[1; 14_480]), Ok(14_480));
    net.run_for(ms(45));
    let info = net.info(Side::A, a);
    assert_eq!((info.ca_state, info.sacked_bytes), (CaState::Disorder, 9 * 1448), "{info:?}");
    // A quarter of a round trip later it is taken as lost.
    net.run_for(ms(10));
    let info = net.info(Side::A, a);
    assert_eq!(info.ca_state, CaState::Recovery, "{info:?}");
    assert!(info.lost_bytes + info.resent_bytes >= 1448, "{info:?}");
    net.run_for(secs(1));
    let info = net.info(Side::A, a);
    assert_eq!((info.ca_state, info.bytes_resent, info.retransmits), (CaState::Open, 1448, 1));
    assert_eq!((info.bytes_acked, info.timeouts), (14_480, 0));
    assert_eq!(net.info(Side::B, b).out_of_order_in, 9);
}

#[test]
fn a_time_out_is_told_with_its_back_off() {
    let mut net = Net::new();
    let (a, _) = net.established();
    net.judge(|sent, _| if sent.seg.data_len > 0 { Fate::Drop } else { Fate::Pass });
    assert_eq!(net.send(Side::A, a, b"lost"), Ok(4));
    net.run_for(secs(2));
    let info = net.info(Side::A, a);
    assert_eq!(info.ca_state, CaState::Loss);
    assert!(info.backoff >= 2 && u16::from(info.backoff) == info.timeouts, "{info:?}");
    assert_eq!(info.bytes_resent, 4 * info.retransmits);
    net.clean();
    net.run_for(secs(10));
    let info = net.info(Side::A, a);
    assert_eq!((info.ca_state, info.backoff, info.bytes_acked), (CaState::Open, 0, 4));
    assert!(info.timeouts >= 2, "of all time");
}

#[test]
fn duplicates_and_reordering_are_counted() {
    let mut net = Net::new();
    net.delay = ms(20);
    let (a, b) = net.established();
    net.judge(|sent, _| if sent.seg.data_len > 0 { Fate::Twice } else { Fate::Pass });
    net.transfer(Side::A, a, b, &vec![1; 100_000], secs(10));
    net.run_for(ms(100));
    let mut n = 0;
    net.judge(move |sent, _| {
        n += u32::from(sent.seg.data_len > 0);
        let late = sent.seg.data_len > 0 && n % 10 == 0;
        if late { Fate::Late(ms(5)) } else { Fate::Pass }
    });
    net.transfer(Side::A, a, b, &vec![1; 400_000], secs(10));
    net.run_for(secs(1));
    let info = net.info(Side::A, a);
    assert!(info.dsacks_in > 0 && info.reorderings > 0, "{info:?}");
    assert!(net.info(Side::B, b).out_of_order_in > 0);
}
