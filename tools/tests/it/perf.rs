//! `rumpnet perf`.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::process::{Place, Process};

fn server(place: &Place) -> Process {
    let interface = format!("{},create", place.interface(1));
    let server = Process::start(&["perf", &interface, "-s"]);
    server.wait_for("Server listening on 5201 (test #1)");
    server
}

fn measure(place: &Place, more: &[&str]) -> Value {
    let interface = place.interface(2);
    let mut args = vec!["perf", &interface, "-c", "10.0.0.1", "--json"];
    args.extend(more);
    let ended = place.run(&args);
    assert_eq!(ended.status, Some(0), "{more:?}: {ended:?}");
    serde_json::from_str(&ended.out).unwrap()
}

#[test]
fn a_transfer_has_iperf3s_keys_and_both_sides_agree() {
    let place = Place::new();
    let server = server(&place);
    let report = measure(&place, &["-n", "20M", "-P", "2"]);
    assert_eq!(report["start"]["connected"].as_array().unwrap().len(), 2);
    assert_eq!(report["start"]["test_start"]["protocol"], "TCP");
    assert_eq!(report["start"]["test_start"]["num_streams"], 2);
    let interval = &report["intervals"][0];
    assert_eq!(interval["streams"].as_array().unwrap().len(), 2);
    assert!(interval["sum"]["bits_per_second"].is_f64());
    assert!(interval["sum"]["retransmits"].is_u64(), "{interval}");
    for key in ["retransmits", "snd_cwnd", "snd_wnd", "rtt", "rttvar", "pmtu"] {
        assert!(interval["streams"][1][key].is_u64(), "{key}: {interval}");
    }
    assert!(interval["streams"][1]["snd_cwnd"].as_u64() > Some(1_460), "{interval}");
    let end = &report["end"];
    assert_eq!(end["sum_sent"]["bytes"], 20 << 20);
    assert_eq!(end["sum_received"]["bytes"], 20 << 20);
    assert!(end["sum_received"]["bits_per_second"].as_f64().unwrap() > 0.0);
    assert!(end["cpu_utilization_percent"]["host_total"].is_f64());
    assert_eq!(end["streams"][1]["sender"]["sender"], true);
    for key in ["retransmits", "max_snd_cwnd", "max_snd_wnd", "max_rtt", "min_rtt", "mean_rtt"] {
        assert!(end["streams"][1]["sender"][key].is_u64(), "{key}: {end}");
    }
    assert!(end["sum_sent"]["retransmits"].is_u64(), "{end}");

    let report = measure(&place, &["-n", "10M", "-R"]);
    assert_eq!(report["end"]["sum_sent"]["bytes"], 10 << 20);
    // The server, which sends, has told of them.
    assert!(report["end"]["sum_sent"]["retransmits"].is_u64(), "{report}");
    assert!(report["intervals"][0]["sum"].get("retransmits").is_none(), "{report}");
    assert_eq!(report["end"]["sum_received"]["bytes"], 10 << 20);
    assert_eq!(server.stop(Signal::SIGINT).status, Some(0));
}

#[test]
fn datagrams_are_numbered_and_none_is_lost() {
    let place = Place::new();
    let _server = server(&place);
    for more in [&["-u", "-b", "5M", "-t", "0.5"][..], &["-u", "-b", "5M", "-t", "0.5", "-R"]] {
        let sum = measure(&place, more)["end"]["sum"].clone();
        assert!(sum["packets"].as_u64().unwrap() > 100, "{sum}");
        assert_eq!(sum["lost_packets"], 0, "{sum}");
        assert!(sum["jitter_ms"].is_f64());
    }
}

#[test]
fn rounds_have_percentiles() {
    let place = Place::new();
    let _server = server(&place);
    for mode in ["--rr", "--crr"] {
        let latency = measure(&place, &[mode, "-t", "0.5"])["end"]["latency"].clone();
        assert!(latency["transactions"].as_u64().unwrap() > 10, "{mode}: {latency}");
        let of = |key: &str| latency[key].as_f64().unwrap();
        assert!(of("p50_us") > 0.0 && of("p50_us") <= of("p90_us"), "{latency}");
        assert!(of("p90_us") <= of("p99_us") && of("p99_us") <= of("max_us"), "{latency}");
    }
}

#[test]
fn what_is_omitted_does_not_count() {
    let place = Place::new();
    let _server = server(&place);
    for more in [&["-t", "1", "-O", "1"][..], &["-t", "1", "-O", "1", "-R", "-u", "-b", "5M"]] {
        let report = measure(&place, more);
        let intervals = report["intervals"].as_array().unwrap();
        let omitted = |interval: &Value| interval["sum"]["omitted"] == true;
        assert!(omitted(&intervals[0]) && !omitted(intervals.last().unwrap()), "{report}");
        for side in ["sum_sent", "sum_received"] {
            let seconds = report["end"][side]["seconds"].as_f64().unwrap();
            assert!((0.9..1.9).contains(&seconds), "{side}: {seconds}");
        }
    }
}

#[test]
fn a_second_client_is_told_that_the_server_is_busy() {
    let place = Place::new();
    let _server = server(&place);
    let interface = place.interface(2);
    let first = Process::start(&["perf", &interface, "-c", "10.0.0.1", "-t", "60", "-b", "1M"]);
    first.wait_for("[ ID]");
    let second = place.run(&["perf", &place.interface(3), "-c", "10.0.0.1", "-t", "1"]);
    assert_eq!(second.status, Some(1));
    assert!(second.err.contains("busy running a test"), "{}", second.err);
    assert_eq!(first.stop(Signal::SIGINT).status, Some(1));
}

#[test]
fn a_server_that_ends_tells_its_client() {
    let place = Place::new();
    let server = server(&place);
    let client = Process::start(&["perf", &place.interface(2), "-c", "10.0.0.1", "-t", "60"]);
    client.wait_for("[ ID]");
    assert!(server.stop(Signal::SIGINT).err.contains("interrupted"));
    let ended = client.finish();
    assert_eq!(ended.status, Some(1));
    assert!(ended.err.contains("the server has terminated"), "{}", ended.err);
}

#[test]
fn text_is_iperf3s() {
    let place = Place::new();
    let server = server(&place);
    let ended = place.run(&["perf", &place.interface(2), "-c", "10.0.0.1", "-t", "1", "-i", "0.5"]);
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let lines: Vec<&str> = ended.out.lines().collect();
    assert_eq!(lines[0], "Connecting to host 10.0.0.1, port 5201");
    assert!(lines[1].starts_with("[  5] local 10.0.0.2 port "), "{}", lines[1]);
    assert_eq!(lines[2], "[ ID] Interval           Transfer     Bitrate         Retr  Cwnd");
    assert!(lines[3].starts_with("[  5]   0.00-0.5"), "{}", lines[3]);
    let sender = ended.out.lines().find(|line| line.ends_with("  sender")).expect("its line");
    let words: Vec<&str> = sender.split_whitespace().collect();
    assert!(words[words.len() - 2].parse::<u64>().is_ok(), "segments sent again: {sender}");
    assert!(ended.out.contains("bits/sec  receiver\n"), "{}", ended.out);
    server.wait_for("Accepted connection from 10.0.0.2, port ");
}

#[test]
fn without_a_server_it_says_so() {
    let place = Place::new();
    let _alice = place.node("alice", 1);
    let ended = place.run(&["perf", &place.interface(2), "-c", "10.0.0.1"]);
    assert_eq!(ended.status, Some(1));
    assert!(ended.err.contains("Connection refused: nothing listens there"), "{}", ended.err);
    let ended = place.run(&["perf", &place.interface(2), "-c", "10.0.0.1", "-u", "-l", "10"]);
    assert_eq!(ended.status, Some(2));
    assert!(ended.err.contains("16 to 65507 bytes do"), "{}", ended.err);
}
