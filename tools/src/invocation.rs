//! The command line before clap reads it: `-n NODE` of the commands that look into a node, whose
//! models have an `-n` without a value too.

use std::ffi::{OsStr, OsString};
use std::net::IpAddr;
use std::path::Path;

/// A command line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Invocation {
    /// For clap, the program's name first; the node stands behind the subcommand as `--node=NODE`.
    pub args: Vec<OsString>,
    /// For a node: without the program's name, and without the node.
    pub argv: Vec<String>,
}

/// The commands that take a node.
const COMMANDS: [&str; 16] = [
    "ip",
    "ss",
    "netstat",
    "sysctl",
    "metrics",
    "ping",
    "traceroute",
    "tracepath",
    "arping",
    "ndisc",
    "dump",
    "impair",
    "ifconfig",
    "route",
    "arp",
    "ndp",
];

impl Invocation {
    /// Reads the words of a command line, the program's name first.
    pub fn new(args: impl IntoIterator<Item = OsString>) -> Self {
        let mut args: Vec<OsString> = args.into_iter().collect();
        let at = args.iter().skip(1).position(|arg| !starts_with_dash(arg));
        let mut node = None;
        if let Some(command) = at.map(|at| at + 1)
            && let Some(name) = args[command].to_str().filter(|name| COMMANDS.contains(name))
        {
            let name = name.to_owned();
            node = take_node(&name, &mut args, command + 1).map(|node| (command, node));
        }
        let argv = args.iter().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
        if let Some((command, node)) = node {
            let mut option = OsString::from("--node=");
            option.push(node);
            args.insert(command + 1, option);
        }
        Invocation { args, argv }
    }
}

fn starts_with_dash(arg: &OsStr) -> bool {
    arg.as_encoded_bytes().first() == Some(&b'-')
}

fn take_node(command: &str, args: &mut Vec<OsString>, from: usize) -> Option<OsString> {
    for at in from..args.len() {
        let arg = args[at].to_str().unwrap_or_default();
        if arg == "--" {
            return None;
        }
        if let Some(node) = arg.strip_prefix("--node=") {
            let node = OsString::from(node);
            args.remove(at);
            return Some(node);
        }
        let names_node = arg == "--node" || arg == "-n";
        let Some(value) = args.get(at + 1).filter(|_| names_node) else { continue };
        if arg == "--node" || is_node(command, value) {
            args.remove(at);
            return Some(args.remove(at));
        }
    }
    None
}

/// May this word behind `-n` be a node's name? Else `-n` stands alone: numbers, not names.
fn is_node(command: &str, value: &OsStr) -> bool {
    let Some(text) = value.to_str() else { return true };
    if text.is_empty() || text.starts_with('-') || text.starts_with('(') {
        return false;
    }
    let is_address = text == "localhost"
        || text.parse::<IpAddr>().is_ok()
        || text.split(['/', '%']).next().is_some_and(|addr| addr.parse::<IpAddr>().is_ok());
    let follows: &[&str] = match command {
        "ss" => &["state", "exclude", "sport", "dport", "src", "dst", "dev", "not"],
        // Names of settings follow, as `sysctl -n net.ipv4.tcp_sack` has them.
        "sysctl" if text.starts_with("net.") || text.starts_with("net/") => return false,
        "route" => &["add", "delete", "del", "change", "show", "get", "flush", "monitor"],
        _ => &[],
    };
    let is_bus = command == "dump" && Path::new(text).is_file();
    !is_address && !follows.contains(&text) && !is_bus
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> (String, String) {
        let invocation = Invocation::new(line.split(' ').map(OsString::from));
        let args: Vec<String> =
            invocation.args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
        (args.join(" "), invocation.argv.join(" "))
    }

    #[test]
    fn a_node_is_taken_wherever_it_stands() {
        for line in [
            "rumpnet ip -n alice -j addr",
            "rumpnet ip -j -n alice addr",
            "rumpnet ip --node alice -j addr",
        ] {
            let read = read(line);
            assert_eq!(read, ("rumpnet ip --node=alice -j addr".into(), "ip -j addr".into()));
        }
        assert_eq!(read("rumpnet --json ip -n alice a").1, "--json ip a");
    }

    #[test]
    fn numbers_not_names_is_still_an_option() {
        for line in [
            "rumpnet ping -n 10.0.0.1",
            "rumpnet ss -n -t",
            "rumpnet ss -tulnaeimpox",
            "rumpnet ss -n state established",
            "rumpnet netstat -rn",
            "rumpnet route -n show",
            "rumpnet arp -n 10.0.0.1",
            "rumpnet nc -n alice 7",
            "rumpnet sysctl -n net.ipv4.tcp_sack",
            "rumpnet sysctl -n -a",
            "rumpnet ss -n",
        ] {
            assert_eq!(read(line).0, line);
        }
        assert_eq!(read("rumpnet sysctl -n alice -a").0, "rumpnet sysctl --node=alice -a");
        assert_eq!(read("rumpnet ss -n alice -tan").0, "rumpnet ss --node=alice -tan");
        assert_eq!(read("rumpnet ping -n alice -c 1 10.0.0.1").1, "ping -c 1 10.0.0.1");
    }
}
