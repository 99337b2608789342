//! Builds C programs, where there is a compiler.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use tempfile::TempDir;

/// The folder of this package.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// How the library is linked.
#[derive(Clone, Copy)]
pub(crate) enum Library {
    Static,
    Shared,
}

/// A C compiler by its name or `CC`.
static COMPILER: LazyLock<Option<String>> = LazyLock::new(|| {
    let name = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let works = Command::new(&name).arg("--version").output().is_ok_and(|out| out.status.success());
    works.then_some(name)
});

/// Builds a program into `dir`; `None`, said aloud, if there is no C compiler.
pub(crate) fn program(dir: &TempDir, source: &str, library: Library) -> Option<PathBuf> {
    let Some(compiler) = &*COMPILER else {
        eprintln!("SKIPPED: there is no C compiler, so {source} was neither built nor run");
        return None;
    };
    let out = dir.path().join(Path::new(source).file_stem().unwrap());
    let libraries = library_dir();
    let mut command = Command::new(compiler);
    command.args(["-std=gnu11", "-g", "-Wall", "-Wextra", "-Werror", "-I"]);
    command.arg(root().join("include")).arg(root().join(source)).arg("-o").arg(&out);
    match library {
        Library::Static => {
            command.arg(libraries.join("librumpnet_c.a")).args(["-lpthread", "-ldl", "-lm"]);
        }
        Library::Shared => {
            let path = libraries.display();
            command.arg(format!("-L{path}")).arg("-lrumpnet_c").arg(format!("-Wl,-rpath,{path}"));
        }
    }
    succeeds(&mut command);
    Some(out)
}

/// Where cargo has put the library that belongs to this test: beside its folder.
pub(crate) fn library_dir() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let mut dirs = test.ancestors().skip(1).take(2);
    let dir = dirs.find(|dir| dir.join("librumpnet_c.so").exists());
    dir.expect("cargo builds the library before its tests").to_owned()
}

/// Runs it, and shows what it said if it fails.
pub(crate) fn succeeds(command: &mut Command) -> Output {
    let out = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (said, erred) = (lossy(&out.stdout), lossy(&out.stderr));
    assert!(out.status.success(), "{command:?}: {}\n{said}\n{erred}", out.status);
    out
}

/// Is valgrind here? Says aloud if not.
pub(crate) fn valgrind() -> bool {
    let found = Command::new("valgrind").arg("--version").output().is_ok();
    if !found {
        eprintln!("SKIPPED: valgrind is not installed");
    }
    found
}

/// A command under valgrind, which fails for an error or a leak.
pub(crate) fn under_valgrind(program: &Path) -> Command {
    let mut command = Command::new("valgrind");
    let options = ["--quiet", "--error-exitcode=99", "--leak-check=full"];
    // What a running stack has is reached by pointers into the middle of things: "possibly lost".
    command
        .args(options)
        .args(["--show-leak-kinds=definite,indirect", "--errors-for-leak-kinds=definite,indirect"])
        .arg(program);
    command
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A command of a program with arguments, with the library that it was built with.
pub(crate) fn run(program: &Path, args: &[&OsStr]) -> Command {
    let mut command = Command::new(program);
    // Cargo's leads to what `cargo build` made last, too.
    command.env_remove("LD_LIBRARY_PATH").args(args);
    command
}
