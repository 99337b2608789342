//! The header is made of the functions, and is checked in.

use std::path::Path;

use crate::build::root;

#[test]
fn header_is_up_to_date() {
    let config = cbindgen::Config::from_file(root().join("cbindgen.toml")).unwrap();
    let made = cbindgen::Builder::new().with_crate(root()).with_config(config).generate();
    let mut text = Vec::new();
    made.unwrap().write(&mut text);
    let text = without_safety(&String::from_utf8(text).unwrap());
    let path = root().join("include/rumpnet.h");
    if std::env::var_os("HEADER_WRITE").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read(&path).unwrap_or_default();
    assert!(
        kept == text.as_bytes(),
        "include/rumpnet.h is stale: HEADER_WRITE=1 cargo test -p rumpnet-c header"
    );
}

/// What is to be kept of the docs: the section for Rust repeats what C knows anyway.
fn without_safety(text: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut skips = false;
    for line in text.lines() {
        if line == "// # Safety" {
            skips = true;
            kept.pop_if(|before| *before == "//");
        }
        skips &= line.starts_with("//");
        if !skips {
            kept.push(line);
        }
    }
    kept.join("\n") + "\n"
}

#[test]
fn every_function_of_the_header_is_exported() {
    let header = std::fs::read_to_string(root().join("include/rumpnet.h")).unwrap();
    let source = |path: &Path| std::fs::read_to_string(path).unwrap();
    let files = std::fs::read_dir(root().join("src/api")).unwrap();
    let all: String = files.map(|file| source(&file.unwrap().path())).collect();
    let functions = all.lines().filter_map(|line| {
        let (_, rest) = line.split_once("extern \"C\" fn ")?;
        line.starts_with("pub").then(|| rest.split('(').next().unwrap_or(rest).to_owned())
    });
    let functions: Vec<_> = functions.collect();
    assert!(functions.len() > 40, "{functions:?}");
    for function in functions {
        assert!(header.contains(&format!("{function}(")), "{function} is not in the header");
    }
}
