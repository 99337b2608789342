//! The examples run over the host's sockets as they do over a bus.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Once;

/// An example, built by the same command as this test if it was the whole workspace that was.
fn example(name: &str, args: &[&str]) -> Command {
    static BUILT: Once = Once::new();
    BUILT.call_once(|| {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--workspace", "--examples"]);
        build.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        assert!(build.status().unwrap().success(), "the examples do not build");
    });
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().and_then(Path::parent).expect("tests are built below the profile");
    let mut command = Command::new(folder.join("examples").join(name));
    command.args(args);
    command
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended already is what it should be.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_file_crosses_the_hosts_sockets_and_a_bus() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    let bytes: Vec<u8> = (0..1_000_000_u32).map(|n| (n * 7) as u8).collect();
    std::fs::write(&from, &bytes).unwrap();
    let (from, to_text) = (from.to_str().unwrap(), to.to_str().unwrap());
    for args in [&["--sockin", from, to_text][..], &[from, to_text]] {
        let ended = example("file_transfer", args).output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        assert!(std::fs::read(&to).unwrap() == bytes);
        std::fs::remove_file(&to).unwrap();
    }
}

#[test]
fn an_echo_server_serves_the_hosts_sockets() {
    let mut command = example("echo_server", &["--sockin", "127.0.0.1:0"]);
    let mut server = Running(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let addr = line.trim().strip_prefix("echoing on ").unwrap_or_else(|| panic!("{line:?}"));
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.write_all(b"hello").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut back = String::new();
    stream.read_to_string(&mut back).unwrap();
    assert_eq!(back, "hello");
}

#[test]
fn virtual_time_says_that_the_hosts_sockets_keep_none() {
    let ended = example("virtual_time", &["--sockin"]).output().unwrap();
    assert_eq!(ended.status.code(), Some(2));
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(said.contains("keep no virtual time"), "{said}");
}
