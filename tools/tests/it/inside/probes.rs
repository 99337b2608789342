//! What goes out from a node, and through a router between two.

use super::*;

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
    place.see("alice", &["impair", "shmif0", "at", "0s", "out.down", "at", "3000s", "none"]);
    assert!(place.see("alice", &["impair"]).contains("out.state=down"));
    let ended = place.look("alice", &["impair", "shmif0", "at", "2s", "down", "at", "1s", "up"]);
    assert!(ended.err.contains("step 2: 1s is before the step above"), "{}", ended.err);
    let ended = place.look("alice", &["impair", "shmif0", "schedule=x"]);
    assert!(ended.err.contains("give the steps themselves"), "{}", ended.err);
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
    assert!(!out.contains("ff02::2\n"), "{out}");
    assert_eq!(run(&["ip", "-6", "forwarding", "on"]).status, Some(0));
    see("ip maddr show dev shmif0", "\tinet6 ff02::2\n");
    assert_eq!(run(&["ip", "-6", "route", "add", "fd0a::/32", "via", "fd01::fe"]).status, Some(0));
    see("ip -6 route get fd0a::7", "fd0a::7 via fd01::fe dev shmif0 src fd0");
    see("netstat -rn6", "fd0a::/32 ");
}
