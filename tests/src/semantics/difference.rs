//! Shows how two transcripts differ.

use std::fmt::Write as _;

/// Two transcripts, side by side, with a mark where they differ.
pub fn side_by_side(left: (&str, &[String]), right: (&str, &[String])) -> String {
    let width = left.1.iter().map(String::len).chain([left.0.len()]).max().unwrap_or(0);
    let mut out = format!("    {:width$}   {}\n", left.0, right.0);
    for at in 0..left.1.len().max(right.1.len()) {
        let of = |lines: &[String]| lines.get(at).cloned().unwrap_or_default();
        let (l, r) = (of(left.1), of(right.1));
        let mark = if l == r { ' ' } else { '|' };
        writeln!(out, "    {l:width$} {mark} {r}").expect("a string takes all");
    }
    out
}
