//! A look inside a live node: its control socket, and the commands that use it.

mod captures;
mod clients;
mod figures;
mod probes;

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
    let clamp = || place.see_json("alice", &["ip", "-d", "-j", "link", "show", "shmif0"]);
    assert!(clamp()[0]["clamp_mss"].is_null());
    place.see("alice", &["ip", "link", "set", "shmif0", "clamp-mss", "1360"]);
    assert_eq!(clamp()[0]["clamp_mss"], "1360");
    let text = place.see("alice", &["ip", "-d", "link", "show", "shmif0"]);
    assert!(text.contains(" clamp_mss 1360 "), "{text}");
    let ended = place.look("alice", &["ip", "link", "set", "shmif0", "clamp-mss", "47"]);
    failed(&ended, 255, "Error: argument \"47\" is wrong: Invalid \"clamp-mss\" value");
    place.see("alice", &["ip", "link", "set", "shmif0", "clamp-mss", "off"]);
    assert!(clamp()[0]["clamp_mss"].is_null());
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
        see("ip route show table local")
            .contains("local 10.0.0.1 dev shmif0 proto kernel scope host src 10.0.0.1")
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
    let ended = place.look("alice", &["ifconfig", "shmif0", "inet", "10.7.0.0/24"]);
    assert_eq!(ended.status, Some(1));
    assert!(see("ifconfig shmif0").contains("\tinet 10.5.0.1/24 "), "the old one stays");
    see("ifconfig shmif0 inet 10.5.0.1/16");
    assert!(see("ifconfig shmif0").contains("\tinet 10.5.0.1/16 "));
    see("ifconfig shmif0 inet 10.5.0.1/24");
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

#[test]
fn what_ip_does_not_do_it_refuses_and_does_nothing_by_halves() {
    let place = Place::new();
    let _alice = place.node("alice", 1);
    for (line, error) in [
        ("ip addr add 10.9.0.1/24 dev shmif0 valid_lft 60", "\"valid_lft\" is not served here"),
        ("ip addr add 10.9.0.1/24 peer 10.9.0.2 dev shmif0", "\"peer\" is not served here"),
        ("ip route add 10.2.0.0/16 via 10.0.0.254 expires 60", "\"expires\" is not served here"),
        ("ip route add 10.2.0.0/16 via 10.0.0.254 table local", "\"table\" is not served here"),
        ("ip route add 10.2.0.0/16 via 10.77.0.1 dev shmif0", "Nexthop has invalid gateway"),
        ("ip route add 10.2.0.0/16 via 10.0.0.1 dev shmif0", "Nexthop has invalid gateway"),
        ("ip route add 10.2.0.0/16 via 10.0.0.254 src 10.9.9.9", "Invalid source address"),
    ] {
        let ended = place.look("alice", &line.split(' ').collect::<Vec<_>>());
        assert_eq!(ended.status, Some(2), "{line}");
        assert!(ended.err.contains(error), "{line}: {}", ended.err);
    }
    let see = |line: &str| place.see("alice", &line.split(' ').collect::<Vec<_>>());
    see("ip route add 10.2.0.0/16 via 10.77.0.1 dev shmif0 onlink");
    see("ip addr add 10.8.0.1/24 dev shmif0 valid_lft forever");
    see("ip route add 10.3.0.0/16 via 10.0.0.254 src 10.8.0.1");
    assert!(see("ip route get 10.3.0.1").contains("src 10.8.0.1 "));
    // A route that outlives its source address does not send from it.
    see("ip addr del 10.8.0.1/24 dev shmif0");
    assert!(see("ip route get 10.3.0.1").contains("src 10.0.0.1 "));
}
