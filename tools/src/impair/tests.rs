//! Every key, each way, there and back.

use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<ImpairSpec, String> {
    text.parse().map_err(|error: ImpairSpecError| error.to_string())
}

#[test]
fn everything_at_once() {
    let all = "loss=2%,delay=10ms,jitter=250us,dup=0.5%,reorder=0.25,reorder-by=3ms,corrupt=1%,\
               rate=10mbit,limit=20ms,queue=codel,seed=7";
    let queue = QueueLimit::drop_past_time(Duration::from_millis(20));
    let expected = Impairments::none()
        .loss(0.02)
        .delay(Duration::from_millis(10))
        .jitter(Duration::from_micros(250))
        .duplicate(0.005)
        .reorder(0.25)
        .reorder_by(Duration::from_millis(3))
        .corrupt(0.01)
        .rate(10_000_000)
        .queue(queue.discipline(Discipline::CoDel));
    let spec = parse(all).unwrap();
    assert_eq!((&spec.out, &spec.received, spec.seed), (&expected, &expected, Some(7)));
    assert_eq!(parse(""), Ok(ImpairSpec::default()));
}

#[test]
fn spaces_after_commas_are_none_of_the_keys() {
    for (spaced, plain) in [
        ("loss=5%, down", "loss=5%,state=down"),
        (" out.down , in.loss = 1% ", "out.state=down,in.loss=1%"),
        ("loss=ge:1%, 25%, 90%, delay=1ms", "loss=ge:1%,25%,90%,delay=1ms"),
    ] {
        assert_eq!(parse(spaced), parse(plain), "{spaced}");
        assert!(parse(spaced).is_ok(), "{spaced}");
    }
}

#[test]
fn each_way_may_have_its_own() {
    let spec = parse("loss=1%,out.delay=5ms,in.loss=0").unwrap();
    assert_eq!(spec.out, Impairments::none().loss(0.01).delay(Duration::from_millis(5)));
    assert_eq!(spec.received, Impairments::none());
    assert_eq!(spec.to_string(), "out.loss=1%,out.delay=5000us");
}

#[test]
fn bursts_are_told_as_netem_has_them() {
    let spec = parse("out.loss=ge:1%,25%,90%,0.1%,delay=1ms,in.loss=ge:0.5%,50%").unwrap();
    let bad = Loss::GilbertElliott { enter: 0.01, leave: 0.25, loss_good: 0.001, loss_bad: 0.9 };
    assert_eq!(spec.out.loss, bad);
    let all = Loss::GilbertElliott { enter: 0.005, leave: 0.5, loss_good: 0.0, loss_bad: 1.0 };
    assert_eq!(spec.received.loss, all);
    assert_eq!(spec.received.delay, Duration::from_millis(1));
}

#[test]
fn a_limit_is_in_frames_bytes_or_time() {
    let limit = |text: &str| parse(&format!("limit={text}")).map(|spec| spec.out.queue);
    assert_eq!(limit("100"), Ok(QueueLimit::drop_past_frames(100)));
    assert_eq!(limit("64k"), Ok(QueueLimit::drop_past_bytes(65_536)));
    assert_eq!(limit("20ms"), Ok(QueueLimit::drop_past_time(Duration::from_millis(20))));
    for text in ["18446744073709551615", "18446744073709551615b"] {
        assert!(limit(text).is_err(), "{text} would be none");
    }
    let rated = parse("rate=1mbit,queue=ecn").unwrap().out.queue;
    assert_eq!(rated, QueueLimit::ROUTER.discipline(Discipline::Ecn));
    assert_eq!(parse("limit=9,rate=1mbit").unwrap().out.queue, QueueLimit::drop_past_frames(9));
}

#[test]
fn a_link_is_down_and_up_again() {
    assert_eq!(parse("out.down").unwrap().out, Impairments::none().down());
    assert_eq!(parse("state=down").unwrap().to_string(), "state=down");
    assert_eq!(parse("down,loss=1%,up"), parse("loss=1%"));
    assert_eq!(parse("loss=1%,delay=1ms,in.none"), parse("out.loss=1%,out.delay=1ms"));
    assert_eq!(parse("schedule=a.txt,seed=3").unwrap().to_string(), "schedule=a.txt,seed=3");
}

#[test]
fn old_spellings_are_understood() {
    assert_eq!(parse("duplicate=1%,rate=10M"), parse("dup=1%,rate=10mbit"));
}

#[test]
fn mistakes_say_what_to_write() {
    for (text, needle) in [
        ("los=2%", "there are loss, delay"),
        ("up.loss=2%", "unknown impairment `up.loss`"),
        ("loss", "is not KEY=VALUE"),
        ("loss=200%", "write loss=2%"),
        ("loss=-1%", "write loss=2%"),
        ("loss=nan", "write loss=2%"),
        ("loss=ge:1%", "loss=ge:1%,25%"),
        ("loss=ge:1%,2%,3%,4%,5%", "loss=ge:1%,25%"),
        ("delay=10", "write delay=10ms"),
        ("delay=-1ms", "write delay=10ms"),
        ("in.delay=2000000h", "write delay=10ms"),
        ("rate=fast", "write rate=100mbit"),
        ("limit=0", "write limit=100"),
        ("queue=sfq", "write queue=fifo, codel, ecn, red, red-ecn or fq-codel"),
        ("seed=x", "write seed=7"),
        ("state=maybe", "write state=down or state=up"),
        ("schedule=", "write schedule=FILE"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(needle), "{text}: {error}");
    }
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text in ".{0,60}") {
        let _ = text.parse::<ImpairSpec>();
    }

    #[test]
    fn what_is_shown_can_be_read_again(
        permille in 0u32..=1_000, micros in 0u64..3_600_000_000, rate in 1u64..1_000_000_000_000,
        frames in 1usize..1_000_000, discipline in 0usize..6, seed: Option<u64>,
    ) {
        let mut spec = ImpairSpec::default();
        let queue = QueueLimit::drop_past_frames(frames);
        spec.out = Impairments::none().duplicate(f64::from(permille) / 1_000.0).rate(rate);
        use Discipline::{CoDel, Ecn, Fifo, FqCoDel, Red, RedEcn};
        let all = [Fifo, CoDel, Ecn, Red, RedEcn, FqCoDel];
        spec.out = spec.out.queue(queue.discipline(all[discipline]));
        spec.received = Impairments::none().delay(Duration::from_micros(micros));
        spec.seed = seed;
        let text = spec.to_string();
        let again: ImpairSpec = if text == "none" { "".parse() } else { text.parse() }.unwrap();
        // A share may lose its last bit on the way through per cent.
        prop_assert!((again.out.duplicate - spec.out.duplicate).abs() < 1e-12, "{}", text);
        prop_assert_eq!(again.out.queue, spec.out.queue, "{}", text);
        prop_assert_eq!(again.out.rate_bits_per_second, rate);
        prop_assert_eq!(again.received.delay, spec.received.delay, "{}", text);
        prop_assert_eq!(again.seed, seed);
    }
}
