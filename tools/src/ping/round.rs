//! A round of pings for programs: no lines, only times.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use libnet::{Family, Protocol, SockType};
use rumpnet::Stack;

use super::probe::{self, Answer};

/// Asks `to` up to `count` times, one after the other; the round-trip times of those answered
/// within `patience` each. An error about a request ends its wait.
///
/// # Errors
/// No route, or no socket.
pub(crate) fn ask(
    stack: &Stack,
    to: IpAddr,
    count: u16,
    patience: Duration,
) -> io::Result<Vec<Duration>> {
    let protocol = if to.is_ipv4() { Protocol::ICMP } else { Protocol::ICMPV6 };
    let socket = stack.socket(Family::of(&to), SockType::Raw, protocol)?;
    let driver = stack.sockets().driver();
    let mut id = [0; 2];
    getrandom::fill(&mut id).map_err(io::Error::other)?;
    let id = u16::from_be_bytes(id);
    let payload = [0x5a; 56];
    let mut buffer = vec![0; 2048];
    let mut times = Vec::new();
    for seq in 1..=count {
        let sent = driver.now();
        socket.send_to(&probe::request(to.is_ipv4(), id, seq, &payload), SocketAddr::new(to, 0))?;
        loop {
            let left = (sent + patience).since(driver.now());
            if left.is_zero() {
                break;
            }
            socket.set_read_timeout(Some(left))?;
            let Ok(bytes) = socket.recv(&mut buffer) else { break };
            let message = probe::strip_ip(&buffer[..bytes], to);
            match probe::read(message, id, to, &payload) {
                Some(Answer::Reply { seq: got, is_intact: true, .. }) if got == seq => {
                    times.push(driver.now().since(sent));
                    break;
                }
                Some(Answer::Error { seq: got, .. }) if got == seq => break,
                _ => {}
            }
        }
    }
    Ok(times)
}
