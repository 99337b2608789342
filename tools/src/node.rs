//! `rumpnet node`: a stack that stays up and answers.

use std::net::{Ipv6Addr, SocketAddr};

use clap::Args;
use libnet::DropReason;
use rumpnet::{Inet, InetConfig};
use serde_json::{Value, json};

use crate::cli::{Global, Interfaces};
use crate::control::ControlArgs;
use crate::control::server::Server;
use crate::echo::Echo;
use crate::fail::{Failure, Outcome, Status};
use crate::host::{self, Create};
use crate::impair::Faults;
use crate::metrics::{self, serve::Served};
use crate::output::Output;
use crate::signals::{Asked, Interrupts};

/// `rumpnet node`.
#[derive(Args, Debug)]
pub struct NodeArgs {
    #[command(flatten)]
    interfaces: Interfaces,
    /// What `rumpnet ls` lists the node as [default: node]
    #[arg(long, value_name = "NAME", default_value = "node", hide_default_value = true)]
    name: String,
    /// Send back whatever comes to PORT, by TCP and by UDP
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    echo: Option<u16>,
    /// Pass on packets that are for others, between the interfaces: be a router
    #[arg(long)]
    forward: bool,
    /// Answer `GET /metrics`, for Prometheus, at this address of the host; port 0: any free one,
    /// which is printed
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics: Option<SocketAddr>,
    #[command(flatten)]
    control: ControlArgs,
}

/// Stays up until told to stop; the bus is made if need be.
///
/// # Errors
/// No bus that could be joined.
pub fn run(args: &NodeArgs, global: &Global) -> Outcome {
    if args.interfaces.interfaces.is_empty() {
        return Err(Failure::usage(
            "a node needs an interface: add --if shmif:my.bus,addr=10.0.0.1/24",
        ));
    }
    let interrupts =
        Interrupts::catch().map_err(|error| Failure::doing("cannot catch signals", &error))?;
    let mut config = InetConfig::default();
    config.forwarding.ipv4 = args.forward;
    config.forwarding.ipv6 = args.forward;
    let stack = host::start_with(&args.interfaces, Create::Always, &args.name, config)?;
    let echo = args.echo.map(|port| {
        let cannot = |error| Failure::doing(format_args!("cannot listen on port {port}"), &error);
        Echo::serve(&stack, port).map_err(cannot)
    });
    let echo = echo.transpose()?;
    let control = args.control.open(&stack, &args.interfaces.interfaces, &args.name)?;
    let serve = |at| metrics::serve::serve(&stack, &args.name, at);
    let metrics = args.metrics.map(serve).transpose()?;
    let mut output = Output::new();
    let inet = stack.inet().ok_or_else(|| Failure::usage("a node has a stack of its own"))?;
    let faults = Faults::of(inet);
    introduce(args, global, inet, (control.as_ref(), metrics.as_ref()), &mut output)?;
    while let Ok(asked) = interrupts.channel().recv() {
        if asked == Asked::Stop {
            break;
        }
        report(global, inet, &faults, &mut output)?;
    }
    let ended = inet.engine().driver().now();
    drop(control);
    drop(metrics);
    drop(echo);
    drop(stack);
    if global.json {
        let left = json!({
            "event": "left", "impaired": faults.to_json(ended), "unfired_faults": faults.unfired(),
        });
        output.json(&left)?;
    } else {
        output.line("left the bus")?;
    }
    output.flush()?;
    Ok(Status::DONE)
}

/// Says what the node is; programs wait for this line.
fn introduce(
    args: &NodeArgs,
    global: &Global,
    inet: &Inet,
    (control, metrics): (Option<&Server>, Option<&Served>),
    output: &mut Output,
) -> Result<(), Failure> {
    let interfaces: Vec<_> = inet.engine().interfaces().cloned().collect();
    if global.json {
        let all: Vec<Value> = interfaces
            .iter()
            .map(|iface| {
                let config = iface.config();
                json!({
                    "name": iface.name, "kind": iface.link.kind, "target": iface.link.target,
                    "mac": iface.mac().to_string(), "mtu": config.mtu,
                    "addrs": config.addrs.iter().map(ToString::to_string).collect::<Vec<_>>(),
                })
            })
            .collect();
        let echo =
            args.echo.map(|port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).to_string());
        output.json(&json!({
            "event": "up", "name": args.name, "pid": std::process::id(),
            "interfaces": all, "echo": echo, "forward": args.forward,
            "metrics": metrics.map(|metrics| metrics.at().to_string()),
            "ctl": control.map(|control| control.path().display().to_string()),
        }))?;
        return output.flush();
    }
    for iface in interfaces.iter().filter(|iface| !iface.link.loopback) {
        let config = iface.config();
        let addrs: Vec<String> = config.addrs.iter().map(ToString::to_string).collect();
        let addrs = if addrs.is_empty() { "no address".to_owned() } else { addrs.join(" ") };
        output.line(format!(
            "{} is up: {} on {}, {addrs}, mac {}, mtu {}",
            args.name,
            iface.name,
            iface.link.target,
            iface.mac(),
            config.mtu
        ))?;
    }
    if let Some(port) = args.echo {
        output.line(format!("echo on port {port}, TCP and UDP"))?;
    }
    if args.forward {
        output.line("passes on packets that are for others")?;
    }
    if let Some(control) = control {
        let path = control.path().display();
        output.line(format!("control socket {path}: rumpnet ip -n {}", control.name()))?;
    }
    if let Some(metrics) = metrics {
        output.line(format!("metrics at http://{}/metrics", metrics.at()))?;
    }
    output.line("answers ping; Ctrl-C leaves, Ctrl-\\ prints counters")?;
    output.flush()
}

/// What passed the interfaces, and what was dropped.
fn report(
    global: &Global,
    inet: &Inet,
    faults: &Faults,
    output: &mut Output,
) -> Result<(), Failure> {
    use std::sync::atomic::Ordering::Relaxed;
    let engine = inet.engine();
    let drops: Vec<(DropReason, u64)> = engine.drops().nonzero();
    let counters: Vec<(String, [u64; 4])> = engine
        .interfaces()
        .map(|iface| {
            let c = &iface.counters;
            let all = [&c.rx_frames, &c.rx_bytes, &c.tx_frames, &c.tx_bytes];
            (iface.name.clone(), all.map(|counter| counter.load(Relaxed)))
        })
        .collect();
    if global.json {
        let interfaces: Vec<Value> = counters.iter().map(|(name, [rf, rb, tf, tb])| {
            json!({"name": name, "rx_frames": rf, "rx_bytes": rb, "tx_frames": tf, "tx_bytes": tb})
        }).collect();
        let drops: serde_json::Map<String, Value> =
            drops.iter().map(|(reason, n)| (reason.name().to_owned(), (*n).into())).collect();
        output.json(&json!({
            "event": "report", "interfaces": interfaces, "drops": drops,
            "impaired": faults.to_json(inet.engine().driver().now()),
        }))?;
        return output.flush();
    }
    for (name, [rx_frames, rx_bytes, tx_frames, tx_bytes]) in counters {
        output.line(format!(
            "{name}: received {rx_frames} frames, {rx_bytes} bytes; sent {tx_frames} frames, \
             {tx_bytes} bytes"
        ))?;
    }
    for (reason, n) in drops {
        output.line(format!("dropped {n}: {}", reason.name()))?;
    }
    output.flush()
}
