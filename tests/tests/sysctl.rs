//! Settings by Linux's names: given to the builder, and the page that lists them, `docs/sysctl.md`.
//!
//! The page is made from the table: `SYSCTL_WRITE=1 cargo test -p rumpnet-tests --test sysctl` writes it.
//! `tests/conformance/sysctls.toml` names for each setting the tests that show what it changes.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

use libnet::InterfaceSpec;
use libnet::world::{LinkConfig, World};
use libnetinet::sysctl::{Applies, Sysctl, all};
use rumpnet::Stack;
use rumpnet_tests::places::{Places, Sources, root};
use serde::Deserialize;

const PAGE: &str = "docs/sysctl.md";
const EFFECTS: &str = "tests/conformance/sysctls.toml";
const TABLES: [&str; 5] = ["conf", "core", "ip", "tcp", "udp"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Effects {
    sysctl: Vec<Effect>,
}

/// The tests of what a setting changes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Effect {
    name: String,
    test: Places,
    field: Option<String>,
}

#[test]
fn every_setting_names_tests_of_what_it_changes() {
    let text = fs::read_to_string(root().join(EFFECTS)).unwrap();
    let effects: Effects =
        toml::from_str(&text).unwrap_or_else(|error| panic!("{EFFECTS}: {error}"));
    let mut sources = Sources::default();
    let mut left: BTreeSet<&str> = all().filter(|s| s.is_writable()).map(Sysctl::name).collect();
    let mut complaints = Vec::new();
    for effect in &effects.sysctl {
        if !left.remove(effect.name.as_str()) {
            complaints
                .push(format!("{} is no setting that can be set, or is there twice", effect.name));
        }
        complaints.extend(effect.complaints(&mut sources));
    }
    complaints.extend(left.into_iter().map(|name| format!("{name} has no test")));
    assert!(complaints.is_empty(), "{EFFECTS}:\n{}", complaints.join("\n"));
}

impl Effect {
    fn complaints(&self, sources: &mut Sources) -> Vec<String> {
        let leaf = self.name.rsplit('.').next().unwrap_or_default();
        let mut complaints = Vec::new();
        if self.test.list().is_empty() {
            complaints.push("names no test".to_owned());
        }
        for place in self.test.list() {
            if !sources.has_test(place) {
                complaints.push(format!("there is no test {place}"));
            }
            let text = sources.read(place.split('#').next().unwrap_or_default());
            let field = self.field.as_deref();
            if !has_word(text, leaf) && !field.is_some_and(|field| has_word(text, field)) {
                complaints.push(format!("nothing sets it in the file of {place}"));
            }
        }
        if let Some(field) = &self.field
            && !TABLES.iter().any(|table| self.writes(sources, table, field))
        {
            complaints.push(format!("its entry does not write {field}"));
        }
        complaints.into_iter().map(|complaint| format!("{}: {complaint}", self.name)).collect()
    }

    /// Is the setting's entry in that table, and does it write the field?
    fn writes(&self, sources: &mut Sources, table: &str, field: &str) -> bool {
        let text = sources.read(&format!("libnetinet/src/sysctl/{table}.rs"));
        let Some((_, entry)) = text.split_once(&format!("\"{}\"", self.name)) else { return false };
        has_word(entry.split("\"net.").next().unwrap_or_default(), field)
    }
}

fn has_word(text: &str, word: &str) -> bool {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|found| found == word)
}

#[test]
fn the_page_lists_the_table() {
    let path = root().join(PAGE);
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
The table below is made from the code (`libnetinet/src/sysctl`), and a test holds the two together. For each setting
[`tests/conformance/sysctls.toml`](../tests/conformance/sysctls.toml) names tests of what it changes.

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
