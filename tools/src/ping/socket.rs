//! The socket that echoes are sent by.

use std::io;
use std::net::SocketAddr;

use libnet::net::Socket;
use libnet::socket::{MtuDiscovery, SocketOption};
use libnet::{Family, Protocol, SockType};
use rumpnet::Stack;

use super::{MtuHint, PingArgs, RECEIVE_BYTES};
use crate::fail::Failure;
use crate::host;
use crate::zone::Zoned;

/// A socket for echoes, and the identifier that they have.
pub(super) fn open(args: &PingArgs, stack: &Stack) -> Result<(Socket, u16), Failure> {
    let wrong =
        |what: &'static str| move |error: io::Error| Failure::doing(what, &host::plain(&error));
    let family = Family::of(&args.destination.ip);
    let protocol = if args.destination.ip.is_ipv4() { Protocol::ICMP } else { Protocol::ICMPV6 };
    // The host's raw sockets need a privilege that its ping sockets do not.
    let (socket, is_raw) = match stack.socket(family, SockType::Raw, protocol) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            (stack.socket(family, SockType::Datagram, protocol), false)
        }
        made => (made, true),
    };
    let socket = socket.map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::PermissionDenied => {
                ": the host allows it with CAP_NET_RAW, or to the groups of the sysctl \
                 net.ipv4.ping_group_range"
            }
            _ => "",
        };
        Failure::new(format!("cannot make a socket for ICMP: {}{hint}", host::plain(&error)))
    })?;
    let mut options = vec![
        SocketOption::ReceiveTtl(true),
        SocketOption::ReceiveTime(true),
        SocketOption::ReceiveBufferBytes(RECEIVE_BYTES),
    ];
    options.extend(args.ttl.map(SocketOption::Ttl));
    options.extend(args.mtu_discovery.map(|hint| {
        SocketOption::MtuDiscovery(match hint {
            MtuHint::Do => MtuDiscovery::Always,
            MtuHint::Want => MtuDiscovery::IfItFits,
            MtuHint::Dont => MtuDiscovery::Never,
        })
    }));
    if args.broadcast {
        options.push(SocketOption::Broadcast(true));
    }
    if let Some(from) = &args.from {
        match from.parse::<Zoned>() {
            Ok(addr) => socket.bind(addr.at(stack, 0)?).map_err(|error| {
                Failure::doing(format_args!("cannot send from {addr}"), &host::plain(&error))
            })?,
            Err(_) => options.push(SocketOption::BindToDevice(from.clone())),
        }
    }
    for option in options {
        let what = format!("cannot set {option:?}");
        socket.set_option(option).map_err(|error| Failure::doing(what, &host::plain(&error)))?;
    }
    if is_raw {
        let mut id = [0; 2];
        getrandom::fill(&mut id).map_err(|error| Failure::doing("no entropy", &error))?;
        return Ok((socket, u16::from_be_bytes(id)));
    }
    // A ping socket's identifier is its port, which it has once it is bound.
    let bound = match args.from.as_ref().is_some_and(|from| from.parse::<Zoned>().is_ok()) {
        true => Ok(()),
        false => socket.bind(SocketAddr::new(family.unspecified(), 0)),
    };
    let id = bound.and_then(|()| socket.local_addr()).map_err(wrong("no identifier"))?.port();
    Ok((socket, id))
}
