//! Interfaces whose frames are harmed between the stack and its link, over links that harm nothing.

use super::*;

const IF: IfIndex = IfIndex(2);

/// Two nodes on a segment without delay.
fn direct(world: &World) -> (Stack, Stack) {
    let (_, a, b) = two(world, Impairments::none());
    (a, b)
}

fn harm(stack: &Stack, way: Way, impairments: Impairments) {
    stack.engine.set_impairments(IF, way, impairments).unwrap();
}

fn times(stack: &Stack) -> Vec<u64> {
    stack.got().iter().map(|(at, ..)| at.as_millis()).collect()
}

#[test]
fn each_way_of_an_interface_has_its_own_delay() {
    let world = World::new(1);
    let (a, b) = direct(&world);
    harm(&a, Way::Out, Impairments::none().delay(MS * 20));
    harm(&a, Way::In, Impairments::none().delay(MS * 30));
    a.ping(b.mac(), b"x");
    world.run_for(MS * 100);
    assert_eq!((times(&b), times(&a)), (vec![20], vec![50]));
    assert_eq!(a.engine.impair_stats(IF, Way::Out).unwrap().delivered, 1);
    assert_eq!(a.engine.impairments(IF, Way::In).unwrap(), Impairments::none().delay(MS * 30));
}

#[test]
fn a_rate_makes_a_stack_wait_and_nothing_is_lost() {
    let world = World::new(1);
    let (a, b) = direct(&world);
    let limit = QueueLimit { frames: 2, ..QueueLimit::default() };
    harm(&a, Way::Out, Impairments::none().rate(1_000_000).queue(limit));
    for _ in 0..500 {
        a.ping(b.mac(), &[0; 111]);
    }
    // 125 bytes at 1 Mbit/s: one each millisecond.
    world.run_for(MS * 250 + MS / 2);
    assert_eq!(b.got().len(), 250);
    assert!(!a.engine.is_drained(IF, 0));
    world.run_for(MS * 251);
    assert_eq!(b.got().len(), 250);
    assert!(a.engine.is_drained(IF, 0));
}

#[test]
fn a_rate_that_is_lifted_lets_go_what_waited() {
    let world = World::new(1);
    let (a, b) = direct(&world);
    // 14 bytes of header and one: 15 s for each.
    harm(&a, Way::Out, Impairments::none().rate(8));
    harm(&b, Way::In, Impairments::none().rate(8));
    for _ in 0..10 {
        a.ping(b.mac(), b"x");
    }
    world.run_for(Duration::from_secs(40));
    assert_eq!(b.got().len(), 1);
    harm(&a, Way::Out, Impairments::none());
    harm(&b, Way::In, Impairments::none());
    world.run_for(MS);
    assert_eq!(b.got().len(), 9);
    a.ping(b.mac(), b"y");
    world.run_for(MS);
    assert_eq!(b.got().len(), 1, "and the next passes by");
}

#[test]
fn what_is_under_way_when_harm_ends_arrives_before_what_comes_after() {
    let world = World::new(1);
    let (a, b) = direct(&world);
    harm(&a, Way::Out, Impairments::none().delay(MS * 50));
    a.ping(b.mac(), b"1");
    harm(&a, Way::Out, Impairments::none());
    a.ping(b.mac(), b"2");
    world.run_for(MS * 100);
    let got: Vec<Bytes> = b.got().into_iter().map(|(.., payload)| payload).collect();
    assert_eq!(got, [&b"1"[..], b"2"]);
}

#[test]
fn a_full_link_under_a_delay_loses_nothing() {
    let world = World::new(1);
    let config = PairConfig { queue_frames: 2, ..PairConfig::default() };
    let (left, right) = pair(&config);
    let a = Stack::new(&world, "a", left);
    let b = Stack::new(&world, "b", right);
    harm(&a, Way::Out, Impairments::none().delay(MS * 10));
    for _ in 0..300 {
        a.ping(b.mac(), b"x");
    }
    world.run_for(MS * 100);
    assert_eq!((b.got().len(), a.got().len()), (300, 300));
    let sent = a.engine.impair_stats(IF, Way::Out).unwrap();
    assert_eq!((sent.offered, sent.delivered), (300, 300));
}

#[test]
fn what_comes_is_harmed_by_chance_and_the_seed_decides() {
    let run = |seed| {
        let world = World::new(seed);
        let (a, b) = direct(&world);
        harm(&b, Way::In, Impairments::none().loss(0.3).duplicate(0.2));
        a.ping_on_timer(b.mac(), 400);
        world.run_for(MS * 500);
        let stats = b.engine.impair_stats(IF, Way::In).unwrap();
        assert_eq!(b.got().len() as u64, stats.delivered);
        assert!((60..180).contains(&stats.lost) && stats.duplicated > 20, "{stats:?}");
        assert!(b.engine.impairer(IF).unwrap().unfired().is_empty());
        (stats, times(&a))
    };
    assert_eq!(run(1), run(1));
}

#[test]
fn a_fault_of_an_interface_that_never_fires_is_named_with_its_way() {
    let world = World::new(1);
    let (a, b) = direct(&world);
    harm(&a, Way::Out, Impairments::none().loss(1e-9));
    a.ping(b.mac(), b"x");
    world.run_for(MS);
    assert_eq!(a.engine.impairer(IF).unwrap().unfired(), ["out.loss"]);
}

#[test]
fn a_loopback_cannot_be_harmed() {
    let world = World::new(1);
    let stack = Stack::new(&world, "a", Loopback::default());
    let error = stack.engine.set_impairments(IF, Way::Out, Impairments::none()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
    assert!(stack.engine.impairments(IfIndex(9), Way::Out).is_err());
}

#[test]
#[should_panic(expected = "faults that never fired: segment0")]
fn a_world_can_fail_a_test_whose_faults_did_not_happen() {
    let world = World::new(1);
    // It fails as it should: nothing is to be left behind.
    world.record(Recording::OFF);
    let (_, a, b) = two(&world, Impairments::none().loss(1e-9));
    a.ping(b.mac(), b"x");
    world.run_for(MS);
    world.assert_faults_fired();
}

/// What goes wrong with a ping each second: a rate, silence, and again as before.
fn scripted() -> crate::impair::Schedule {
    crate::impair::Schedule::new(Impairments::none().delay(MS))
        .at(MS * 1_500, |link| link.rate(8_000))
        .at(MS * 2_500, Impairments::down)
        .at(MS * 3_500, |_| Impairments::none())
}

#[test]
fn a_schedule_is_followed_by_ports_and_by_interfaces_alike() {
    let arrived = |on_port: bool| {
        let world = World::new(1);
        let (segment, a, b) = two(&world, Impairments::none());
        match on_port {
            true => segment.impair(PortId(0), Way::Out, scripted()),
            false => a.engine.set_impairments(IF, Way::Out, scripted()).unwrap(),
        }
        for second in 1..=4 {
            world.run_for(MS * 1_000 * second - world.now().since(Instant::ZERO));
            a.ping(b.mac(), b"x");
        }
        world.run_for(MS * 100);
        times(&b)
    };
    // 15 bytes at 1,000 bytes per second take 15 ms.
    assert_eq!(arrived(true), [1_001, 2_016, 4_000]);
    assert_eq!(arrived(false), arrived(true));
}

#[test]
fn a_segments_schedule_begins_with_each_port() {
    let world = World::new(1);
    world.run_for(MS * 10_000);
    let schedule = crate::impair::Schedule::default().at(MS * 100, Impairments::down);
    let segment = world.segment(LinkConfig::default().impairments(schedule));
    let a = Stack::new(&world, "a", segment.next_link());
    let b = Stack::new(&world, "b", segment.next_link());
    a.ping(b.mac(), b"x");
    world.run_for(MS * 100);
    a.ping(b.mac(), b"x");
    world.run_for(MS * 100);
    assert_eq!(times(&b), [10_000]);
}

#[test]
fn what_is_done_to_an_interface_follows_its_schedule_though_no_frame_comes() {
    let world = World::new(1);
    let (a, _) = direct(&world);
    let schedule = crate::impair::Schedule::new(Impairments::none().delay(MS))
        .at(MS * 500, Impairments::down)
        .at(MS * 9_000, Impairments::up);
    a.engine.set_impairments(IF, Way::Out, schedule).unwrap();
    let now = || a.engine.impairments(IF, Way::Out).unwrap();
    assert_eq!(now(), Impairments::none().delay(MS));
    world.run_for(MS * 600);
    assert_eq!(now(), Impairments::none().delay(MS).down());
    let unfired = a.engine.impairer(IF).unwrap().unfired();
    assert_eq!(unfired, ["out.schedule from 500ms on (no frame came)"]);
}
