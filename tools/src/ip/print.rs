//! How lists are printed: text over several lines or on one, or JSON.

use serde_json::Value;

use super::options::Options;
use crate::fail::Failure;
use crate::output::Output;

/// An entry of a list.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// Lines, without the last line's end.
    pub(super) text: String,
    pub(super) json: Value,
}

pub(super) fn print(
    items: Vec<Item>,
    options: &Options,
    output: &mut Output,
) -> Result<(), Failure> {
    if options.json {
        let all = Value::Array(items.into_iter().map(|item| item.json).collect());
        return if options.pretty { output.json_pretty(&all) } else { output.json(&all) };
    }
    for item in items {
        output.line(on_one_line(item.text, options))?;
    }
    Ok(())
}

pub(super) fn on_one_line(text: String, options: &Options) -> String {
    if options.oneline { text.replace('\n', "\\") } else { text }
}
