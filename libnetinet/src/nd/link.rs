//! One interface's part in neighbour discovery: its addresses and their checks, its questions for
//! routers, and what it says as one.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use libnet::ethernet::MacAddr;
use libnet::iface::{AddressTraits, Advertise, IfIndex, IpCidr, SixConfig};
use libnet::route::{Route, RouteKind};
use libnet::time::Instant;
use rand_chacha::ChaCha12Rng;
use rand_core::Rng;

use super::address::{Address, Life};
use super::advertise::Advertiser;
use super::dad::{Check, Progress, Step, Verdict};
use super::ident::{Identity, join};
use super::learned::Learned;
use super::message::{
    ALL_NODES, ALL_ROUTERS, Message, NeighbourSolicitation, RouterAdvertisement,
    RouterSolicitation, solicited_node,
};
use super::option::Nonce;
use super::solicit::{MAX_DELAY, Solicit, part_of};
use crate::config::{InterfaceIds, NdConfig};
use crate::ipv6::header::HEADER_BYTES;
use crate::neighbour::Times;
use crate::snapshot::{AddressOrigin, AddressState};

/// What a machine is called with, and where it puts what is to be done.
pub(crate) struct Context<'a> {
    pub(crate) now: Instant,
    pub(crate) config: &'a NdConfig,
    pub(crate) random: &'a mut ChaCha12Rng,
    pub(crate) out: &'a mut Outcome,
}

/// What is to be done, once everything is unlocked.
#[derive(Default, Debug)]
pub(crate) struct Outcome {
    /// Messages to send.
    pub(crate) say: Vec<Say>,
    /// Interfaces whose addresses, or what there is to say of them, changed.
    pub(crate) changed: Vec<IfIndex>,
    /// Routes may have changed.
    pub(crate) routes: bool,
    /// What routers say of neighbours.
    pub(crate) times: Vec<(IfIndex, Times)>,
    /// Others seen using addresses of ours.
    pub(crate) conflicts: u64,
    /// Interfaces that became sure of an address.
    pub(crate) sure: Vec<IfIndex>,
}

/// A message to send to a group or an address on the link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Say {
    pub(crate) iface: IfIndex,
    pub(crate) src: Ipv6Addr,
    pub(crate) dst: Ipv6Addr,
    pub(crate) message: Message,
}

/// An interface.
pub(crate) struct Link {
    pub(crate) index: IfIndex,
    pub(super) identity: Identity,
    /// The largest packet that the interface carries, bytes.
    pub(crate) link_mtu: u32,
    /// Addresses are made of what routers advertise.
    pub(super) autoconf: bool,
    advertiser: Option<Advertiser>,
    pub(crate) addresses: Vec<Address>,
    pub(crate) learned: Learned,
    solicit: Option<Solicit>,
    /// RFC 4862 §5.4.5: another station has our hardware address, so we are quiet.
    disabled: bool,
    /// RFC 8981 §3.4: too many of them were somebody else's.
    pub(super) temporary_failed: bool,
    base_reachable: Duration,
    retransmit: Duration,
    /// A new random time for neighbours is due then; looked at when something happens anyway.
    redraw_at: Instant,
    hop_limit: Option<u8>,
    mtu: Option<u32>,
    /// Addresses not made because there were as many as there may be.
    pub(super) refused: u64,
}

/// RFC 4861 §10: REACHABLE_TIME and RETRANS_TIMER.
const REACHABLE_TIME: Duration = Duration::from_secs(30);
const RETRANS_TIMER: Duration = Duration::from_secs(1);
/// RFC 4861 §6.2.1: AdvReachableTime is at most an hour.
const MAX_REACHABLE_TIME: Duration = Duration::from_secs(3_600);
/// Nobody who forges an advertisement can have us ask more often.
const MIN_RETRANS_TIMER: Duration = Duration::from_millis(10);
/// RFC 4861 §6.3.2: "at least every few hours".
const REDRAW: Duration = Duration::from_secs(7_200);
/// RFC 7217 §6.
const IDGEN_RETRIES: u8 = 3;
const IDGEN_DELAY: Duration = Duration::from_secs(1);

/// The prefix that every interface has (RFC 4291 §2.5.6).
const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0);

impl Link {
    /// An interface without addresses.
    pub(crate) fn new(index: IfIndex, mac: MacAddr, secret: [u8; 16], link_mtu: u32) -> Self {
        Link {
            index,
            identity: Identity { secret, mac },
            link_mtu,
            autoconf: false,
            advertiser: None,
            addresses: Vec::new(),
            learned: Learned::default(),
            solicit: None,
            disabled: false,
            temporary_failed: false,
            base_reachable: REACHABLE_TIME,
            retransmit: RETRANS_TIMER,
            redraw_at: Instant::ZERO,
            hop_limit: None,
            mtu: None,
            refused: 0,
        }
    }

    /// Gives the interface an address by hand, and a link-local one if it has none.
    pub(crate) fn add(&mut self, ctx: &mut Context<'_>, addr: Ipv6Addr, prefix_bits: u8) {
        if !addr.is_unicast_link_local() {
            self.ensure_link_local(ctx);
        }
        self.want(ctx, addr, prefix_bits, AddressOrigin::Static, Duration::ZERO);
    }

    /// Takes an address away; whether it was there.
    pub(crate) fn remove(&mut self, ctx: &mut Context<'_>, addr: Ipv6Addr) -> bool {
        let before = self.addresses.len();
        self.addresses.retain(|address| address.addr != addr);
        ctx.touch(self.index);
        self.addresses.len() < before
    }

    /// Makes addresses of what routers advertise from now on.
    pub(crate) fn start_autoconf(&mut self, ctx: &mut Context<'_>) {
        self.autoconf = true;
        self.ensure_link_local(ctx);
        self.solicit = Some(Solicit::start(ctx.now, ctx.random.next_u64()));
    }

    /// Asks for routers and listens to them no more.
    pub(crate) fn stop_autoconf(&mut self) {
        self.autoconf = false;
        self.solicit = None;
    }

    /// Does it listen to routers?
    pub(crate) const fn is_autoconf(&self) -> bool {
        self.autoconf
    }

    /// Speaks as a router from now on.
    pub(crate) fn start_advertising(&mut self, ctx: &mut Context<'_>, says: Advertise) {
        self.ensure_link_local(ctx);
        self.advertiser = Some(Advertiser::start(ctx.now, says));
        ctx.touch(self.index);
    }

    /// Says goodbye as a router, and speaks no more as one.
    pub(crate) fn stop_advertising(&mut self, ctx: &mut Context<'_>) {
        self.say_goodbye(ctx);
        if self.advertiser.take().is_some() {
            ctx.touch(self.index);
        }
    }

    /// Tells hosts that we are no router any more: RFC 4861 §6.2.5.
    pub(crate) fn say_goodbye(&mut self, ctx: &mut Context<'_>) {
        let (assigned, mac) = (self.assigned(), self.identity.mac);
        let Some(src) = self.router_address() else { return };
        let Some(advertiser) = &mut self.advertiser else { return };
        let last = advertiser.farewell(ctx.now, mac, &assigned, self.link_mtu);
        self.say_as_router(ctx, src, last);
    }

    /// Says anew what it says as a router, which is something else from now on.
    pub(crate) fn speak_again(&mut self, ctx: &mut Context<'_>) {
        if let Some(advertiser) = &mut self.advertiser {
            advertiser.again(ctx.now);
        }
    }

    /// The interface carries packets of another size from now on; what a router allowed is to be
    /// heard anew.
    pub(crate) fn set_mtu(&mut self, ctx: &mut Context<'_>, link_mtu: u32) {
        self.link_mtu = link_mtu;
        self.mtu = self.mtu.filter(|mtu| *mtu <= link_mtu);
        ctx.touch(self.index);
    }

    /// Checks every address anew and asks for routers again, as after the link was down
    /// (RFC 4862 §5.3: whenever the interface becomes enabled).
    pub(crate) fn restart(&mut self, ctx: &mut Context<'_>) {
        self.disabled = false;
        let transmits = ctx.config.dad_transmits;
        for address in &mut self.addresses {
            let delay = part_of(MAX_DELAY, ctx.random.next_u64());
            address.check = Check::start(ctx.now, transmits, delay);
        }
        if self.solicit.is_some() {
            self.solicit = Some(Solicit::start(ctx.now, ctx.random.next_u64()));
        }
        self.speak_again(ctx);
        ctx.touch(self.index);
    }

    /// Somebody without an address asked for `target`.
    pub(crate) fn hear_question(
        &mut self,
        ctx: &mut Context<'_>,
        target: Ipv6Addr,
        nonce: Option<Nonce>,
    ) {
        let found = self.addresses.iter_mut().find(|address| address.addr == target);
        let Some(address) = found else { return };
        if address.check.hear_question(nonce) == Verdict::Conflict {
            self.conflict(ctx, target);
        }
    }

    /// Another station says that it has `target`.
    pub(crate) fn hear_claim(&mut self, ctx: &mut Context<'_>, target: Ipv6Addr) {
        let found = self.addresses.iter_mut().find(|address| address.addr == target);
        let Some(address) = found else { return };
        match address.check.progress() {
            Progress::Running => self.conflict(ctx, target),
            // RFC 4862 §5.4.4: what to do once it is ours is left to us: it is kept, and shown.
            Progress::Passed => {
                address.conflicts += 1;
                ctx.out.conflicts += 1;
            }
            Progress::Failed => {}
        }
    }

    /// A host asks for routers.
    pub(crate) fn hear_host(&mut self, ctx: &mut Context<'_>) {
        if let Some(advertiser) = &mut self.advertiser {
            advertiser.ask(ctx.now, ctx.random.next_u64());
        }
    }

    /// A router speaks: RFC 4861 §6.3.4. Whether it was listened to.
    pub(crate) fn hear_router(
        &mut self,
        ctx: &mut Context<'_>,
        router: Ipv6Addr,
        said: &RouterAdvertisement,
    ) -> bool {
        if !self.autoconf || self.disabled || self.advertiser.is_some() {
            return false;
        }
        self.take_parameters(ctx, said);
        self.learned.take(ctx.now, ctx.config, router, said);
        for prefix in &said.prefixes {
            self.take_prefix(ctx, prefix);
        }
        if let Some(solicit) = &mut self.solicit
            && !self.learned.routers.is_empty()
        {
            solicit.stop();
        }
        ctx.touch(self.index);
        true
    }

    /// Who was a router is none any more.
    pub(crate) fn forget_router(&mut self, ctx: &mut Context<'_>, router: Ipv6Addr) {
        self.learned.remove_router(router);
        self.ask_again(ctx);
        ctx.out.routes = true;
    }

    /// Whatever is due.
    pub(crate) fn expire(&mut self, ctx: &mut Context<'_>) {
        if self.disabled {
            return;
        }
        self.expire_checks(ctx);
        self.expire_addresses(ctx);
        if self.learned.next_deadline().is_some_and(|at| at <= ctx.now) {
            self.learned.expire(ctx.now);
            self.ask_again(ctx);
            ctx.out.routes = true;
        }
        let random = ctx.random.next_u64();
        if self.solicit.as_mut().is_some_and(|solicit| solicit.expire(ctx.now, random)) {
            self.ask_for_routers(ctx);
        }
        self.expire_advertiser(ctx);
    }

    /// When [`expire`](Self::expire) has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        if self.disabled {
            return None;
        }
        let addresses = self.addresses.iter().filter_map(Address::next_deadline).min();
        let advertiser = self.advertiser.as_ref().filter(|_| self.router_address().is_some());
        let others = [
            addresses,
            self.learned.next_deadline(),
            self.solicit.as_ref().and_then(Solicit::next_deadline),
            advertiser.and_then(Advertiser::next_deadline),
        ];
        others.into_iter().flatten().min()
    }

    /// What the interface's configuration is to say.
    pub(crate) fn config(&self, now: Instant) -> (Vec<IpCidr>, SixConfig) {
        let mut six = SixConfig::default();
        six.mtu = self.mtu;
        six.hop_limit = self.hop_limit;
        six.router = self.advertiser.is_some();
        let mut addrs = Vec::new();
        for address in &self.addresses {
            let cidr = IpCidr::new(IpAddr::V6(address.addr), address.prefix_bits);
            match address.state(now) {
                AddressState::Duplicate => six.duplicates.extend(cidr),
                AddressState::Tentative if !self.disabled => six.tentative.push(address.addr),
                _ if self.disabled || !address.is_assigned() => {}
                state => {
                    addrs.extend(cidr);
                    let traits = AddressTraits::new(
                        state == AddressState::Deprecated,
                        state == AddressState::Optimistic,
                        address.origin == AddressOrigin::Temporary,
                    );
                    if traits != AddressTraits::default() {
                        six.traits.push((address.addr, traits));
                    }
                }
            }
        }
        (addrs, six)
    }

    /// The routes that come with its addresses and with what routers said.
    pub(crate) fn routes(&self) -> Vec<Route> {
        let mut routes = Vec::new();
        for (addr, _) in self.assigned() {
            let host = IpCidr::host(IpAddr::V6(addr));
            routes.push(Route::connected(host, self.index).with_kind(RouteKind::Local));
        }
        // RFC 5942 §4: that a prefix is on the link does not follow from an address that was made
        // of it, but from the router's word, or from whoever gave us the address.
        let given = |address: &&Address| {
            matches!(address.origin, AddressOrigin::Static | AddressOrigin::LinkLocal)
        };
        for address in self.addresses.iter().filter(given).filter(|a| a.is_assigned()) {
            let cidr = IpCidr::new(IpAddr::V6(address.addr), address.prefix_bits);
            let network = cidr.map(|cidr| cidr.network()).filter(|net| net.prefix_bits() < 128);
            routes.extend(network.map(|network| Route::connected(network, self.index)));
        }
        routes.extend(self.learned.routes(self.index));
        if self.disabled {
            routes.clear();
        }
        routes
    }

    /// Addresses that are ours, with the lengths of their prefixes.
    fn assigned(&self) -> Vec<(Ipv6Addr, u8)> {
        let ours = self.addresses.iter().filter(|address| address.is_assigned());
        ours.map(|address| (address.addr, address.prefix_bits)).collect()
    }

    /// RFC 4862 §5.3. Made when the interface gets its first IPv6 address, or looks for some.
    fn ensure_link_local(&mut self, ctx: &mut Context<'_>) {
        if self.addresses.iter().any(|address| address.addr.is_unicast_link_local()) {
            return;
        }
        let ident = match ctx.config.interface_ids {
            InterfaceIds::Stable => self.identity.stable(LINK_LOCAL, 0),
            InterfaceIds::Hardware => self.identity.hardware(),
        };
        // RFC 4862 §5.4.2: the interface's first message is delayed by a random time.
        let delay = part_of(MAX_DELAY, ctx.random.next_u64());
        self.want(ctx, join(LINK_LOCAL, ident), 64, AddressOrigin::LinkLocal, delay);
    }

    /// Begins to check an address.
    pub(super) fn want(
        &mut self,
        ctx: &mut Context<'_>,
        addr: Ipv6Addr,
        prefix_bits: u8,
        origin: AddressOrigin,
        delay: Duration,
    ) -> &mut Address {
        let check = Check::start(ctx.now, ctx.config.dad_transmits, delay);
        let mut address = Address::new(addr, prefix_bits, origin, check);
        // DEVIATES RFC 4429 §3.1: addresses given by hand are used at once, too. A node must be
        // able to send its first packet within milliseconds, as it is with IPv4.
        address.optimistic = ctx.config.optimistic;
        ctx.touch(self.index);
        self.addresses.push(address);
        self.addresses.last_mut().expect("it was pushed just now")
    }

    /// An address that is being checked is somebody else's: RFC 4862 §5.4.5, RFC 7217 §6,
    /// RFC 8981 §3.4.
    fn conflict(&mut self, ctx: &mut Context<'_>, addr: Ipv6Addr) {
        let Some(at) = self.addresses.iter().position(|address| address.addr == addr) else {
            return;
        };
        ctx.out.conflicts += 1;
        ctx.touch(self.index);
        let address = &mut self.addresses[at];
        address.conflicts += 1;
        address.check.fail();
        tracing::warn!(iface = self.index.0, %addr, "another station has this address");
        let (origin, attempt) = (address.origin, address.attempt);
        let stable = ctx.config.interface_ids == InterfaceIds::Stable;
        match origin {
            AddressOrigin::LinkLocal if !stable => {
                // The hardware address is taken, so nothing that we send would come back to us.
                self.disabled = true;
            }
            AddressOrigin::LinkLocal | AddressOrigin::Autonomous
                if stable && attempt < IDGEN_RETRIES =>
            {
                self.try_another(ctx, at, self.identity.stable(addr, attempt + 1));
            }
            AddressOrigin::Temporary if attempt < IDGEN_RETRIES => {
                let ident = super::ident::random_ident(|| ctx.random.next_u64());
                self.try_another(ctx, at, ident);
            }
            AddressOrigin::Temporary => {
                // RFC 8981 §3.4: no more of them, which is to be heard of.
                tracing::error!(
                    iface = self.index.0,
                    "others have all temporary addresses we tried"
                );
                self.temporary_failed = true;
            }
            _ => {}
        }
    }

    fn try_another(&mut self, ctx: &mut Context<'_>, at: usize, ident: u64) {
        let address = &mut self.addresses[at];
        address.attempt += 1;
        address.addr = join(address.addr, ident);
        address.check = Check::start(ctx.now, ctx.config.dad_transmits, IDGEN_DELAY);
    }

    fn expire_checks(&mut self, ctx: &mut Context<'_>) {
        for at in 0..self.addresses.len() {
            let random = ctx.random.next_u64();
            let address = &mut self.addresses[at];
            let target = address.addr;
            match address.check.expire(ctx.now, self.retransmit, random) {
                Some(Step::Ask(nonce)) => {
                    // RFC 4862 §5.4.2: from nobody, to the address's own group.
                    let (source_mac, nonce) = (None, Some(nonce));
                    let message = NeighbourSolicitation { target, source_mac, nonce };
                    let message = Message::NeighbourSolicitation(message);
                    let (src, dst) = (Ipv6Addr::UNSPECIFIED, solicited_node(target));
                    ctx.out.say.push(Say { iface: self.index, src, dst, message });
                }
                Some(Step::Done) => {
                    ctx.touch(self.index);
                    ctx.out.sure.push(self.index);
                }
                None => {}
            }
        }
    }

    /// RFC 4862 §5.5.4: preferred, deprecated, invalid.
    fn expire_addresses(&mut self, ctx: &mut Context<'_>) {
        let now = ctx.now;
        let before = self.addresses.len();
        self.addresses.retain(|address| address.is_valid(now));
        let mut changed = self.addresses.len() < before;
        for address in &mut self.addresses {
            if address.is_deprecated(now) && !address.was_deprecated {
                address.was_deprecated = true;
                changed = true;
            }
        }
        self.renew_temporary(ctx);
        if changed {
            ctx.touch(self.index);
        }
    }

    fn expire_advertiser(&mut self, ctx: &mut Context<'_>) {
        // RFC 4861 §6.2.3: from an address of the link, which must be ours.
        let Some(src) = self.router_address() else { return };
        let random = ctx.random.next_u64();
        let Some(advertiser) = &mut self.advertiser else { return };
        if !advertiser.expire(ctx.now, random) {
            return;
        }
        let Some(advertiser) = &self.advertiser else { return };
        let message = advertiser.message(self.identity.mac, &self.assigned(), self.link_mtu);
        self.say_as_router(ctx, src, message);
    }

    fn say_as_router(&self, ctx: &mut Context<'_>, src: Ipv6Addr, said: RouterAdvertisement) {
        let most_bytes = (self.link_mtu as usize).saturating_sub(HEADER_BYTES);
        for part in said.parts(most_bytes) {
            let message = Message::RouterAdvertisement(Box::new(part));
            ctx.out.say.push(Say { iface: self.index, src, dst: ALL_NODES, message });
        }
    }

    /// A link-local address whose check has passed.
    pub(crate) fn router_address(&self) -> Option<Ipv6Addr> {
        let mut passed = self.addresses.iter().filter(|a| a.check.progress() == Progress::Passed);
        passed.find(|a| a.addr.is_unicast_link_local()).map(|address| address.addr)
    }

    /// RFC 4861 §6.3.7; RFC 4429 §3.2: with our link-layer address only from one that is ours.
    fn ask_for_routers(&self, ctx: &mut Context<'_>) {
        let src = self.router_address();
        let source_mac = src.map(|_| self.identity.mac);
        let message = Message::RouterSolicitation(RouterSolicitation { source_mac });
        let src = src.unwrap_or(Ipv6Addr::UNSPECIFIED);
        ctx.out.say.push(Say { iface: self.index, src, dst: ALL_ROUTERS, message });
    }

    fn ask_again(&mut self, ctx: &mut Context<'_>) {
        if let Some(solicit) = &mut self.solicit
            && self.learned.routers.is_empty()
        {
            solicit.resume(ctx.now, ctx.random.next_u64());
        }
    }

    /// Hop limit, MTU and the times of neighbours: RFC 4861 §6.3.4.
    fn take_parameters(&mut self, ctx: &mut Context<'_>, said: &RouterAdvertisement) {
        if said.hop_limit != 0 {
            self.hop_limit = Some(said.hop_limit);
        }
        if let Some(mtu) = said.mtu
            && (super::MIN_MTU..=self.link_mtu).contains(&mtu)
        {
            self.mtu = Some(mtu);
        }
        let mut redraw = ctx.now >= self.redraw_at;
        let reachable = said.reachable;
        if !reachable.is_zero()
            && reachable <= MAX_REACHABLE_TIME
            && reachable != self.base_reachable
        {
            self.base_reachable = reachable;
            redraw = true;
        }
        if !said.retransmit.is_zero() {
            let retransmit = said.retransmit.clamp(MIN_RETRANS_TIMER, MAX_REACHABLE_TIME);
            redraw |= retransmit != self.retransmit;
            self.retransmit = retransmit;
        }
        if redraw {
            self.draw_times(ctx);
        }
    }

    /// RFC 4861 §6.3.2: between half and one and a half of the base.
    pub(crate) fn draw_times(&mut self, ctx: &mut Context<'_>) {
        self.redraw_at = ctx.now + REDRAW;
        let base = self.base_reachable;
        let reachable = base / 2 + part_of(base, ctx.random.next_u64());
        let times = Times { reachable, retransmit: self.retransmit };
        ctx.out.times.push((self.index, times));
    }
}

impl Context<'_> {
    /// The interface's addresses may have changed.
    pub(super) fn touch(&mut self, iface: IfIndex) {
        self.out.routes = true;
        if !self.out.changed.contains(&iface) {
            self.out.changed.push(iface);
        }
    }
}

impl Address {
    /// Sets how long it lives.
    pub(super) fn set_life(&mut self, life: Life) {
        self.life = life.within(self.most);
    }
}
