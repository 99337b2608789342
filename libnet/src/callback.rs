//! A link whose frames go to a function of the embedder's, and come from its calls.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::errno;
use crate::ethernet::MacAddr;
use crate::link::{
    Link, LinkControl, LinkInfo, LinkQueue, LinkRx, LinkTx, MAX_FRAME_BYTES, Medium, Offload,
    Readiness,
};
use crate::packet::Packet;
use crate::pair::{PairConfig, PairLink, pair};
use crate::sync::lock;
use crate::time::Instant;

/// What a callback link is made of.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CallbackConfig {
    /// What travels on it. On one of bare IP the stack says nothing of its own: no ARP, no neighbour
    /// discovery, no reports of groups.
    pub medium: Medium,
    /// The largest IP packet, in bytes.
    pub mtu: u32,
    /// Our address on it, for [`Medium::Ethernet`].
    pub mac: MacAddr,
    /// Injected frames that the stack has not taken yet, at most. At least one.
    pub queue_frames: usize,
}

impl Default for CallbackConfig {
    /// Bare IP with an MTU of 1,500 bytes, 256 frames; as Ethernet it has the address 02:…:01.
    fn default() -> Self {
        CallbackConfig {
            medium: Medium::Ip,
            mtu: 1_500,
            mac: MacAddr([2, 0, 0, 0, 0, 1]),
            queue_frames: 256,
        }
    }
}

/// Makes a link that gives `sink` every frame that leaves, whole and with its checksums, and when
/// it was sent; what comes is [`Injector::inject`]ed.
///
/// `sink` is called in the middle of whatever made the stack send, under the link's lock: it may
/// inject frames, and may do nothing else with the stack.
///
/// ```
/// use libnet::callback::{CallbackConfig, callback_link};
/// use libnet::link::Link;
/// let (link, _injector) = callback_link(&CallbackConfig::default(), |at, frame: &[u8]| {
///     println!("{at}: {} bytes", frame.len());
/// });
/// assert_eq!(link.info().mtu, 1_500);
/// ```
pub fn callback_link(
    config: &CallbackConfig,
    sink: impl FnMut(Instant, &[u8]) + Send + 'static,
) -> (CallbackLink, Injector) {
    let ends = PairConfig {
        medium: config.medium,
        mtu: config.mtu,
        offload: Offload::NONE,
        queue_frames: config.queue_frames,
        macs: [config.mac, MacAddr::ZERO],
    };
    let (end, far) = pair(&ends);
    let (queue, control) = far.open();
    let LinkQueue { tx, rx } = queue;
    let far = Far { tx: Mutex::new(tx), _rx: Mutex::new(rx), _control: Mutex::new(control) };
    (CallbackLink { end, sink: Box::new(sink) }, Injector(Arc::new(far)))
}

type Sink = Box<dyn FnMut(Instant, &[u8]) + Send>;

/// A link made by [`callback_link`].
pub struct CallbackLink {
    end: PairLink,
    sink: Sink,
}

impl std::fmt::Debug for CallbackLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CallbackLink").field("info", &self.info()).finish_non_exhaustive()
    }
}

impl Link for CallbackLink {
    fn info(&self) -> LinkInfo {
        let mut info = self.end.info();
        info.kind = "cb";
        info.target = "callbacks".to_owned();
        info.quiet = info.medium == Medium::Ip;
        info
    }

    fn start(self: Box<Self>) -> io::Result<(Vec<LinkQueue>, Box<dyn LinkControl>)> {
        let (queue, control) = self.end.open();
        let tx = SinkTx { sink: self.sink, unused: queue.tx };
        Ok((vec![LinkQueue { rx: queue.rx, tx: Box::new(tx) }], control))
    }
}

/// Gives frames to the embedder's function; there is always room.
struct SinkTx {
    sink: Sink,
    unused: Box<dyn LinkTx>,
}

impl LinkTx for SinkTx {
    fn send(&mut self, now: Instant, queue: &mut VecDeque<Packet>) -> io::Result<usize> {
        let frames = queue.len();
        for packet in queue.drain(..) {
            (self.sink)(now, &packet.to_bytes());
        }
        Ok(frames)
    }

    fn readiness(&self) -> Readiness {
        self.unused.readiness()
    }
}

/// Puts frames on a [`CallbackLink`], as if they came from the wire. Clones share it.
#[derive(Clone)]
pub struct Injector(Arc<Far>);

/// The other end. Each lock guards its half alone; a leaf.
struct Far {
    tx: Mutex<Box<dyn LinkTx>>,
    _rx: Mutex<Box<dyn LinkRx>>,
    _control: Mutex<Box<dyn LinkControl>>,
}

impl Injector {
    /// Puts a frame, or on a medium of bare IP a packet, before the stack. One on threads takes it
    /// soon; one with a [manual clock](crate::driver::manual) when that
    /// [settles](crate::driver::manual::ManualDriver::settle).
    ///
    /// # Errors
    /// `EINVAL` if it is empty, `EMSGSIZE` if no frame of any link is so long, `ENOBUFS` if the stack has
    /// not taken those before, `ENETDOWN` if it is gone.
    pub fn inject(&self, frame: &[u8]) -> io::Result<()> {
        match frame.len() {
            0 => return Err(errno::invalid()),
            1..=MAX_FRAME_BYTES => {}
            _ => return Err(errno::message_too_long()),
        }
        let packet = Packet::received(Bytes::copy_from_slice(frame), Instant::ZERO);
        let mut queue = VecDeque::from([packet]);
        let sent = lock(&self.0.tx).send(Instant::ZERO, &mut queue)?;
        match (sent, queue.len()) {
            (0, 0) => Err(errno::net_down()),
            (0, _) => Err(errno::no_buffers()),
            _ => Ok(()),
        }
    }
}

impl std::fmt::Debug for Injector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Injector")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_taken_is_refused() {
        let config = CallbackConfig { queue_frames: 2, ..CallbackConfig::default() };
        let (link, injector) = callback_link(&config, |_, _| {});
        let number = |done: io::Result<()>| done.map_err(|error| error.raw_os_error());
        let is = |error: io::Error| Err(error.raw_os_error());
        assert_eq!(number(injector.inject(&[])), is(errno::invalid()));
        let long = vec![0x45; MAX_FRAME_BYTES + 1];
        assert_eq!(number(injector.inject(&long)), is(errno::message_too_long()));
        assert_eq!(number(injector.inject(&[1])), Ok(()));
        assert_eq!(number(injector.inject(&[2])), Ok(()));
        assert_eq!(number(injector.inject(&[3])), is(errno::no_buffers()));
        drop(link);
        assert_eq!(number(injector.inject(&[3])), is(errno::net_down()));
    }

    #[test]
    fn frames_are_handed_over_in_order_with_their_time() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&heard);
        let (link, injector) = callback_link(&CallbackConfig::default(), move |at, frame| {
            sink.lock().unwrap().push((at, frame.to_vec()));
        });
        assert!(link.info().quiet);
        let (mut queues, _control) = Box::new(link).start().unwrap();
        let frame = |byte: u8| Packet::from_payload(Bytes::copy_from_slice(&[byte]));
        let mut out = VecDeque::from([frame(1), frame(2)]);
        let now = Instant::from_nanos(5);
        assert_eq!(queues[0].tx.send(now, &mut out).unwrap(), 2);
        assert_eq!(*heard.lock().unwrap(), [(now, vec![1]), (now, vec![2])]);
        injector.inject(&[7]).unwrap();
        let mut got = Vec::new();
        assert_eq!(queues[0].rx.recv(now, 8, &mut got, None).unwrap(), 1);
        assert_eq!((got[0].rx_at, &got[0].to_bytes()[..]), (now, &[7][..]));
    }
}
