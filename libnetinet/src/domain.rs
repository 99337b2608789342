//! [`Inet`] as a domain of libnet's socket layer.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::task::Waker;

use libnet::errno;
use libnet::landing::Forecast;
use libnet::socket::{
    Domain, Family, OptionKey, Protocol, Received, RecvMsg, SendMsg, SockType, SocketId,
    SocketOption,
};
use libnet::wake::{Ready, Registration};

use crate::datagram::{DatagramSocket, Kind, echo_protocol};
use crate::inet::Inet;
use crate::sockets::Socket;

impl Inet {
    fn datagram_socket(&self, kind: Kind, family: Family) -> io::Result<SocketId> {
        let wide = self.wide();
        let socket = Arc::new(DatagramSocket::new(kind, family, &wide.config(), &wide.udp_memory));
        let id = wide.sockets.add(Socket::Datagram(Arc::clone(&socket)))?;
        socket.set_id(id);
        if matches!(kind, Kind::Raw(_)) {
            wide.raw.add(socket);
        }
        Ok(id)
    }

    fn socket_of(&self, id: SocketId) -> io::Result<Socket> {
        self.wide().sockets.get(id)
    }
}

impl Domain for Inet {
    fn families(&self) -> &[Family] {
        &[Family::Inet, Family::Inet6]
    }

    fn socket(&self, family: Family, ty: SockType, protocol: Protocol) -> io::Result<SocketId> {
        if !self.families().contains(&family) {
            return Err(errno::family_not_supported());
        }
        let kind = match (ty, protocol) {
            (SockType::Stream, Protocol::DEFAULT | Protocol::TCP) => {
                return self.stream_socket(family);
            }
            (SockType::Datagram, Protocol::DEFAULT | Protocol::UDP) => Kind::Udp,
            (SockType::Datagram, protocol) if protocol == echo_protocol(family) => Kind::Ping,
            (SockType::Raw, protocol) if protocol != Protocol::DEFAULT => Kind::Raw(protocol),
            _ => return Err(errno::protocol_not_supported()),
        };
        self.datagram_socket(kind, family)
    }

    fn bind(&self, id: SocketId, addr: SocketAddr) -> io::Result<()> {
        match self.socket_of(id)? {
            Socket::Datagram(socket) => self.datagram_bind(&socket, addr),
            Socket::Stream(socket) => self.stream_bind(&socket, addr),
        }
    }

    fn listen(&self, id: SocketId, backlog: u32) -> io::Result<()> {
        match self.socket_of(id)? {
            Socket::Datagram(_) => Err(errno::not_supported()),
            Socket::Stream(socket) => self.stream_listen(&socket, backlog),
        }
    }

    fn accept(&self, id: SocketId) -> io::Result<(SocketId, SocketAddr)> {
        match self.socket_of(id)? {
            Socket::Datagram(_) => Err(errno::not_supported()),
            Socket::Stream(socket) => self.stream_accept(&socket),
        }
    }

    fn connect(&self, id: SocketId, addr: SocketAddr) -> io::Result<()> {
        match self.socket_of(id)? {
            Socket::Datagram(socket) => self.datagram_connect(&socket, addr),
            Socket::Stream(socket) => self.stream_connect(&socket, addr),
        }
    }

    fn send(&self, id: SocketId, msg: SendMsg<'_>) -> io::Result<usize> {
        match self.socket_of(id)? {
            Socket::Datagram(socket) => self.datagram_send(&socket, msg),
            Socket::Stream(socket) => self.stream_send(&socket, msg),
        }
    }

    fn recv(&self, id: SocketId, msg: RecvMsg<'_, '_>) -> io::Result<Received> {
        match self.socket_of(id)? {
            Socket::Datagram(socket) => socket.recv(msg),
            Socket::Stream(socket) => self.stream_recv(&socket, msg),
        }
    }

    fn forecast(&self, id: SocketId) -> Option<Forecast> {
        match self.socket_of(id).ok()? {
            Socket::Datagram(_) => None,
            Socket::Stream(socket) => self.stream_forecast(&socket),
        }
    }

    fn is_at_mark(&self, id: SocketId) -> io::Result<bool> {
        match self.socket_of(id)? {
            Socket::Datagram(_) => Err(errno::not_supported()),
            Socket::Stream(socket) => Ok(self.stream_is_at_mark(&socket)),
        }
    }

    fn shutdown(&self, id: SocketId, how: Shutdown) -> io::Result<()> {
        let mut wakes = Vec::new();
        match self.socket_of(id)? {
            Socket::Datagram(socket) => socket.shutdown(how, &mut wakes)?,
            Socket::Stream(socket) => self.stream_shutdown(&socket, how)?,
        }
        wakes.into_iter().for_each(Waker::wake);
        Ok(())
    }

    fn close(&self, id: SocketId) {
        match self.wide().sockets.remove(id) {
            Some(Socket::Datagram(socket)) => self.datagram_close(&socket),
            Some(Socket::Stream(socket)) => self.stream_close(&socket),
            None => {}
        }
    }

    fn set_option(&self, id: SocketId, option: SocketOption) -> io::Result<()> {
        match self.socket_of(id)? {
            Socket::Datagram(socket) => self.datagram_set_option(&socket, option),
            Socket::Stream(socket) => self.stream_set_option(&socket, option),
        }
    }

    fn get_option(&self, id: SocketId, key: OptionKey) -> io::Result<SocketOption> {
        match self.socket_of(id)? {
            Socket::Datagram(socket) => match key {
                OptionKey::PathMtu => self.datagram_path_mtu(&socket).map(SocketOption::PathMtu),
                OptionKey::SourceFilter(group) => self.datagram_source_filter(&socket, group),
                OptionKey::Ttl => Ok(SocketOption::Ttl(socket.hops(self.wide()))),
                key => socket.get_option(key),
            },
            Socket::Stream(socket) => self.stream_get_option(&socket, key),
        }
    }

    fn local_addr(&self, id: SocketId) -> io::Result<SocketAddr> {
        match self.socket_of(id)? {
            Socket::Datagram(socket) => Ok(socket.local_addr()),
            Socket::Stream(socket) => Ok(self.stream_local(&socket)),
        }
    }

    fn peer_addr(&self, id: SocketId) -> io::Result<SocketAddr> {
        match self.socket_of(id)? {
            Socket::Datagram(socket) => socket.peer_addr(),
            Socket::Stream(socket) => self.stream_peer(&socket),
        }
    }

    fn take_error(&self, id: SocketId) -> io::Result<Option<io::Error>> {
        match self.socket_of(id)? {
            Socket::Datagram(socket) => Ok(socket.state().error.take().map(|e| e.to_io())),
            Socket::Stream(socket) => Ok(self.stream_error(&socket)),
        }
    }

    fn ready(&self, id: SocketId) -> io::Result<Ready> {
        match self.socket_of(id)? {
            Socket::Datagram(socket) => Ok(socket.ready()),
            Socket::Stream(socket) => Ok(self.stream_ready(&socket)),
        }
    }

    fn register(&self, id: SocketId, interest: Ready, waker: &Waker) -> Registration {
        match self.socket_of(id) {
            Ok(Socket::Datagram(socket)) => socket.wakes.register(interest, waker),
            Ok(Socket::Stream(socket)) => socket.wakes.register(interest, waker),
            Err(_) => Registration::none(),
        }
    }
}
