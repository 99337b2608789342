//! What a link puts into a caller's memory, and a core does not take.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use super::*;
use crate::driver::threads::ThreadDriver;
use crate::iface::{IfaceConfig, Interface};
use crate::landing::{Forecast, Landing};
use crate::link::{Link, LinkRx, Medium};
use crate::packet::Checksum;
use crate::pair::{PairConfig, pair};

const IFACE: IfIndex = IfIndex(2);
const DATA: usize = 10_000;

/// Drops its first frame, and takes the data of the others.
#[derive(Default)]
struct Reluctant {
    frames: usize,
}

impl StackCore for Reluctant {
    fn handle_input(&mut self, _: Instant, _: IfIndex, frames: &mut Vec<Packet>) {
        frames.clear();
    }

    fn handle_landed(
        &mut self,
        _: Instant,
        _: IfIndex,
        frames: &mut Vec<Packet>,
        landing: &mut Landing<'_>,
    ) {
        for packet in frames.drain(..) {
            self.frames += 1;
            if self.frames > 1 {
                landing.take(packet.landed_range().map_or(0, |range| range.len()));
            }
        }
    }

    fn poll_transmit(
        &mut self,
        _: Instant,
        _: IfIndex,
        _: usize,
        _: &mut VecDeque<Packet>,
    ) -> bool {
        false
    }

    fn poll_pending(&self, _: &mut Vec<IfIndex>) {}

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    fn handle_timeout(&mut self, _: Instant) {}

    fn poll_wakes(&mut self, _: &mut Wakes) {}

    fn poll_handoff(&mut self, _: &mut Vec<(IfIndex, Packet)>) {}
}

struct One;

impl Steer for One {
    fn steer(&self, _: &Interface, _: &Packet) -> u64 {
        0
    }
}

/// Has the same frame each time, for whoever has room for its data.
struct Again;

impl LinkRx for Again {
    fn recv(
        &mut self,
        now: Instant,
        _: usize,
        sink: &mut Vec<Packet>,
        landing: Option<&mut Landing<'_>>,
    ) -> io::Result<usize> {
        let Some(landing) = landing else { return Ok(0) };
        let headers = [&[0; 14][..], &7_u32.to_be_bytes()].concat();
        let expected = landing.expects(&headers, Medium::Ethernet, Checksum::Trusted);
        if !expected || landing.room_bytes() < DATA || landing.has_landed() {
            return Ok(0);
        }
        landing.room()[..DATA].fill(1);
        sink.push(landing.land(&headers, DATA, now));
        Ok(1)
    }

    fn readiness(&self) -> Readiness {
        Readiness::Never
    }
}

#[test]
fn what_landed_and_was_dropped_makes_room_for_the_next() {
    let (link, _other) = pair(&PairConfig::default());
    let engine = Engine::new(
        vec![Reluctant::default()],
        Box::new(One),
        Arc::new(DropCounters::new()),
        ThreadDriver::new(),
        EngineConfig::default(),
    );
    let info = link.info();
    let config = IfaceConfig::new(info.mtu);
    let iface = Interface::new(IFACE, "pair0".to_owned(), info, config);
    let (mut queues, control) = Box::new(link).start().unwrap();
    queues[0].rx = Box::new(Again);
    engine.add_interface(Arc::new(iface), queues, control).unwrap();
    let mut forecast = Forecast::new(0, 0);
    forecast.number(7);
    let mut memory = vec![0; DATA];
    let mut landing = Landing::new(Box::new(forecast), &mut memory);
    for taken in [0, DATA] {
        let received = engine.poll_receive(IFACE, 0, Some(&mut landing)).unwrap();
        assert_eq!((received, landing.taken()), (1, taken));
    }
}
