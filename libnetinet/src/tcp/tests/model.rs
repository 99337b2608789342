//! Two applications that do as they please over a wire that does too: every byte that arrives is
//! the right one, a clean end loses none, and in the end nothing is left behind.

use proptest::prelude::*;

use super::net::*;
use crate::tcp::*;

#[derive(Clone, Debug)]
enum Step {
    Send(Side, usize),
    Recv(Side, usize),
    Shutdown(Side),
    Close(Side),
    Wait(u64),
    Nodelay(Side),
    Rough(u8),
    Reroute(Side, u32),
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::A), Just(Side::B)]
}

fn step() -> impl Strategy<Value = Step> {
    let len = prop_oneof![1usize..10, 1usize..3_000, 1usize..200_000];
    prop_oneof![
        6 => (side(), len.clone()).prop_map(|(side, n)| Step::Send(side, n)),
        6 => (side(), len).prop_map(|(side, n)| Step::Recv(side, n)),
        2 => side().prop_map(Step::Shutdown),
        1 => side().prop_map(Step::Close),
        6 => (0u64..120).prop_map(Step::Wait),
        1 => (500u64..5_000).prop_map(Step::Wait),
        1 => side().prop_map(Step::Nodelay),
        1 => (0u8..40).prop_map(Step::Rough),
        1 => (side(), 600u32..9_000).prop_map(|(side, mtu)| Step::Reroute(side, mtu)),
    ]
}

/// One application's view of its stream.
#[derive(Default)]
struct App {
    sent: usize,
    got: usize,
    shut: bool,
    ended: bool,
    closed: bool,
    reset: bool,
}

struct Model {
    net: Net,
    ids: [ConnId; 2],
    apps: [App; 2],
}

/// Byte `i` of the stream that `side` sends.
fn byte(side: Side, i: usize) -> u8 {
    (i.wrapping_mul(31) >> 3) as u8 ^ if side == Side::A { 0 } else { 0xa5 }
}

impl Model {
    fn new(buffers: (u32, u32), cut: bool) -> Self {
        let mut options = ConnOptions::new();
        (options.send_buffer_bytes, options.receive_buffer_bytes) = buffers;
        let mut net = Net::new();
        net.cut = cut;
        let (a, b) = net.established_with(options.clone(), options);
        Model { net, ids: [a, b], apps: [App::default(), App::default()] }
    }

    fn send(&mut self, side: Side, n: usize) {
        let peer_closed = self.apps[side.other() as usize].closed;
        let app = &mut self.apps[side as usize];
        if app.closed {
            return;
        }
        let data: Vec<u8> = (app.sent..app.sent + n).map(|i| byte(side, i)).collect();
        match self.net.send(side, self.ids[side as usize], &data) {
            Ok(n) => app.sent += n,
            Err(SendError::WouldBlock) => {}
            Err(SendError::ShutDown) => assert!(app.shut || peer_closed, "who has shut down?"),
            Err(SendError::Failed(ConnError::Reset | ConnError::BrokenPipe)) if peer_closed => {
                (app.shut, app.reset) = (true, true);
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn recv(&mut self, side: Side, max_bytes: usize) {
        if self.apps[side as usize].closed {
            return;
        }
        let (now, id) = (self.net.now, self.ids[side as usize]);
        let mut out = std::collections::VecDeque::new();
        let into = RecvInto::Take { max_bytes, out: &mut out };
        match self.net.node(side).table.recv(now, id, into) {
            Ok(0) => {
                let (app, peer) = (&self.apps[side as usize], &self.apps[side.other() as usize]);
                assert!(peer.shut || peer.closed, "the end before the peer's end");
                assert!(app.got == peer.sent || app.reset, "a clean end lost bytes");
                self.apps[side as usize].ended = true;
            }
            Ok(_) => {
                let app = &mut self.apps[side as usize];
                for &got in out.iter().flatten() {
                    assert_eq!(got, byte(side.other(), app.got), "byte {}", app.got);
                    app.got += 1;
                }
            }
            Err(RecvError::WouldBlock) => {}
            Err(RecvError::Failed(ConnError::Reset | ConnError::BrokenPipe))
                if self.apps[side.other() as usize].closed =>
            {
                self.apps[side as usize].reset = true;
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn shutdown(&mut self, side: Side) {
        let (now, id) = (self.net.now, self.ids[side as usize]);
        let app = &mut self.apps[side as usize];
        if !app.closed && !std::mem::replace(&mut app.shut, true) {
            let done = self.net.node(side).table.shutdown_write(now, id);
            assert!(done.is_ok() || self.apps[side.other() as usize].closed);
        }
    }

    fn close(&mut self, side: Side) {
        self.apps[side as usize].closed = true;
        self.apps[side as usize].ended = true;
        self.net.close(side, self.ids[side as usize]);
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Send(side, n) => self.send(side, n),
            Step::Recv(side, n) => self.recv(side, n),
            Step::Shutdown(side) => self.shutdown(side),
            Step::Close(side) => self.close(side),
            Step::Wait(millis) => self.net.run_for(ms(millis)),
            Step::Nodelay(side) => {
                let (now, id) = (self.net.now, self.ids[side as usize]);
                let table = &mut self.net.node(side).table;
                let Some(conn) = table.get(id) else { return };
                let mut options = conn.options().clone();
                options.nodelay = !options.nodelay;
                table.set_options(now, id, options);
            }
            Step::Rough(percent) => {
                let percent = u64::from(percent);
                self.net.judge(move |_, n| {
                    let die = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
                    match die % 100 {
                        lot if lot < percent / 2 => Fate::Drop,
                        lot if lot < percent * 3 / 4 => Fate::Late(ms(die % 7)),
                        lot if lot < percent => Fate::Twice,
                        _ => Fate::Pass,
                    }
                });
            }
            Step::Reroute(side, mtu) => {
                let path = &mut self.net.node(side).path;
                path.mtu = mtu;
                path.generation += 1;
            }
        }
    }

    /// Both sides say that they are done, and read what is left.
    fn settle(mut self) {
        self.net.clean();
        self.shutdown(Side::A);
        self.shutdown(Side::B);
        for _ in 0..600 {
            for side in [Side::A, Side::B] {
                let i = side as usize;
                while !self.apps[i].ended {
                    let so_far = self.apps[i].got;
                    self.recv(side, usize::MAX);
                    if self.apps[i].got == so_far {
                        break;
                    }
                }
            }
            if self.apps.iter().all(|app| app.ended) {
                break;
            }
            self.net.run_for(secs(1));
        }
        let [a, b] = &self.apps;
        // A RST is sent once: if it is lost, and nothing is under way, nobody ever knows.
        let excused = a.closed || b.closed;
        assert!((a.ended && b.ended) || excused, "a stream did not come to its end");
        self.net.close(Side::A, self.ids[0]);
        self.net.close(Side::B, self.ids[1]);
        self.net.run_for(secs(300));
        assert!(self.net.a.table.is_empty() && self.net.b.table.is_empty());
        assert_eq!(self.net.a.table.next_deadline(), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_two_applications_do_their_streams_are_whole(
        steps in prop::collection::vec(step(), 1..60),
        send_buffer in prop_oneof![Just(0u32), 2_304u32..20_000],
        receive_buffer in prop_oneof![Just(0u32), 2_304u32..20_000],
        cut: bool,
    ) {
        let mut model = Model::new((send_buffer, receive_buffer), cut);
        for step in steps {
            model.apply(step);
        }
        model.settle();
    }
}
#[test]
fn zero_window_probes_that_cross_do_not_lock_both_sides() {
    let mut model = Model::new((0, 2_304), false);
    model.send(Side::B, 17_553);
    model.send(Side::A, 17_553);
    model.settle();
}
