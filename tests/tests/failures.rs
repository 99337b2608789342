//! A world whose test fails says its seed and how to run it again, and leaves captures behind.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use libnet::capture::Direction;
use libnet::capture::reader::CaptureReader;
use libnet::impair::Impairments;
use libnet::world::{FAILURES_VARIABLE, SEED_VARIABLE};
use rumpnet_tests::lab::{Pair, PairConfig};

/// Set where this program runs itself to fail.
const FAILS: &str = "RUMPNET_TESTS_FAIL_HERE";
const THIS: &str = "a_failed_test_says_how_to_run_it_again_and_leaves_captures";

/// What fails: datagrams over a bad link, one of them to a port that nobody has.
fn fail() {
    let pair = Pair::new(&PairConfig::new(7)).unwrap();
    let server = pair.b.udp_bind((pair.addrs[1], 9)).unwrap();
    let client = pair.a.udp_bind((pair.addrs[0], 0)).unwrap();
    client.send_to(b"resolve", (pair.addrs[1], 9)).unwrap();
    server.recv_from(&mut [0; 10]).unwrap();
    pair.impair(&Impairments::none().loss(0.5));
    for _ in 0..20 {
        client.send_to(b"to nobody", (pair.addrs[1], 10)).unwrap();
    }
    pair.world.run_for(Duration::from_secs(1));
    panic!("as it should");
}

/// Runs this very test in a process of its own, in which it fails.
fn run_it(args: &[&str], folder: &Path, seed: Option<&str>) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(args).env(FAILS, "1").env(FAILURES_VARIABLE, folder).env_remove(SEED_VARIABLE);
    if let Some(seed) = seed {
        command.env(SEED_VARIABLE, seed);
    }
    command.output().unwrap()
}

/// The lines that the world said.
fn said(output: &Output) -> Vec<String> {
    assert!(!output.status.success(), "it fails");
    let text = [&output.stdout[..], &output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    let lines: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("world: ")).collect();
    assert!(!lines.is_empty(), "{text}");
    lines.into_iter().map(str::to_owned).collect()
}

#[test]
fn a_failed_test_says_how_to_run_it_again_and_leaves_captures() {
    if std::env::var_os(FAILS).is_some() {
        fail();
    }
    let folder = tempfile::tempdir().unwrap();
    let first = said(&run_it(&["--exact", THIS], folder.path(), None));
    assert!(first[0].starts_with("seed 0x7, at 1."), "{first:?}");
    let again = first.iter().find_map(|line| line.strip_prefix("run it again: ")).unwrap();
    let args = format!("--exact {THIS}");
    assert_eq!(
        again,
        format!("RUMPNET_SEED=0x7 cargo test -p rumpnet-tests --test failures -- {args}")
    );
    let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(files.len(), 1, "a folder for the run");
    // As the command says: the same frames, so the same folder. Another seed has its own.
    let (seed, args) =
        (again.split([' ', '=']).nth(1).unwrap(), again.split_once("-- ").unwrap().1);
    let args: Vec<&str> = args.split(' ').collect();
    assert_eq!(said(&run_it(&args, folder.path(), Some(seed))), first);
    assert_ne!(said(&run_it(&args, folder.path(), Some("8")))[0], first[0]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    let run = files.into_iter().next().unwrap().unwrap();
    let file = run.path().join("0-segment0.pcapng");
    assert!(first.iter().any(|line| line.contains(file.to_str().unwrap())), "{first:?}");
    captures_tell_what_happened(&file);
}

fn captures_tell_what_happened(file: &Path) {
    let mut reader = CaptureReader::new(BufReader::new(File::open(file).unwrap())).unwrap();
    let mut counts = [0; 4];
    while let Some(frame) = reader.next_frame().unwrap() {
        let name = reader.interface(frame.interface).unwrap().name.clone();
        assert_eq!(frame.original_len as usize, frame.bytes.len(), "nothing is cut off");
        let is_datagram = frame.bytes.windows(9).any(|bytes| bytes == b"to nobody");
        let comment = frame.comment.as_deref();
        match (&*name, frame.direction, comment) {
            ("a", Some(Direction::Out), None) => counts[0] += usize::from(is_datagram),
            ("b", Some(Direction::In), None) => counts[1] += usize::from(is_datagram),
            ("lost", None, Some("lost at a: at random")) => counts[2] += usize::from(is_datagram),
            ("dropped by b", None, Some("dropped: udp_no_port")) => counts[3] += 1,
            ("a", Some(Direction::In), None) | ("b", Some(Direction::Out), None) => {}
            ("lost", None, Some("lost at b: at random")) => {}
            other => panic!("{other:?}"),
        }
    }
    let [sent, received, lost, dropped] = counts;
    assert_eq!((sent, received + lost, dropped), (20, 20, received));
    assert!(received > 0 && lost > 0, "{counts:?}");
}

#[test]
fn of_one_test_the_captures_of_the_newest_runs_stay() {
    let folder = tempfile::tempdir().unwrap();
    for other in ["another-0x1-0000000000000001", &format!("{THIS}-notes")] {
        std::fs::create_dir(folder.path().join(other)).unwrap();
    }
    for seed in 1..=10 {
        said(&run_it(&["--exact", THIS], folder.path(), Some(&seed.to_string())));
    }
    let runs = std::fs::read_dir(folder.path()).unwrap();
    let runs: Vec<String> =
        runs.map(|run| run.unwrap().file_name().into_string().unwrap()).collect();
    assert!(runs.iter().any(|run| run.starts_with(&format!("{THIS}-0xa-"))), "{runs:?}");
    assert!(!runs.iter().any(|run| run.starts_with(&format!("{THIS}-0x1-"))), "{runs:?}");
    assert_eq!(runs.len(), 8 + 2, "{runs:?}");
}
