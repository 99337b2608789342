//! Settings by Linux's names: given to the builder, and the page that lists them, `docs/sysctl.md`.
//!
//! The page is made from the table: `SYSCTL_WRITE=1 cargo test -p rumpnet-tests --test sysctl` writes it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use libnet::InterfaceSpec;
use libnet::world::{LinkConfig, World};
use libnetinet::sysctl::{Applies, Sysctl, all};
use rumpnet::Stack;

const PAGE: &str = "docs/sysctl.md";

#[test]
fn the_page_lists_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(PAGE);
    let page = page();
    if std::env::var_os("SYSCTL_WRITE").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "{PAGE} is not what the table says: SYSCTL_WRITE=1 cargo test -p rumpnet-tests --test sysctl"
    );
}

const FRONT: &str = "\
# Settings by Linux's names

A stack has the settings that Linux has under `net.core`, `net.ipv4` and `net.ipv6`, where it does what they are
about: with Linux's names, units, ranges and meanings, and with its defaults but where the third column says otherwise.
The table below is made from the code (`libnetinet/src/sysctl`), and a test holds the two together.

| where | how |
|---|---|
| in a program, before the start | `Stack::builder().sysctl(\"net.ipv4.tcp_sack\", \"0\")`, `InetConfig::set_sysctl` |
| in a program, while it runs | `Inet::set_sysctl`, `Inet::sysctl`, `Inet::sysctls` |
| of any command with `--if` | `--sysctl net.ipv4.tcp_sack=0`, `--sysctl FILE` |
| of a node that runs | `rumpnet sysctl -n NODE net.ipv4.tcp_sack=0`, `-p FILE`, `-a`, `-a --describe` |

- A change reaches every shard before the call returns. It is felt at once, or, where the table says *new*, by sockets,
  connections and addresses that are made from then on, as on Linux.
- `IF` stands for an interface's name, as in `net.ipv4.conf.shmif0.forwarding`. What Linux keeps for each interface and
  we for all of them is under `all`; interfaces that are added later have it too.
- What is one thing here and one of each family on Linux has both names.
- Files are as sysctl.d(5) has them: `#` and `;` begin comments, `-` in front of a name says that an error is no matter,
  `*` and `?` in a name mean all settings of such names that the file does not name itself, and `-NAME` alone leaves one
  out of these.
- A name that only Linux has gives `ENOENT` and says so; one that nobody has gives `ENOENT` and what may have been meant;
  a value out of range gives `EINVAL` and what is taken.

| name | takes | default (Linux's) | meaning |
|---|---|---|---|
";

fn page() -> String {
    let mut rows: Vec<&Sysctl> = all().collect();
    rows.sort_by_key(|sysctl| sysctl.name());
    let mut page = FRONT.to_owned();
    for sysctl in rows {
        let (name, meaning) = (sysctl.name(), sysctl.meaning());
        let mut takes = match sysctl.is_writable() {
            true => sysctl.kind().to_string(),
            false => "nothing".to_owned(),
        };
        if !sysctl.unit().is_empty() {
            write!(takes, ", {}", sysctl.unit()).unwrap();
        }
        let mut default = sysctl.default_value().to_string().replace('\t', " ");
        if let Some(linux) = sysctl.linux_default() {
            write!(default, " ({linux})").unwrap();
        }
        let new = if sysctl.applies() == Applies::ToNew { "; *new*" } else { "" };
        writeln!(page, "| `{name}` | {takes} | {default} | {meaning}{new} |").unwrap();
    }
    page
}

#[test]
fn a_builder_takes_settings_of_the_stack_and_of_its_interfaces() {
    let world = World::new(1);
    let segment = world.segment(LinkConfig::default());
    let builder = || {
        let interface = InterfaceSpec::new(segment.next_link()).addr("10.0.0.1/24").name("a");
        Stack::builder().interface(interface)
    };
    let stack = builder()
        .sysctl("net.ipv4.tcp_sack", "0")
        .sysctl("net.ipv4.conf.a.forwarding", "1")
        .config(rumpnet::InetConfig::default())
        .start_in(&world.host("one"))
        .unwrap();
    let inet = stack.inet().unwrap();
    let value = |name: &str| inet.sysctl(name).unwrap().to_string();
    assert_eq!(value("net.ipv4.tcp_sack"), "0");
    assert_eq!(value("net.ipv4.conf.a.forwarding"), "1");
    assert_eq!(value("net.ipv4.conf.lo0.forwarding"), "0");
    for (name, value, why) in [
        ("net.ipv4.tcp_sak", "0", "cannot set net.ipv4.tcp_sak to `0`: there is no such setting"),
        ("net.ipv4.tcp_sack", "2", "cannot set net.ipv4.tcp_sack to `2`: it takes 0 or 1"),
        ("net.ipv4.conf.b.forwarding", "1", "there is no interface of that name"),
        ("net.ipv4.conf.b.forwarding", "x", "it takes 0 or 1"),
    ] {
        let started = builder().sysctl(name, value).start_in(&world.host(name));
        let error = started.expect_err("it cannot be set").to_string();
        assert!(error.contains(why), "{error}");
    }
}
