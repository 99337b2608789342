//! What can be wrong with a bus, and what is said about it.

mod common;

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{TempBus, child_command, frame, role};
use libnet::ethernet::MacAddr;
use libnet::link::Link;
use nix::sys::signal::Signal;
use shmif::{AttachError, BusConfig, Observer, Shmif, members};

/// Not a test by itself: what a child process does. It ends with 0 if all is as it should be.
#[test]
fn child() {
    let Some((role, args)) = role() else { return };
    let path = Path::new(&args[0]);
    match role.as_str() {
        "stranger" => {
            assert!(matches!(Shmif::attach(path), Err(AttachError::Denied(_))));
            assert!(matches!(Observer::open(path), Err(AttachError::Denied(_))));
            let beside = path.with_file_name("other.bus");
            let made = Shmif::create_or_attach(&beside, &BusConfig::default());
            assert!(matches!(made, Err(AttachError::Denied(_))), "{made:?}");
        }
        "victim" => {
            shmif::report_sigbus().unwrap();
            let bus = Shmif::attach(path).unwrap();
            File::options().write(true).open(path).unwrap().set_len(0).unwrap();
            let _ = bus.join();
        }
        "poor" => {
            // A file system with room for the bus and two members, but not for three.
            let folder = Path::new(&args[0]);
            let bus = folder.join("my.bus");
            let first = Shmif::create_or_attach(&bus, &BusConfig::default()).unwrap().join();
            assert!(first.is_ok());
            let second = Shmif::attach(&bus).unwrap().join();
            assert!(second.is_ok());
            let third = Shmif::attach(&bus).unwrap().join();
            let Err(error) = third else { panic!("there is no room") };
            assert!(matches!(error, AttachError::DiskFull { .. }), "{error}");
            assert_eq!(std::io::Error::from(error).kind(), ErrorKind::StorageFull);
            drop((first, second));
            assert!(Shmif::attach(&bus).unwrap().join().is_ok(), "used slots have their blocks");
            let file = folder.join("ballast");
            let ballast = File::create(file).unwrap();
            while ballast.set_len(0).is_ok()
                && std::io::copy(&mut std::io::repeat(1).take(1 << 24), &mut &ballast).is_ok()
            {
            }
            let more = Shmif::create_or_attach(folder.join("more.bus"), &BusConfig::default());
            let Err(error) = more else { panic!("there is no room") };
            assert!(matches!(error, AttachError::DiskFull { .. }), "{error}");
            assert_eq!(std::fs::read_dir(folder).unwrap().count(), 2, "nothing is left behind");
        }
        other => panic!("no such role: {other}"),
    }
}

fn attach_error(path: &Path) -> AttachError {
    let watching = Observer::open(path).map(|_| ()).unwrap_err();
    let listing = members(path).unwrap_err();
    let error = Shmif::attach(path).unwrap_err();
    let same = std::mem::discriminant(&error);
    assert_eq!(std::mem::discriminant(&watching), same, "{watching}");
    assert_eq!(std::mem::discriminant(&listing), same, "{listing}");
    error
}

fn write_at(path: &Path, offset: u64, bytes: &[u8]) {
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, offset).unwrap();
}

#[test]
fn no_file_says_how_to_make_one() {
    let bus = TempBus::unmade();
    let error = attach_error(bus.path());
    let path = bus.path().display();
    assert_eq!(error.to_string(), format!("no bus at {path}: start a node first, or add create"));
    assert_eq!(error.raw_os_error(), 2);
    assert_eq!(std::io::Error::from(error).kind(), ErrorKind::NotFound);
    let nowhere = bus.path().join("deeper/my.bus");
    let error = Shmif::create_or_attach(nowhere, &BusConfig::default()).unwrap_err();
    assert!(matches!(error, AttachError::NoFolder(_)), "{error}");
}

#[test]
fn other_files_are_no_buses_and_stay_as_they_are() {
    let bus = TempBus::unmade();
    for content in [&b""[..], b"hello", &[0; 4096], &[0xff; 100_000]] {
        std::fs::write(bus.path(), content).unwrap();
        assert!(matches!(attach_error(bus.path()), AttachError::NotABus(_)));
        let error = Shmif::create_or_attach(bus.path(), &BusConfig::default()).unwrap_err();
        assert!(matches!(error, AttachError::NotABus(_)));
        assert_eq!(std::io::Error::from(error).kind(), ErrorKind::InvalidData);
        assert_eq!(std::fs::read(bus.path()).unwrap(), content);
    }
}

#[test]
fn a_directory_a_fifo_and_a_device_are_told() {
    let bus = TempBus::unmade();
    std::fs::create_dir(bus.path()).unwrap();
    assert!(matches!(attach_error(bus.path()), AttachError::NotAFile(_)));
    let fifo = bus.path().with_file_name("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(matches!(attach_error(&fifo), AttachError::NotAFile(_)));
    assert!(matches!(attach_error(Path::new("/dev/null")), AttachError::NotAFile(_)));
}

#[test]
fn a_dangling_link_is_an_error_and_not_a_loop() {
    let bus = TempBus::unmade();
    std::os::unix::fs::symlink("nowhere", bus.path()).unwrap();
    let error = Shmif::create_or_attach(bus.path(), &BusConfig::default()).unwrap_err();
    assert_eq!(std::io::Error::from(error).kind(), ErrorKind::AlreadyExists);
}

#[test]
fn versions_features_and_damage_are_told_apart() {
    let bus = TempBus::new();
    write_at(bus.path(), 8, &7_u32.to_ne_bytes());
    let error = attach_error(bus.path());
    assert!(matches!(error, AttachError::Version { found: 7, .. }));
    assert!(error.to_string().contains("format version 7"), "{error}");
    write_at(bus.path(), 8, &1_u32.to_ne_bytes());
    Shmif::attach(bus.path()).unwrap();
    write_at(bus.path(), 24, &1_u32.to_ne_bytes());
    assert!(matches!(attach_error(bus.path()), AttachError::Damaged(_)));
    write_at(bus.path(), 0, &u64::from_be_bytes(*b"RUMPNBUS").swap_bytes().to_ne_bytes());
    assert!(matches!(attach_error(bus.path()), AttachError::NotABus(_)));
}

#[test]
fn a_truncated_file_is_told_before_it_is_mapped_and_while_it_is() {
    let bus = TempBus::new();
    let (mut a, mut b) = (bus.join("a"), bus.join("b"));
    let file = OpenOptions::new().write(true).open(bus.path()).unwrap();
    let len = file.metadata().unwrap().len();
    file.set_len(len - 1).unwrap();
    assert!(matches!(attach_error(bus.path()), AttachError::Truncated { .. }));
    a.pass(Duration::from_millis(300));
    b.pass(Duration::from_millis(300));
    let error = b.link.rx.recv(b.now, 16, &mut Vec::new(), None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    a.queue.push_back(frame(b.mac, a.mac, b"x"));
    let error = a.link.tx.send(a.now, &mut a.queue).unwrap_err();
    assert!(error.to_string().contains("truncated"), "{error}");
    file.set_len(0).unwrap();
    assert!(matches!(attach_error(bus.path()), AttachError::NotABus(_)));
    // Leaving does not touch what is no longer there.
    drop((a, b));
}

#[test]
fn a_truncation_that_cannot_be_seen_in_time_is_reported_before_it_kills() {
    let bus = TempBus::new();
    let mut command = Command::new(std::env::current_exe().unwrap());
    child_command(&mut command, "victim", &[&bus.path().to_string_lossy()]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(Signal::SIGBUS as i32), "{said}");
    assert!(said.contains("was the bus file truncated"), "{said}");
}

#[test]
fn what_cannot_be_joined_with_is_refused() {
    let bus = TempBus::new();
    let join = |shmif: Shmif| shmif.join().err().expect("refused");
    let attach = || Shmif::attach(bus.path()).unwrap();
    assert!(matches!(join(attach().mac(MacAddr::BROADCAST)), AttachError::BadMac(_)));
    assert!(matches!(join(attach().mac(MacAddr::ZERO)), AttachError::BadMac(_)));
    assert!(matches!(join(attach().mtu(1501)), AttachError::BadMtu { bus: 1500, .. }));
    assert!(matches!(join(attach().mtu(67)), AttachError::BadMtu { .. }));
    let config = BusConfig::default;
    let bad = [config().ring_bytes(65_536), config().max_members(4097), config().mtu(67)];
    for config in bad {
        let made = Shmif::create_or_attach(bus.path().with_extension("x"), &config);
        assert!(matches!(made, Err(AttachError::BadConfig)));
    }
    let link: Box<dyn Link> = Box::new(attach().mac(MacAddr::ZERO));
    let error = link.start().err().unwrap();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let source = error.get_ref().and_then(|inner| inner.downcast_ref::<AttachError>());
    assert!(matches!(source, Some(AttachError::BadMac(_))));
}

/// A copy of this program that any user may run.
fn program_for_all(folder: &Path) -> PathBuf {
    let copy = folder.join("program");
    std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    copy
}

#[test]
fn who_may_not_write_the_file_cannot_join() {
    if !nix::unistd::geteuid().is_root() {
        // Our own files are ours to write; take the right away, and root's is not there.
        let bus = TempBus::new();
        let locked = std::os::unix::fs::PermissionsExt::from_mode(0o000);
        std::fs::set_permissions(bus.path(), locked).unwrap();
        assert!(matches!(attach_error(bus.path()), AttachError::Denied(_)));
        return;
    }
    let bus = TempBus::new();
    let folder = bus.path().parent().unwrap();
    let closed = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(bus.path(), closed).unwrap();
    let mut command = Command::new(program_for_all(folder));
    child_command(&mut command, "stranger", &[&bus.path().to_string_lossy()]);
    let status = command.uid(65_534).gid(65_534).status().unwrap();
    assert!(status.success());
}

#[test]
fn a_full_disk_is_an_error_when_joining_and_not_a_signal_later() {
    let bus = TempBus::unmade();
    let folder = bus.path().parent().unwrap();
    let mut program = Command::new("unshare");
    // A small file system of our own needs a namespace, where the machine allows one.
    let mount = format!(
        "mount -t tmpfs -o size=2000k none '{0}' 2>/dev/null || exit 77; exec \"$0\" \"$@\"",
        folder.display()
    );
    program.args(["--user", "--map-root-user", "--mount", "sh", "-c", &mount]);
    program.arg(std::env::current_exe().unwrap());
    child_command(&mut program, "poor", &[&folder.to_string_lossy()]);
    match program.status() {
        Ok(status) if status.code() == Some(0) => {}
        Ok(status) if matches!(status.code(), Some(77 | 1)) => {
            eprintln!("no namespace to be had: a full disk was not tried ({status})");
        }
        Ok(status) => panic!("{status}"),
        Err(error) => eprintln!("no unshare: a full disk was not tried ({error})"),
    }
}
