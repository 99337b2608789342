//! Any text as a URL, and as where a redirect leads.

use super::url::Url;

/// A URL in the first line, where redirects lead in the others.
pub(crate) fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut lines = text.split('\n');
    let mut url = match Url::parse(lines.next().unwrap_or_default()) {
        Ok(url) => url,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    check(&url);
    for line in lines.take(8) {
        match url.join(line) {
            Ok(next) => url = next,
            Err(error) => assert!(!error.to_string().is_empty()),
        }
        check(&url);
    }
}

fn check(url: &Url) {
    assert!(url.path.starts_with('/'), "{url}");
    assert_ne!(url.server.port(), 0, "{url}");
    let is_plain = |text: &str| text.bytes().all(|byte| byte > b' ' && byte != 0x7f);
    assert!(is_plain(&url.path) && is_plain(&url.host), "one line of a request: {url}");
    let name = url.file_name();
    assert!(!name.is_empty() && name != "." && name != ".." && !name.contains('/'), "{name}");
    let again = Url::parse(&url.to_string()).expect("what is shown can be got");
    assert_eq!((again.server, &again.host, &again.path), (url.server, &url.host, &url.path));
}

/// URLs and redirects of each kind.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let seeds = [
        "http://10.0.0.1/a?b#c",
        "10.0.0.1:8080",
        "[fe80::1%25shmif0]:81/x\n/y\n?z\nw\n//10.0.0.2/\nhttp://10.0.0.3/\nmailto:x",
        "https://10.0.0.1/",
        "http://me:pw@10.0.0.1/",
    ];
    seeds.iter().map(|seed| seed.as_bytes().to_vec()).collect()
}
