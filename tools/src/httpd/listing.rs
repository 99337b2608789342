//! A folder as a page.

use std::fmt::Write as _;
use std::fs::File;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use rustix::fs::{AtFlags, Dir, FileType, statat};

use crate::units;

/// Entries read at most.
const MAX_ENTRIES: usize = 10_000;
/// Bytes of entries on a page at most: it is held whole for as long as its reader takes.
const MAX_PAGE_BYTES: usize = 512 * 1024;
/// What stands in a link as it is: RFC 3986 §2.3.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

struct Entry {
    name: Vec<u8>,
    is_folder: bool,
    bytes: Option<u64>,
}

/// The page of a folder that stands at `url_path`.
///
/// # Errors
/// The file system's.
pub(super) fn page(folder: &File, url_path: &str) -> std::io::Result<String> {
    let (mut entries, mut more) = read(folder)?;
    entries.sort_by(|a, b| (!a.is_folder, &a.name).cmp(&(!b.is_folder, &b.name)));
    let title = escape(&percent_decode_str(url_path).decode_utf8_lossy());
    let mut page = format!(
        "<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\"><title>{title}</title></head>\n\
         <body><h1>{title}</h1>\n<table>\n"
    );
    if !url_path.trim_matches('/').is_empty() {
        page.push_str("<tr><td><a href=\"../\">../</a></td><td></td></tr>\n");
    }
    for (shown, Entry { name, is_folder, bytes }) in entries.iter().enumerate() {
        let (link, slash) = (percent_encode(name, ESCAPED), if *is_folder { "/" } else { "" });
        let text = escape(&String::from_utf8_lossy(name));
        let size = bytes.map(units::bytes).unwrap_or_default();
        let row = format!(
            "<tr><td><a href=\"{link}{slash}\">{text}{slash}</a></td><td>{size}</td></tr>\n"
        );
        if page.len() + row.len() > MAX_PAGE_BYTES {
            more += entries.len() - shown;
            break;
        }
        page.push_str(&row);
    }
    page.push_str("</table>\n");
    if more > 0 {
        // Writing to a string cannot fail.
        let _ = writeln!(page, "<p>and {more} more</p>");
    }
    page.push_str("</body></html>\n");
    Ok(page)
}

/// The entries, up to the bound, and how many more there are.
fn read(folder: &File) -> std::io::Result<(Vec<Entry>, usize)> {
    let (mut entries, mut more) = (Vec::new(), 0);
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        if entries.len() == MAX_ENTRIES {
            more += 1;
            continue;
        }
        // Not followed: what lies outside is nobody's business.
        let Ok(stat) = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        let kind = FileType::from_raw_mode(stat.st_mode);
        let is_file = kind == FileType::RegularFile;
        entries.push(Entry {
            name: name.to_bytes().to_vec(),
            is_folder: kind == FileType::Directory,
            bytes: is_file.then(|| u64::try_from(stat.st_size).unwrap_or(0)),
        });
    }
    Ok((entries, more))
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_and_linked_whatever_they_are() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("z")).unwrap();
        for name in ["<b>&\"", "a b", "javascript:x"] {
            std::fs::write(folder.path().join(name), "12").unwrap();
        }
        let page = page(&File::open(folder.path()).unwrap(), "/x%3Cy/").unwrap();
        assert!(page.contains("<title>/x&lt;y/</title>"), "{page}");
        assert!(
            page.contains("<a href=\"%3Cb%3E%26%22\">&lt;b&gt;&amp;&quot;</a></td><td>2 B"),
            "{page}"
        );
        assert!(page.contains("<a href=\"a%20b\">a b</a>"), "{page}");
        assert!(page.contains("<a href=\"javascript%3Ax\">"), "no scheme: {page}");
        assert!(page.contains("<a href=\"../\">"), "{page}");
        assert!(page.find("\"z/\"") < page.find("a%20b"), "folders first: {page}");
    }

    #[test]
    fn a_page_is_bounded_and_says_how_many_more_there_are() {
        let folder = tempfile::tempdir().unwrap();
        for n in 0..400 {
            // As much as a name can take on a page.
            std::fs::write(folder.path().join(format!("{n:03}{}", "\"".repeat(252))), "").unwrap();
        }
        let page = page(&File::open(folder.path()).unwrap(), "/").unwrap();
        assert!(page.len() <= MAX_PAGE_BYTES + 100, "{} bytes", page.len());
        let shown = page.matches("<tr>").count();
        assert!(shown > 100 && shown < 400, "{shown} are shown");
        assert!(page.ends_with(&format!("<p>and {} more</p>\n</body></html>\n", 400 - shown)));
    }
}
