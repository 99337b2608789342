//! Signatures of segments at connections, handshakes, TIME-WAITs and listeners.

use std::sync::Arc;

use libnet::{DropReason, Packet};

use super::{ConnId, Table};
use crate::tcp::auth::{ConnAuth, Forgery, Isns};
use crate::tcp::ctx::Ctx;
use crate::tcp::listen::Listener;
use crate::tcp::segment::{Flags, FourTuple, Segment};
use crate::tcp::seq::SeqNumber;
use crate::tcp::tcb::Connection;

impl Connection {
    /// Signs and checks all segments from now on.
    pub(in crate::tcp) fn set_auth(&mut self, auth: Option<Box<ConnAuth>>) {
        let Some(auth) = auth else { return };
        self.mode.signed = true;
        self.mode.timestamps &= auth.leaves_timestamps();
        self.cold.auth = Some(auth);
        self.update_mss();
    }

    /// Both initial numbers, as far as they are known.
    pub(in crate::tcp) fn isns(&self) -> Isns {
        Isns { local: self.iss, remote: self.irs }
    }

    /// Is a segment signed as it has to be? Asked if either side signs.
    pub(super) fn has_right_signature(
        &mut self,
        ctx: &mut Ctx,
        seg: &Segment,
        packet: &Packet,
    ) -> bool {
        let isns = self.isns();
        ctx.is_right_signature(self.cold.auth.as_deref_mut(), seg, packet, isns)
    }

    /// The socket's keys have changed. A connection that is not signed by TCP-AO will never be
    /// (RFC 5925 §7.3); TCP-MD5 may begin at any time, as on Linux.
    pub(in crate::tcp) fn change_keys(&mut self) {
        let keys = self.cold.options.auth.clone().unwrap_or_default();
        let peer = self.tuple.remote;
        match (self.cold.auth.as_deref_mut(), keys.for_peer(peer)) {
            (Some(ConnAuth::Ao(ao)), _) => ao.change_keys(keys.ao_for(peer)),
            (None | Some(ConnAuth::Md5(_)), Some(ConnAuth::Md5(key))) => {
                self.mode.signed = true;
                self.cold.auth = Some(Box::new(ConnAuth::Md5(key)));
                self.update_mss();
            }
            (Some(ConnAuth::Md5(_)), _) => {
                self.mode.signed = false;
                self.cold.auth = None;
                self.update_mss();
            }
            (None, _) => {}
        }
    }
}

impl Ctx {
    /// Counts a segment that is not signed as `auth` asks for, or signed without that.
    fn is_right_signature(
        &mut self,
        auth: Option<&mut ConnAuth>,
        seg: &Segment,
        packet: &Packet,
        isns: Isns,
    ) -> bool {
        let counters = &mut self.counters;
        let counter = match auth {
            None if !seg.options.signature.is_some() => return true,
            // RFC 5925 §7.3 (SHOULD): what is signed by keys that we do not have is taken as it is.
            None if Segment::is_signed_by_ao(seg, packet) => {
                if self.config.ao_accept_unmatched {
                    return true;
                }
                &mut counters.ao_keys_not_found
            }
            // RFC 2385 §2.0 (MUST): nothing is taken that has a digest which is not expected.
            None => &mut counters.md5_unexpected,
            Some(auth) => {
                let is_md5 = matches!(auth, ConnAuth::Md5(_));
                match auth.check(seg, packet, isns) {
                    Ok(()) => {
                        counters.ao_good += u64::from(!is_md5);
                        return true;
                    }
                    Err(Forgery::Missing) if is_md5 => &mut counters.md5_not_found,
                    Err(Forgery::Missing) => &mut counters.ao_required,
                    Err(Forgery::NoKey) => &mut counters.ao_keys_not_found,
                    Err(Forgery::Wrong) if is_md5 => &mut counters.md5_failures,
                    Err(Forgery::Wrong) => &mut counters.ao_bad,
                }
            }
        };
        *counter += 1;
        self.dropped(DropReason::TcpBadSignature);
        false
    }
}

impl Table {
    /// Is a segment for a half-open connection signed as it has to be?
    pub(super) fn request_takes(&mut self, entry: u32, seg: &Segment, packet: &Packet) -> bool {
        let Some(request) = self.requests.get_mut(entry) else { return false };
        let isns = Isns { local: request.iss, remote: request.irs };
        self.ctx.is_right_signature(request.auth.as_deref_mut(), seg, packet, isns)
    }

    /// The same for one in TIME-WAIT; SYNs are their listener's.
    pub(super) fn time_wait_takes(&mut self, entry: u32, seg: &Segment, packet: &Packet) -> bool {
        if seg.flags.has(Flags::SYN) && !seg.flags.has(Flags::ACK) {
            return true;
        }
        match self.waits.auth_mut(entry) {
            Some((auth, isns)) => {
                let isns = *isns;
                self.ctx.is_right_signature(Some(auth), seg, packet, isns)
            }
            None => self.ctx.is_right_signature(None, seg, packet, Isns::default()),
        }
    }

    /// What a connection that this segment begins at a listener is to sign with.
    ///
    /// # Errors
    /// The segment is not signed as the listener's keys ask for; it is dropped without an answer.
    pub(super) fn listener_auth(
        &mut self,
        listener: &Arc<Listener>,
        seg: &Segment,
        packet: &Packet,
    ) -> Result<Option<Box<ConnAuth>>, NotSigned> {
        let keys = listener.options().auth;
        let mut auth = keys.as_ref().and_then(|keys| keys.for_peer(seg.tuple.remote));
        if auth.is_none() && keys.is_some_and(|keys| keys.requires_ao()) {
            self.ctx.counters.ao_required += 1;
            self.ctx.dropped(DropReason::TcpBadSignature);
            return Err(NotSigned);
        }
        // Of an acknowledgement of a cookie nothing else tells them.
        let isns = match seg.flags.has(Flags::SYN) {
            true => Isns { local: SeqNumber::default(), remote: seg.seq },
            false => Isns { local: seg.ack - 1, remote: seg.seq - 1 },
        };
        match self.ctx.is_right_signature(auth.as_mut(), seg, packet, isns) {
            true => Ok(auth.map(Box::new)),
            false => Err(NotSigned),
        }
    }

    /// Lets a connection sign with another key of TCP-AO; `false` if it has none of that number.
    pub fn sign_with(&mut self, id: ConnId, send_id: u8) -> bool {
        self.ao_of(id).is_some_and(|ao| ao.use_key(send_id))
    }

    /// Asks the peer to sign with another key of TCP-AO; `false` if there is none of that number.
    pub fn ask_for_key(&mut self, id: ConnId, receive_id: u8) -> bool {
        self.ao_of(id).is_some_and(|ao| ao.ask_for(receive_id))
    }

    /// The ids of the keys of TCP-AO that a connection signs with and asks for; `None` without it.
    pub fn keys_in_use(&mut self, id: ConnId) -> Option<(u8, u8)> {
        self.ao_of(id).map(|ao| ao.in_use())
    }

    fn ao_of(&mut self, id: ConnId) -> Option<&mut crate::tcp::auth::Ao> {
        match self.slots.get_mut(id)?.cold.auth.as_deref_mut()? {
            ConnAuth::Ao(ao) => Some(ao),
            ConnAuth::Md5(_) => None,
        }
    }

    /// What a reply that is of no connection is signed with: `tuple`'s TIME-WAIT's or connection's.
    pub(super) fn signer_of(&self, tuple: &FourTuple) -> Option<(ConnAuth, Isns)> {
        match self.find(tuple)? {
            super::Place::Slot(index) => {
                let conn = self.slots.at(index).filter(|conn| conn.mode.signed)?;
                Some((conn.cold.auth.as_deref()?.clone(), conn.isns()))
            }
            super::Place::TimeWait(entry) => self.waits.auth(entry),
            super::Place::Request(entry) => {
                let request = self.requests.get(entry)?;
                let isns = Isns { local: request.iss, remote: request.irs };
                Some((request.auth.as_deref()?.clone(), isns))
            }
        }
    }
}

/// A segment was dropped because of its signature.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct NotSigned;
