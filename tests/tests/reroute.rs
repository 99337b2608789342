//! A connection whose route moves to another interface goes on there at once.

use std::io::{Read, Write};
use std::time::Duration;

use libnet::iface::IfIndex;
use libnet::route::Route;
use libnet::world::{LinkConfig, World};
use rumpnet::{InterfaceSpec, Stack};

#[test]
fn a_request_leaves_by_the_new_interface_at_once() {
    let world = World::new(5);
    let (first, second) =
        (world.segment(LinkConfig::default()), world.segment(LinkConfig::default()));
    let build = |name: &str, host: u8| {
        let on = |link, net: u8| InterfaceSpec::new(link).addr(&format!("10.0.{net}.{host}/24"));
        let mut left = on(first.next_link(), 1);
        if host == 2 {
            left = left.addr("10.9.9.9/32");
        }
        let builder = Stack::builder().interface(left).interface(on(second.next_link(), 2));
        builder.start_in(&world.host(name)).unwrap()
    };
    let (here, there) = (build("here", 1), build("there", 2));
    let service = "10.9.9.9/32".parse().unwrap();
    let slow = Route::via(service, IfIndex(2), "10.0.1.2".parse().unwrap()).with_metric(10);
    here.inet().unwrap().add_route(slow).unwrap();

    let listener = there.tcp_listen("10.9.9.9:9000").unwrap();
    let clock = world.handle();
    let server = world.spawn("server", move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; 4]).unwrap();
        stream.read_exact(&mut [0; 4]).unwrap();
        clock.now()
    });
    let clock = world.handle();
    let client = world.spawn("client", move || {
        let mut stream = here.tcp_connect("10.9.9.9:9000").unwrap();
        stream.write_all(b"ping").unwrap();
        // Longer than any timer that the first request leaves behind.
        clock.sleep(Duration::from_secs(100)).unwrap();
        let fast = Route::via(service, IfIndex(3), "10.0.2.2".parse().unwrap());
        here.inet().unwrap().add_route(fast).unwrap();
        let before = clock.now();
        stream.write_all(b"pong").unwrap();
        // Nobody calls into the stack meanwhile.
        clock.sleep(Duration::from_secs(100)).unwrap();
        before
    });
    let sent = client.join();
    let took = server.join().since(sent);
    assert!(took < Duration::from_millis(10), "{took:?}");
}
