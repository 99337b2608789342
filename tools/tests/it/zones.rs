//! Link-local addresses with their links, on the command line and in what is shown.

use std::cell::Cell;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::process::{Ended, PATIENCE, Place, Process};

/// Two buses, with `fe80::2` on each.
fn two_links(place: &Place) -> [Process; 2] {
    ["left", "right"].map(|name| {
        let bus = place.path(&format!("{name}.bus")).display().to_string();
        let interface = format!("--if=shmif:{bus},create,addr=fe80::2/64");
        let node = Process::start(&["node", &interface, "--name", name, "--echo", "7"]);
        node.wait_for("answers ping");
        node
    })
}

/// What joins both, as `fe80::host` on each.
fn both(place: &Place, host: u16) -> [String; 2] {
    ["left", "right"].map(|name| {
        let bus = place.path(&format!("{name}.bus")).display().to_string();
        format!("--if=shmif:{bus},addr=fe80::{host:x}/64")
    })
}

#[test]
fn the_same_address_on_two_links_is_told_apart_by_every_tool() {
    let place = Place::new();
    let nodes = two_links(&place);
    // Every command is a station of its own, and so has an address of its own.
    let host = Cell::new(0x10);
    let run = |words: &[&str]| -> Ended {
        let both = both(&place, host.replace(host.get() + 1));
        let mut args = vec![words[0]];
        args.extend(both.iter().map(String::as_str));
        args.extend(&words[1..]);
        place.run(&args)
    };
    for zone in ["fe80::2%shmif0", "fe80::2%shmif1", "fe80::2%3"] {
        let ended = run(&["ping", "-c", "2", "-i", "0.01", zone]);
        assert_eq!(ended.status, Some(0), "{ended:?}");
        assert!(ended.out.starts_with(&format!("PING {zone}({zone}) 56 data bytes")), "{ended:?}");
        let ended = run(&["traceroute", "-q", "1", zone]);
        assert_eq!(ended.status, Some(0), "{ended:?}");
        assert!(ended.out.contains(" 1  fe80::2 (fe80::2)  "), "{ended:?}");
        let ended = run(&["tracepath", zone]);
        assert!(ended.out.contains("reached"), "{ended:?}");
        let ended = run(&["ndisc", "-r", "1", zone]);
        assert!(ended.out.contains("Target link-layer address: "), "{ended:?}");
        assert_eq!(run(&["nc", "-z", zone, "7"]).status, Some(0));
    }
    let ended = run(&["ping", "-c", "1", "fe80::2"]);
    assert_eq!(ended.status, Some(2));
    assert!(
        ended.err.contains("fe80::2 is of one link: say which, as in fe80::2%shmif0"),
        "{ended:?}"
    );
    let ended = run(&["nc", "-z", "fe80::2%nope", "7"]);
    assert!(ended.err.contains("there is no interface nope: lo0, shmif0, shmif1"), "{ended:?}");
    let ended = run(&["nc", "-z", "fe80::2%shmif1", "9"]);
    let told = "cannot connect to [fe80::2%shmif1]:9: Connection refused";
    assert!(ended.err.contains(told), "{ended:?}");
    for node in nodes {
        assert_eq!(node.stop(Signal::SIGINT).status, Some(0));
    }
}

#[test]
fn what_is_shown_names_the_link() {
    let place = Place::new();
    let (_nodes, both) = (two_links(&place), both(&place, 1));
    let ctl = place.path("nc.ctl").display().to_string();
    let mut words = vec!["nc", "-l", "-k", "-d", "-v", "9000", "--ctl", &ctl];
    words.extend(both.iter().map(String::as_str));
    let server = Process::start(&words);
    server.wait_for_error("listening on [::]:9000");
    let left = format!("--if=shmif:{},addr=fe80::9/64", place.path("left.bus").display());
    let mut client = Process::with_input(&["nc", &left, "fe80::1", "9000"], Stdio::piped());
    // With one link there is nothing to tell.
    server.wait_for_error("connection from [fe80::9%shmif0]:");
    client.feed_line("hello\n");
    server.wait_for("hello");
    let ss = place.run(&["ss", "-n", &ctl, "-tn"]);
    let ends = ["[fe80::1]%shmif0:9000 ", "[fe80::9]%shmif0:"];
    assert!(ends.iter().all(|end| ss.out.contains(end)), "{ss:?}");
    let netstat = place.run(&["netstat", "-n", &ctl, "-tn"]);
    assert!(netstat.out.contains("fe80::1%shmif0:9000 "), "{netstat:?}");
    let get = place.run(&["ip", "-n", &ctl, "-6", "route", "get", "fe80::77%shmif1"]);
    assert!(get.out.starts_with("fe80::77 dev shmif1 src fe80::1"), "{get:?}");
    let add = ["route", "add", "fd00:9::/64", "via", "fe80::2%shmif1"];
    let added = place.run(&[&["ip", "-n", &ctl, "-6"][..], &add].concat());
    assert_eq!(added.status, Some(0), "{added:?}");
    let shown = place.run(&["ip", "-n", &ctl, "-6", "route", "show", "fd00:9::/64"]);
    assert!(shown.out.contains("via fe80::2 dev shmif1"), "{shown:?}");
}

#[test]
fn a_gateway_s_link_may_be_told_and_must_be_its_own() {
    let place = Place::new();
    let _nodes = two_links(&place);
    let interface = |more: &str| {
        format!("--if=shmif:{},addr=fd01::1/64,{more}", place.path("left.bus").display())
    };
    let good = interface("gw=fe80::2%shmif0,route=fd02::/64@fe80::2%shmif0");
    let ended = place.run(&["ping", &good, "-c", "1", "-W", "0.2", "fd02::1"]);
    assert_eq!(ended.status, Some(1), "there is a way, but nobody: {ended:?}");
    let bad = interface("gw=fe80::2%shmif7");
    let ended = place.run(&["ping", &bad, "-c", "1", "fd02::1"]);
    assert_eq!(ended.status, Some(2));
    assert!(ended.err.contains("by another interface"), "{ended:?}");
}

/// An interface of a station that is on one of the buses alone.
fn on(place: &Place, bus: &str, host: u16) -> String {
    format!("--if=shmif:{},addr=fe80::{host:x}/64", place.path(&format!("{bus}.bus")).display())
}

#[test]
fn a_relay_leads_to_the_link_that_it_was_told() {
    let place = Place::new();
    let nodes = two_links(&place);
    let [left, right] = both(&place, 0x10);
    let host = TcpListener::bind("127.0.0.1:0").unwrap();
    let inwards = format!("[fe80::10%shmif1]:80={}", host.local_addr().unwrap());
    let outwards = ["127.0.0.1:0=[fe80::2%shmif0]:7", "127.0.0.1:0=[fe80::2%shmif1]:7"];
    let relay = Process::start(&[
        "forward",
        "--json",
        &left,
        &right,
        "-o",
        outwards[0],
        "-o",
        outwards[1],
        &inwards,
    ]);
    let up: Value = serde_json::from_str(&relay.wait_for("\"up\"")).unwrap();
    let mappings = up["mappings"].as_array().unwrap();
    let to_nodes = mappings.iter().filter_map(|mapping| {
        mapping["at"].as_str().filter(|at| at.starts_with("127.")).map(str::to_owned)
    });
    let to_nodes: Vec<String> = to_nodes.collect();
    assert_eq!(to_nodes.len(), 2, "{up}");
    for at in to_nodes {
        let mut stream = TcpStream::connect(&at).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"hello").unwrap();
        let mut back = [0; 5];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"hello", "{at}");
    }
    // From the right one in, and not from the left one.
    let knock =
        |bus: &str, host: u16| place.run(&["nc", &on(&place, bus, host), "-z", "fe80::10", "80"]);
    assert_eq!(knock("right", 0x20).status, Some(0));
    let refused = knock("left", 0x21);
    assert!(refused.err.contains("Connection refused"), "{refused:?}");
    // A relay of two links is to be told which.
    let vague = place.run(&["forward", &left, &right, "-o", "127.0.0.1:0=[fe80::2]:7"]);
    assert!(vague.err.contains("fe80::2%shmif0"), "{vague:?}");
    assert_eq!(relay.stop(Signal::SIGINT).status, Some(0));
    drop(nodes);
}

#[test]
fn a_server_of_files_listens_at_one_link_and_is_reached_by_it() {
    let place = Place::new();
    let _nodes = two_links(&place);
    let [left, right] = both(&place, 0x10);
    fs::create_dir(place.path("site")).unwrap();
    fs::write(place.path("site/word"), "zone").unwrap();
    let root = place.path("site").display().to_string();
    let server =
        Process::start(&["httpd", "--json", &left, &right, "-B", "fe80::10%shmif1", &root]);
    server.wait_for("\"up\"");
    let fetch =
        |interfaces: &[&str], url: &str| place.run(&[&["fetch"][..], interfaces, &[url]].concat());
    let by_one = fetch(&[&on(&place, "right", 0x20)], "http://[fe80::10]/word");
    assert_eq!((by_one.status, &*by_one.out), (Some(0), "zone"), "{by_one:?}");
    let [left, right] = both(&place, 0x21);
    let by_two = fetch(&[&left, &right], "http://[fe80::10%25shmif1]/word");
    assert_eq!((by_two.status, &*by_two.out), (Some(0), "zone"), "{by_two:?}");
    let wrong = fetch(&[&left, &right], "http://[fe80::10%25shmif0]/word");
    assert!(wrong.err.contains("Connection refused"), "{wrong:?}");
    assert_eq!(server.stop(Signal::SIGINT).status, Some(0));
}

#[test]
fn a_measurement_goes_by_the_link_that_it_was_told() {
    let place = Place::new();
    let _nodes = two_links(&place);
    let [left, right] = both(&place, 0x10);
    let server = Process::start(&["perf", &left, &right, "-s", "-B", "fe80::10%shmif1"]);
    server.wait_for("Server listening on 5201 (test #1)");
    let [left, right] = both(&place, 0x20);
    for more in [&["-n", "1M"][..], &["-u", "-b", "5M", "-n", "100K", "-R"]] {
        let words = ["perf", &left, &right, "--json", "-c", "fe80::10%shmif1"];
        let ended = place.run(&[&words[..], more].concat());
        assert_eq!(ended.status, Some(0), "{more:?}: {ended:?}");
    }
    let wrong = place.run(&["perf", &left, &right, "-c", "fe80::10%shmif0", "-n", "1M"]);
    assert!(wrong.err.contains("Connection refused"), "{wrong:?}");
    assert_eq!(server.stop(Signal::SIGINT).status, Some(0));
}
