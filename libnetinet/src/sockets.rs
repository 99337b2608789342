//! The table of sockets: from the numbers that callers hold to what they stand for.

use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::Waker;

use libnet::errno;
use libnet::socket::SocketId;
use libnet::wake::Ready;

use crate::datagram::Shared;
use crate::stream::StreamSocket;

/// A socket of any kind.
#[derive(Clone)]
pub(crate) enum Socket {
    /// UDP, ping or raw.
    Datagram(Shared),
    /// TCP.
    Stream(Arc<StreamSocket>),
}

/// All sockets of a stack. Rank: wide; held only to look up, add and remove.
pub(crate) struct SocketTable {
    max: usize,
    slots: RwLock<Slots>,
}

#[derive(Default)]
struct Slots {
    all: Vec<Slot>,
    free: Vec<u32>,
}

struct Slot {
    generation: u32,
    socket: Option<Socket>,
}

impl SocketTable {
    /// A table for at most `max` sockets.
    pub(crate) const fn new(max: usize) -> Self {
        SocketTable { max, slots: RwLock::new(Slots { all: Vec::new(), free: Vec::new() }) }
    }

    /// Adds a socket.
    ///
    /// # Errors
    /// `EMFILE` at the bound.
    pub(crate) fn add(&self, socket: Socket) -> io::Result<SocketId> {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let index = match slots.free.pop() {
            Some(index) => index,
            None if slots.all.len() >= self.max => return Err(errno::too_many()),
            None => {
                slots.all.push(Slot { generation: 0, socket: None });
                slots.all.len() as u32 - 1
            }
        };
        let slot = &mut slots.all[index as usize];
        slot.socket = Some(socket);
        Ok(SocketId { index, generation: slot.generation })
    }

    /// Does it hold as many as it may?
    pub(crate) fn is_full(&self) -> bool {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots.free.is_empty() && slots.all.len() >= self.max
    }

    /// The socket of a number.
    ///
    /// # Errors
    /// `EBADF` if there is none, or not any more.
    pub(crate) fn get(&self, id: SocketId) -> io::Result<Socket> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.all.get(id.index as usize).filter(|slot| slot.generation == id.generation);
        slot.and_then(|slot| slot.socket.clone()).ok_or_else(errno::bad_descriptor)
    }

    /// Takes a socket out; its number is never given out again.
    pub(crate) fn remove(&self, id: SocketId) -> Option<Socket> {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.all.get_mut(id.index as usize)?;
        if slot.generation != id.generation {
            return None;
        }
        let socket = slot.socket.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        slots.free.push(id.index);
        Some(socket)
    }

    /// Gathers who waits for a TCP socket to be ready for any of `ready`.
    pub(crate) fn wake_stream(&self, id: SocketId, ready: Ready, wakes: &mut Vec<Waker>) {
        if let Ok(Socket::Stream(socket)) = self.get(id) {
            if ready != Ready::WRITABLE {
                socket.look_again();
            }
            socket.wakes.collect(ready, wakes);
        }
    }

    /// All sockets, in the order of their numbers.
    pub(crate) fn all(&self) -> Vec<Socket> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots.all.iter().filter_map(|slot| slot.socket.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::InetConfig;
    use crate::datagram::{DatagramSocket, Kind};
    use libnet::socket::Family;

    #[test]
    fn a_stale_number_is_an_error_and_not_another_socket() {
        let table = SocketTable::new(1);
        let (config, memory) = (InetConfig::default(), Arc::default());
        let new = || {
            let socket = DatagramSocket::new(Kind::Udp, Family::Inet, &config, &memory);
            table.add(Socket::Datagram(Arc::new(socket)))
        };
        let first = new().unwrap();
        assert!(new().is_err(), "the table holds one");
        assert!(table.remove(first).is_some());
        let second = new().unwrap();
        assert_eq!(second.index, first.index);
        assert!(table.get(first).is_err());
        assert!(table.remove(first).is_none());
        assert!(table.get(second).is_ok());
    }
}
