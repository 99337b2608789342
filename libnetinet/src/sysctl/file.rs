//! Files of settings, as sysctl.d(5) has them.
//!
//! ```text
//! # a comment
//! net.ipv4.tcp_sack = 0
//! -net.ipv4.tcp_fack = 1               an error here is no matter
//! net.ipv4.conf.*.forwarding = 1       of every interface …
//! -net.ipv4.conf.shmif1.forwarding     … but this one
//! ```

use super::find::dotted;

/// A line of a file that sets something.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Assignment {
    /// Its number, from 1.
    pub line: usize,
    /// The name, its parts joined by dots. A pattern where it has `*` or `?`.
    pub name: String,
    /// What it is set to; `None`: patterns do not mean this name.
    pub value: Option<String>,
    /// A `-` in front: if it cannot be set, that is no matter.
    pub may_fail: bool,
}

/// A line that sets nothing, and is no comment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line} is not `NAME = VALUE`")]
pub struct FileError {
    /// Its number, from 1.
    pub line: usize,
}

impl Assignment {
    /// Reads `NAME=VALUE`, with or without blanks around the sign.
    ///
    /// # Errors
    /// There is no sign, or no name.
    pub fn parse(text: &str, line: usize) -> Result<Self, FileError> {
        let text = text.trim();
        let (may_fail, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.trim().to_owned())),
            None if may_fail => (text, None),
            None => return Err(FileError { line }),
        };
        let name = dotted(name);
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(FileError { line });
        }
        Ok(Assignment { line, name, value, may_fail })
    }

    fn is_pattern(&self) -> bool {
        self.name.contains(['*', '?'])
    }
}

/// Reads the text of a file. What begins with `#` or `;`, and what is blank, says nothing.
pub fn parse_file(text: &str) -> Vec<Result<Assignment, FileError>> {
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    let says = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with(['#', ';']));
    says.map(|(number, line)| Assignment::parse(line, number)).collect()
}

/// What a file sets, each name once and in its order: patterns mean the `names` that the file does
/// not name itself, whatever comes first.
pub fn resolve(assignments: &[Assignment], names: &[String]) -> Vec<Assignment> {
    let is_named =
        |name: &str| assignments.iter().any(|other| !other.is_pattern() && other.name == name);
    let mut all = Vec::new();
    for assignment in assignments.iter().filter(|assignment| assignment.value.is_some()) {
        if !assignment.is_pattern() {
            all.push(assignment.clone());
            continue;
        }
        let meant = names.iter().filter(|name| matches(&assignment.name, name));
        for name in meant.filter(|name| !is_named(name)) {
            all.push(Assignment { name: name.clone(), ..assignment.clone() });
        }
    }
    all
}

/// Does a pattern mean a name? `*` is any text, `?` any character.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    // Where the last `*` stands, and how far what it took reaches.
    let mut star = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(byte) if *byte == b'?' || *byte == name[n] => (p, n) = (p + 1, n + 1),
            _ => {
                let Some((at, taken)) = star else { return false };
                star = Some((at, taken + 1));
                (p, n) = (at + 1, taken + 1);
            }
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}
