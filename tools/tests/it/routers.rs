//! Sixty processes: ten buses, five hosts on each, and a ring of routers between them, by IPv4 and
//! by IPv6.

use std::process::Stdio;

use nix::sys::signal::Signal;

use crate::process::{Place, Process};

const SITES: usize = 10;
const HOSTS: usize = 5;

/// Router `i` is `.1` on site `i` and `.2` on site `i + 1`; hosts are `.11` and on.
struct Ring {
    place: Place,
    routers: Vec<Option<Process>>,
    hosts: Vec<Process>,
}

impl Ring {
    fn new() -> Ring {
        let place = Place::new();
        let routers: Vec<_> = (0..SITES).map(|i| Some(router(&place, i))).collect();
        let hosts = (0..SITES * HOSTS).map(|i| host(&place, i / HOSTS, i % HOSTS)).collect();
        let ring = Ring { place, routers, hosts };
        ring.routers.iter().flatten().chain(&ring.hosts).for_each(wait_until_up);
        ring
    }

    /// Guests at every site ask across the ring, all at once; `gateways` are their routers.
    fn everybody_answers(&self, gateways: impl Fn(usize) -> usize) {
        let guest =
            |site: usize, number: usize| interface(&self.place, site, number, gateways(site));
        let across = |site: usize, number: usize| {
            // Of two neighbours one asks by IPv4 and the other by IPv6.
            addresses((site + 5) % SITES, number)[site % 2].clone()
        };
        let pings: Vec<Process> = (0..SITES)
            .map(|site| {
                let args = ["ping", "-c3", "-i0.05", "-W10", &guest(site, 91), &across(site, 11)];
                Process::start(&args)
            })
            .collect();
        let calls: Vec<Process> = (0..SITES)
            .map(|site| {
                let args = ["nc", "-w10", &guest(site, 92), &across(site + 1, 15), "7"];
                let mut call = Process::with_input(&args, Stdio::piped());
                call.feed(format!("from site {site}\n").into_bytes());
                call
            })
            .collect();
        for (site, ping) in pings.into_iter().enumerate() {
            let ended = ping.finish();
            assert_eq!(ended.status, Some(0), "site {site}: {ended:?}");
        }
        for (site, call) in calls.into_iter().enumerate() {
            assert_eq!(call.finish().out, format!("from site {site}\n"));
        }
    }

    /// Takes the routes that cross the dead router out of the others, and gives the hosts whose
    /// gateway it was the other one: all while they run.
    fn route_around(&self, dead: usize) {
        let mut changes = Vec::new();
        for number in (0..SITES).filter(|&number| number != dead) {
            let ctl = self.ctl(number, &format!("r{number}"));
            for Way { away, gateways, crossed, .. } in ways(number) {
                if crossed.contains(&dead) {
                    let ([net4, net6], [gw4, gw6]) = (addresses(away, 0), gateways);
                    let del = |family: &str, net: &str, gateway: &str| {
                        change(&ctl, family, ["del", net, "via", gateway])
                    };
                    changes.push(del("-4", &format!("{net4}/24"), &gw4));
                    changes.push(del("-6", &format!("{net6}/64"), &gw6));
                }
            }
        }
        for number in 0..HOSTS {
            let ctl = self.ctl(dead, &format!("h{dead}.{number}"));
            let [gw4, gw6] = addresses(dead, 2);
            changes.push(change(&ctl, "-4", ["replace", "default", "via", &gw4]));
            changes.push(change(&ctl, "-6", ["replace", "default", "via", &gw6]));
        }
        for change in changes {
            let ended = change.finish();
            assert_eq!(ended.status, Some(0), "{ended:?}");
        }
    }

    /// The control socket of a node, beside its first bus.
    fn ctl(&self, site: usize, name: &str) -> String {
        format!("{}.{name}.ctl", bus(&self.place, site))
    }
}

/// Changes a route of a running node.
fn change(ctl: &str, family: &str, [what, dst, via, gateway]: [&str; 4]) -> Process {
    Process::start(&["ip", "-n", ctl, family, "route", what, dst, via, gateway])
}

fn bus(place: &Place, site: usize) -> String {
    place.path(&format!("site{site}.bus")).display().to_string()
}

/// Of both families.
fn addresses(site: usize, number: usize) -> [String; 2] {
    [format!("10.20.{site}.{number}"), format!("fd00:20:{site}::{number}")]
}

/// `--if` for one of a site, which takes the same MAC address whenever it comes back.
fn interface(place: &Place, site: usize, number: usize, gateway: usize) -> String {
    let bus = bus(place, site);
    let ([four, six], [gw4, gw6]) = (addresses(site, number), addresses(site, gateway));
    format!(
        "--if=shmif:{bus},mac=02:20:00:00:{site:02x}:{number:02x},\
         addr={four}/24,gw={gw4},addr={six}/64,gw={gw6}"
    )
}

fn wait_until_up(process: &Process) {
    process.wait_for("answers ping");
}

fn host(place: &Place, site: usize, number: usize) -> Process {
    let interface = interface(place, site, 11 + number, 1);
    Process::start(&["node", "--name", &format!("h{site}.{number}"), "--echo=7", &interface])
}

/// A way from a router to a site that it is not on.
struct Way {
    /// The site.
    away: usize,
    /// Which of the router's interfaces it leaves by: that to its own site, or the next.
    side: usize,
    gateways: [String; 2],
    /// The routers behind it.
    crossed: Vec<usize>,
}

/// Both ways round to every site.
fn ways(number: usize) -> Vec<Way> {
    let mut ways = Vec::new();
    for away in (2..SITES).map(|n| (number + n) % SITES) {
        let hops_down = (number + SITES - away) % SITES;
        let down = (1..=hops_down).map(|n| (number + SITES - n) % SITES).collect();
        ways.push(Way { away, side: 0, gateways: addresses(number, 2), crossed: down });
        let up = (1..SITES).map(|n| (number + n) % SITES).take_while(|&m| m != away).collect();
        let gateways = addresses((number + 1) % SITES, 1);
        ways.push(Way { away, side: 1, gateways, crossed: up });
    }
    ways
}

/// A router with routes both ways round to every site: the shorter way is taken.
fn router(place: &Place, number: usize) -> Process {
    let mut sides = [(number, 1), ((number + 1) % SITES, 2)].map(|(site, own)| {
        let ([four, six], bus) = (addresses(site, own), bus(place, site));
        let mac = format!("02:20:00:00:{site:02x}:{own:02x}");
        format!("--if=shmif:{bus},mac={mac},addr={four}/24,addr={six}/64")
    });
    for Way { away, side, gateways: [gw4, gw6], crossed } in ways(number) {
        let ([net4, net6], metric) = (addresses(away, 0), crossed.len());
        sides[side] += &format!(",route={net4}/24@{gw4}@{metric}");
        sides[side] += &format!(",route={net6}/64@{gw6}@{metric}");
    }
    let [left, right] = sides;
    Process::start(&["node", "--name", &format!("r{number}"), "--forward", &left, &right])
}

#[test]
fn ten_routers_join_ten_buses_and_one_of_them_may_die() {
    let mut ring = Ring::new();
    ring.everybody_answers(|_| 1);

    let killed = ring.routers[3].take().unwrap().stop(Signal::SIGKILL);
    assert_eq!(killed.status, None);
    ring.route_around(3);
    ring.everybody_answers(|site| if site == 3 { 2 } else { 1 });

    let Ring { place, routers, hosts } = ring;
    let all: Vec<Process> = routers.into_iter().flatten().chain(hosts).collect();
    all.iter().for_each(|process| process.signal(Signal::SIGTERM));
    for process in all {
        let ended = process.finish();
        assert_eq!(ended.status, Some(0), "{}", ended.err);
    }
    for site in (0..SITES).filter(|site| ![3, 4].contains(site)) {
        let listed = place.run(&["ls", &bus(&place, site)]);
        assert!(listed.out.starts_with("nobody is on"), "{}", listed.out);
    }
}

#[test]
fn a_route_that_leads_nowhere_is_refused_in_words() {
    let place = Place::new();
    for (route, hint) in [
        ("10.9.0.0/16@192.0.2.1", "no interface has the gateway's network"),
        ("10.9.0.0/16@tap7", "as in shmif0"),
        ("10.9.0.0/16", "say by what, as in @10.0.0.1"),
        ("10.0.0.0/24@shmif0", "it is there already"),
        ("10.9.0.0/16@", "write NETWORK/BITS@GATEWAY"),
    ] {
        let ended = place.run(&["node", &place.interface(1), &format!("--route={route}")]);
        assert_eq!(ended.status, Some(2), "{route}: {ended:?}");
        assert!(ended.err.contains(hint), "{route}: {}", ended.err);
    }
}

#[test]
fn a_route_of_the_command_line_is_used() {
    let place = Place::new();
    let far = format!("--if=shmif:{},addr=10.5.0.1/24,create", place.path("far.bus").display());
    let router = Process::start(&["node", "--forward", &place.interface(1), &far]);
    router.wait_for("passes on packets");
    let far =
        format!("--if=shmif:{},addr=10.5.0.2/24,gw=10.5.0.1", place.path("far.bus").display());
    let node = Process::start(&["node", &far]);
    wait_until_up(&node);
    let near = place.interface(2);
    let ping = |more: &[&str]| {
        let words = ["ping", "-c1", "-W10", &near, "10.5.0.2"];
        place.run(&[&words[..], more].concat())
    };
    assert_eq!(ping(&["--route=10.5.0.0/24@10.0.0.1"]).status, Some(0));
    assert_eq!(ping(&["--route=default@10.0.0.1%shmif0@7"]).status, Some(0));
    assert_ne!(ping(&[]).status, Some(0), "there is no other way");
}
