//! TCP between two kernels through a stack of ours that forwards between two taps, beside the same
//! through a kernel that forwards between two veth pairs; interleaved, in namespaces that the
//! bench makes.
//!
//! `cargo bench -p rumpnet-benches --bench forwarding -- [--runs N] [--seconds S] [--only MODE]
//! [--ipv6] [--json]`
//!
//! ```text
//!  left ── tap ── our router, a process ── tap ── right
//!  left ── veth ── a kernel's namespace ── veth ── right
//! ```

use std::io::{self, Read};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use rumpnet::{Forwarding, Stack};
use rumpnet_benches::ends::{ask, serve};
use rumpnet_benches::held::{Held, hold, say};
use rumpnet_benches::pair::{self, MODES, Options, Row, Run, wrong};
use rumpnet_benches::place::{Core, Placement, pin};
use rumpnet_benches::transport::Transport;
use virtif::{HostSide, Virtif};

/// The right end's address behind our router, and behind the kernel's.
const RIGHT: [&str; 2] = ["10.81.0.1", "10.83.0.1"];
/// The same of IPv6.
const RIGHT6: [&str; 2] = ["fd81::1", "fd83::1"];

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.first().map(String::as_str) {
        Some("hold") => hold(),
        Some("router") => router(&args[1..]),
        Some("role") => role(&args[1..]),
        _ => run(&Options::parse(&args)?),
    }
}

fn run(options: &Options) -> io::Result<()> {
    let Some(net) = Net::make()? else { return Ok(()) };
    let mut results = Vec::new();
    for (mode, what, unit) in MODES.into_iter().filter(|(mode, ..)| options.wants(mode)) {
        for placement in [Placement::OneCore, Placement::TwoCores, Placement::Anywhere] {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            let [our_right, kernels_right] = if options.ipv6 { RIGHT6 } else { RIGHT };
            for _ in 0..options.runs {
                ours.push(net.pair(options, mode, placement, our_right)?);
                theirs.push(net.pair(options, mode, placement, kernels_right)?);
            }
            let row = Row::new((what, unit), placement, &ours, ("kernel", &theirs))?;
            if !options.json {
                row.print();
            }
            results.push(row);
        }
    }
    if options.json {
        println!("{}", serde_json::to_string_pretty(&results)?);
    } else {
        println!("The routers' processes are not placed; CPU is that of the ends alone.");
    }
    Ok(())
}

/// The two ends' namespaces, and the routers between them.
struct Net {
    left: Held,
    right: Held,
    /// Dropped, and so ended, after the ends.
    _kernel: Held,
    _ours: Held,
}

impl Net {
    /// `None`, and why on stderr, where that is not allowed.
    fn make() -> io::Result<Option<Net>> {
        let hold = || Held::spawn(&["hold"]);
        let (Some(mut left), Some(mut right), Some(mut kernel)) = (hold()?, hold()?, hold()?)
        else {
            eprintln!("skipped: no network namespaces; run it as root");
            return Ok(None);
        };
        let [left_pid, right_pid] = [&left, &right].map(|held| held.id().to_string());
        let Some(ours) = Held::spawn(&["router", &left_pid, &right_pid])? else {
            eprintln!("skipped: no tap devices; run it as root, where there is /dev/net/tun");
            return Ok(None);
        };
        for (number, end) in [(2, &mut left), (3, &mut right)] {
            let kernel_pid = kernel.id();
            end.ask(&format!("ip link add veth type veth peer name k{number} netns {kernel_pid}"))?;
            end.ask(&format!("ip addr add 10.8{number}.0.1/24 dev veth"))?;
            end.ask(&format!("ip addr add fd8{number}::1/64 dev veth nodad"))?;
            end.ask("ip link set veth up")?;
            kernel.ask(&format!("ip addr add 10.8{number}.0.2/24 dev k{number}"))?;
            kernel.ask(&format!("ip addr add fd8{number}::2/64 dev k{number} nodad"))?;
            kernel.ask(&format!("ip link set k{number} up"))?;
        }
        kernel.ask("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")?;
        for (end, routes) in [(&mut left, [(1, 0), (3, 2)]), (&mut right, [(0, 1), (2, 3)])] {
            for (to, by) in routes {
                end.ask(&format!("ip route add 10.8{to}.0.0/24 via 10.8{by}.0.2"))?;
                end.ask(&format!("ip route add fd8{to}::/64 via fd8{by}::2"))?;
            }
        }
        Ok(Some(Net { left, right, _kernel: kernel, _ours: ours }))
    }

    fn pair(
        &self,
        options: &Options,
        mode: &str,
        placement: Placement,
        ip: &str,
    ) -> io::Result<Run> {
        let spawn = |held: &Held, core: Core, seconds: f64, words: &[&str]| {
            Command::new(std::env::current_exe()?)
                .arg("role")
                .args([core.to_string(), seconds.to_string(), held.id().to_string()])
                .args(words)
                .stdout(Stdio::piped())
                .spawn()
        };
        let server = spawn(&self.right, placement.core(1), 0.0, &[mode, ip])?;
        pair::finish(mode, server, |addr| {
            spawn(&self.left, placement.core(0), options.seconds, &[mode, "0.0.0.0", addr])
        })
    }
}

/// Our router: a tap in each of two namespaces.
fn router(pids: &[String]) -> io::Result<()> {
    let mut builder = Stack::builder().forwarding(Forwarding::On);
    for (number, pid) in pids.iter().enumerate() {
        let namespace = std::fs::File::open(format!("/proc/{pid}/ns/net"))?;
        setns(namespace, CloneFlags::CLONE_NEWNET)?;
        let Ok(device) = Virtif::open("tap") else { return say("refused") };
        let cidr = |text: String| text.parse().map_err(|_| wrong("address"));
        let host: [rumpnet::IpCidr; 2] =
            [cidr(format!("10.8{number}.0.1/24"))?, cidr(format!("fd8{number}::1/64"))?];
        HostSide::new(host.to_vec()).apply("tap").map_err(io::Error::other)?;
        let interface = device.addr(&format!("10.8{number}.0.2/24"));
        builder = builder.interface(interface.addr(&format!("fd8{number}::2/64")));
    }
    let stack = builder.start()?;
    say("ready")?;
    io::stdin().read_to_end(&mut Vec::new())?;
    drop(stack);
    Ok(())
}

/// An end: `CORE SECONDS NAMESPACE MODE OWN-IP [SERVER-ADDR]`.
fn role(args: &[String]) -> io::Result<()> {
    let [core, seconds, namespace, mode, ip, rest @ ..] = args else {
        return Err(wrong("role: too few words"));
    };
    pin(core.parse().map_err(|_| wrong("core"))?)?;
    setns(std::fs::File::open(format!("/proc/{namespace}/ns/net"))?, CloneFlags::CLONE_NEWNET)?;
    let duration = Duration::from_secs_f64(seconds.parse().map_err(|_| wrong("seconds"))?);
    let transport = Transport::open("linux", &format!("{ip}/24"))?;
    let report = match rest {
        [] => serve(&transport, mode, ip)?,
        [addr, ..] => ask(&transport, mode, addr.parse().map_err(|_| wrong("address"))?, duration)?,
    };
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}
