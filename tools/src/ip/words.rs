//! Command words, which may be shortened.

use crate::fail::Failure;

/// Words that are taken one after the other.
#[derive(Clone, Debug)]
pub(super) struct Words<'a> {
    words: &'a [String],
}

impl<'a> Words<'a> {
    pub(super) const fn new(words: &'a [String]) -> Self {
        Words { words }
    }

    /// The next word, which stays.
    pub(super) fn peek(&self) -> Option<&'a str> {
        self.words.first().map(String::as_str)
    }

    /// Takes the next word.
    pub(super) fn next(&mut self) -> Option<&'a str> {
        let (first, rest) = self.words.split_first()?;
        self.words = rest;
        Some(first)
    }

    /// Takes the word that has to follow.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn need(&mut self) -> Result<&'a str, Failure> {
        let missing = || {
            let text = "Command line is not complete. Try option \"help\"";
            Failure::verbatim(text, super::WRONG_USAGE)
        };
        self.next().ok_or_else(missing)
    }

    /// Takes the number that has to follow.
    ///
    /// # Errors
    /// There is none, or none that fits.
    pub(super) fn number<T: std::str::FromStr>(&mut self, what: &str) -> Result<T, Failure> {
        let word = self.need()?;
        word.parse().map_err(|_| {
            let text = format!("Error: argument \"{word}\" is wrong: Invalid \"{what}\" value\n");
            Failure::verbatim(text, super::WRONG_USAGE)
        })
    }
}

/// Is `word` the beginning of `full`?
pub(super) fn abbreviates(word: &str, full: &str) -> bool {
    !word.is_empty() && full.starts_with(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_is_enough() {
        assert!(abbreviates("a", "address") && abbreviates("address", "address"));
        assert!(!abbreviates("", "address") && !abbreviates("addresses", "address"));
    }
}
