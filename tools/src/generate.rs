//! Shell completions and man pages, made from the command line's own definition.

use std::fs;
use std::io;
use std::path::PathBuf;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::fail::{Failure, Outcome, Status};

/// `rumpnet completions`.
#[derive(Args, Debug)]
pub struct CompletionsArgs {
    /// The shell to write them for
    pub shell: Shell,
}

/// `rumpnet man`.
#[derive(Args, Debug)]
pub struct ManArgs {
    /// The directory to write the pages into; it is made if need be
    pub directory: PathBuf,
}

/// Writes a shell's completions to stdout.
///
/// # Errors
/// Standard output's.
pub fn completions(args: &CompletionsArgs) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "rumpnet", &mut script);
    io::Write::write_all(&mut io::stdout(), &script).map_err(|error| Failure::output(&error))?;
    Ok(Status::DONE)
}

/// Writes a man page per subcommand, and one for the whole.
///
/// # Errors
/// The file system's.
pub fn man(args: &ManArgs) -> Outcome {
    let wrong = |error: io::Error| {
        Failure::doing(
            format_args!("cannot write man pages to {}", args.directory.display()),
            &error,
        )
    };
    fs::create_dir_all(&args.directory).map_err(wrong)?;
    clap_mangen::generate_to(Cli::command(), &args.directory).map_err(wrong)?;
    Ok(Status::DONE)
}
