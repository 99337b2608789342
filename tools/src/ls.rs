//! `rumpnet ls`: who is on a bus.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use shmif::{MemberInfo, MemberState};

use crate::bus;
use crate::cli::Global;
use crate::control::find::{self, Found};
use crate::fail::{Failure, Outcome, Status};
use crate::output::Output;
use crate::signals::Interrupts;
use crate::table::{Align, Table};

/// `rumpnet ls`.
#[derive(Args, Debug)]
pub struct LsArgs {
    /// The bus's file; without one, the nodes that can be looked into from here
    pub bus: Option<PathBuf>,
    /// List again every SECONDS, until interrupted
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1",
        value_parser = crate::units::parse_seconds)]
    pub watch: Option<Duration>,
}

/// Lists the members of a bus.
///
/// # Errors
/// No bus there, or one that cannot be read.
pub fn run(args: &LsArgs, global: &Global) -> Outcome {
    let mut output = Output::new();
    let Some(pause) = args.watch else {
        list(args, global, &mut output)?;
        return Ok(Status::DONE);
    };
    let interrupts =
        Interrupts::catch().map_err(|error| Failure::doing("cannot catch signals", &error))?;
    loop {
        if output.is_terminal() {
            // Home, and clear from there to the end.
            output.text("\x1b[H\x1b[J")?;
        }
        list(args, global, &mut output)?;
        interrupts.sleep(pause);
        if interrupts.is_stopped() {
            return Ok(Status::DONE);
        }
    }
}

fn list(args: &LsArgs, global: &Global, output: &mut Output) -> Result<(), Failure> {
    let Some(bus) = &args.bus else { return list_nodes(global, output) };
    let members = shmif::members(bus).map_err(|error| bus::failure(&error))?;
    let nodes = find::beside(bus);
    if global.json {
        let all: Vec<Value> = members.iter().map(|member| to_json(member, &nodes)).collect();
        output.json_pretty(&Value::Array(all))?;
    } else if members.is_empty() {
        output.line(format!("nobody is on {}", bus.display()))?;
    } else {
        output.text(to_table(&members, &nodes))?;
    }
    output.flush()
}

/// The nodes with a control socket, whatever they are on.
fn list_nodes(global: &Global, output: &mut Output) -> Result<(), Failure> {
    let nodes = find::all();
    if global.json {
        let all = nodes.iter().map(|node| {
            json!({"name": node.name, "pid": node.pid, "ctl": node.path.display().to_string()})
        });
        output.json_pretty(&Value::Array(all.collect()))?;
    } else if nodes.is_empty() {
        output.line("no node has its control socket here; rumpnet ls BUS lists a bus's members")?;
    } else {
        let columns = [("NAME", Align::Left), ("PID", Align::Right), ("SOCKET", Align::Left)];
        let mut table = Table::new(&columns);
        for node in &nodes {
            let path = node.path.display().to_string();
            table.row([node.name.clone(), node.pid.to_string(), path]);
        }
        output.text(table.to_string())?;
    }
    output.flush()
}

/// The nodes of a member's process.
fn nodes_of<'a>(member: &MemberInfo, nodes: &'a [Found]) -> Option<&'a Found> {
    let of_process = |node: &&Found| node.pid == member.pid;
    let of_name = |node: &&Found| node.pid == member.pid && node.name == member.name;
    nodes.iter().find(of_name).or_else(|| nodes.iter().find(of_process))
}

fn to_table(members: &[MemberInfo], nodes: &[Found]) -> String {
    let mut table = Table::new(&[
        ("NAME", Align::Left),
        ("MAC", Align::Left),
        ("PID", Align::Right),
        ("STATE", Align::Left),
        ("SENT", Align::Right),
        ("BYTES", Align::Right),
        ("RECEIVED", Align::Right),
        ("BYTES", Align::Right),
        ("DROPS", Align::Right),
        ("NODE", Align::Left),
    ]);
    for member in members {
        table.row([
            member.name.clone(),
            member.mac.to_string(),
            member.pid.to_string(),
            state_name(member.state).to_owned(),
            member.tx_frames.to_string(),
            member.tx_bytes.to_string(),
            member.rx_frames.to_string(),
            member.rx_bytes.to_string(),
            drops(member).to_string(),
            nodes_of(member, nodes).map_or_else(String::new, |node| node.name.clone()),
        ]);
    }
    table.to_string()
}

fn to_json(member: &MemberInfo, nodes: &[Found]) -> Value {
    json!({
        "name": member.name,
        "mac": member.mac.to_string(),
        "pid": member.pid,
        "slot": member.slot,
        "state": state_name(member.state),
        "mtu": member.mtu,
        "since_ns": member.since.as_nanos(),
        "promiscuous": member.promiscuous,
        "tx_frames": member.tx_frames,
        "tx_bytes": member.tx_bytes,
        "tx_waits": member.tx_waits,
        "tx_refused": member.tx_refused,
        "rx_frames": member.rx_frames,
        "rx_bytes": member.rx_bytes,
        "rx_missed": member.rx_missed,
        "rx_malformed": member.rx_malformed,
        "drops": drops(member),
        "ctl": nodes_of(member, nodes).map(|node| node.path.display().to_string()),
    })
}

fn drops(member: &MemberInfo) -> u64 {
    let all = [member.tx_refused, member.rx_missed, member.rx_malformed];
    // What stands in the file may be anything.
    all.iter().fold(0, |sum: u64, n| sum.saturating_add(*n))
}

fn state_name(state: MemberState) -> &'static str {
    match state {
        MemberState::Alive => "alive",
        MemberState::Stalled => "stalled",
        MemberState::Gone => "gone",
        _ => "unknown",
    }
}
