//! The `rumpnet` command, one file per subcommand; `main.rs` only calls [`run`].

pub mod aio;
pub mod arping;
pub mod attach;
pub mod bsd;
pub mod bus;
pub mod cli;
pub mod control;
pub mod demo;
pub mod dissect;
pub mod dump;
pub mod echo;
pub mod fail;
pub mod fetch;
pub mod filter;
pub mod forward;
mod frames;
pub mod generate;
pub mod host;
pub mod http;
pub mod httpd;
pub mod ifspec;
pub mod impair;
pub mod impairing;
pub mod inside;
pub mod interface;
pub mod invocation;
pub mod ip;
pub mod ls;
pub mod metrics;
pub mod nc;
pub mod ndisc;
pub mod netstat;
pub mod node;
pub mod output;
#[doc(hidden)]
pub mod parsers;
pub mod perf;
pub mod ping;
pub mod plot;
pub mod recording;
pub mod schedule;
pub mod serve;
pub mod settle;
pub mod signals;
pub mod ss;
pub mod sysctl;
pub mod table;
pub mod tasks;
mod trace;
pub mod tracepath;
pub mod traceroute;
pub mod units;
pub mod wire;
pub mod zone;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;

use cli::{Cli, Command};
use control::client;
use fail::{Outcome, Status};
use invocation::Invocation;

/// Runs the command line `args`, the program's name first; the exit status of the process.
///
/// 0: done. 1: it did not work out (for `ping`: no answer). 2: wrong usage, or nothing could be
/// tried.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let invocation = Invocation::new(args);
    let cli = match Cli::try_parse_from(&invocation.args) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    output::start_log(&cli);
    if let Err(error) = shmif::report_sigbus() {
        tracing::warn!(%error, "a bus that is truncated will end this process without a word");
    }
    match dispatch(&cli, invocation.argv) {
        Ok(status) => status.into(),
        Err(failure) => {
            failure.report();
            failure.status().into()
        }
    }
}

fn dispatch(cli: &Cli, argv: Vec<String>) -> Outcome {
    let global = &cli.global;
    match &cli.command {
        Command::Node(args) => node::run(args, global),
        Command::Ping(args) => ping::run(args, global, argv),
        Command::Perf(args) => perf::run(args, global),
        Command::Demo(args) => demo::run(args, global),
        Command::DemoHost(args) => demo::host::run(args),
        Command::Nc(args) => nc::run(args, global),
        Command::Forward(args) => forward::run(args, global),
        Command::Httpd(args) => httpd::run(args, global),
        Command::Fetch(args) => fetch::run(args, global),
        Command::Attach(args) => attach::run(args, global),
        Command::AttachChild(args) => attach::namespace::run(args),
        Command::AttachInit(args) => attach::init::run(args),
        Command::Wire(args) => wire::run(args, global),
        Command::Ls(args) => ls::run(args, global),
        Command::Ip(args) => client::run(args.node.node.as_deref(), argv),
        Command::Ss(args) => client::run(args.node.node.as_deref(), argv),
        Command::Netstat(args) => client::run(args.node.node.as_deref(), argv),
        Command::Sysctl(args) => sysctl::run(args, argv),
        Command::Impair(args) => client::run(args.node.node.as_deref(), argv),
        Command::Metrics(args) => client::run(args.node.node.as_deref(), argv),
        Command::Traceroute(args) => traceroute::run(args, global, argv),
        Command::Tracepath(args) => tracepath::run(args, global, argv),
        Command::Arping(args) => arping::run(args, global, argv),
        Command::Ndisc(args) => ndisc::run(args, global, argv),
        Command::Ifconfig(args)
        | Command::Route(args)
        | Command::Arp(args)
        | Command::Ndp(args) => client::run(args.node.node.as_deref(), argv),
        Command::Dump(args) => dump::run(args, global),
        Command::Plot(args) => plot::run(args, global),
        Command::Completions(args) => generate::completions(args),
        Command::Man(args) => generate::man(args),
    }
}

/// Help and version go to stdout with status 0, the rest to stderr with 2.
fn usage(error: &clap::Error) -> ExitCode {
    // Where stderr is closed nobody could read it anyway.
    let _ = error.print();
    if error.use_stderr() { Status::USAGE.into() } else { ExitCode::SUCCESS }
}
