//! Places in the sources, `path#anchor`, as the lists of `tests/conformance` name them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// One `path#anchor` or several.
#[derive(Deserialize, Default, Debug)]
#[serde(untagged)]
pub enum Places {
    /// None is named.
    #[default]
    None,
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl Places {
    /// All of them.
    pub fn list(&self) -> &[String] {
        match self {
            Self::None => &[],
            Self::One(place) => std::slice::from_ref(place),
            Self::Many(places) => places,
        }
    }
}

/// Files read once.
#[derive(Default, Debug)]
pub struct Sources(BTreeMap<String, String>);

impl Sources {
    /// Whether `path#anchor` names an item defined in that file, or else a text found in it.
    pub fn has_anchor(&mut self, place: &str) -> bool {
        let Some((path, anchor)) = place.split_once('#') else { return false };
        let text = self.read(path);
        if anchor.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return defines(text, anchor);
        }
        !anchor.is_empty() && text.contains(anchor)
    }

    /// Whether `path#function` names a function that carries a test attribute or stands in a
    /// `proptest!` block, where the attribute comes first as well.
    pub fn has_test(&mut self, place: &str) -> bool {
        let Some((path, function)) = place.split_once('#') else { return false };
        let lines: Vec<&str> = self.read(path).lines().collect();
        let heads = [format!("fn {function}("), format!("fn {function}<")];
        lines.iter().enumerate().any(|(at, line)| {
            heads.iter().any(|head| line.contains(head))
                && (line.contains("#[test]")
                    || lines[..at]
                        .iter()
                        .rev()
                        .take_while(|above| is_attribute_or_comment(above))
                        .any(|above| above.trim_start().starts_with("#[test]")))
        })
    }

    /// A file's text; empty if there is none.
    pub fn read(&mut self, path: &str) -> &str {
        self.0
            .entry(path.to_owned())
            .or_insert_with(|| fs::read_to_string(root().join(path)).unwrap_or_default())
    }
}

fn is_attribute_or_comment(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("#[") || line.starts_with("//")
}

/// Whether `text` defines an item called `name`.
fn defines(text: &str, name: &str) -> bool {
    const KINDS: &[&str] = &[
        "fn ",
        "struct ",
        "enum ",
        "const ",
        "static ",
        "type ",
        "trait ",
        "mod ",
        "macro_rules! ",
    ];
    KINDS.iter().any(|kind| {
        let head = format!("{kind}{name}");
        text.match_indices(&head).any(|(at, _)| {
            let next = text[at + head.len()..].chars().next();
            !next.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_')
        })
    })
}

/// The folder of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the root").to_owned()
}
