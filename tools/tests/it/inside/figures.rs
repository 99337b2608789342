//! Sockets and counters: `ss`, `netstat`, `metrics`.

use super::*;

#[test]
fn sockets_are_listed_filtered_summed_up_and_killed() {
    let place = Place::new();
    let _alice = place.node("alice", 1);
    let mut client = Process::with_input(
        &["nc", &place.interface(3), "10.0.0.1", "7"],
        std::process::Stdio::piped(),
    );
    client.feed_line("hello\n");
    client.wait_for("hello");
    let all = place.see("alice", &["ss", "-tan"]);
    let lines: Vec<&str> = all.lines().collect();
    assert!(
        lines[0].starts_with("State  Recv-Q Send-Q ") && lines[0].contains(" Local Address:Port "),
        "{all}"
    );
    assert!(lines.iter().any(|line| line.starts_with("LISTEN 0") && line.contains("*:7")), "{all}");
    let line = lines.iter().find(|line| line.starts_with("ESTAB")).unwrap();
    assert!(line.contains("10.0.0.1]:7") && line.contains("10.0.0.3]:"), "{line}");
    let info = place.see("alice", &["ss", "-tiemop", "state", "established"]);
    for word in [
        "rto:",
        "rtt:",
        "mss:1448",
        "skmem:(r0,rb",
        "users:((\"alice\",pid=",
        "ino:",
        "bytes_received:6",
        "data_segs_in:",
        "ts sack cubic wscale:",
        "cwnd:10",
        "minrtt:",
    ] {
        assert!(info.contains(word), "{word}: {info}");
    }
    let told = place.see_json("alice", &["ss", "-tj", "state", "established"]);
    assert!(told[0]["tcp"]["counts"]["bytes_resent"].is_u64(), "{told}");
    assert!(!info.contains("ESTAB"), "the only state is left out: {info}");
    for (filter, hits) in [
        ("sport = :7", 1),
        ("sport = :8 or ( dport > :1024 and src 10.0.0.0/24 )", 1),
        ("not sport = :7", 0),
        ("dev lo0", 0),
        ("dst 10.0.0.3", 1),
    ] {
        let words: Vec<&str> = ["ss", "-Htn"].into_iter().chain(filter.split(' ')).collect();
        assert_eq!(place.see("alice", &words).lines().count(), hits, "{filter}");
    }
    let ended = place.look("alice", &["ss", "state", "dreaming"]);
    failed(&ended, 255, "Error: unknown state: dreaming");
    assert!(place.see("alice", &["ss", "-s"]).contains("TCP:   2 (estab 1,"));
    let udp = place.see_json("alice", &["ss", "-uaj"]);
    assert_eq!(udp[0]["local"], "[::]:7");
    let killed = place.see("alice", &["ss", "-HKtn", "dport", "ge", ":1"]);
    assert_eq!(killed.lines().count(), 1, "{killed}");
    assert_ne!(client.finish().status, Some(0), "the connection was reset");
}

#[test]
fn counters_have_mib_iis_names_and_drops_their_reasons() {
    let place = Place::new();
    let _alice = place.node("alice", 1);
    let ended = place.run(&["ping", &place.interface(9), "10.0.0.1", "-c", "3", "-i", "0.01"]);
    assert_eq!(ended.status, Some(0));
    let text = place.see("alice", &["netstat", "-s"]);
    assert!(
        text.contains("Ip:\n    Forwarding: 2\n    InReceives: ")
            && text.contains("    OutEchoReps: 3\n")
            && text.contains("\nIp6:\n    Forwarding: 2\n    InReceives: 0\n"),
        "{text}"
    );
    let json = place.see_json("alice", &["netstat", "-s", "--json"]);
    assert_eq!(json["Icmp"]["OutEchoReps"], 3);
    assert_eq!(json["Icmp6"]["OutEchoReps"], 0);
    assert!(json["Dropped"].is_object());
    // A packet for which a router has no route is counted once.
    place.see("alice", &["ip", "-4", "forwarding", "on"]);
    let guest = format!("{},gw=10.0.0.1", place.interface(9));
    let ended = place.run(&["ping", &guest, "192.0.2.1", "-c", "1", "-W", "5"]);
    assert!(ended.out.contains("Net Unreachable"), "{ended:?}");
    let json = place.see_json("alice", &["netstat", "-s", "--json"]);
    assert_eq!((&json["Ip"]["OutNoRoutes"], &json["Dropped"]["no_route"]), (&1.into(), &1.into()));
    let routes = place.see("alice", &["netstat", "-rn"]);
    assert!(routes.contains("10.0.0.0        0.0.0.0         255.255.255.0   U "), "{routes}");
    assert!(place.see("alice", &["netstat", "-in"]).contains("\nshmif0"));
    let sockets = place.see("alice", &["netstat", "-an"]);
    assert!(
        sockets
            .contains("tcp6       0      0 :::7                    :::*                    LISTEN"),
        "{sockets}"
    );
}

/// A sample of Prometheus's text format: name, labels, value.
type Sample = (String, Vec<(String, String)>, f64);

/// Reads the format as its specification has it; panics where the text breaks it.
fn parse_metrics(text: &str) -> (Vec<(String, String)>, Vec<Sample>) {
    let is_name = |name: &str| {
        let first = name.bytes().next().unwrap();
        (first.is_ascii_alphabetic() || first == b'_')
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let (mut types, mut samples) = (Vec::new(), Vec::new());
    let mut helped = String::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            assert!(is_name(name) && !help.is_empty(), "{line}");
            helped = name.to_owned();
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert!(helped == name && ["counter", "gauge"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(types.iter().all(|(other, _)| other != name), "twice: {line}");
            types.push((name.to_owned(), kind.to_owned()));
        } else {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = name.split_once('{').unwrap_or((name, ""));
            assert!(is_name(name), "{line}");
            assert_eq!(types.last().unwrap().0, name, "a sample stands under its type");
            let labels = labels.trim_end_matches('}');
            let pairs = labels.split("\",").filter(|pair| !pair.is_empty()).map(|pair| {
                let (key, value) = pair.split_once("=\"").unwrap();
                assert!(is_name(key), "{line}");
                (key.to_owned(), value.trim_end_matches('"').to_owned())
            });
            let sample = (name.to_owned(), pairs.collect::<Vec<_>>(), value.parse().unwrap());
            assert!(
                samples.iter().all(|(n, l, _): &Sample| (n, l) != (&sample.0, &sample.1)),
                "{line}"
            );
            samples.push(sample);
        }
    }
    (types, samples)
}

#[test]
fn metrics_are_what_prometheus_reads() {
    let place = Place::new();
    let _alice = place.node("alice", 1);
    let (types, samples) = parse_metrics(&place.see("alice", &["metrics"]));
    assert!(types.len() > 50, "{types:?}");
    let find = |name: &str, label: (&str, &str)| {
        let label = (label.0.to_owned(), label.1.to_owned());
        let found = samples.iter().find(|(n, labels, _)| n == name && labels.contains(&label));
        found.unwrap_or_else(|| panic!("{name}")).2
    };
    assert_eq!(find("rumpnet_node_info", ("name", "alice")), 1.0);
    assert_eq!(find("rumpnet_interface_up", ("interface", "shmif0")), 1.0);
    assert_eq!(find("rumpnet_dropped_total", ("reason", "ip_checksum")), 0.0);
    assert!(samples.iter().any(|(name, ..)| name == "rumpnet_tcp_active_opens_total"));
}

#[test]
fn metrics_are_served_at_an_address_of_the_host() {
    let place = Place::new();
    let node = Process::start(&[
        "node",
        &place.interface(1),
        "--metrics",
        "127.0.0.1:0",
        "--name",
        "alice",
    ]);
    let line = node.wait_for("metrics at http://");
    let at = line.trim_end().strip_prefix("metrics at http://").unwrap();
    let at = at.strip_suffix("/metrics").unwrap();
    let ask = |path: &str| {
        let mut stream = std::net::TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let answer = ask("/metrics");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    assert!(parse_metrics(body).1.len() > 50, "{body}");
    assert!(ask("/").starts_with("HTTP/1.1 404"), "{answer}");
    assert_eq!(node.stop(Signal::SIGTERM).status, Some(0));
}
