//! `rumpnet wire`: a cable between two buses, or between a bus and a device.

use clap::Args;
use libnet::driver::patch::{Patch, PatchConfig, PatchStats};
use libnet::link::{Link as _, LinkInfo, RxFilter};
use serde_json::{Value, json};

use crate::cli::Global;
use crate::fail::{Failure, Outcome, Status};
use crate::host::Create;
use crate::ifspec::IfSpec;
use crate::impair::{self, ImpairSpec};
use crate::interface;
use crate::output::Output;
use crate::schedule::Schedules;
use crate::signals::{Asked, Interrupts};

/// `rumpnet wire`.
#[derive(Args, Debug)]
#[command(after_help = "\
What is sent on one bus to a group, to all, or to an address that nobody on that bus has, goes to the
other, as a switch does it that knows no address yet. Two wires between the same two buses make a circle:
frames to all go round in it for ever.

  rumpnet wire shmif:left.bus shmif:right.bus --impair delay=20ms,rate=10mbit,queue=codel
  rumpnet wire shmif:left.bus shmif:right.bus --impair out.loss=5%,in.loss=ge:1%,25%,seed=7

Ctrl-C ends it, Ctrl-\\ prints counters.")]
pub struct WireArgs {
    /// One end: KIND:PATH as of --if, shmif:FILE, tap:NAME, tun:NAME or fd:NUMBER, with the keys of
    /// the link alone (mtu, mac, name, …)
    #[arg(value_name = "A")]
    a: IfSpec,
    /// The other end
    #[arg(value_name = "B")]
    b: IfSpec,
    /// Harm frames in each direction, or in one (out.loss=2% from A to B, in.loss=2% from B to A):
    /// the keys of --if
    #[arg(long, value_name = "KEY=VALUE,...")]
    impair: Option<ImpairSpec>,
}

/// Joins the ends until told to stop; buses are made if need be.
///
/// # Errors
/// An end that cannot be opened; a link that fails.
pub fn run(args: &WireArgs, global: &Global) -> Outcome {
    let interrupts =
        Interrupts::catch().map_err(|error| Failure::doing("cannot catch signals", &error))?;
    let [a, b] = [end(&args.a)?, end(&args.b)?];
    let infos = [a.info(), b.info()];
    if infos[0].medium != infos[1].medium {
        return Err(Failure::usage(
            "one end carries frames, the other bare IP packets: join alike",
        ));
    }
    let patch = Patch::join_with(a, b, &config(args)?);
    let patch = patch.map_err(|error| Failure::usage(error.to_string()))?;
    let mut output = Output::new();
    introduce(args, global, &infos, &mut output)?;
    while let Ok(asked) = interrupts.channel().recv() {
        if asked == Asked::Stop {
            break;
        }
        report("report", global, &infos, &patch, &mut output)?;
    }
    report("left", global, &infos, &patch, &mut output)?;
    impair::report_unfired(&unfired(&patch));
    match patch.take_failure() {
        Some(error) => Err(Failure::doing("a link failed", &error)),
        None => Ok(Status::DONE),
    }
}

fn end(spec: &IfSpec) -> Result<Box<dyn libnet::link::Link>, Failure> {
    let has_address = !spec.addrs.is_empty() || spec.autoconf;
    let has_routes = !spec.gateways.is_empty() || !spec.routes.is_empty();
    if has_address || has_routes || spec.advertise.is_some() {
        let why = "the end of a wire has no stack: leave addr=, gw=, route= and ra away";
        return Err(Failure::usage(why));
    }
    if !spec.impair.is_none() || spec.impair.seed.is_some() {
        return Err(Failure::usage("a wire is harmed by --impair, not at its ends"));
    }
    interface::link(spec, Create::Always, "wire")
}

fn config(args: &WireArgs) -> Result<PatchConfig, Failure> {
    let mut config = PatchConfig::default();
    config.filter = RxFilter::default();
    config.filter.all_multicast = true;
    // A device of the host passes everything anyway.
    config.filter.unknown_unicast = true;
    if let Some(spec) = &args.impair {
        config.seed = spec.full_seed()?;
        // From A to B is out on B.
        let schedules = Schedules::of(spec)?;
        config.impair = [schedules.received, schedules.out];
    }
    Ok(config)
}

/// Says what is joined; programs wait for this line.
fn introduce(
    args: &WireArgs,
    global: &Global,
    infos: &[LinkInfo; 2],
    output: &mut Output,
) -> Result<(), Failure> {
    let harm = args.impair.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
    let [a, b] = infos.each_ref().map(|info| format!("{}:{}", info.kind, info.target));
    if global.json {
        output.json(&json!({
            "event": "up", "pid": std::process::id(), "a": a, "b": b, "impairments": harm,
        }))?;
    } else {
        output.line(format!("{a} and {b} are joined; impairments: {harm}"))?;
        output.line("Ctrl-C ends it, Ctrl-\\ prints counters")?;
    }
    output.flush()
}

fn report(
    event: &str,
    global: &Global,
    infos: &[LinkInfo; 2],
    patch: &Patch,
    output: &mut Output,
) -> Result<(), Failure> {
    let stats = patch.stats();
    if global.json {
        output.json(&json!({
            "event": event, "out": to_json(&stats[1]), "in": to_json(&stats[0]),
            "unfired_faults": unfired(patch),
        }))?;
        return output.flush();
    }
    for (to, stats) in infos.iter().zip(&stats) {
        output.line(format!("to {}: {}", to.target, counters(stats)))?;
    }
    output.flush()
}

fn counters(stats: &PatchStats) -> String {
    let (frames, harm) = (stats.frames, &stats.impaired);
    format!(
        "{frames} frames, {} bytes, {} that it cannot carry, full {} times; lost {}, while down {}, \
         duplicated {}, reordered {}, corrupted {}, dropped in the queue {}, by CoDel {}, by RED {}, \
         marked {}",
        stats.bytes,
        stats.dropped,
        stats.waits,
        harm.lost,
        harm.lost_down,
        harm.duplicated,
        harm.reordered,
        harm.corrupted,
        harm.queue_dropped,
        harm.codel_dropped,
        harm.red_dropped,
        harm.ecn_marked
    )
}

fn to_json(stats: &PatchStats) -> Value {
    json!({
        "frames": stats.frames, "bytes": stats.bytes, "dropped": stats.dropped,
        "waits": stats.waits, "impaired": impair::stats_json(&stats.impaired),
    })
}

/// What never happened: out from A to B, in from B to A.
fn unfired(patch: &Patch) -> Vec<String> {
    let [into_a, into_b] = patch.unfired_faults();
    let out = into_b.into_iter().map(|what| format!("out.{what}"));
    out.chain(into_a.into_iter().map(|what| format!("in.{what}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_while_the_wire_is_down_is_told() {
        let mut stats = PatchStats::default();
        (stats.impaired.lost, stats.impaired.lost_down) = (3, 15);
        let told = counters(&stats);
        assert!(told.contains("; lost 3, while down 15, duplicated 0"), "{told}");
    }
}
