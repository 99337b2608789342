//! A look inside a live node: its control socket, and the commands that use it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::process::{Ended, PATIENCE, Place, Process};

impl Place {
    fn ctl(&self, name: &str) -> PathBuf {
        self.path(&format!("t.bus.{name}.ctl"))
    }

    /// Runs a command in a node.
    fn look(&self, name: &str, words: &[&str]) -> Ended {
        let ctl = self.ctl(name).display().to_string();
        let mut args = vec![words[0], "-n", &ctl];
        args.extend(&words[1..]);
        self.run(&args)
    }

    /// What a command prints that works.
    fn see(&self, name: &str, words: &[&str]) -> String {
        let ended = self.look(name, words);
        assert_eq!((ended.status, &ended.err[..]), (Some(0), ""), "{words:?}: {ended:?}");
        ended.out
    }

    fn see_json(&self, name: &str, words: &[&str]) -> Value {
        serde_json::from_str(&self.see(name, words)).unwrap()
    }
}

fn failed(ended: &Ended, status: i32, text: &str) {
    assert_eq!((ended.status, ended.err.trim_end()), (Some(status), text), "{ended:?}");
}

#[test]
fn the_control_socket_is_beside_the_bus_for_its_owner_alone_and_goes_with_the_node() {
    let place = Place::new();
    let alice = place.node("alice", 1);
    let other = place.node("alice", 2);
    let mode = fs::metadata(place.ctl("alice")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(place.see("alice", &["ip", "addr"]).contains("inet 10.0.0.1/24"));
    assert!(place.see("alice-2", &["ip", "addr"]).contains("inet 10.0.0.2/24"));
    assert_eq!(alice.stop(Signal::SIGTERM).status, Some(0));
    assert!(!place.ctl("alice").exists());
    // A killed node leaves its socket behind; the next of its name takes it over.
    assert_eq!(other.stop(Signal::SIGKILL).status, None);
    assert!(place.ctl("alice-2").exists());
    let ended = place.look("alice-2", &["ip", "addr"]);
    assert_eq!(ended.status, Some(2));
    assert!(ended.err.contains("its node has gone"), "{}", ended.err);
    let _next = place.node("alice-2", 3);
    assert!(place.see("alice-2", &["ip", "addr"]).contains("inet 10.0.0.3/24"));
}

#[test]
fn a_node_is_found_by_its_name_by_rump_server_and_as_the_only_one() {
    let place = Place::new();
    let _alice = place.node("alice", 1);
    let run = |args: &[&str], server: Option<&str>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rumpnet"));
        command.args(args).current_dir(place.folder.path()).env_remove("RUMP_SERVER");
        // Nodes without a bus of other tests are not to be seen here.
        command.env("XDG_RUNTIME_DIR", place.folder.path());
        if let Some(server) = server {
            command.env("RUMP_SERVER", server);
        }
        Process::spawn(&mut command, std::process::Stdio::null()).finish()
    };
    let alone = run(&["ip", "-br", "addr"], None);
    assert!(alone.out.contains("10.0.0.1/24"), "{alone:?}");
    assert!(run(&["ls"], None).out.contains("t.bus.alice.ctl"));
    let _bob = place.node("bob", 2);
    for args in [["ip", "-n", "bob", "addr"], ["ip", "--node=bob", "-4", "addr"]] {
        let ended = run(&args, None);
        assert!(ended.out.contains("10.0.0.2/24"), "{ended:?}");
    }
    let server = format!("unix://{}", place.ctl("bob").display());
    assert!(run(&["ip", "addr"], Some(&server)).out.contains("10.0.0.2/24"));
    let ended = run(&["ip", "addr"], None);
    assert_eq!(ended.status, Some(2));
    assert!(ended.err.contains("alice (t.bus.alice.ctl), bob (t.bus.bob.ctl)"), "{}", ended.err);
    let ended = run(&["ip", "-n", "carol", "addr"], None);
    assert!(ended.err.contains("there is no node `carol`: there are alice"), "{}", ended.err);
    let listed: Value = serde_json::from_str(&run(&["ls", "--json", "t.bus"], None).out).unwrap();
    assert_eq!(listed[0]["ctl"], "t.bus.alice.ctl");
}

#[test]
fn a_node_may_have_its_socket_elsewhere_or_none() {
    let place = Place::new();
    let path = place.path("here.sock").display().to_string();
    let node = Process::start(&["node", &place.interface(1), "--ctl", &path]);
    node.wait_for("answers ping");
    assert!(place.run(&["ip", "-n", &path, "addr"]).out.contains("10.0.0.1/24"));
    let taken = place.run(&["node", &place.interface(2), "--ctl", &path]);
    assert_eq!(taken.status, Some(2));
    assert!(taken.err.contains("cannot open the control socket"), "{}", taken.err);
    let without = Process::start(&["node", &place.interface(3), "--no-ctl", "--name", "none"]);
    without.wait_for("answers ping");
    assert!(!place.ctl("none").exists());
}

#[test]
fn addresses_are_shown_and_changed_as_iproute2_does() {
    let place = Place::new();
    let _alice = place.node("alice", 1);
    let show = || place.see("alice", &["ip", "a", "s", "dev", "shmif0"]);
    assert_eq!(place.see("alice", &["ip", "addr", "add", "10.1.0.9/16", "dev", "shmif0"]), "");
    assert!(show().contains("    inet 10.1.0.9/16 brd 10.1.255.255 scope global shmif0\n"));
    assert!(show().contains("       valid_lft forever preferred_lft forever\n"));
    let again = place.look("alice", &["ip", "addr", "add", "10.1.0.9/16", "dev", "shmif0"]);
    failed(&again, 2, "RTNETLINK answers: File exists");
    place.see("alice", &["ip", "addr", "replace", "10.1.0.9/16", "dev", "shmif0"]);
    place.see("alice", &["ip", "a", "d", "10.1.0.9/16", "dev", "shmif0"]);
    assert!(!show().contains("10.1.0.9"));
    let gone = place.look("alice", &["ip", "addr", "del", "10.1.0.9/16", "dev", "shmif0"]);
    failed(&gone, 2, "RTNETLINK answers: Cannot assign requested address");
    place.see("alice", &["ip", "addr", "flush", "dev", "shmif0"]);
    assert!(!show().contains("inet "), "{}", show());
    let lines = place.see("alice", &["ip", "-o", "-4", "addr"]);
    assert!(
        lines.starts_with("1: lo0    inet 127.0.0.1/8 scope host lo0\\       valid_lft"),
        "{lines}"
    );
}

#[test]
fn links_go_down_and_up_and_have_their_mtu_set() {
    let place = Place::new();
    let _alice = place.node("alice", 1);
    let line = || {
        let out = place.see("alice", &["ip", "link", "show", "shmif0"]);
        out.lines().next().unwrap_or_default().to_owned()
    };
    assert!(line().contains("2: shmif0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500"), "{}", line());
    place.see("alice", &["ip", "link", "set", "shmif0", "mtu", "1400"]);
    place.see("alice", &["ip", "link", "set", "dev", "shmif0", "down"]);
    assert!(line().contains("<BROADCAST,MULTICAST> mtu 1400"), "{}", line());
    let ended = place.run(&["ping", &place.interface(9), "10.0.0.1", "-c", "1", "-W", "0.2"]);
    assert_eq!(ended.status, Some(1), "{ended:?}");
    place.see("alice", &["ip", "l", "set", "shmif0", "up"]);
    let ended = place.run(&["ping", &place.interface(9), "10.0.0.1", "-c", "1"]);
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let stats = place.see_json("alice", &["ip", "-s", "-j", "link", "show", "shmif0"]);
    assert!(stats[0]["stats64"]["rx"]["packets"].as_u64().unwrap() > 0, "{stats}");
    let ended = place.look("alice", &["ip", "link", "set", "shmif0", "mtu", "9"]);
    failed(&ended, 2, "Error: mtu less than device minimum.");
    let ended = place.look("alice", &["ip", "link", "set", "nope", "up"]);
    failed(&ended, 1, "Cannot find device \"nope\"");
}

#[test]
fn routes_are_added_replaced_asked_for_and_flushed() {
    let place = Place::new();
    let _alice = place.node("alice", 1);
    let see = |line: &str| place.see("alice", &line.split(' ').collect::<Vec<_>>());
    let look = |line: &str| place.look("alice", &line.split(' ').collect::<Vec<_>>());
    see("ip route add 10.2.0.0/16 via 10.0.0.254 metric 5 mtu 1400 src 10.0.0.1");
    see("ip route add default via 10.0.0.254");
    see("ip route add blackhole 10.3.0.0/16");
    see("ip route add unreachable 10.4.0.0/16");
    assert_eq!(
        see("ip route"),
        "default via 10.0.0.254 dev shmif0 \n\
         10.0.0.0/24 dev shmif0 proto kernel scope link src 10.0.0.1 \n\
         10.2.0.0/16 via 10.0.0.254 dev shmif0 src 10.0.0.1 metric 5 mtu 1400 \n\
         blackhole 10.3.0.0/16 \n\
         unreachable 10.4.0.0/16 \n"
    );
    assert_eq!(
        see("ip -j route show 10.2.0.0/16"),
        "[{\"dst\":\"10.2.0.0/16\",\"gateway\":\"10.0.0.254\",\"dev\":\"shmif0\",\
         \"prefsrc\":\"10.0.0.1\",\"metric\":5,\"flags\":[],\"metrics\":[{\"mtu\":1400}]}]\n"
    );
    failed(&look("ip route add default via 10.0.0.254"), 2, "RTNETLINK answers: File exists");
    see("ip r replace default via 10.0.0.253");
    assert_eq!(see("ip r show default"), "default via 10.0.0.253 dev shmif0 \n");
    assert_eq!(
        see("ip route get 10.2.1.1"),
        "10.2.1.1 via 10.0.0.254 dev shmif0 src 10.0.0.1 uid 0 \n    cache mtu 1400 \n"
    );
    assert_eq!(
        see("ip route get 127.0.0.1"),
        "local 127.0.0.1 dev lo0 src 127.0.0.1 uid 0 \n    cache <local> \n"
    );
    failed(&look("ip route get 10.4.0.1"), 2, "RTNETLINK answers: No route to host");
    failed(&look("ip route del 77.0.0.0/8"), 2, "RTNETLINK answers: No such process");
    let ended = look("ip route add 10.9.0.0/16 via 99.0.0.1 dev nope");
    failed(&ended, 1, "Cannot find device \"nope\"");
    see("ip route del default");
    failed(
        &look("ip route add 10.9.0.0/16 via 99.0.0.1"),
        2,
        "Error: Nexthop has invalid gateway.",
    );
    failed(&look("ip route get 8.8.8.8"), 2, "RTNETLINK answers: Network is unreachable");
    see("ip route flush root 10.0.0.0/8");
    assert_eq!(see("ip route"), "");
    assert!(
        see("ip route show table local").contains("local 10.0.0.1 dev lo0 proto kernel scope host")
    );
}

#[test]
fn neighbours_are_shown_and_set_by_hand() {
    let place = Place::new();
    let _alice = place.node("alice", 1);
    let see = |line: &str| place.see("alice", &line.split(' ').collect::<Vec<_>>());
    let look = |line: &str| place.look("alice", &line.split(' ').collect::<Vec<_>>());
    let ended = place.run(&["ping", &place.interface(9), "10.0.0.1", "-c", "1"]);
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert!(see("ip neigh").starts_with("10.0.0.9 dev shmif0 lladdr "), "{}", see("ip neigh"));
    see("ip neigh add 10.0.0.7 lladdr 02:00:00:00:00:07 dev shmif0");
    assert_eq!(
        see("ip n show 10.0.0.7"),
        "10.0.0.7 dev shmif0 lladdr 02:00:00:00:00:07 PERMANENT \n"
    );
    assert_eq!(
        see("ip -j neigh show nud permanent"),
        "[{\"dst\":\"10.0.0.7\",\"dev\":\"shmif0\",\"lladdr\":\"02:00:00:00:00:07\",\
         \"state\":[\"PERMANENT\"]}]\n"
    );
    let again = look("ip neigh add 10.0.0.7 lladdr 02:00:00:00:00:07 dev shmif0");
    failed(&again, 2, "RTNETLINK answers: File exists");
    see("ip neigh replace 10.0.0.7 lladdr 02:00:00:00:00:08 dev shmif0");
    see("ip neigh flush dev shmif0");
    assert!(!see("ip neigh").contains("10.0.0.9"), "{}", see("ip neigh"));
    see("ip neigh del 10.0.0.7 dev shmif0");
    let gone = look("ip neigh del 10.0.0.7 dev shmif0");
    failed(&gone, 2, "RTNETLINK answers: No such file or directory");
}

#[test]
fn what_makes_no_sense_is_refused_in_iproute2s_words() {
    let place = Place::new();
    let _alice = place.node("alice", 1);
    for (line, status, text) in [
        ("ip foo", 1, "Object \"foo\" is unknown, try \"ip help\"."),
        ("ip addr foo", 255, "Command \"foo\" is unknown, try \"ip address help\"."),
        ("ip addr add x dev shmif0", 1, "Error: any valid prefix is expected rather than \"x\"."),
        ("ip addr add 10.0.0.7/24", 1, "Not enough information: \"dev\" argument is required."),
        ("ip addr show dev nope", 1, "Device \"nope\" does not exist."),
        ("ip addr flush", 1, "Flush requires arguments."),
        ("ip route flush", 1, "\"ip route flush\" requires arguments."),
        ("ip neigh add 10.0.0.1 lladdr x dev shmif0", 1, "\"x\" is invalid lladdr."),
        (
            "ip link set shmif0 foo",
            255,
            "Error: either \"dev\" is duplicate, or \"foo\" is a garbage.",
        ),
    ] {
        failed(&place.look("alice", &line.split(' ').collect::<Vec<_>>()), status, text);
    }
}

/// The keys of objects, those within them too, as `addr_info/local`.
fn keys(value: &Value, front: &str, into: &mut Vec<String>) {
    match value {
        Value::Array(all) => all.iter().for_each(|value| keys(value, front, into)),
        Value::Object(map) => {
            for (key, value) in map {
                let key = if front.is_empty() { key.clone() } else { format!("{front}/{key}") };
                keys(value, &key, into);
                into.push(key);
            }
        }
        _ => {}
    }
    into.sort();
    into.dedup();
}

#[test]
fn json_has_the_keys_that_iproute2s_own_has() {
    let place = Place::new();
    let _alice = place.node("alice", 1);
    for words in [
        &["addr", "show", "dev", "lo"][..],
        &["-s", "link", "show", "dev", "lo"],
        &["-br", "addr", "show", "dev", "lo"],
        &["-br", "link", "show", "dev", "lo"],
        &["route", "get", "127.0.0.1"],
    ] {
        let theirs = Command::new("ip").arg("-j").args(words).output();
        let Ok(theirs) = theirs.as_ref().map(|ended| &ended.stdout) else {
            return eprintln!("skipped: there is no iproute2 here");
        };
        let Ok(theirs) = serde_json::from_slice::<Value>(theirs) else {
            return eprintln!("skipped: iproute2 here has no JSON of lo");
        };
        let ours: Vec<&str> =
            words.iter().map(|word| if *word == "lo" { "lo0" } else { word }).collect();
        let ours = place.see_json("alice", &[&["ip", "-j"], &ours[..]].concat());
        let (mut our_keys, mut their_keys) = (Vec::new(), Vec::new());
        keys(&ours, "", &mut our_keys);
        keys(&theirs, "", &mut their_keys);
        assert_eq!(our_keys, their_keys, "{words:?}: {ours}");
    }
}

#[test]
fn changes_are_told_as_they_happen() {
    let place = Place::new();
    let _alice = place.node("alice", 1);
    let ctl = place.ctl("alice").display().to_string();
    let monitor = Process::start(&["ip", "-n", &ctl, "-ts", "monitor", "all"]);
    let line = wait_for_change(&place, &monitor, "[ADDR]");
    assert!(line.starts_with('[') && line.contains("2: shmif0    inet 10.9.0.1/24"), "{line}");
    // What else came with the addresses is not what is waited for below.
    place.see("alice", &["ip", "route", "add", "10.8.0.0/16", "via", "10.0.0.254"]);
    monitor.wait_for("[ROUTE]10.8.0.0/16 via 10.0.0.254 dev shmif0");
    place.see("alice", &["ip", "route", "del", "10.8.0.0/16"]);
    monitor.wait_for("[ROUTE]Deleted 10.8.0.0/16 via 10.0.0.254 dev shmif0");
    place.see(
        "alice",
        &["ip", "neigh", "add", "10.0.0.7", "lladdr", "02:00:00:00:00:07", "dev", "shmif0"],
    );
    monitor.wait_for("[NEIGH]10.0.0.7 dev shmif0 lladdr 02:00:00:00:00:07 PERMANENT");
    place.see("alice", &["ip", "neigh", "del", "10.0.0.7", "dev", "shmif0"]);
    monitor.wait_for("[NEIGH]Deleted 10.0.0.7 dev shmif0");
    place.see("alice", &["ip", "link", "set", "shmif0", "down"]);
    monitor.wait_for("[LINK]2: shmif0: <BROADCAST,MULTICAST> mtu 1500");
    assert_eq!(monitor.stop(Signal::SIGINT).status, Some(0));
}

/// Nothing says when somebody has begun to listen: changes an address until it is told.
fn wait_for_change(place: &Place, monitor: &Process, label: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "no change was told");
        place.see("alice", &["ip", "addr", "add", "10.9.0.1/24", "dev", "shmif0"]);
        if let Some(line) = monitor.line_within(label, Duration::from_millis(500)) {
            return line;
        }
        place.see("alice", &["ip", "addr", "del", "10.9.0.1/24", "dev", "shmif0"]);
    }
}

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
    ] {
        assert!(info.contains(word), "{word}: {info}");
    }
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
            && text.contains("    OutEchoReps: 3\n"),
        "{text}"
    );
    let json = place.see_json("alice", &["netstat", "-s", "--json"]);
    assert_eq!(json["Icmp"]["OutEchoReps"], 3);
    assert!(json["Dropped"].is_object());
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

#[test]
fn pings_and_traces_go_out_from_the_node() {
    let place = Place::new();
    let _alice = place.node("alice", 1);
    let _bob = place.node("bob", 2);
    let out = place.see("alice", &["ping", "-c", "2", "-i", "0.01", "10.0.0.2"]);
    assert!(
        out.starts_with("PING 10.0.0.2 (10.0.0.2) 56(84) bytes of data.\n64 bytes from 10.0.0.2"),
        "{out}"
    );
    assert!(out.contains("2 packets transmitted, 2 received, 0% packet loss"), "{out}");
    for method in [&["-n"][..], &["-n", "-I"], &["-n", "-T", "-p", "7"], &["-n", "-T", "-p", "9"]] {
        let words = [&["traceroute"], method, &["10.0.0.2"]].concat();
        let out = place.see("alice", &words);
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines[0], "traceroute to 10.0.0.2 (10.0.0.2), 30 hops max, 60 byte packets");
        assert_eq!(lines.len(), 2, "{out}");
        assert!(lines[1].starts_with(" 1  10.0.0.2  "), "{out}");
        assert_eq!(lines[1].matches(" ms").count(), 3, "{out}");
    }
    let out = place.see("alice", &["tracepath", "10.0.0.2"]);
    assert!(
        out.starts_with(" 1?: [LOCALHOST]                                         pmtu 1500\n"),
        "{out}"
    );
    assert!(
        out.contains("ms reached\n") && out.contains("Resume: pmtu 1500 hops 1 back 1"),
        "{out}"
    );
}

#[test]
fn a_trace_to_nobody_tells_that_the_host_cannot_be_reached() {
    let place = Place::new();
    let _alice = place.node("alice", 1);
    let out = place.see("alice", &["traceroute", "-n", "-m", "3", "10.0.0.77"]);
    assert!(out.contains(" 1  10.0.0.1  ") && out.contains(" ms !H"), "{out}");
}

#[test]
fn an_address_is_asked_for_on_the_link() {
    let place = Place::new();
    let _alice = place.node("alice", 1);
    let _bob = place.node("bob", 2);
    let out = place.see("alice", &["arping", "-c", "2", "-i", "0.01", "10.0.0.2"]);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], "ARPING 10.0.0.2 from 10.0.0.1 shmif0");
    assert!(
        lines[1].starts_with("Unicast reply from 10.0.0.2 [") && lines[1].ends_with("ms"),
        "{out}"
    );
    assert_eq!(lines[3..], ["Sent 2 probes (1 broadcast(s))", "Received 2 response(s)"]);
    let taken = place.look("alice", &["arping", "-D", "-c", "2", "-I", "shmif0", "10.0.0.2"]);
    assert_eq!(taken.status, Some(1), "{taken:?}");
    let free = place.look("alice", &["arping", "-D", "-c", "1", "-w", "0.2", "10.0.0.77"]);
    assert_eq!(free.status, Some(0), "{free:?}");
    // From a stack of one's own too.
    let own = place.run(&["arping", &place.interface(9), "-f", "10.0.0.1"]);
    assert_eq!(own.status, Some(0), "{own:?}");
}

#[test]
fn an_interrupt_reaches_what_runs_in_the_node() {
    let place = Place::new();
    let _alice = place.node("alice", 1);
    let _bob = place.node("bob", 2);
    let ctl = place.ctl("alice").display().to_string();
    let ping = Process::start(&["ping", "-n", &ctl, "10.0.0.2"]);
    ping.wait_for("icmp_seq=1 ");
    let ended = ping.stop(Signal::SIGINT);
    assert_eq!(ended.status, Some(0));
    assert!(ended.out.contains("ping statistics"), "{}", ended.out);
    // A killed client leaves nothing running: the node ends at once.
    let ping = Process::start(&["ping", "-n", &ctl, "10.0.0.2"]);
    ping.wait_for("icmp_seq=1 ");
    assert_eq!(ping.stop(Signal::SIGKILL).status, None);
}

#[test]
fn a_capture_inside_a_node_says_why_packets_were_dropped() {
    let place = Place::new();
    let alice = place.node("alice", 1);
    let ctl = place.ctl("alice").display().to_string();
    let file = place.path("out.pcapng").display().to_string();
    let dump = Process::start(&[
        "dump", "-n", &ctl, "-i", "shmif0", "-w", &file, "--print", "-t", "icmp", "or", "udp",
    ]);
    dump.wait_for_error("listening on shmif0 of alice");
    // The node begins to look when it was asked to, which nobody tells: pings until they are seen.
    let ping = Process::start(&["ping", &place.interface(9), "10.0.0.1", "-i", "0.02"]);
    dump.wait_for("ICMP echo reply");
    assert_eq!(ping.stop(Signal::SIGINT).status, Some(0));
    let to_nobody = place.run(&["traceroute", &place.interface(8), "-n", "-q", "1", "10.0.0.1"]);
    assert_eq!(to_nobody.status, Some(0), "{to_nobody:?}");
    let ended = dump.stop(Signal::SIGINT);
    assert_eq!(ended.status, Some(0), "{ended:?}");
    drop(alice);
    let bytes = fs::read(&file).unwrap();
    assert!(bytes.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]));
}

#[test]
fn a_dropped_packet_has_its_reason_as_a_comment() {
    let place = Place::new();
    let _alice = place.node("alice", 1);
    let ctl = place.ctl("alice").display().to_string();
    let file = place.path("out.pcapng").display().to_string();
    let dump = Process::start(&[
        "dump", "-n", &ctl, "-w", &file, "--print", "-t", "-c", "1", "udp", "dst", "port", "9",
    ]);
    dump.wait_for_error("listening on all interfaces of alice");
    let mut sender = Process::with_input(
        &["nc", &place.interface(9), "-u", "10.0.0.1", "9"],
        std::process::Stdio::piped(),
    );
    let deadline = Instant::now() + PATIENCE;
    let line = loop {
        assert!(Instant::now() < deadline);
        sender.feed_line("nobody is there\n");
        if let Some(line) = dump.line_within("UDP", Duration::from_millis(100)) {
            break line;
        }
    };
    assert!(line.trim_end().ends_with("(dropped: udp_no_port)"), "{line}");
    assert_eq!(dump.finish().status, Some(0));
    let bytes = fs::read(&file).unwrap();
    let comment = b"dropped: udp_no_port";
    assert!(bytes.windows(comment.len()).any(|window| window == comment));
    let ended = place.run(&["dump", "-n", &ctl, "-i", "nope"]);
    assert_eq!(ended.status, Some(2));
    assert!(
        ended.err.contains("there is no interface `nope`: there are lo0, shmif0"),
        "{}",
        ended.err
    );
}

#[test]
fn rumps_users_type_what_they_are_used_to() {
    let place = Place::new();
    let _alice = place.node("alice", 1);
    let see = |line: &str| place.see("alice", &line.split(' ').collect::<Vec<_>>());
    see("ifconfig shmif0 inet 10.5.0.1 netmask 255.255.255.0");
    let out = see("ifconfig shmif0");
    assert!(
        out.starts_with("shmif0: flags=0x8843<UP,BROADCAST,RUNNING,SIMPLEX,MULTICAST> mtu 1500\n"),
        "{out}"
    );
    assert!(out.contains("\tinet 10.5.0.1/24 broadcast 10.5.0.255 flags 0\n"), "{out}");
    assert!(!out.contains("10.0.0.1"), "it took the first one's place: {out}");
    see("ifconfig shmif0 inet 10.6.0.1/16 alias");
    see("ifconfig shmif0 inet 10.6.0.1 -alias");
    see("ifconfig shmif0 mtu 1400");
    assert_eq!(see("ifconfig -l"), "lo0 shmif0\n");
    assert_eq!(
        see("route add -net 10.2.0.0/16 10.5.0.254"),
        "add net 10.2.0.0: gateway 10.5.0.254\n"
    );
    assert_eq!(see("route add default 10.5.0.254"), "add net default: gateway 10.5.0.254\n");
    let out = see("route -n show");
    assert!(out.contains("default            10.5.0.254         UGS"), "{out}");
    let again = place.look("alice", &["route", "add", "default", "10.5.0.254"]);
    assert_eq!(again.status, Some(1));
    assert!(again.err.contains("File exists"), "{again:?}");
    see("route delete -net 10.2.0.0/16");
    see("arp -s 10.5.0.7 02:00:00:00:00:07");
    assert_eq!(see("arp -an"), "? (10.5.0.7) at 02:00:00:00:00:07 on shmif0 permanent\n");
    see("arp -d 10.5.0.7");
    assert_eq!(see("arp -an"), "");
    assert!(see("ndp -an").starts_with("Neighbor "));
}

/// Connects as a client that does not know how to behave; what the node said first is read.
fn connect(place: &Place, name: &str) -> (UnixStream, String) {
    let stream = UnixStream::connect(place.ctl(name)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut hello = String::new();
    BufReader::new(stream.try_clone().unwrap()).read_line(&mut hello).unwrap();
    (stream, hello)
}

#[test]
fn garbage_and_endless_lines_cost_a_client_its_connection_and_the_node_nothing() {
    let place = Place::new();
    let _alice = place.node("alice", 1);
    let oversized = vec![b'x'; (64 << 10) + 1];
    for bytes in [
        &b"garbage\n"[..],
        b"{\"run\":{\"version\":99,\"argv\":[\"ip\"]}}\n",
        b"{\"run\":{\"version\":1,\"argv\":[\"node\"]}}\n",
        b"{\"run\":{\"version\":1,\"argv\":[]}}\n",
        b"\"stop\"\n",
        b"\xff\xfe\n",
        &oversized,
    ] {
        let (mut stream, hello) = connect(&place, "alice");
        assert!(hello.starts_with("{\"hello\":{\"version\":1,\"name\":\"alice\""), "{hello}");
        // The node may have closed before it has taken all.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        // A reset after the answer is as good as its end.
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.contains("\"err\"") || answer.is_empty(), "{answer}");
    }
    assert!(place.see("alice", &["ip", "addr"]).contains("10.0.0.1/24"));
}

#[test]
fn clients_are_bounded_and_one_that_stops_reading_holds_up_nobody() {
    let place = Place::new();
    let alice = place.node("alice", 1);
    // It asks for much and reads nothing.
    let (mut deaf, _) = connect(&place, "alice");
    deaf.write_all(b"{\"run\":{\"version\":1,\"argv\":[\"ping\",\"-f\",\"127.0.0.1\"]}}\n")
        .unwrap();
    let mut idle: Vec<UnixStream> = Vec::new();
    let refused = loop {
        assert!(idle.len() < 64, "nobody was refused");
        let (stream, hello) = connect(&place, "alice");
        if !hello.contains("hello") {
            break hello;
        }
        idle.push(stream);
    };
    assert!(refused.contains("too many clients"), "{refused}");
    idle.clear();
    // The places are free again once the node has seen that they went.
    let deadline = Instant::now() + PATIENCE;
    while place.look("alice", &["ip", "addr"]).status != Some(0) {
        assert!(Instant::now() < deadline, "the places were not given back");
    }
    let ended = place.run(&["ping", &place.interface(9), "10.0.0.1", "-c", "1"]);
    assert_eq!(ended.status, Some(0), "{ended:?}");
    // The deaf one is still there, and does not keep the node from ending.
    assert_eq!(alice.stop(Signal::SIGTERM).status, Some(0));
    assert!(!place.ctl("alice").exists());
}

/// Two nets of both families with a router between them; the second carries 1,400 bytes.
fn two_nets(place: &Place) -> [Process; 3] {
    let bus = |name: &str| place.path(name).display().to_string();
    let (a, b) = (bus("a.bus"), bus("b.bus"));
    let interfaces = [
        format!("--if=shmif:{a},addr=10.1.0.254/24,addr=fd01::fe/64"),
        format!("--if=shmif:{b},addr=10.2.0.254/24,addr=fd02::fe/64,mtu=1400"),
    ];
    let router = ["node", &interfaces[0], &interfaces[1], "--forward", "--name", "router"];
    let router = Process::start(&router);
    router.wait_for("answers ping");
    let host = |name: &str, interface: String| {
        let node = Process::start(&["node", &interface, "--name", name]);
        node.wait_for("answers ping");
        node
    };
    let left = format!("--if=shmif:{a},addr=10.1.0.1/24,addr=fd01::1/64,gw=10.1.0.254,gw=fd01::fe");
    let right = format!(
        "--if=shmif:{b},addr=10.2.0.1/24,addr=fd02::1/64,gw=10.2.0.254,gw=fd02::fe,mtu=1400"
    );
    [router, host("left", left), host("right", right)]
}

/// Runs a command in a node until it prints what is expected: addresses of IPv6 take a while.
fn see_in_time(place: &Place, ctl: &str, words: &[&str], expected: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut args = vec![words[0], "-n", ctl];
        args.extend(&words[1..]);
        let ended = place.run(&args);
        if ended.out.contains(expected) {
            return ended.out;
        }
        assert!(Instant::now() < deadline, "{words:?}: {ended:?}");
    }
}

#[test]
fn traces_show_the_router_between_two_nets_and_where_the_path_is_narrow() {
    let place = Place::new();
    let _nodes = two_nets(&place);
    let left = place.path("a.bus.left.ctl").display().to_string();
    for (router, to) in [("10.1.0.254", "10.2.0.1"), ("fd01::fe", "fd02::1")] {
        see_in_time(&place, &left, &["ping", "-c", "1", "-W", "1", to], " 0% packet loss");
        for method in [&["-n"][..], &["-n", "-I"], &["-n", "-T", "-p", "9"]] {
            let words = [&["traceroute", "-q", "1"], method, &[to]].concat();
            let last = format!(" 2  {to}  ");
            let out = see_in_time(&place, &left, &words, &last);
            assert!(out.contains(&format!(" 1  {router}  ")), "{words:?}: {out}");
        }
        let out = see_in_time(&place, &left, &["tracepath", to], "hops 2 back 2");
        assert!(out.contains("Resume: pmtu 1400 hops 2"), "{out}");
    }
    let routes = see_in_time(&place, &left, &["ip", "-6", "route"], "default via fd01::fe");
    assert!(routes.contains("fd01::/64 dev shmif0 proto kernel "), "{routes}");
}

#[test]
fn a_router_is_made_a_host_and_a_router_again() {
    let place = Place::new();
    let _nodes = two_nets(&place);
    let left = place.path("a.bus.left.ctl").display().to_string();
    let router = place.path("a.bus.router.ctl").display().to_string();
    let ping = ["ping", "-c", "1", "-W", "0.5", "10.2.0.1"];
    see_in_time(&place, &left, &ping, "1 received");
    let run = |words: &[&str]| place.run(&[&["ip", "-n", &router], words].concat());
    assert_eq!(run(&["forwarding", "off"]).status, Some(0));
    assert!(run(&["forwarding"]).out.contains("inet shmif0 forwarding off\n"));
    see_in_time(&place, &left, &ping, "0 received");
    assert_eq!(run(&["-4", "forwarding", "on"]).status, Some(0));
    see_in_time(&place, &left, &ping, "1 received");
    let out = run(&["forwarding", "show"]).out;
    assert!(out.contains("inet6 shmif1 forwarding off\n"), "{out}");
}

#[test]
fn a_link_is_made_bad_and_good_again() {
    let place = Place::new();
    let _alice = place.node("alice", 1);
    let ping = || place.run(&["ping", &place.interface(9), "10.0.0.1", "-c", "1", "-W", "0.3"]);
    assert_eq!(place.see("alice", &["impair", "shmif0", "in.loss=100%"]), "");
    assert_eq!(ping().status, Some(1));
    let shown = place.see("alice", &["impair"]);
    assert!(shown.contains("shmif0: in.loss=") && shown.contains(" lost "), "{shown}");
    place.see("alice", &["impair", "shmif0", "none"]);
    assert_eq!(ping().status, Some(0));
    place.see("alice", &["ip", "link", "set", "shmif0", "impair", "out.loss=100%"]);
    assert_eq!(ping().status, Some(1));
    let ended = place.look("alice", &["impair", "shmif0", "seed=7"]);
    assert_eq!(ended.status, Some(2));
    assert!(ended.err.contains("seed= holds from the start"), "{}", ended.err);
    let ended = place.look("alice", &["impair", "nope", "loss=1%"]);
    assert!(ended.err.contains("there are lo0, shmif0"), "{}", ended.err);
}

#[test]
fn what_is_of_ipv6_is_shown_set_and_asked_for() {
    let place = Place::new();
    let _nodes = two_nets(&place);
    let left = place.path("a.bus.left.ctl").display().to_string();
    let see = |line: &str, expected: &str| {
        see_in_time(&place, &left, &line.split(' ').collect::<Vec<_>>(), expected)
    };
    let out = see("ip -6 addr show dev shmif0", "inet6 fd01::1/64 scope global ");
    assert!(!out.contains("inet 10."), "{out}");
    see("ndisc -r 1 fd01::fe", "Target link-layer address: ");
    see("ping -6 -c 1 -W 1 fd01::fe", " 0% packet loss");
    see("ip -6 neigh show fd01::fe", "fd01::fe dev shmif0 lladdr ");
    see("ndp -an", "fd01::fe ");
    let run = |words: &[&str]| place.run(&[&[words[0], "-n", &left], &words[1..]].concat());
    assert_eq!(run(&["ifconfig", "shmif0", "inet6", "fd09::1/64"]).status, Some(0));
    see("ip -6 addr show dev shmif0", "inet6 fd09::1/64 ");
    see("ifconfig shmif0", "\tinet6 fd09::1/64 ");
    let out = see("ip maddr show dev shmif0", "\tinet6 ff02::1:ff00:1\n");
    assert!(out.contains("\tlink  33:33:ff:00:00:01\n"), "{out}");
    assert!(out.contains("\tinet  224.0.0.1\n"), "{out}");
    assert_eq!(run(&["ip", "-6", "route", "add", "fd0a::/32", "via", "fd01::fe"]).status, Some(0));
    see("ip -6 route get fd0a::7", "fd0a::7 via fd01::fe dev shmif0 src fd0");
    see("netstat -rn6", "fd0a::/32 ");
}
