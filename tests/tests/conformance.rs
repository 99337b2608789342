//! Holds `tests/conformance/clauses.toml` against the code, and `docs/conformance.md` against both.
//!
//! Every clause must name code and a test that exist, or say why not. The page is made from the
//! clauses: `CONFORMANCE_WRITE=1 cargo test -p rumpnet-tests --test conformance` writes it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use rumpnet_tests::places::{Places, Sources, root};
use serde::Deserialize;

const CLAUSES: &str = "tests/conformance/clauses.toml";
const PAGE: &str = "docs/conformance.md";

/// The numbered requirements of RFC 9293, Appendix B.
const TCP_REQUIREMENTS: std::ops::RangeInclusive<u32> = 1..=69;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Clauses {
    clause: Vec<Clause>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Clause {
    id: String,
    rfc: u32,
    section: String,
    level: String,
    text: String,
    #[serde(default)]
    code: Places,
    #[serde(default)]
    test: Places,
    deviation: Option<String>,
    not_applicable: Option<String>,
    open: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Status {
    Tested,
    Deviation,
    NotApplicable,
    Open,
}

#[test]
fn every_clause_names_code_and_tests_that_exist() {
    let mut sources = Sources::default();
    let mut complaints = Vec::new();
    for clause in load() {
        complaints.extend(clause.complaints(&mut sources));
    }
    assert!(complaints.is_empty(), "{CLAUSES}:\n{}", complaints.join("\n"));
}

#[test]
fn no_clause_is_listed_twice_and_no_tcp_requirement_is_missing() {
    let clauses = load();
    let mut ids = BTreeSet::new();
    for clause in &clauses {
        assert!(ids.insert(clause.id.as_str()), "{} is listed twice", clause.id);
        assert!(clause.id.starts_with(&format!("RFC{}-", clause.rfc)), "{}: other RFC", clause.id);
    }
    for number in TCP_REQUIREMENTS {
        assert!(ids.contains(format!("RFC9293-MUST-{number}").as_str()), "MUST-{number} missing");
    }
}

#[test]
fn the_page_is_what_the_clauses_say() {
    let page = render(&load());
    let path = root().join(PAGE);
    if std::env::var_os("CONFORMANCE_WRITE").is_some() {
        fs::write(&path, &page).expect("the page can be written");
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == page,
        "{PAGE} is out of date: CONFORMANCE_WRITE=1 cargo test -p rumpnet-tests --test conformance"
    );
}

impl Clause {
    fn status(&self) -> Status {
        match (&self.deviation, &self.not_applicable, &self.open) {
            (Some(_), _, _) => Status::Deviation,
            (_, Some(_), _) => Status::NotApplicable,
            (_, _, Some(_)) => Status::Open,
            (None, None, None) => Status::Tested,
        }
    }

    fn complaints(&self, sources: &mut Sources) -> Vec<String> {
        let mut complaints = Vec::new();
        let reasons = [&self.deviation, &self.not_applicable, &self.open];
        let given = reasons.into_iter().flatten().count();
        if given > 1 || reasons.into_iter().flatten().any(|reason| reason.trim().is_empty()) {
            complaints.push("wants one reason, and not an empty one".to_owned());
        }
        if given == 0 && (self.code.list().is_empty() || self.test.list().is_empty()) {
            complaints.push("names no code or no test, and no reason".to_owned());
        }
        if !["MUST", "MUST NOT", "STEP"].contains(&self.level.as_str()) {
            complaints.push(format!("level {:?} is unknown", self.level));
        }
        for place in self.code.list() {
            if !sources.has_anchor(place) {
                complaints.push(format!("there is no {place}"));
            }
        }
        for place in self.test.list() {
            if !sources.has_test(place) {
                complaints.push(format!("there is no test {place}"));
            }
        }
        complaints.into_iter().map(|complaint| format!("{}: {complaint}", self.id)).collect()
    }
}

fn load() -> Vec<Clause> {
    let text = fs::read_to_string(root().join(CLAUSES)).expect("the clauses are there");
    toml::from_str::<Clauses>(&text).unwrap_or_else(|error| panic!("{CLAUSES}: {error}")).clause
}

fn render(clauses: &[Clause]) -> String {
    let mut by_rfc: Vec<(u32, Vec<&Clause>)> = Vec::new();
    for clause in clauses {
        match by_rfc.iter_mut().find(|(rfc, _)| *rfc == clause.rfc) {
            Some((_, list)) => list.push(clause),
            None => by_rfc.push((clause.rfc, vec![clause])),
        }
    }
    let mut page = String::from(INTRODUCTION);
    page.push_str("| RFC | rules | code and test | deviation | not applicable | open |\n");
    page.push_str("|---|---:|---:|---:|---:|---:|\n");
    for (rfc, list) in &by_rfc {
        summary_row(&mut page, &format!("[{rfc}](#rfc-{rfc})"), list);
    }
    summary_row(&mut page, "all", &clauses.iter().collect::<Vec<_>>());
    for (rfc, list) in &by_rfc {
        write!(page, "\n## RFC {rfc}\n\n| § | level | rule | where |\n|---|---|---|---|\n")
            .expect("a string takes all");
        for clause in list {
            clause_row(&mut page, clause);
        }
    }
    page.push_str(LABELS);
    for (path, label) in labels() {
        writeln!(page, "- [{path}](../{path}): {label}").expect("a string takes all");
    }
    page
}

/// Every `DEVIATES` label of the code, with its file: from the label to the end of its comment.
fn labels() -> Vec<(String, String)> {
    let mut folders: Vec<PathBuf> = [
        "src",
        "libnet/src",
        "libnetinet/src",
        "shmif/src",
        "virtif/src",
        "sockin/src",
        "tools/src",
    ]
    .map(|folder| root().join(folder))
    .to_vec();
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.expect("an entry can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("sources are text");
                let name = path.strip_prefix(root()).expect("it lies in the root");
                let name = name.display().to_string();
                found.extend(labels_in(&text).into_iter().map(|label| (name.clone(), label)));
            }
        }
    }
    found.sort();
    found
}

fn labels_in(text: &str) -> Vec<String> {
    let comment = |line: &str| {
        let line = line.trim_start();
        line.strip_prefix("///").or(line.strip_prefix("//")).map(|rest| rest.trim().to_owned())
    };
    let lines: Vec<Option<String>> = text.lines().map(comment).collect();
    let begins = |line: &Option<String>| line.as_ref().is_some_and(|l| l.starts_with("DEVIATES "));
    (0..lines.len())
        .filter(|&at| begins(&lines[at]))
        .map(|at| {
            let rest = lines[at + 1..].iter().take_while(|line| {
                line.as_ref().is_some_and(|text| !text.is_empty()) && !begins(line)
            });
            let words: Vec<&str> =
                std::iter::once(&lines[at]).chain(rest).flatten().map(String::as_str).collect();
            words.join(" ").replacen("DEVIATES ", "", 1)
        })
        .collect()
}

fn summary_row(page: &mut String, name: &str, clauses: &[&Clause]) {
    let count = |status| clauses.iter().filter(|clause| clause.status() == status).count();
    writeln!(
        page,
        "| {name} | {} | {} | {} | {} | {} |",
        clauses.len(),
        count(Status::Tested),
        count(Status::Deviation),
        count(Status::NotApplicable),
        count(Status::Open)
    )
    .expect("a string takes all");
}

fn clause_row(page: &mut String, clause: &Clause) {
    let number = clause.id.strip_prefix("RFC9293-").unwrap_or_default();
    let section = match number {
        "" => clause.section.clone(),
        number => format!("{} ({number})", clause.section),
    };
    let reason = match clause.status() {
        Status::Tested => None,
        Status::Deviation => Some(("deviates", &clause.deviation)),
        Status::NotApplicable => Some(("not applicable", &clause.not_applicable)),
        Status::Open => Some(("**open**", &clause.open)),
    };
    let mut parts = Vec::new();
    if let Some((word, Some(reason))) = reason {
        parts.push(format!("{word}: {reason}"));
    }
    parts.extend(clause.code.list().iter().map(|place| link(place)));
    parts.extend(clause.test.list().iter().map(|place| format!("test {}", link(place))));
    writeln!(page, "| {section} | {} | {} | {} |", clause.level, clause.text, parts.join("<br>"))
        .expect("a string takes all");
}

/// A link to the file, named by its anchor.
fn link(place: &str) -> String {
    let (path, anchor) = place.split_once('#').unwrap_or((place, ""));
    format!("[`{anchor}`](../{path})")
}

const LABELS: &str = "
## Deviations labelled in the code

Beside those of the rules above, also of what an RFC only recommends.

";

const INTRODUCTION: &str = "\
# Conformance

<!-- Made from tests/conformance/clauses.toml; do not edit. -->

Every MUST and MUST NOT of the RFCs below, and as STEP what they describe or advise in other words and
we hold ourselves to, with the code that follows it and the test that fails when it does not. A rule
without both is a deliberate deviation, does not apply, or is open. `cargo test -p rumpnet-tests --test conformance` checks that
each place named here exists.

";
