//! What `--sysctl` sets when a stack starts: `NAME=VALUE`, or a file of such lines.

use std::fs;

use rumpnet::libnetinet::sysctl::{Assignment, SysctlError, parse_file, resolve};
use rumpnet::{Inet, InetConfig};

use crate::fail::Failure;

/// What is set, and where it was said.
#[derive(Debug, Default)]
pub struct Settings {
    said: Vec<(String, Vec<Assignment>)>,
}

impl Settings {
    /// Reads what the command line says.
    ///
    /// # Errors
    /// A file that cannot be read, and lines that set nothing.
    pub fn read(words: &[String]) -> Result<Self, Failure> {
        let read = |word: &String| {
            if word.contains('=') {
                let one = Assignment::parse(word, 1);
                let one = one.map_err(|_| Failure::usage(format!("`{word}` is not NAME=VALUE")))?;
                return Ok((format!("--sysctl {word}"), vec![one]));
            }
            let cannot = |error| {
                let what =
                    format!("cannot read {word}: {error}: give --sysctl NAME=VALUE, or a file");
                Failure::usage(what)
            };
            let text = fs::read_to_string(word).map_err(cannot)?;
            let lines: Result<Vec<_>, _> = parse_file(&text).into_iter().collect();
            Ok((word.clone(), lines.map_err(|error| Failure::usage(format!("{word}: {error}")))?))
        };
        Ok(Settings { said: words.iter().map(read).collect::<Result<_, _>>()? })
    }

    /// Sets what a stack is to start with; the rest, which is of interfaces, is left.
    ///
    /// # Errors
    /// What cannot be set.
    pub fn configure(&self, config: &mut InetConfig) -> Result<(), Failure> {
        for (place, assignments) in &self.said {
            // Without interfaces, patterns mean nothing yet.
            for one in resolve(assignments, &[]) {
                let value = one.value.as_deref().unwrap_or_default();
                match config.set_sysctl(&one.name, value) {
                    Ok(()) | Err(SysctlError::OfInterface) => {}
                    Err(_) if one.may_fail => {}
                    Err(error) => return Err(cannot_set(place, &one, &error)),
                }
            }
        }
        Ok(())
    }

    /// Sets all of it, now that interfaces are there.
    ///
    /// # Errors
    /// What cannot be set.
    pub fn apply(&self, inet: &Inet) -> Result<(), Failure> {
        if self.said.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = inet.sysctls().into_iter().map(|entry| entry.name).collect();
        for (place, assignments) in &self.said {
            for one in resolve(assignments, &names) {
                let set = inet.set_sysctl(&one.name, one.value.as_deref().unwrap_or_default());
                if let Err(error) = set
                    && !one.may_fail
                {
                    return Err(cannot_set(place, &one, &error));
                }
            }
        }
        Ok(())
    }
}

fn cannot_set(place: &str, one: &Assignment, error: &SysctlError) -> Failure {
    let Assignment { line, name, value, .. } = one;
    let line = if place.starts_with("--") { String::new() } else { format!(", line {line}") };
    let value = value.as_deref().unwrap_or_default();
    Failure::usage(format!("{place}{line}: cannot set {name} to `{value}`: {error}"))
}
