//! The `rumpnet` command, one file per subcommand; `main.rs` only calls [`run`].

pub mod aio;
pub mod attach;
pub mod bus;
pub mod cli;
pub mod demo;
pub mod dissect;
pub mod dump;
pub mod echo;
pub mod fail;
pub mod fetch;
pub mod filter;
pub mod forward;
pub mod generate;
pub mod host;
pub mod http;
pub mod httpd;
pub mod ifspec;
pub mod impair;
pub mod interface;
pub mod ls;
pub mod nc;
pub mod node;
pub mod output;
pub mod perf;
pub mod ping;
pub mod recording;
pub mod serve;
pub mod signals;
pub mod table;
pub mod tasks;
pub mod units;
pub mod wire;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;

use cli::{Cli, Command};
use fail::{Outcome, Status};

/// Runs the command line `args`, the program's name first; the exit status of the process.
///
/// 0: done. 1: it did not work out (for `ping`: no answer). 2: wrong usage, or nothing could be
/// tried.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    output::start_log(&cli);
    if let Err(error) = shmif::report_sigbus() {
        tracing::warn!(%error, "a bus that is truncated will end this process without a word");
    }
    match dispatch(&cli) {
        Ok(status) => status.into(),
        Err(failure) => {
            failure.report();
            failure.status().into()
        }
    }
}

fn dispatch(cli: &Cli) -> Outcome {
    let global = &cli.global;
    match &cli.command {
        Command::Node(args) => node::run(args, global),
        Command::Ping(args) => ping::run(args, global),
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
        Command::Dump(args) => dump::run(args, global),
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
