//! What the whole tree promises and no compiler checks: file sizes, no skipped tests, unsafe code in
//! one place per crate, and links between documents that lead somewhere.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Lines of code, without comments, blank lines and unit tests, that a file may have.
const MAX_CODE_LINES: usize = 650;

/// Never in the tree: each is written in two pieces, so that this file does not find itself.
const FORBIDDEN: &[(&str, &str)] =
    &[("#[ign", "ore"), ("todo", "!("), ("unimplemented", "!("), ("dbg", "!(")];

#[test]
fn no_file_is_too_long_to_read() {
    let long: Vec<String> = rust_files()
        .into_iter()
        .filter(|(path, _)| !is_test_file(path))
        .map(|(path, text)| (path, code_lines(&text)))
        .filter(|(_, lines)| *lines > MAX_CODE_LINES)
        .map(|(path, lines)| format!("{}: {lines} lines of code", path.display()))
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn nothing_is_skipped_or_left_as_a_stub() {
    let mut found = Vec::new();
    for (path, text) in rust_files() {
        for (head, tail) in FORBIDDEN {
            if text.contains(&format!("{head}{tail}")) {
                found.push(format!("{}: {head}{tail}", path.display()));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn unsafe_code_stands_in_one_file_per_crate() {
    let mut by_crate: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
    for (path, text) in rust_files() {
        let blocks = text.lines().any(|line| {
            let code = line.split("//").next().unwrap_or_default();
            // In two pieces each, so that this file does not find itself.
            ["{", "impl", "fn"].iter().any(|what| code.contains(&format!("{} {what}", "unsafe")))
        });
        // Every function that C calls is unsafe to call; what they do with C's memory is in one file.
        let blocks = blocks && !path.starts_with("c/src/api");
        if blocks && let Some(home) = path.components().next() {
            by_crate.entry(home.as_os_str().into()).or_default().push(path.display().to_string());
        }
    }
    for (home, files) in by_crate {
        assert!(files.len() <= 1, "{}: unsafe in {}", home.display(), files.join(", "));
        assert!(
            home != Path::new("libnet") && home != Path::new("libnetinet"),
            "unsafe in {}",
            files.join(", ")
        );
    }
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut broken = Vec::new();
    for (path, text) in files(&["md"]) {
        let folder = path.parent().unwrap_or(Path::new(""));
        for target in link_targets(&text) {
            let file = target.split('#').next().unwrap_or_default();
            if !file.is_empty() && !root().join(folder).join(file).exists() {
                broken.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// The targets of `[text](target)` that lie in this tree.
fn link_targets(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).filter(|target| {
        !target.contains("://") && !target.starts_with('#') && !target.contains(char::is_whitespace)
    })
}

/// Lines that hold code, up to the unit tests, which stand last.
fn code_lines(text: &str) -> usize {
    text.lines()
        .take_while(|line| !line.starts_with("#[cfg(test)]") && !line.starts_with("#[cfg(all(test"))
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("//"))
        .count()
}

fn is_test_file(path: &Path) -> bool {
    path.file_stem().is_some_and(|stem| stem == "tests")
        || path.components().any(|part| part.as_os_str() == "tests")
}

fn rust_files() -> Vec<(PathBuf, String)> {
    files(&["rs"])
}

/// Every file of the tree with one of these extensions, by its path from the root.
fn files(extensions: &[&str]) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the tree can be read") {
            let path = entry.expect("an entry can be read").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                if !name.starts_with('.') && !["target", "corpus", "artifacts"].contains(&&*name) {
                    folders.push(path);
                }
                continue;
            }
            if path.extension().is_some_and(|ext| extensions.iter().any(|want| ext == *want)) {
                let text = fs::read_to_string(&path).expect("sources are text");
                let path = path.strip_prefix(root()).expect("it lies in the root").to_owned();
                found.push((path, text));
            }
        }
    }
    found.sort();
    found
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the root").to_owned()
}
