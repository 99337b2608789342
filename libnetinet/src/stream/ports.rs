//! Which ports TCP sockets are bound to, and who may share one.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use super::StreamSocket;
use crate::hash::{HashMap, Key};
use crate::ports::Unasked;
use crate::tcp::PortSharing;
use crate::wide::lock;

/// A socket's claim to a port.
#[derive(Clone)]
pub(crate) struct Claim {
    pub(crate) addr: SocketAddr,
    pub(crate) sharing: PortSharing,
    pub(crate) socket: Arc<StreamSocket>,
}

/// The claims of all TCP sockets that were bound, by port.
///
/// Rank: wide.
pub(crate) struct StreamPorts(Mutex<HashMap<u16, Vec<Entry>>>);

struct Entry {
    claim: Claim,
    listening: bool,
}

/// Somebody has the port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct InUse;

impl StreamPorts {
    /// Nobody has any.
    pub(crate) fn new(key: Key) -> Self {
        StreamPorts(Mutex::new(HashMap::with_hasher(key)))
    }

    /// Claims the address, as `bind(2)` does: it may be shared if both agreed to
    /// (`SO_REUSEADDR`, and nobody listens there; or `SO_REUSEPORT`).
    pub(crate) fn bind(&self, claim: Claim) -> Result<(), InUse> {
        let mut table = self.lock();
        let entries = table.entry(claim.addr.port()).or_default();
        if entries.iter().any(|other| other.conflicts(&claim)) {
            return Err(InUse);
        }
        entries.push(Entry { claim, listening: false });
        Ok(())
    }

    /// Claims any free port that a socket may have unasked; the port.
    pub(crate) fn bind_any(
        &self,
        mut claim: Claim,
        unasked: Unasked<'_>,
        random: u64,
    ) -> Result<u16, InUse> {
        let mut table = self.lock();
        for port in unasked.starting(random) {
            if table.contains_key(&port) {
                continue;
            }
            claim.addr.set_port(port);
            table.insert(port, vec![Entry { claim, listening: false }]);
            return Ok(port);
        }
        Err(InUse)
    }

    /// The socket listens on what it claimed, unless another listens there already.
    pub(crate) fn listen(&self, addr: SocketAddr, socket: &Arc<StreamSocket>) -> Result<(), InUse> {
        let mut table = self.lock();
        let entries = table.get_mut(&addr.port()).ok_or(InUse)?;
        let own = entries.iter().position(|entry| Arc::ptr_eq(&entry.claim.socket, socket));
        let own = own.ok_or(InUse)?;
        let own_sharing = entries[own].claim.sharing;
        let taken = entries.iter().enumerate().any(|(at, other)| {
            let theirs = other.claim.sharing;
            let agreed =
                (own_sharing.reuse_port && theirs.reuse_port) || own_sharing.is_apart(theirs);
            let overlaps = other.claim.overlaps(&entries[own].claim);
            at != own && other.listening && overlaps && !agreed
        });
        if taken {
            return Err(InUse);
        }
        entries[own].listening = true;
        Ok(())
    }

    /// Gives up what a socket claimed.
    pub(crate) fn release(&self, addr: SocketAddr, socket: &Arc<StreamSocket>) {
        let mut table = self.lock();
        let Some(entries) = table.get_mut(&addr.port()) else { return };
        entries.retain(|entry| !Arc::ptr_eq(&entry.claim.socket, socket));
        if entries.is_empty() {
            table.remove(&addr.port());
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u16, Vec<Entry>>> {
        lock(&self.0)
    }
}

impl Entry {
    fn conflicts(&self, new: &Claim) -> bool {
        let mut own = self.claim.sharing;
        own.reuse_addr &= !self.listening;
        self.claim.overlaps(new) && !own.agrees(new.sharing)
    }
}

impl Claim {
    /// Is there an address that both would take?
    fn overlaps(&self, other: &Claim) -> bool {
        let (a, b) = (self.addr.ip(), other.addr.ip());
        self.sharing.covers(a, b) || other.sharing.covers(b, a)
    }
}

#[cfg(test)]
mod tests {
    use libnet::socket::Family;

    use super::*;
    use crate::stream::OnlySix;

    fn claim(addr: &str, reuse_addr: bool, reuse_port: bool) -> Claim {
        let socket = Arc::new(StreamSocket::new(Family::Inet, OnlySix::No));
        let sharing = PortSharing { reuse_addr, reuse_port, ..PortSharing::default() };
        Claim { addr: addr.parse().unwrap(), sharing, socket }
    }

    #[test]
    fn a_port_is_shared_by_agreement_only() {
        let ports = StreamPorts::new(Key::new(1, 2));
        ports.bind(claim("10.0.0.1:80", true, false)).unwrap();
        assert_eq!(ports.bind(claim("10.0.0.1:80", false, false)), Err(InUse));
        assert_eq!(ports.bind(claim("0.0.0.0:80", false, true)), Err(InUse));
        ports.bind(claim("10.0.0.2:80", false, false)).unwrap();
        ports.bind(claim("10.0.0.1:80", true, false)).unwrap();
    }

    #[test]
    fn the_wildcard_of_ipv6_is_in_the_way_of_ipv4_unless_it_says_otherwise() {
        let (any4, any6) = ("0.0.0.0:80", "[::]:80");
        for (both_families, four) in [(true, Err(InUse)), (false, Ok(()))] {
            let ports = StreamPorts::new(Key::new(1, 2));
            let mut six = claim(any6, false, false);
            six.sharing.both_families = both_families;
            ports.bind(six.clone()).unwrap();
            assert_eq!(ports.bind(claim("10.0.0.1:80", false, false)), four);
            ports.release(six.addr, &six.socket);
            ports.bind(claim(any4, false, false)).unwrap_or_default();
            assert_eq!(ports.bind(six), four);
        }
    }

    #[test]
    fn one_listens_unless_all_share_the_port() {
        let ports = StreamPorts::new(Key::new(1, 2));
        let (a, b) = (claim("0.0.0.0:80", true, false), claim("10.0.0.1:80", true, false));
        ports.bind(a.clone()).unwrap();
        ports.bind(b.clone()).unwrap();
        ports.listen(a.addr, &a.socket).unwrap();
        assert_eq!(ports.listen(b.addr, &b.socket), Err(InUse));
        assert_eq!(ports.bind(claim("10.0.0.1:80", true, false)), Err(InUse));
        ports.release(a.addr, &a.socket);
        ports.listen(b.addr, &b.socket).unwrap();
    }

    #[test]
    fn any_port_is_one_that_nobody_has() {
        let ports = StreamPorts::new(Key::new(1, 2));
        let reserved = "5001".parse().unwrap();
        let unasked = Unasked { first: 5000, last: 5003, reserved: &reserved };
        let got: Vec<_> =
            (0..3).map(|i| ports.bind_any(claim("10.0.0.1:0", false, false), unasked, i)).collect();
        let mut got: Vec<u16> = got.into_iter().map(Result::unwrap).collect();
        got.sort_unstable();
        assert_eq!(got, [5000, 5002, 5003]);
        let full = ports.bind_any(claim("10.0.0.1:0", false, false), unasked, 9);
        assert_eq!(full, Err(InUse));
    }
}
