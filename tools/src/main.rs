//! The `rumpnet` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    tools::run(std::env::args_os())
}
