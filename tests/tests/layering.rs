//! Dependencies between the workspace's packages point one way.
//!
//! ```text
//! libnet <- { libnetinet, virtif, shmif, sockin } <- rumpnet <- { c, rumpclient, tools, tests, benches } <- rumphijack
//! ```
//!
//! Siblings never see each other, so that each can be replaced, built and read alone. Build and test
//! dependencies obey the same rule.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// The layers, lowest first. A package may depend on packages of lower layers only.
const LAYERS: &[&[&str]] = &[
    &["rumpnet-net"],
    &["rumpnet-netinet", "rumpnet-virtif", "rumpnet-shmif", "rumpnet-sockin"],
    &["rumpnet"],
    &["rumpnet-c", "rumpnet-client", "rumpnet-tools", "rumpnet-tests", "rumpnet-benches"],
    &["rumpnet-hijack"],
];

#[test]
fn packages_depend_only_on_lower_layers() {
    let mut complaints = Vec::new();
    for (package, dependencies) in workspace_dependencies() {
        let Some(own) = layer_of(&package) else {
            complaints.push(format!("{package} stands in no layer: add it to LAYERS"));
            continue;
        };
        for dependency in dependencies {
            match layer_of(&dependency) {
                Some(theirs) if theirs < own => {}
                _ => complaints.push(format!("{package} must not depend on {dependency}")),
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn libraries_take_no_wall_clock_thread_or_entropy_crates() {
    // The protocol crates are pure: what they need of the host is passed in.
    const FORBIDDEN: &[&str] = &["tokio", "getrandom", "rand", "nix", "libc", "memmap2", "loom"];
    let metadata = metadata();
    for package in metadata["packages"].as_array().expect("packages") {
        if package["name"] != "rumpnet-netinet" {
            continue;
        }
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let name = dependency["name"].as_str().expect("name");
            let normal = dependency["kind"].is_null();
            assert!(!normal || !FORBIDDEN.contains(&name), "rumpnet-netinet depends on {name}");
        }
    }
}

fn layer_of(package: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&package))
}

/// Every workspace package with the workspace packages it names, of any kind, optional ones too.
fn workspace_dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("packages");
    let members: BTreeSet<&str> =
        packages.iter().map(|package| package["name"].as_str().expect("name")).collect();
    packages
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().expect("dependencies");
            let inside = dependencies
                .iter()
                .filter_map(|dependency| dependency["name"].as_str())
                .filter(|name| members.contains(name))
                .map(str::to_owned)
                .collect();
            (package["name"].as_str().expect("name").to_owned(), inside)
        })
        .collect()
}

fn metadata() -> Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the root");
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root)
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON")
}
