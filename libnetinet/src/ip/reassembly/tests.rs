//! Reassembly against an oracle, and its bounds.

use proptest::prelude::*;

use super::*;

const IFACE: IfIndex = IfIndex(2);

fn key(ident: u32) -> DatagramKey {
    let any = IpAddr::from([10, 0, 0, 1]);
    DatagramKey { src: any, dst: any, zone: Zone::NONE, protocol: 17, ident }
}

fn fragment(offset: usize, data: &[u8], more: bool) -> Fragment {
    let header = Bytes::from_static(&[0x45; 20]);
    Fragment { offset, data: Bytes::copy_from_slice(data), more, header }
}

fn reassembly(config: IpConfig) -> Reassembly {
    Reassembly::new(config, Ipv6Config::default(), Key::new(1, 2))
}

fn insert(
    all: &mut Reassembly,
    now: Instant,
    ident: u32,
    f: Fragment,
) -> Result<Option<Vec<u8>>, DropReason> {
    let whole = all.insert(now, IFACE, key(ident), f, &mut 0)?;
    Ok(whole.map(|(_, pieces)| pieces.concat()))
}

proptest! {
    #[test]
    fn agrees_with_an_array_of_bytes(
        units in 1usize..40,
        tail in 0usize..8,
        cuts in prop::collection::vec((0usize..40, 1usize..12, any::<bool>()), 1..60),
    ) {
        let total = units * 8 + tail;
        let source: Vec<u8> = (0..total).map(|i| (i * 7 + i / 256) as u8).collect();
        let mut oracle: Vec<Option<u8>> = vec![None; total];
        let mut all = reassembly(IpConfig::default());
        for (start, len, corrupt) in cuts {
            let start = (start % (units + 1)) * 8;
            let end = (start + len * 8).min(total);
            if start >= end {
                continue;
            }
            let mut data = source[start..end].to_vec();
            // Some fragments contradict what others say of the same bytes.
            if corrupt && start % 64 == 0 {
                data[0] ^= 0xff;
            }
            let clash = (start..end).any(|i| oracle[i].is_some_and(|old| old != data[i - start]));
            let result = insert(&mut all, Instant::ZERO, 1, fragment(start, &data, end < total));
            if clash {
                prop_assert_eq!(result, Err(DropReason::FragmentOverlap));
                let again = insert(&mut all, Instant::ZERO, 1, fragment(0, &source[..8], true));
                prop_assert_eq!(again, Err(DropReason::FragmentOverlap), "it stays dropped");
                return Ok(());
            }
            for i in start..end {
                oracle[i] = Some(data[i - start]);
            }
            let whole: Option<Vec<u8>> = oracle.iter().copied().collect();
            prop_assert_eq!(result, Ok(whole.clone()));
            if whole.is_some() {
                prop_assert_eq!(all.bytes(), 0);
                return Ok(());
            }
        }
    }

    #[test]
    fn memory_never_passes_its_bound(
        fragments in prop::collection::vec((0u32..50, 0usize..8000, 1usize..180, any::<bool>()), 0..400),
    ) {
        let config = IpConfig {
            reassembly_bytes: 16_384,
            reassembly_datagrams: 8,
            ..IpConfig::default()
        };
        let mut all = reassembly(config);
        for (ident, at, units, more) in fragments {
            let _ = insert(&mut all, Instant::ZERO, ident, fragment(at * 8, &vec![0; units * 8], more));
            prop_assert!(all.bytes() <= 16_384, "{} bytes", all.bytes());
            prop_assert!(all.datagrams.len() <= 8);
            let accounted: usize = all.datagrams.values().map(|partial| partial.bytes).sum();
            prop_assert_eq!(accounted, all.bytes());
            prop_assert_eq!(all.deadlines.len(), all.datagrams.len());
        }
    }
}

#[test]
fn impossible_fragments_are_malformed() {
    let mut all = reassembly(IpConfig::default());
    for bad in
        [fragment(0, &[1; 9], true), fragment(65_528, &[1; 8], false), fragment(0, &[], true)]
    {
        assert_eq!(insert(&mut all, Instant::ZERO, 1, bad), Err(DropReason::FragmentMalformed));
    }
    assert_eq!(all.bytes(), 0);
}

#[test]
fn a_mark_on_one_fragment_is_one_on_the_whole_unless_another_was_not_ready_for_it() {
    // RFC 3168 §5.3, in both families.
    let six = |ecn: u8| [0x60, ecn << 4];
    let four = |ecn: u8| [0x45, ecn];
    for (ecn, want) in [
        ([2, 2], Some(2)),
        ([0, 0], Some(0)),
        ([2, 3], Some(3)),
        ([3, 2], Some(3)),
        ([3, 3], Some(3)),
        ([1, 3], Some(3)),
        ([3, 0], None),
        ([0, 3], None),
    ] {
        for header_of in [four as fn(u8) -> [u8; 2], six] {
            let mut all = reassembly(IpConfig::default());
            let with = |ecn: u8, mut fragment: Fragment| {
                fragment.header = [&header_of(ecn)[..], &[0; 18]].concat().into();
                fragment
            };
            let first = with(ecn[0], fragment(0, &[1; 8], true));
            let last = with(ecn[1], fragment(8, &[1; 8], false));
            all.insert(Instant::ZERO, IFACE, key(1), first, &mut 0).expect("the first is taken");
            let whole = all.insert(Instant::ZERO, IFACE, key(1), last, &mut 0);
            let got = whole.ok().map(|whole| whole.expect("it is whole").0[..2].to_vec());
            assert_eq!(got, want.map(|ecn| header_of(ecn).to_vec()), "{ecn:?}");
        }
    }
}

#[test]
fn two_ends_cannot_both_be_true() {
    let mut all = reassembly(IpConfig::default());
    assert_eq!(insert(&mut all, Instant::ZERO, 1, fragment(16, &[1; 8], false)), Ok(None));
    let other = insert(&mut all, Instant::ZERO, 1, fragment(32, &[1; 8], false));
    assert_eq!(other, Err(DropReason::FragmentOverlap));
}

#[test]
fn what_waits_too_long_goes_with_its_first_fragment() {
    let mut all = reassembly(IpConfig::default());
    let start = Instant::from_millis(7);
    insert(&mut all, start, 1, fragment(0, &[1; 8], true)).unwrap();
    insert(&mut all, start, 2, fragment(8, &[1; 8], true)).unwrap();
    let mut expired = Vec::new();
    all.expire(start + IpConfig::default().reassembly_timeout, &mut expired);
    assert_eq!(expired.len(), 2);
    assert_eq!(expired.iter().filter(|e| e.first.is_some()).count(), 1);
    assert_eq!((all.bytes(), all.next_deadline()), (0, None));
}

#[test]
fn no_frame_is_kept_for_the_few_bytes_that_it_brought() {
    let mut all = reassembly(IpConfig::default());
    let frame = Bytes::from(vec![0x60; 65_536]);
    let first = Fragment {
        offset: 0,
        data: frame.slice(2_000..2_008),
        more: true,
        header: frame.slice(..2_000),
    };
    let later = Fragment {
        offset: 8,
        data: frame.slice(2_000..2_008),
        more: true,
        header: frame.slice(..2_000),
    };
    insert(&mut all, Instant::ZERO, 1, first).unwrap();
    insert(&mut all, Instant::ZERO, 1, later).unwrap();
    assert!(frame.is_unique(), "it can go");
    assert_eq!(
        all.bytes(),
        DATAGRAM_OVERHEAD + 2_000 + 2 * (8 + PIECE_OVERHEAD),
        "and all that is kept is counted"
    );
}

#[test]
fn a_fragment_that_fills_many_gaps_stays_within_the_bound() {
    let config = IpConfig { reassembly_bytes: 24_576, ..IpConfig::default() };
    let mut all = reassembly(config);
    for n in 0..100 {
        insert(&mut all, Instant::ZERO, 1, fragment(16 * n, &[0; 8], true)).unwrap();
    }
    let result = insert(&mut all, Instant::ZERO, 1, fragment(0, &[0; 1_600], true));
    assert_eq!(result, Err(DropReason::FragmentMemory));
    assert!(all.bytes() <= 24_576, "{} bytes", all.bytes());
}
