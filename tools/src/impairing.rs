//! `rumpnet impair`: makes a live node's links bad, and good again.

use clap::Args;
use libnet::IfIndex;
use libnet::impair::Way;
use rumpnet::Inet;
use serde_json::{Value, json};

use crate::cli::{Global, Node};
use crate::fail::{Failure, Outcome, Status};
use crate::host;
use crate::impair::{ImpairSpec, stats_json};
use crate::inside::{Inside, index_of};
use crate::schedule::Schedules;

/// `rumpnet impair`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
  rumpnet impair -n alice                            what is done to frames, and was
  rumpnet impair -n alice shmif0 loss=3%,delay=20ms  in place of what was done before
  rumpnet impair -n alice shmif0 in.loss=3%          to received frames alone
  rumpnet impair -n alice shmif0 at 2s rate=1mbit at 6s down at 7s up at 10s again
  rumpnet impair -n alice shmif0 none                nothing more
The keys are those of --if: loss, delay, jitter, rate, limit, queue, reorder, dup, corrupt, state.")]
pub struct ImpairArgs {
    #[command(flatten)]
    pub(crate) node: Node,
    /// The interface; without one, all are shown
    #[arg(value_name = "IF")]
    interface: Option<String>,
    /// What is done to its frames, or none
    #[arg(value_name = "KEY=VALUE")]
    spec: Vec<String>,
}

/// Runs it in a node.
///
/// # Errors
/// No such interface; keys that make no sense.
pub fn inside(args: &ImpairArgs, global: &Global, inside: &mut Inside) -> Outcome {
    let inet = inside.inet()?;
    let named = args.interface.as_deref();
    let only = named.map(|name| index_of(&inet, name).ok_or_else(|| none_such(&inet, name)));
    let only = only.transpose()?;
    if let Some(index) = only
        && !args.spec.is_empty()
    {
        set(&inet, index, &args.spec)?;
        return Ok(Status::DONE);
    }
    let all: Vec<Value> = inet
        .engine()
        .interfaces()
        .filter(|iface| only.is_none_or(|index| index == iface.index))
        .filter_map(|iface| shown(&inet, iface.index, &iface.name))
        .collect();
    if global.json {
        inside.output.json_pretty(&Value::Array(all))?;
        return Ok(Status::DONE);
    }
    for iface in &all {
        let text = |key: &str| iface[key].as_str().unwrap_or_default().to_owned();
        inside.output.line(format!("{}: {}", text("name"), text("impairments")))?;
        for way in ["out", "in"] {
            let counters = iface[way].as_object().into_iter().flatten();
            let counters: Vec<String> = counters
                .filter(|(_, n)| n.as_u64() != Some(0))
                .map(|(name, n)| format!("{name} {n}"))
                .collect();
            if !counters.is_empty() {
                inside.output.line(format!("    {way}: {}", counters.join(", ")))?;
            }
        }
    }
    Ok(Status::DONE)
}

fn none_such(inet: &Inet, name: &str) -> Failure {
    let names: Vec<&str> = inet.engine().interfaces().map(|iface| &*iface.name).collect();
    Failure::usage(format!("there is no interface `{name}`: there are {}", names.join(", ")))
}

fn shown(inet: &Inet, index: IfIndex, name: &str) -> Option<Value> {
    let engine = inet.engine();
    let out = engine.impairments(index, Way::Out).ok()?;
    let received = engine.impairments(index, Way::In).ok()?;
    let spec = ImpairSpec { out, received, ..ImpairSpec::default() };
    let text = if spec.is_none() { "none".to_owned() } else { spec.to_string() };
    let stats = |way| engine.impair_stats(index, way).ok().map(|stats| stats_json(&stats));
    Some(json!({
        "name": name, "impairments": text, "out": stats(Way::Out), "in": stats(Way::In),
    }))
}

/// Does to an interface's frames what `words` say, `loss=3%,…`, `none`, and `at 2s down`, and
/// nothing else.
///
/// # Errors
/// Keys that make no sense; an interface that cannot be impaired.
pub fn set(inet: &Inet, index: IfIndex, words: &[String]) -> Result<(), Failure> {
    let at_first = words.split(|word| word == "at").next().unwrap_or_default().join(",");
    let spec: ImpairSpec = at_first
        .parse()
        .map_err(|error: crate::impair::ImpairSpecError| Failure::usage(error.to_string()))?;
    if spec.seed.is_some() {
        let why = "seed= holds from the start: give it to --if of the node";
        return Err(Failure::usage(why));
    }
    if spec.schedule.is_some() {
        let why = "schedule= is read at the start: give the steps themselves, as in at 2s loss=3%";
        return Err(Failure::usage(why));
    }
    let schedules = Schedules::of_words(words, &spec)?;
    for (way, schedule) in [(Way::Out, schedules.out), (Way::In, schedules.received)] {
        let set = inet.engine().set_impairments(index, way, schedule);
        set.map_err(|error| Failure::usage(format!("cannot impair it: {}", host::plain(&error))))?;
    }
    Ok(())
}
