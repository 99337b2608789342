//! `rumpnet attach`: commands on the host kernel's stack, on a bus.

use std::process::{Command, Stdio};
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::process::{Ended, PATIENCE, Place, Process};

const COMMAND: &str = env!("CARGO_BIN_EXE_rumpnet");

/// The arguments of `attach` for a host of 10.0.0.0/24, and a command behind them.
fn attach<'a>(bus: &'a str, addr: &'a str, command: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["attach", "--bus", bus, "--addr", addr, "--"];
    args.extend(command);
    args
}

/// May commands be attached here? Says why not.
fn may_attach() -> bool {
    let place = Place::new();
    let bus = place.bus();
    let ended = place.run(&["attach", "--bus", &bus, "--create", "--", "true"]);
    let missing = ["/dev/net/tun", "user namespaces"].iter().any(|what| ended.err.contains(what));
    if ended.status == Some(2) && missing {
        eprintln!("skipped: {}", ended.err.trim());
        return false;
    }
    assert_eq!(ended.status, Some(0), "{}", ended.err);
    true
}

fn run(place: &Place, addr: &str, command: &[&str]) -> Ended {
    place.run(&attach(&place.bus(), addr, command))
}

#[test]
fn an_attached_command_talks_to_nodes() {
    if !may_attach() {
        return;
    }
    let place = Place::new();
    let _alice = place.node("alice", 1);
    let bus = place.bus();
    // nc over the host's own sockets: an unmodified program, as far as the bus can tell.
    let args = attach(&bus, "10.0.0.5/24", &[COMMAND, "nc", "--sockin", "10.0.0.1", "7"]);
    let mut nc = Process::with_input(&args, std::process::Stdio::piped());
    nc.feed(b"from the kernel's stack\n".to_vec());
    let ended = nc.finish();
    assert_eq!((ended.status, &ended.out[..]), (Some(0), "from the kernel's stack\n"));
}

#[test]
fn nodes_talk_to_an_attached_command() {
    if !may_attach() {
        return;
    }
    let place = Place::new();
    let _alice = place.node("alice", 1);
    let bus = place.bus();
    let listen = [COMMAND, "nc", "-v", "--sockin", "-l", "80"];
    let server = Process::start(&attach(&bus, "10.0.0.5/24", &listen));
    server.wait_for_error("listening");
    let listed = place.run(&["ls", &bus]);
    assert!(listed.out.contains("rumpnet"), "it is listed by its command's name: {}", listed.out);
    let nc = ["nc", &place.interface(2), "10.0.0.5", "80"];
    let mut nc = Process::with_input(&nc, std::process::Stdio::piped());
    nc.feed(b"to the kernel's stack\n".to_vec());
    server.wait_for("to the kernel's stack");
}

#[test]
fn it_ends_with_the_commands_status() {
    if !may_attach() {
        return;
    }
    let place = Place::new();
    let _alice = place.node("alice", 1);
    for (command, status) in [
        (&["sh", "-c", "exit 7"][..], 7),
        (&["sh", "-c", "kill -KILL $$"], 137),
        // A real-time signal.
        (&["sh", "-c", "kill -40 $$"], 168),
        (&["no-such-command"], 127),
        (&["/dev/null"], 126),
    ] {
        let ended = run(&place, "10.0.0.5/24", command);
        assert_eq!(ended.status, Some(status), "{command:?}: {}", ended.err);
    }
    let ended = run(&place, "10.0.0.0/24", &["true"]);
    assert_eq!(ended.status, Some(2));
    assert!(ended.err.contains("10.0.0.0/24 is the network address"), "{}", ended.err);
    let ended = Place::new().run(&["attach", "--bus", "none.bus", "--", "true"]);
    assert_eq!(ended.status, Some(2), "{}", ended.err);
}

#[test]
fn a_signal_reaches_the_command_and_its_orphans_end_with_it() {
    if !may_attach() {
        return;
    }
    let place = Place::new();
    let _alice = place.node("alice", 1);
    let bus = place.bus();
    let script = "trap 'echo told; exit 9' TERM; sleep 1000 & echo up; wait";
    let attached = Process::start(&attach(&bus, "10.0.0.5/24", &["sh", "-c", script]));
    attached.wait_for("up");
    let family = Family::of(attached.pid());
    assert!(family.0.len() >= 4, "child, init, sh and sleep: {family:?}");
    attached.signal(Signal::SIGTERM);
    attached.wait_for("told");
    assert_eq!(attached.finish().status, Some(9));
    family.await_end();
}

#[test]
fn an_orphan_that_dies_of_a_real_time_signal_is_taken_in() {
    if !may_attach() {
        return;
    }
    let place = Place::new();
    let _alice = place.node("alice", 1);
    let script = "orphan=$(sh -c 'sh -c \"kill -40 \\$\\$\" >/dev/null 2>&1 & echo $!'); \
                  while kill -0 $orphan 2>/dev/null; do :; done; exit 5";
    let ended = run(&place, "10.0.0.5/24", &["sh", "-c", script]);
    assert_eq!(ended.status, Some(5), "{}", ended.err);
}

#[test]
fn a_signal_that_comes_while_the_namespace_is_made_is_not_lost() {
    if !may_attach() {
        return;
    }
    let place = Place::new();
    let _alice = place.node("alice", 1);
    let bus = place.bus();
    for _ in 0..10 {
        let attached = Process::start(&attach(&bus, "10.0.0.5/24", &["sleep", "1000"]));
        // Process 1 of the namespace has only just been started.
        let began = Instant::now();
        while Family::of(attached.pid()).0.len() < 2 {
            assert!(began.elapsed() < PATIENCE, "nothing is started");
            std::thread::yield_now();
        }
        assert_eq!(attached.stop(Signal::SIGTERM).status, Some(143));
    }
}

/// A terminal in which a shell script is attached and has said "up", and attach's process.
fn in_terminal(place: &Place, script: &str) -> (Process, Pid) {
    let line = r#"echo pid $$
        exec "$COMMAND" attach --bus "$BUS" --addr 10.0.0.5/24 -- sh -c "$SCRIPT""#;
    let mut terminal = Command::new("script");
    terminal.args(["--quiet", "--return", "--command", line, "/dev/null"]);
    terminal.env("SHELL", "/bin/sh").env("COMMAND", COMMAND);
    terminal.env("BUS", place.bus()).env("SCRIPT", script);
    let terminal = Process::spawn(&mut terminal, Stdio::piped());
    let pid = terminal.wait_for("pid ");
    let pid = pid.trim().trim_start_matches("pid ").parse().unwrap();
    terminal.wait_for("up");
    (terminal, Pid::from_raw(pid))
}

#[test]
fn the_command_hears_a_ctrl_c_once() {
    if !may_attach() || !is_there("script") {
        return;
    }
    let place = Place::new();
    let _alice = place.node("alice", 1);
    let script = "trap 'echo heard' INT; trap 'exit 7' TERM; sleep 1000 & echo up
        while :; do wait; done";
    let (mut terminal, attached) = in_terminal(&place, script);
    terminal.feed_line("\x03");
    terminal.wait_for("heard");
    // What attach passed on of the first signal is there before the second.
    kill(attached, Signal::SIGTERM).unwrap();
    let ended = terminal.finish();
    assert_eq!((ended.status, ended.out.matches("heard").count()), (Some(7), 0), "{}", ended.out);
}

#[test]
fn a_terminal_that_goes_takes_the_command_with_it() {
    if !may_attach() || !is_there("script") {
        return;
    }
    let place = Place::new();
    let _alice = place.node("alice", 1);
    let heard = place.path("heard");
    let script = format!(
        "trap 'echo >{}; exit' HUP; sleep 1000 & echo up
        while :; do wait; done",
        heard.display()
    );
    // attach leads the terminal's session, so that it is the only one that is told.
    let (terminal, _) = in_terminal(&place, &script);
    let family = Family::of(terminal.pid());
    drop(terminal);
    family.await_end();
    assert!(heard.exists(), "the command was not told");
}

#[test]
fn a_command_that_is_cut_off_is_told() {
    if !may_attach() || !is_there("ip") {
        return;
    }
    let place = Place::new();
    let _alice = place.node("alice", 1);
    let script = "ip link del eth0 && echo deleted; read line; exit 3";
    let bus = place.bus();
    let args = attach(&bus, "10.0.0.5/24", &["sh", "-c", script]);
    let mut attached = Process::with_input(&args, Stdio::piped());
    attached.wait_for("deleted");
    attached.wait_for_error("the link failed");
    attached.feed(b"\n".to_vec());
    let ended = attached.finish();
    assert_eq!(ended.status, Some(3), "the status is the command's: {}", ended.err);
    assert!(ended.err.contains("cut off from the bus before it ended"), "{}", ended.err);
}

#[test]
fn real_root_is_nobodys_user() {
    // Root of a namespace that may have none inside it: as root where there are none at all.
    let script = r#"echo 0 >/proc/sys/user/max_user_namespaces && exec "$@""#;
    let place = Place::new();
    let bus = place.bus();
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "sh", "-c", script, "sh", COMMAND]);
    command.args(["attach", "--bus", &bus, "--create", "--as-user", "--", "true"]);
    let Ok(output) = command.output() else {
        return eprintln!("skipped: unshare is not installed");
    };
    let err = String::from_utf8_lossy(&output.stderr);
    if !err.contains("rumpnet: ") {
        return eprintln!("skipped: {}", err.trim());
    }
    assert_eq!(output.status.code(), Some(2), "{err}");
    assert!(err.contains("--as-user cannot be had: no user namespaces here"), "{err}");
}

/// Is a program installed? Says so if it is not.
fn is_there(program: &str) -> bool {
    let mut help = Command::new(program);
    let help = help.arg("--help").stdout(Stdio::null()).stderr(Stdio::null());
    let is_there = help.status().is_ok();
    if !is_there {
        eprintln!("skipped: {program} is not installed");
    }
    is_there
}

/// The processes under one, and when each began, so that a number that is used again is not
/// taken for it.
#[derive(Debug)]
struct Family(Vec<(u32, String)>);

impl Family {
    fn of(pid: u32) -> Self {
        let (mut all, mut next) = (Vec::new(), vec![pid]);
        while let Some(pid) = next.pop() {
            let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
            next.extend(
                children.unwrap_or_default().split_whitespace().flat_map(str::parse::<u32>),
            );
            if let Some(began) = Self::began(pid) {
                all.push((pid, began));
            }
        }
        all.remove(0);
        Family(all)
    }

    /// When a process that is not a zombie began.
    fn began(pid: u32) -> Option<String> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let rest = stat.rsplit_once(") ")?.1;
        let mut fields = rest.split(' ');
        let state = fields.next()?;
        (state != "Z" && state != "X").then(|| fields.nth(18).unwrap_or_default().to_owned())
    }

    fn await_end(&self) {
        let began = Instant::now();
        for (pid, start) in &self.0 {
            while Self::began(*pid).as_ref() == Some(start) {
                assert!(began.elapsed() < PATIENCE, "process {pid} is left: {self:?}");
                std::thread::yield_now();
            }
        }
    }
}

#[test]
fn whoever_is_killed_nothing_is_left() {
    if !may_attach() {
        return;
    }
    let place = Place::new();
    let _alice = place.node("alice", 1);
    let bus = place.bus();
    // attach itself, then its child, the namespace's first process, and the command.
    for victim in 0..4 {
        let command = [COMMAND, "nc", "-v", "--sockin", "-l", "80"];
        let attached = Process::start(&attach(&bus, "10.0.0.5/24", &command));
        attached.wait_for_error("listening");
        let family = Family::of(attached.pid());
        assert_eq!(family.0.len(), 3, "{family:?}");
        let pid = match victim {
            0 => attached.pid(),
            n => family.0[n - 1].0,
        };
        kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).unwrap();
        let status = attached.finish().status;
        if victim > 0 {
            assert_eq!(status, Some(137), "victim {victim}");
        }
        family.await_end();
        let members = place.run(&["ls", "--json", &bus]);
        let members: serde_json::Value = serde_json::from_str(&members.out).unwrap();
        let alive = members.as_array().unwrap().iter().filter(|member| member["state"] == "alive");
        assert_eq!(alive.count(), 1, "victim {victim}: {members}");
    }
    // Its address is free again.
    let ended =
        run(&place, "10.0.0.5/24", &[COMMAND, "nc", "--sockin", "-d", "-z", "10.0.0.1", "7"]);
    assert_eq!(ended.status, Some(0), "{}", ended.err);
}
