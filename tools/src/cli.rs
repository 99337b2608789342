//! The command line: what all subcommands share, and the list of them.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use libnet::route::RouteSpec;

use crate::fail::Failure;
use crate::ifspec::IfSpec;
use crate::{
    arping, attach, bsd, demo, dump, fetch, forward, generate, httpd, impairing, ip, ls, metrics,
    nc, ndisc, netstat, node, perf, ping, plot, ss, sysctl, tracepath, traceroute, wire,
};

/// TCP/IP stacks in ordinary processes, joined by a bus that is a file.
#[derive(Parser, Debug)]
#[command(name = "rumpnet", version, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "\
First steps:
  rumpnet demo                                              everything at once, in 15 s
  rumpnet node --if shmif:my.bus,addr=10.0.0.1/24           a node that answers ping
  rumpnet ping --if shmif:my.bus,addr=10.0.0.9/24 10.0.0.1  from another terminal
  rumpnet ip -n node addr                                   a look inside the node

Exit status: 0 done; 1 it did not work out; 2 wrong usage, or nothing could be tried.")]
pub struct Cli {
    /// Options of every subcommand.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every subcommand.
#[derive(Args, Clone, Copy, Debug)]
pub struct Global {
    /// Say more: -v what happens, -vv details; RUST_LOG overrides what goes to the log
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Print JSON instead of text
    #[arg(long, global = true)]
    pub json: bool,
}

/// The subcommands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Stay on a bus, or several, and answer
    Node(node::NodeArgs),
    /// Ask a node for echoes
    Ping(ping::PingArgs),
    /// Pass standard input and output over TCP or UDP
    Nc(nc::NcArgs),
    /// Measure throughput and latency between two nodes
    Perf(perf::PerfArgs),
    /// Relay between ports of a stack and the host's sockets
    Forward(forward::ForwardArgs),
    /// Serve a folder by HTTP
    Httpd(httpd::HttpdArgs),
    /// Get a file by HTTP
    Fetch(fetch::FetchArgs),
    /// Run a command on the host kernel's own stack, on a bus
    Attach(Box<attach::AttachArgs>),
    /// The process that makes an attached command's namespaces
    #[command(hide = true)]
    AttachChild(attach::namespace::ChildArgs),
    /// The first process in them
    #[command(hide = true)]
    AttachInit(attach::init::InitArgs),
    /// Join two buses, or a bus and a device, by a cable as bad as you like
    Wire(Box<wire::WireArgs>),
    /// List the members of a bus, or the nodes that can be looked into
    Ls(ls::LsArgs),
    /// Look into a node and change it: links, addresses, routes, neighbours, as iproute2's ip
    Ip(ip::IpArgs),
    /// List a node's sockets, as iproute2's ss
    Ss(ss::SsArgs),
    /// Show what a node's protocols did, its routes, interfaces and sockets
    Netstat(netstat::NetstatArgs),
    /// Show and set what Linux calls net.*, as procps' sysctl
    Sysctl(sysctl::SysctlArgs),
    /// Make a live node's links bad, and good again
    Impair(impairing::ImpairArgs),
    /// Print a node's counters for Prometheus
    Metrics(metrics::MetricsArgs),
    /// Show which routers a packet passes
    Traceroute(traceroute::TracerouteArgs),
    /// Show the routers on a path and its MTU
    Tracepath(tracepath::TracepathArgs),
    /// Ask who has an IPv4 address on a link
    Arping(arping::ArpingArgs),
    /// Ask who has an IPv6 address on a link
    Ndisc(ndisc::NdiscArgs),
    /// Show and set a node's interfaces, as NetBSD's ifconfig
    #[command(after_help = "\
  ifconfig [-alv] [IF]
  ifconfig IF [inet|inet6] ADDRESS[/BITS] [netmask MASK|prefixlen BITS] [alias|-alias]
  ifconfig IF [up|down] [mtu BYTES]")]
    Ifconfig(bsd::BsdArgs),
    /// Show and set a node's routes, as NetBSD's route
    #[command(after_help = "\
  route [-n] [show]
  route add|change|delete [-net|-host] DESTINATION[/BITS]|default [-netmask MASK] GATEWAY
  route get ADDRESS
  route flush")]
    Route(bsd::BsdArgs),
    /// Show and set a node's IPv4 neighbours, as NetBSD's arp
    #[command(after_help = "  arp -an | ADDRESS | -s ADDRESS MAC | -d ADDRESS | -d -a")]
    Arp(bsd::BsdArgs),
    /// Show and set a node's IPv6 neighbours, as NetBSD's ndp
    #[command(after_help = "  ndp -an | ADDRESS | -s ADDRESS MAC | -d ADDRESS | -c")]
    Ndp(bsd::BsdArgs),
    /// Show the frames on a bus, or those that a capture holds
    Dump(dump::DumpArgs),
    /// Draw a connection of a capture over time, as SVG or PNG
    Plot(plot::PlotArgs),
    /// Show everything once: three processes on a bus, every result checked
    Demo(demo::DemoArgs),
    /// One of the demonstration's hosts
    #[command(hide = true)]
    DemoHost(demo::host::DemoHostArgs),
    /// Write shell completions to standard output
    #[command(hide = true)]
    Completions(generate::CompletionsArgs),
    /// Write man pages into a directory
    #[command(hide = true)]
    Man(generate::ManArgs),
}

/// Which node a subcommand looks into.
#[derive(Args, Clone, Debug, Default)]
pub struct Node {
    /// Look into this node, by its name or its control socket's path; also -n NODE [default:
    /// $RUMP_SERVER, else the only node in this folder]
    #[arg(long, value_name = "NODE")]
    pub node: Option<String>,
}

/// How every subcommand with a stack gets its interfaces.
#[derive(Args, Clone, Debug)]
pub struct Interfaces {
    /// Attach an interface; may be given several times. KIND:PATH is shmif:FILE (a bus), tap:NAME or
    /// tun:NAME (a device of the host), or fd:NUMBER (a tap, or an end of a datagram socket pair, that
    /// a parent passed). Keys: addr=ADDRESS/BITS (several may be given; auto: IPv6 addresses of what
    /// routers advertise), gw=ADDRESS (default route), route=NETWORK/BITS@GATEWAY, with @METRIC behind
    /// it if need be (several may be given), ra or ra=PREFIX/BITS (advertise us as an IPv6 router, a
    /// default one with --forward only; ra-mtu, ra-lifetime, ra-interval, ra-pref, ra-dns, ra-search),
    /// mtu=BYTES (default: the link's, 1500), clamp-mss or clamp-mss=BYTES (lower the MSS of TCP
    /// connections that are passed on to what both links take, or to so many bytes), mac=ADDRESS
    /// (default: made up); of shmif: name=TEXT (shown by `rumpnet ls`), create (make the bus if there
    /// is none); of tap and tun: host=ADDRESS/BITS (set up the host's side, MTU included), offload=off
    /// (cut and checksum every frame), big-tcp=off (no frame longer than 64 KiB), queues=NUMBER; of
    /// fd: header=none, virtio or virtio12, medium=tap or tun, offload=off.
    /// A bad link: loss=2% or loss=ge:P,R[,1-H[,1-K]] (bursts), delay=10ms, jitter=2ms, rate=100mbit,
    /// limit=100, 64k or 20ms (what may wait for the rate), queue=fifo, codel, ecn, red, red-ecn or
    /// fq-codel, reorder=5%, dup=1%, corrupt=0.1%, state=down (or down alone), schedule=FILE (how all
    /// this changes as time goes on), seed=NUMBER; for one direction alone with out. or in. in front,
    /// as in out.loss=1%
    #[arg(long = "if", value_name = "KIND:PATH[,KEY=VALUE...]")]
    pub interfaces: Vec<IfSpec>,
    /// Add a route; may be given several times. VIA is a gateway's address, an interface's name, or
    /// both as ADDRESS%NAME; `default` is any destination; blackhole and unreachable in the place of
    /// VIA drop packets and refuse them
    #[arg(long = "route", value_name = "NETWORK/BITS@VIA[@METRIC]", requires = "interfaces")]
    pub routes: Vec<RouteSpec>,
    /// Set what Linux calls net.*, as net.ipv4.tcp_sack=0, or what a file of such lines sets, as
    /// sysctl.d(5) has it; may be given several times. `rumpnet sysctl -a --describe` tells what
    /// there is
    #[arg(long = "sysctl", value_name = "NAME=VALUE|FILE", requires = "interfaces")]
    pub sysctls: Vec<String>,
}

/// How a subcommand that opens sockets gets its stack.
#[derive(Args, Clone, Debug)]
pub struct Sockets {
    /// A stack of our own, over these.
    #[command(flatten)]
    pub interfaces: Interfaces,
    /// Use the host's own sockets, and so the kernel's TCP/IP, instead of a stack of our own
    #[arg(long, conflicts_with = "interfaces")]
    pub sockin: bool,
    /// Write what passes into FILE, as pcapng; with --sockin what passes the calls, its headers made
    /// up
    #[arg(long, value_name = "FILE")]
    pub pcap: Option<PathBuf>,
}

impl Sockets {
    /// Is a node meant, and no stack of our own?
    ///
    /// # Errors
    /// Both are.
    pub fn is_of_node(&self, node: &Node) -> Result<bool, Failure> {
        let own = self.sockin || !self.interfaces.interfaces.is_empty() || self.pcap.is_some();
        match (own, &node.node) {
            (true, Some(_)) => Err(Failure::usage(
                "-n NODE is from a node, and --if, --sockin and --pcap are of a stack of our own: \
                 give one of them",
            )),
            (own, Some(_)) => Ok(!own),
            (own, None) => {
                Ok(!own && std::env::var_os("RUMP_SERVER").is_some_and(|it| !it.is_empty()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Cli::command().debug_assert();
    }

    #[test]
    fn interfaces_and_the_hosts_sockets_exclude_each_other() {
        for command in
            ["nc 10.0.0.1 7", "perf -c 10.0.0.1", "ping 10.0.0.1", "httpd .", "fetch 10.0.0.1"]
        {
            let line = format!("rumpnet {command} --sockin --if=shmif:my.bus");
            let error = Cli::try_parse_from(line.split(' ')).unwrap_err().to_string();
            assert!(error.contains("'--sockin' cannot be used with '--if"), "{error}");
        }
    }
}
