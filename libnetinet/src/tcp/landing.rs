//! Data that land in the memory of the caller that waits for them (`libnet::landing`): what a connection
//! expects, and when it takes them.

use std::net::IpAddr;

use libnet::landing::{Forecast, LEAST_BYTES};
use libnet::socket::Protocol;

use super::options::{KIND_NOP, KIND_TIMESTAMPS};
use super::segment::{Flags, MIN_HEADER_BYTES, Segment};
use super::seq::SeqNumber;
use super::tcb::{Connection, TIMESTAMP_OPTION_BYTES};
use crate::family::Zone;

/// So many segments after a large one another is expected.
const EXPECTED_FOR: u8 = 8;

impl Connection {
    /// What the frame with the next bytes looks like from its IP header on, if it is likely to be a large
    /// one; `shard` and `target` say whose it is.
    pub(crate) fn forecast(&self, shard: usize, target: u64) -> Option<Forecast> {
        // Two links may have the same link-local addresses: a frame does not say whose it is.
        let has_zone = self.tuple.zone != Zone::NONE;
        if self.ack.large == 0 || has_zone || !self.may_land(self.rcv_nxt) {
            return None;
        }
        let mut forecast = Forecast::new(shard, target);
        match (self.tuple.remote, self.tuple.local) {
            (IpAddr::V4(remote), IpAddr::V4(local)) => {
                // Length and identification may be any; it is no fragment.
                forecast.exact(&[0x45]).any(5).masked(0, 0x3f).masked(0, 0xff);
                forecast.any(1).exact(&[Protocol::TCP.0]).any(2);
                forecast.exact(&remote.octets()).exact(&local.octets());
            }
            (IpAddr::V6(remote), IpAddr::V6(local)) => {
                forecast.masked(0x60, 0xf0).any(5).exact(&[Protocol::TCP.0]).any(1);
                forecast.exact(&remote.octets()).exact(&local.octets());
            }
            _ => return None,
        }
        forecast.exact(&self.tuple.remote_port.to_be_bytes());
        forecast.exact(&self.tuple.local_port.to_be_bytes());
        let options = if self.mode.timestamps { TIMESTAMP_OPTION_BYTES } else { 0 };
        let header_words = (MIN_HEADER_BYTES as u32 + options) as u8 / 4;
        let flags = Flags::FIN | Flags::SYN | Flags::RST | Flags::URG | Flags::ACK;
        forecast.number(self.rcv_nxt.value()).any(4).masked(header_words << 4, 0xf0);
        forecast.masked(Flags::ACK.bits() as u8, flags.bits() as u8).any(6);
        if options > 0 {
            forecast.exact(&[KIND_NOP, KIND_NOP, KIND_TIMESTAMPS, 10]).any(8);
        }
        Some(forecast)
    }

    /// Would data with this number go to the application at once, with nothing before, beside or after
    /// them?
    pub(crate) fn may_land(&self, seq: SeqNumber) -> bool {
        let is_next = seq == self.rcv_nxt && self.receive_buffer.is_none();
        let is_plain = self.reassembly.is_none()
            && self.peer_fin.is_none()
            && self.cold.urgent.is_none()
            && self.error.is_none()
            && self.cold.options.receive_low_water_bytes <= 1;
        let is_read = !self.mode.read_shut && !self.mode.orphan;
        is_next && is_plain && is_read && self.state.can_receive() && !self.mode.signed
    }

    /// Notes how long a segment in order was.
    pub(super) fn expect_as_large(&mut self, seg: &Segment) {
        self.ack.large = match seg.data_len as usize {
            LEAST_BYTES.. => EXPECTED_FOR,
            _ => self.ack.large.saturating_sub(1),
        };
    }
}
