//! What the C programs check, each run by itself.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::build::{Library, library_dir, program, root, run, succeeds, under_valgrind, valgrind};

fn passes(source: &str) {
    let dir = tempfile::tempdir().unwrap();
    if let Some(program) = program(&dir, source, Library::Static) {
        succeeds(&mut run(&program, &[]));
    }
}

#[test]
fn bad_arguments_give_the_errors_of_linux() {
    passes("tests/c/arguments.c");
}

#[test]
fn descriptors_are_ready_when_their_sockets_are() {
    passes("tests/c/readiness.c");
}

#[test]
fn two_runs_by_hand_give_the_same_packets() {
    let dir = tempfile::tempdir().unwrap();
    let Some(program) = program(&dir, "tests/c/microscope.c", Library::Static) else { return };
    let once = succeeds(&mut run(&program, &[])).stdout;
    let again = succeeds(&mut run(&program, &[])).stdout;
    assert!(once.iter().filter(|byte| **byte == b'\n').count() > 8, "it prints what it sees");
    assert_eq!(String::from_utf8(once).unwrap(), String::from_utf8(again).unwrap());
}

#[test]
fn programs_run_clean_under_valgrind() {
    if !valgrind() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for source in ["tests/c/microscope.c", "tests/c/arguments.c", "tests/c/readiness.c"] {
        let Some(program) = program(&dir, source, Library::Static) else { return };
        succeeds(&mut under_valgrind(&program));
    }
}

#[test]
fn echo_over_a_bus_between_two_processes() {
    let dir = tempfile::tempdir().unwrap();
    let Some(program) = program(&dir, "examples/echo.c", Library::Shared) else { return };
    let bus = dir.path().join("bus");
    let mut serving = run(&program, &[bus.as_os_str(), "serve".as_ref()]);
    let mut server = serving.stdout(Stdio::piped()).spawn().unwrap();
    let mut ready = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    assert_eq!(ready, "ready\n");
    let said = succeeds(&mut run(&program, &[bus.as_os_str(), "some text".as_ref()]));
    assert_eq!(said.stdout, b"some text\n");
    assert!(server.wait().unwrap().success());
}

#[test]
fn python_sees_every_packet_with_its_time() {
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("SKIPPED: there is no python3, so examples/python/microscope.py was not run");
        return;
    }
    let script = root().join("../examples/python/microscope.py");
    let mut python = Command::new("python3");
    python.arg(script).arg(library_dir().join("librumpnet_c.so"));
    let said = String::from_utf8(succeeds(&mut python).stdout).unwrap();
    let want = "0.001000 s: an echo reply with b'hello, world'\n\
                0.001000 s: a SYN to port 80\n1.001000 s: a SYN to port 80\n";
    assert!(said.starts_with(want), "{said}");
}
