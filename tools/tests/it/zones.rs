//! Link-local addresses with their links, on the command line and in what is shown.

use std::cell::Cell;
use std::process::Stdio;

use nix::sys::signal::Signal;

use crate::process::{Ended, Place, Process};

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
