//! Writes each fuzz target's seeds into `fuzz/corpus/TARGET/`, as `scripts/fuzz` wants them: those
//! of the stack's parsers and those of the commands'.

use std::path::Path;
use std::{fs, io};

fn main() -> io::Result<()> {
    for target in rumpnet_tests::parsers::TARGETS {
        write(target.name, (target.seeds)())?;
    }
    for target in tools::parsers::TARGETS {
        write(target.name, (target.seeds)())?;
    }
    Ok(())
}

fn write(target: &str, seeds: Vec<Vec<u8>>) -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&folder)?;
    for (number, seed) in seeds.into_iter().enumerate() {
        fs::write(folder.join(format!("seed-{number}")), seed)?;
    }
    Ok(())
}
