//! Many hosts on many segments, and the routers between them, in virtual time.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use libnet::impair::Impairments;
use libnet::world::{Actor, LinkConfig};
use libnet::{DropReason, Family};
use rumpnet::Stack;
use rumpnet_tests::ring::{Ring, RingConfig};

const SECOND: Duration = Duration::from_secs(1);
const PORT: u16 = 7;
/// Requests of each connection, one a second.
const ROUNDS: u8 = 30;
const REQUEST_BYTES: usize = 3_000;

/// Answers one connection until it ends.
fn serve(ring: &Ring, family: Family, host: usize) -> Actor<()> {
    let at = SocketAddr::new(ring.host_addr(family, host), PORT);
    let listener = ring.hosts[host].tcp_listen(at).expect("a free port");
    ring.world.spawn(&format!("server {host}"), move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut buf = vec![0; REQUEST_BYTES];
        while stream.read_exact(&mut buf).is_ok() {
            stream.write_all(&buf).expect("the answer is sent");
        }
    })
}

/// Asks once a second; how often it was answered.
fn ask(ring: &Ring, host: usize, to: SocketAddr) -> Actor<u8> {
    let (stack, clock) = (ring.hosts[host].clone(), ring.world.handle());
    ring.world.spawn(&format!("client {host}"), move || {
        let mut stream = stack.tcp_connect(to).expect("it connects");
        for round in 0..ROUNDS {
            let request = vec![round ^ host as u8; REQUEST_BYTES];
            stream.write_all(&request).expect("the request is sent");
            let mut answer = vec![0; REQUEST_BYTES];
            stream.read_exact(&mut answer).expect("an answer");
            assert!(answer == request, "round {round}");
            clock.sleep(SECOND).expect("an actor sleeps");
        }
        ROUNDS
    })
}

/// Every host asks one on the other side of the ring, for half a minute.
fn traffic(ring: &Ring, family: Family) -> (Vec<Actor<()>>, Vec<Actor<u8>>) {
    let count = ring.hosts.len();
    let servers = (0..count).map(|host| serve(ring, family, host)).collect();
    let clients = (0..count).map(|host| {
        let to = ring.host_addr(family, (host + count / 2) % count);
        ask(ring, host, SocketAddr::new(to, PORT))
    });
    let clients = clients.collect();
    (servers, clients)
}

fn forwarded(stack: &Stack) -> u64 {
    let inet = stack.inet().expect("a stack of its own");
    let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    of(&inet.counters().ip_forwarded) + of(&inet.counters().ip6_forwarded)
}

fn survives(family: Family) {
    let mut ring = Ring::new(20, RingConfig::new(&[family])).expect("it starts");
    let (servers, clients) = traffic(&ring, family);
    ring.world.run_for(SECOND * 10);
    let carried: Vec<u64> = ring.routers.iter().flatten().map(forwarded).collect();
    assert!(carried.iter().all(|&packets| packets > 100), "all carry: {carried:?}");

    ring.kill(3);
    ring.world.run_for(SECOND);
    ring.route_around(3);
    for (host, client) in clients.into_iter().enumerate() {
        assert_eq!(client.join(), ROUNDS, "host {host}");
    }
    servers.into_iter().for_each(|server| server.join());
    nothing_is_left(&ring);
}

/// All is quiet, and no stack holds anything of what has passed.
fn nothing_is_left(ring: &Ring) {
    // Longer than TIME-WAIT, and than any neighbour is remembered.
    ring.world.run_for(SECOND * 1_000);
    let quiet = ring.world.frames();
    ring.world.run_for(SECOND * 1_000);
    assert_eq!(ring.world.frames(), quiet, "nobody has anything to say");
    for stack in ring.hosts.iter().chain(ring.routers.iter().flatten()) {
        let inet = stack.inet().expect("a stack of its own");
        assert!(inet.sockets().is_empty(), "{:?}", inet.sockets());
        assert!(inet.neighbours().is_empty(), "{:?}", inet.neighbours());
        assert_eq!(inet.undelivered(), 0);
    }
    for router in ring.routers.iter().flatten() {
        let drops = router.inet().expect("a stack of its own").drops();
        assert_eq!(drops.get(DropReason::ForwardQueueFull), 0);
        assert_eq!(drops.get(DropReason::HopLimit), 0, "nothing went in circles");
    }
    assert!(ring.world.unfired_faults().is_empty());
}

#[test]
fn fifty_hosts_behind_ten_routers_survive_the_death_of_one() {
    survives(Family::Inet);
}

#[test]
fn they_do_so_by_ipv6() {
    survives(Family::Inet6);
}

#[test]
fn a_ring_with_bad_links_delivers_all_the_same() {
    let mut config = RingConfig::new(&[Family::Inet]);
    (config.sites, config.hosts) = (4, 2);
    let bad = Impairments::none().delay(Duration::from_millis(2)).loss(0.02).reorder(0.05);
    config.link = LinkConfig::default().impairments(bad.duplicate(0.02).corrupt(0.001));
    let ring = Ring::new(21, config).expect("it starts");
    let (servers, clients) = traffic(&ring, Family::Inet);
    for client in clients {
        assert_eq!(client.join(), ROUNDS);
    }
    servers.into_iter().for_each(|server| server.join());
}

#[test]
fn equal_seeds_give_equal_rings() {
    let run = |seed| {
        let mut config = RingConfig::new(&[Family::Inet]);
        (config.sites, config.hosts) = (4, 1);
        config.link = LinkConfig::default().impairments(Impairments::none().loss(0.05));
        let ring = Ring::new(seed, config).expect("it starts");
        let (servers, clients) = traffic(&ring, Family::Inet);
        clients.into_iter().for_each(|client| assert_eq!(client.join(), ROUNDS));
        servers.into_iter().for_each(|server| server.join());
        ring.world.trace_hash()
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}

#[test]
fn a_host_turns_to_its_other_router_when_the_first_is_gone() {
    let mut config = RingConfig::new(&[Family::Inet]);
    (config.sites, config.hosts) = (4, 1);
    let mut ring = Ring::new(22, config).expect("it starts");
    let (servers, clients) = traffic(&ring, Family::Inet);
    ring.world.run_for(SECOND * 5);
    // Nobody changes a route of a host: it finds out by itself that its gateway is dead.
    ring.kill(1);
    ring.route_around_in_routers(1);
    for client in clients {
        assert_eq!(client.join(), ROUNDS);
    }
    servers.into_iter().for_each(|server| server.join());
}
