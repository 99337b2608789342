//! What a stack asks its neighbours, and when it need not.

use std::io::{Read, Write};
use std::time::Duration;

use libnet::world::{LinkConfig, World};
use rumpnet::{InterfaceSpec, Stack};

#[test]
fn a_neighbour_that_acknowledges_is_not_asked_again() {
    let world = World::new(11);
    let segment = world.segment(LinkConfig::default());
    let build = |name: &str, addr: &str| {
        let spec = InterfaceSpec::new(segment.next_link()).addr(addr);
        Stack::builder().interface(spec).start_in(&world.host(name)).unwrap()
    };
    let (here, there) = (build("here", "10.0.0.1/24"), build("there", "10.0.0.2/24"));
    let listener = there.tcp_listen("10.0.0.2:9000").unwrap();
    let server = world.spawn("server", move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buf = [0; 64];
        // Both sides send, so that both hear that they are heard.
        while let Ok(n @ 1..) = stream.read(&mut buf) {
            stream.write_all(&buf[..n]).unwrap();
        }
    });
    let inet = std::sync::Arc::clone(here.inet().unwrap());
    let asked = move || inet.counters().arp_out.load(std::sync::atomic::Ordering::Relaxed);
    let before = asked.clone();
    let clock = world.handle();
    let client = world.spawn("client", move || {
        let mut stream = here.tcp_connect("10.0.0.2:9000").unwrap();
        // Addresses are announced and watched in the first seconds.
        clock.sleep(Duration::from_secs(30)).unwrap();
        stream.write_all(b"before").unwrap();
        clock.sleep(Duration::from_secs(1)).unwrap();
        let asked_before = before();
        for _ in 0..600 {
            stream.write_all(b"still there").unwrap();
            assert!(stream.read(&mut [0; 64]).unwrap() > 0);
            clock.sleep(Duration::from_secs(1)).unwrap();
        }
        asked_before
    });
    let asked_before = client.join();
    server.join();
    assert!(asked() - asked_before <= 1, "{} more requests in ten minutes", asked() - asked_before);
}
