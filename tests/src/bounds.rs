//! How much memory a stack's configuration lets others fill: what floods are held against. The costs
//! of single entries are what they take in every table and index, the room that those leave empty
//! included.

use rumpnet::InetConfig;

/// A neighbour, bytes.
const NEIGHBOUR_BYTES: usize = 768;
/// A route that was learned, bytes.
const ROUTE_BYTES: usize = 1_024;
/// A packet that waits or is under way, beside its data, bytes.
const PACKET_BYTES: usize = 512;
/// A SYN that was answered, bytes: its entry, its place in the index, its turn to be answered again.
const HALF_OPEN_BYTES: usize = 384;
/// What any flood may take for its frames that are under way, bytes.
pub const UNDER_WAY_BYTES: usize = 64 << 10;

/// Neighbours, of both families.
pub fn neighbours(config: &InetConfig) -> usize {
    config.arp.max_entries * NEIGHBOUR_BYTES
}

/// Neighbours that we did not ask for: a quarter of the table.
pub fn strangers(config: &InetConfig) -> usize {
    neighbours(config) / 4
}

/// Packets that wait for neighbours: the whole bound, and one packet more for each neighbour.
pub fn waiting(config: &InetConfig) -> usize {
    config.arp.total_queue_bytes + config.arp.max_entries * (PACKET_BYTES + 1_500)
}

/// SYNs that were answered and are not acknowledged yet.
pub fn half_open(config: &InetConfig) -> usize {
    config.tcp.syn_backlog_max * HALF_OPEN_BYTES
}

/// Fragments, and a datagram that was just put together.
pub fn fragments(config: &InetConfig) -> usize {
    config.ip.reassembly_bytes + (64 << 10)
}

/// Redirected destinations, and the neighbours that they lead to.
pub fn redirects(config: &InetConfig) -> usize {
    config.nd.max_redirects * ROUTE_BYTES + strangers(config)
}

/// What routers advertise on an interface: addresses, prefixes, routers, routes, name servers.
pub fn advertised(config: &InetConfig) -> usize {
    let nd = &config.nd;
    let routes = 2 * nd.max_addresses + nd.max_prefixes + nd.max_routers + nd.max_routes;
    (routes + 2 * nd.max_dns_servers) * ROUTE_BYTES
}

/// Groups that a stack is in: the sources that queries ask about, and answers under way.
pub fn group_sources(config: &InetConfig, groups: usize) -> usize {
    groups * (config.multicast.max_sources * 2 * size_of::<std::net::IpAddr>() + PACKET_BYTES)
}

/// Packets of others that wait for a link: the forwarder's queue, and the interface's own.
pub fn forwarding(config: &InetConfig, packet_bytes: usize) -> usize {
    let packets = config.forwarding.queue_packets
        + config.output_queue_packets
        + config.reply_queue_packets
        + config.engine.queue_frames;
    packets * (packet_bytes + PACKET_BYTES)
}
