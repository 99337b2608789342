//! Runs the semantics suite: the host's sockets are the oracle, the subjects are the host once more,
//! the host's sockets through sockin, a stack's loopback, and two stacks on a bus.
//!
//! What differs on purpose stands in `tests/conformance/semantics.toml`, and `docs/semantics.md` is
//! made from that: `SEMANTICS_WRITE=1 cargo test -p rumpnet-tests --test semantics page` writes it.
//! The example of the same name prints what differs.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use libnet::socket::Family;
use rumpnet_tests::semantics::Net;
use rumpnet_tests::semantics::cases::TABLES;
use rumpnet_tests::semantics::difference::{Verdict, judge};
use rumpnet_tests::semantics::host::Host;
use rumpnet_tests::semantics::known::{Known, known};
use rumpnet_tests::semantics::node::Node;

const PAGE: &str = "docs/semantics.md";

/// A test for each table of cases, by its name, and the list of those names.
macro_rules! themes {
    ($($theme:ident)*) => {
        $(#[test]
        fn $theme() {
            holds(stringify!($theme));
        })*

        const THEMES: &[&str] = &[$(stringify!($theme)),*];
    };
}

themes! {
    bind close connect deferred errors fast_open groups info inherited keepalive listen options reach
    readiness segments signed stream timeouts timers udp urgent waters
}

#[test]
fn every_table_has_a_test() {
    let tables: BTreeSet<_> = TABLES.iter().map(|(theme, _)| *theme).collect();
    assert_eq!(tables, THEMES.iter().copied().collect());
}

#[test]
fn every_known_difference_names_a_case_and_its_subjects_once() {
    let cases: BTreeSet<_> = TABLES.iter().flat_map(|(_, cases)| *cases).map(|c| c.name).collect();
    let mut seen = BTreeSet::new();
    for known in known() {
        assert!(cases.contains(known.case.as_str()), "there is no case {:?}", known.case);
        assert!(!known.on.is_empty(), "{:?} is on no subject", known.case);
        for name in known.on {
            assert!(SUBJECTS.contains(&name.as_str()), "{:?}: no subject {name:?}", known.case);
            let entry = (known.case.clone(), name, known.version);
            assert!(seen.insert(entry), "{:?} is listed twice", known.case);
        }
        let texts = [known.linux, known.ours, known.reason];
        assert!(texts.iter().all(|text| !text.trim().is_empty()), "{:?} says nothing", known.case);
    }
}

#[test]
fn the_page_is_what_the_list_says() {
    let page = render(&known());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(PAGE);
    if std::env::var_os("SEMANTICS_WRITE").is_some() {
        fs::write(&path, &page).expect("the page can be written");
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == page,
        "{PAGE} is out of date: SEMANTICS_WRITE=1 cargo test -p rumpnet-tests --test semantics page"
    );
}

/// Runs a table's cases over every subject; fails with all that is not as it should be.
fn holds(theme: &str) {
    let host = Host::best();
    let mut complaints = holds_over(&host, theme);
    match host.six() {
        Ok(host) => complaints += &holds_over(&host, theme),
        Err(error) => {
            eprintln!("skipped: {theme} over IPv6: {error}: it takes a network namespace")
        }
    }
    assert!(complaints.is_empty(), "\n{complaints}");
}

/// The same over the host's family; what is not as it should be.
fn holds_over(host: &Host, theme: &str) -> String {
    let family = host.family();
    let sockin = Node::sockin(host).expect("the host's sockets can be had");
    let loopback = Node::loopback(family).expect("a stack can be made");
    let bus = Node::bus(family).expect("a bus can be made");
    let subjects: [&dyn Net; 4] = [host, &sockin, &loopback, &bus];
    let (_, cases) = TABLES.iter().find(|(name, _)| *name == theme).expect("the theme is a table");
    let known = known();
    let mut complaints = String::new();
    for case in cases.iter().filter(|case| family == Family::Inet || !case.is_ipv4_only) {
        if case.wants_closed_net && !host.is_closed() {
            eprintln!("skipped: {}: it takes a network namespace, so root", case.name);
            continue;
        }
        let oracle = case.transcript(host, None);
        for subject in subjects {
            let complaint = match judge(case, host, &oracle, subject, &known) {
                Verdict::Same | Verdict::Meant(_) => continue,
                Verdict::Differs(both) => both,
                Verdict::NoLongerDiffers => "is listed in semantics.toml, and is the same".into(),
                Verdict::Broken(transcript) => format!("cannot be run:\n    {transcript}"),
            };
            writeln!(complaints, "{} ({}, {family})\n{complaint}", case.name, subject.name())
                .expect("a string takes all");
        }
    }
    complaints
}

/// Those that may be listed; the host may not.
const SUBJECTS: [&str; 3] = ["sockin", "loopback", "bus"];

fn render(known: &[Known]) -> String {
    let mut page = INTRODUCTION.to_owned();
    for (theme, cases) in TABLES {
        let differ = known.iter().filter(|known| cases.iter().any(|c| c.name == known.case));
        writeln!(page, "| {theme} | {} | {} |", cases.len(), differ.count())
            .expect("a string takes all");
    }
    let all: usize = TABLES.iter().map(|(_, cases)| cases.len()).sum();
    writeln!(page, "| all | {all} | {} |\n\n{DIFFERENCES}", known.len())
        .expect("a string takes all");
    for Known { case, on, version, linux, ours, reason, .. } in known {
        let over = version.map_or(String::new(), |version| format!(" (IPv{version})"));
        writeln!(page, "| {case}{over} | {} | {linux} | {ours} | {reason} |", on.join(", "))
            .expect("a string takes all");
    }
    page
}

const INTRODUCTION: &str = "\
# Semantics

<!-- Made from tests/conformance/semantics.toml; do not edit. -->

What a program sees of a socket is what it sees on Linux, or it stands below. One source of cases
(`tests/src/semantics/cases`) runs over the host's own sockets, which are the oracle, and over four
subjects: the host once more (it must agree with itself), the host's sockets through sockin, a stack's
loopback, and two stacks on a bus. A case is a sentence and a scenario; what its calls return is its
transcript. Each runs over IPv4 and, unless it is about broadcasts or about mixing the two, over IPv6.
`cargo test -p rumpnet-tests --test semantics` fails when a transcript differs that is not
listed here, and when one that is listed does not differ any more;
`cargo run -p rumpnet-tests --example semantics` prints every transcript that differs. Neither needs a
privilege; the cases that send to other networks take a network namespace, and without root are skipped
with a word. The list was last held against Linux 6.18.

| theme | cases | differ |
|---|---:|---:|
";

const DIFFERENCES: &str = "\
## Differences

| case | on | Linux | here | why |
|---|---|---|---|---|";
