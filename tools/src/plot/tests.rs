use std::io::Cursor;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use libnet::capture::pcapng::{CaptureInterface, CapturedFrame, PcapngWriter};
use libnet::impair::Overflow;
use libnet::link::Medium;

use super::sample::{Sample, TRANSFER};
use super::*;

fn flows_of(capture: &[u8]) -> Flows {
    collect(CaptureReader::new(Cursor::new(capture)).unwrap()).unwrap().0
}

#[test]
fn a_transfer_is_read_as_it_was() {
    let (capture, overlay) = sample::transfer(&TRANSFER).unwrap();
    let flows = flows_of(&capture);
    assert_eq!(flows.iter().count(), 1);
    let flow = flows.iter().next().unwrap();
    let way = flow.way(false);
    assert_eq!(flow.ends()[way].ip().to_string(), "10.0.0.1");
    assert!(flow.resent(way) >= 2, "two were lost: {}", flow.resent(way));
    assert!(flow.bytes(way) >= 300_000);
    assert_eq!(flow.bytes(1 - way), 0);
    let reached =
        flow.segments().iter().filter(|seen| seen.way == way).map(|seen| seen.seq + seen.len);
    assert_eq!(reached.max(), Some(300_002), "data, SYN and FIN");
    assert!(flow.segments().iter().any(|seen| !seen.sack.is_empty()));
    let trips = flow.round_trips(way);
    assert!(trips.iter().all(|trip| trip.seconds > 0.019), "20 ms at least");
    let overlay = Overlay::parse(&overlay, flow, way).unwrap();
    assert!(overlay.cwnd.len() > 20 && overlay.rtt.len() > 20);
    assert!(overlay.cwnd.iter().all(|(at, _)| *at < flow.seconds() + 2.0));
    // Seen from the other side there is nothing of it.
    let text = r#"{"t":1,"local":"10.0.0.2:80","cwnd":1}"#;
    assert_eq!(Overlay::parse(text, flow, way), Ok(Overlay::default()));
    assert!(Overlay::parse("{\"t\":1}\nno", flow, way).unwrap_err().starts_with("line 2 "));
    assert!(Overlay::parse("{}", flow, way).unwrap_err().contains("\"t\""));
}

/// A segment of IPv6 over bare IP.
fn segment(from_client: bool, seq: u32, ack: u32, flags: u8, data: usize) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((20 + data as u16).to_be_bytes());
    packet.extend([6, 64]);
    let ends = [[0xfd, 1], [0xfd, 2]].map(|net| [&net[..], &[0; 14]].concat());
    let (src, dst) = if from_client { (0, 1) } else { (1, 0) };
    packet.extend([&ends[src][..], &ends[dst][..]].concat());
    let ports = [50_000u16, 80];
    packet.extend(ports[src].to_be_bytes());
    packet.extend(ports[dst].to_be_bytes());
    packet.extend(seq.to_be_bytes());
    packet.extend(ack.to_be_bytes());
    packet.extend([5 << 4, flags, 0x40, 0, 0, 0, 0, 0]);
    packet.resize(packet.len() + data, 7);
    packet
}

/// A capture of frames of which the first `kept` bytes were kept.
fn capture(frames: &[Vec<u8>], kept: usize) -> Vec<u8> {
    let mut writer = PcapngWriter::new(Vec::new(), "test").unwrap();
    writer.add_interface(&CaptureInterface::new("t", Medium::Ip)).unwrap();
    for (n, frame) in (0..).zip(frames) {
        let bytes = Bytes::copy_from_slice(&frame[..frame.len().min(kept)]);
        let mut captured = CapturedFrame::new(0, Duration::from_millis(n * 10), bytes);
        captured.original_len = frame.len() as u32;
        writer.write(&captured).unwrap();
    }
    writer.into_inner()
}

#[test]
fn numbers_that_wrap_go_on_and_what_was_cut_off_counts() {
    let first = u32::MAX - 1_000;
    let frames: Vec<_> = (0..4u32)
        .flat_map(|n| {
            let seq = first.wrapping_add(1 + n * 800);
            [segment(true, seq, 1, 0x10, 800), segment(false, 1, seq.wrapping_add(800), 0x10, 0)]
        })
        .collect();
    let frames = [vec![segment(true, first, 0, 2, 0)], frames].concat();
    for kept in [60, 10_000] {
        let flows = flows_of(&capture(&frames, kept));
        let flow = flows.iter().next().unwrap();
        assert_eq!((flow.bytes(0), flow.resent(0), flow.way(false)), (3_200, 0, 0));
        assert_eq!(flow.segments().last().unwrap().ack, Some(3_201));
        assert_eq!(flow.round_trips(0).len(), 4);
        assert_eq!(flow.in_flight(0).last().map(|last| last.1), Some(0));
    }
}

#[test]
fn ends_that_meet_again_are_another_connection() {
    let life = [
        segment(true, 7, 0, 2, 0),
        segment(false, 9, 8, 0x12, 0),
        segment(true, 8, 10, 0x11, 5),
        segment(false, 10, 14, 0x11, 0),
    ];
    let again = life.clone().map(|mut frame| {
        frame[44] = frame[44].wrapping_add(90);
        frame
    });
    let flows = flows_of(&capture(&[life, again].concat(), 10_000));
    assert_eq!(flows.iter().map(|flow| flow.bytes(0)).collect::<Vec<_>>(), [5, 5]);
}

#[test]
fn pictures_have_what_was_seen_in_both_forms() {
    let (capture, overlay) = sample::transfer(&TRANSFER).unwrap();
    let flows = flows_of(&capture);
    let flow = flows.iter().next().unwrap();
    let overlay = Overlay::parse(&overlay, flow, 0).unwrap();
    let plot = chart::Plot { flow, way: 0, overlay: Some(&overlay), span: Some((0.1, 0.3)) };
    let svg = String::from_utf8(chart::svg(&plot, (800, 600)).unwrap()).unwrap();
    for word in ["sent again", "acknowledged", "window", "SACK", "congestion window", "round trip"]
    {
        assert!(svg.contains(word), "{word}");
    }
    let bytes = chart::png(&plot, (800, 600)).unwrap();
    let mut reader = png::Decoder::new(Cursor::new(bytes)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let frame = reader.next_frame(&mut pixels).unwrap();
    assert_eq!((frame.width, frame.height), (800, 600));
    let has = |color: [u8; 3]| pixels.chunks(3).any(|pixel| pixel == color);
    assert!(has([31, 90, 180]) && has([214, 39, 40]), "segments, and those sent again");
    // The title's letters are black, and in the first lines.
    assert!(pixels[..800 * 3 * 25].chunks(3).any(|pixel| pixel == [0, 0, 0]));
}

/// The upright texts of an SVG picture, each with where it stands and by which end.
fn texts(svg: &str) -> Vec<(f64, &str, String)> {
    let attribute = |tag: &str, name: &str| {
        let from = tag.find(&format!(" {name}=\""))? + name.len() + 3;
        tag[from..].split('"').next().map(str::to_owned)
    };
    let whole = svg.split("<text").skip(1).filter_map(|rest| rest.split("</text>").next());
    let parts = whole.filter_map(|text| text.split_once('>'));
    let parts = parts.filter(|(tag, _)| !tag.contains("rotate"));
    let placed = parts.filter_map(|(tag, text)| {
        let x = attribute(tag, "x")?.parse().ok()?;
        Some((x, text.trim(), attribute(tag, "text-anchor")?))
    });
    placed.collect()
}

/// A picture of a connection whose round trips all take so long, for as many of them.
fn of_round_trips(rtt: Duration, count: u32) -> String {
    let mut writer = PcapngWriter::new(Vec::new(), "test").unwrap();
    writer.add_interface(&CaptureInterface::new("t", Medium::Ip)).unwrap();
    let mut say = |at: Duration, frame: Vec<u8>| {
        writer.write(&CapturedFrame::new(0, at, Bytes::from(frame))).unwrap();
    };
    for n in 0..count {
        let seq = 1 + n * 800;
        say(rtt * (2 * n), segment(true, seq, 1, 0x10, 800));
        say(rtt * (2 * n + 1), segment(false, 1, seq + 800, 0x10, 0));
    }
    let flows = flows_of(&writer.into_inner());
    let flow = flows.iter().next().unwrap();
    let plot = chart::Plot { flow, way: 0, overlay: None, span: None };
    String::from_utf8(chart::svg(&plot, (1_000, 750)).unwrap()).unwrap()
}

#[test]
fn labels_of_an_axis_differ_however_short_the_time() {
    for (rtt, trip) in [
        (Duration::from_micros(7), "0.006"),
        (Duration::from_micros(60), "0.06"),
        (Duration::from_micros(350), "0.3"),
        (Duration::from_millis(20), "20"),
        (Duration::from_millis(400), "400"),
    ] {
        let svg = of_round_trips(rtt, 5);
        let texts = texts(&svg);
        let times: Vec<_> = texts.iter().filter(|text| text.1.ends_with(" s")).collect();
        // Three charts with the same axis of time.
        let (marks, rest) = (times.len() / 3, times.len() % 3);
        assert!(marks >= 4 && rest == 0, "{rtt:?}: {times:?}");
        let mut apart: Vec<_> = times[..marks].iter().map(|text| text.1).collect();
        apart.dedup();
        assert_eq!(apart.len(), marks, "{rtt:?}: {times:?}");
        assert!(texts.iter().any(|text| text.1 == trip), "{rtt:?}: {texts:?}");
    }
}

#[test]
fn no_text_is_cut_off_at_an_edge() {
    for rtt in [7, 60, 350, 1_000, 20_000, 250_000, 400_000] {
        for count in 2..9 {
            let svg = of_round_trips(Duration::from_micros(rtt), count);
            for (x, text, anchor) in texts(&svg) {
                // No letter is wider than three quarters of its height.
                let width = text.chars().count() as f64 * 13.0 * 0.62;
                let (left, right) = match &anchor[..] {
                    "start" => (x, x + width),
                    "end" => (x - width, x),
                    _ => (x - width / 2.0, x + width / 2.0),
                };
                assert!(left >= 0.0 && right <= 1_000.0, "{rtt}, {count}: {text} at {x}");
            }
        }
    }
}

#[test]
fn flows_are_chosen_by_number_and_by_ends() {
    let flows = flows_of(&capture(&[segment(true, 7, 0, 2, 0), segment(false, 9, 8, 0x12, 0)], 99));
    for name in ["1", "[fd01::]:50000", "[fd02::]:80,[fd01::]:50000"] {
        assert_eq!(choose(&flows, name).map(|(at, _)| at).ok(), Some(0), "{name}");
    }
    for name in ["0", "2", "", "x", "[fd01::]:50001", "[fd01::]:50000,10.0.0.1:1"] {
        let failure = choose(&flows, name).unwrap_err();
        assert!(format!("{failure:?}").contains("--list"), "{name}: {failure:?}");
    }
}

#[test]
fn sizes_and_spans_are_read() {
    assert_eq!(parse_size("300x400"), Ok((300, 400)));
    assert!(["", "300", "10x300", "300x20000", "ax3"].iter().all(|text| parse_size(text).is_err()));
    assert_eq!(parse_span("0.5.."), Ok((0.5, f64::INFINITY)));
    assert_eq!(parse_span("..2"), Ok((0.0, 2.0)));
    assert!(["", "1", "2..1", "a..b", "-1..2"].iter().all(|text| parse_span(text).is_err()));
}

/// Those of the documentation, by name.
fn samples() -> [(&'static str, Sample); 4] {
    let sample = TRANSFER;
    let overflow = (10, Overflow::Drops);
    [
        ("transfer", sample),
        ("tail", Sample { bytes: 60_000, lost: &[41], ..sample }),
        ("reordering", Sample { delay_ms: 20, lost: &[], reorder: 0.02, ..sample }),
        ("overflow", Sample { bytes: 700_000, delay_ms: 25, queue: overflow, lost: &[], ..sample }),
    ]
}

/// The pictures of the documentation; `PLOT_WRITE=1` writes them anew.
#[test]
fn the_documentation_shows_what_is_drawn() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/plots");
    for (name, sample) in samples() {
        let picture = folder.join(name).with_extension("svg");
        let (capture, overlay) = sample::transfer(&sample).unwrap();
        let flows = flows_of(&capture);
        let flow = flows.iter().next().unwrap();
        let overlay = Overlay::parse(&overlay, flow, 0).unwrap();
        let plot = chart::Plot { flow, way: 0, overlay: Some(&overlay), span: None };
        let drawn = String::from_utf8(chart::svg(&plot, (1_000, 750)).unwrap()).unwrap();
        if std::env::var_os("PLOT_WRITE").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&picture, &drawn).unwrap();
        }
        let shown = std::fs::read_to_string(&picture).unwrap_or_default();
        assert!(shown == drawn, "{name}.svg is another: PLOT_WRITE=1 writes it anew");
    }
}
