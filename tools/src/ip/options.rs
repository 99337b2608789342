//! What stands before the object.

use libnet::Family;

use super::words::{Words, abbreviates};
use crate::fail::{Failure, Status};

/// How times are shown in front of events.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum Stamp {
    #[default]
    None,
    /// `-t`: a line of its own.
    Long,
    /// `-ts`: in brackets.
    Short,
}

#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Options {
    pub(super) family: Option<Family>,
    pub(super) json: bool,
    pub(super) pretty: bool,
    pub(super) stats: u8,
    pub(super) details: bool,
    pub(super) oneline: bool,
    pub(super) brief: bool,
    pub(super) stamp: Stamp,
}

impl Options {
    pub(super) fn parse(words: &mut Words<'_>) -> Result<Self, Failure> {
        let mut options = Options::default();
        while let Some(word) = words.peek().filter(|word| word.starts_with('-')) {
            words.next();
            let name = word.strip_prefix("--").or(word.strip_prefix('-')).unwrap_or(word);
            if name.is_empty() {
                break;
            }
            options.set(name, words)?;
        }
        Ok(options)
    }

    fn set(&mut self, name: &str, words: &mut Words<'_>) -> Result<(), Failure> {
        // In iproute2's own order, which says what an abbreviation means.
        match name {
            _ if abbreviates(name, "family") => {
                self.family = match words.need()? {
                    "inet" => Some(Family::Inet),
                    "inet6" => Some(Family::Inet6),
                    other => {
                        let text = format!("Error: argument \"{other}\" is wrong: invalid family");
                        return Err(Failure::verbatim(text, super::WRONG_USAGE));
                    }
                };
            }
            "4" => self.family = Some(Family::Inet),
            "6" => self.family = Some(Family::Inet6),
            _ if abbreviates(name, "stats") || abbreviates(name, "statistics") => self.stats += 1,
            _ if abbreviates(name, "details") => self.details = true,
            _ if abbreviates(name, "oneline") => self.oneline = true,
            _ if abbreviates(name, "timestamp") => self.stamp = Stamp::Long,
            _ if abbreviates(name, "tshort") || name == "ts" => self.stamp = Stamp::Short,
            _ if name.len() > 1 && abbreviates(name, "brief") => self.brief = true,
            _ if abbreviates(name, "json") => self.json = true,
            _ if abbreviates(name, "pretty") => self.pretty = true,
            // What these ask for is always so here, or says nothing.
            _ if abbreviates(name, "Numeric")
                || abbreviates(name, "resolve")
                || abbreviates(name, "human-readable")
                || name.starts_with('c') => {}
            _ => {
                let text = format!("Option \"-{name}\" is unknown, try \"ip -help\".");
                return Err(Failure::verbatim(text, Status(255)));
            }
        }
        Ok(())
    }
}
