//! `rumpnet netstat`: what a node's protocols did, and its routes, interfaces and sockets, as
//! net-tools and the BSDs print them.

mod connections;
mod interfaces;
pub(crate) mod mib;
mod routes;

use clap::Args;
use serde_json::{Map, Value, json};

use crate::cli::{Global, Node};
use crate::fail::{Outcome, Status};
use crate::inside::Inside;
use mib::Section;

/// `rumpnet netstat`.
#[derive(Args, Clone, Debug)]
pub struct NetstatArgs {
    #[command(flatten)]
    pub(crate) node: Node,
    /// What the protocols did, by MIB-II's names, and why packets were dropped
    #[arg(short, long)]
    statistics: bool,
    /// Routes
    #[arg(short, long)]
    route: bool,
    /// Interfaces
    #[arg(short, long)]
    interfaces: bool,
    /// All sockets, those that listen too
    #[arg(short, long)]
    all: bool,
    /// Sockets that listen
    #[arg(short, long)]
    listening: bool,
    /// TCP
    #[arg(short, long)]
    tcp: bool,
    /// UDP
    #[arg(short, long)]
    udp: bool,
    /// Raw and ping sockets
    #[arg(short = 'w', long)]
    raw: bool,
    /// The node's process
    #[arg(short, long)]
    programs: bool,
    /// IPv4
    #[arg(short = '4', long)]
    inet: bool,
    /// IPv6
    #[arg(short = '6', long)]
    inet6: bool,
    /// A family: inet or inet6
    #[arg(short, long, value_name = "FAMILY", value_parser = ["inet", "inet6"])]
    family: Option<String>,
    /// Numbers, not names; it is always so
    #[arg(short = 'n', long, action = clap::ArgAction::Count)]
    numeric: u8,
}

impl NetstatArgs {
    /// The families that are shown: IPv4, IPv6.
    fn families(&self) -> [bool; 2] {
        let v4 = self.inet || self.family.as_deref() == Some("inet");
        let v6 = self.inet6 || self.family.as_deref() == Some("inet6");
        if v4 || v6 { [v4, v6] } else { [true, true] }
    }
}

/// Runs it in a node.
///
/// # Errors
/// Standard output's.
pub fn inside(args: &NetstatArgs, global: &Global, inside: &mut Inside) -> Outcome {
    let inet = inside.inet()?;
    if args.statistics {
        let sections = mib::sections(&inet);
        let drops = inet.drops().nonzero();
        if global.json {
            let mut all = statistics_json(&sections);
            let drops = drops.iter().map(|(reason, n)| (reason.name().to_owned(), json!(n)));
            all.insert("Dropped".into(), Value::Object(drops.collect()));
            inside.output.json_pretty(&Value::Object(all))?;
        } else {
            inside.output.text(statistics_text(&sections))?;
            inside.output.line("Dropped:")?;
            for (reason, n) in drops {
                inside.output.line(format!("    {}: {n}", reason.name()))?;
            }
        }
        return Ok(Status::DONE);
    }
    if args.route {
        routes::show(&inet, args.families(), global.json, &mut inside.output)?;
    } else if args.interfaces {
        interfaces::show(&inet, global.json, &mut inside.output)?;
    } else {
        connections::show(args, &inet, global.json, &inside.name.clone(), &mut inside.output)?;
    }
    Ok(Status::DONE)
}

fn statistics_text(sections: &[Section]) -> String {
    let mut text = String::new();
    for section in sections {
        text.push_str(&format!("{}:\n", section.name));
        for counter in &section.counters {
            text.push_str(&format!("    {}: {}\n", counter.name, counter.value));
        }
    }
    text
}

fn statistics_json(sections: &[Section]) -> Map<String, Value> {
    let one = |section: &Section| {
        let counters = section.counters.iter();
        let counters = counters.map(|counter| (counter.name.to_owned(), json!(counter.value)));
        (section.name.to_owned(), Value::Object(counters.collect()))
    };
    sections.iter().map(one).collect()
}
