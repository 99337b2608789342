//! `http://ADDRESS[:PORT]/PATH`, and what a redirect makes of it.

use std::net::SocketAddr;

use hyper::Uri;
use rumpnet::Stack;

use crate::fail::Failure;
use crate::host;
use crate::zone::Zoned;

/// Whom to ask, and for what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Url {
    /// Whom to connect to.
    pub(super) server: SocketAddr,
    /// The link that a link-local server is of (RFC 6874); it is no part of what is sent.
    zone: Option<String>,
    /// The server as the URL has it, for the Host header.
    pub(super) host: String,
    /// Path and query, as they are sent; at least `/`.
    pub(super) path: String,
}

/// Why a text is no URL that can be got.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum UrlError {
    /// Another scheme.
    #[error("`{scheme}:` is not there, only http: stacks have no {scheme}")]
    Scheme {
        /// What was given.
        scheme: String,
    },
    /// Not a URL.
    #[error("`{text}` is not a URL: write http://10.0.0.1/file")]
    Malformed {
        /// What was given.
        text: String,
    },
    /// A name and a password.
    #[error("`{text}` holds a user's name: give -H 'Authorization: …' instead")]
    User {
        /// What was given.
        text: String,
    },
    /// A name for a host.
    #[error("{message}; a Host header may be given by -H")]
    Name {
        /// What is wrong with it.
        message: String,
    },
}

impl Url {
    /// A URL as a user writes it; the scheme may be left out.
    ///
    /// # Errors
    /// What cannot be got.
    pub(super) fn parse(text: &str) -> Result<Self, UrlError> {
        let malformed = || UrlError::Malformed { text: text.to_owned() };
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        if !scheme.eq_ignore_ascii_case("http") {
            let is_scheme = scheme.bytes().all(|byte| byte.is_ascii_alphanumeric());
            let scheme = scheme.to_ascii_lowercase();
            return Err(if is_scheme { UrlError::Scheme { scheme } } else { malformed() });
        }
        let (rest, zone) = take_zone(rest);
        let uri: Uri = format!("http://{rest}").parse().map_err(|_| malformed())?;
        let authority = uri.authority().ok_or_else(malformed)?;
        if authority.as_str().contains('@') {
            return Err(UrlError::User { text: text.to_owned() });
        }
        let wrong = |message| UrlError::Name { message };
        let zoned: Zoned = match &zone {
            Some(zone) => format!("{}%{zone}", authority.host()).parse().map_err(wrong)?,
            None => host::parse_ip(authority.host()).map_err(wrong)?.into(),
        };
        let port = match authority.port() {
            Some(port) => Some(port.as_u16()).filter(|&port| port > 0).ok_or_else(malformed)?,
            // An empty or overlong port is not one.
            None if authority.as_str().len() > authority.host().len() => return Err(malformed()),
            None => 80,
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Url {
            server: SocketAddr::new(zoned.ip, port),
            zone,
            host: authority.as_str().to_owned(),
            path: format!("{slash}{path}"),
        })
    }

    /// Where a redirect from here leads (RFC 3986 §5.2, but for the removal of dots, which servers
    /// do themselves).
    ///
    /// # Errors
    /// What cannot be got.
    pub(super) fn join(&self, location: &str) -> Result<Self, UrlError> {
        let location = location.split('#').next().unwrap_or_default();
        let colon = location.find(':');
        let has_scheme = colon.is_some_and(|at| location.find(['/', '?']).is_none_or(|s| at < s));
        if has_scheme {
            return match location.split_once("://") {
                Some(_) => Url::parse(location),
                None => Err(UrlError::Malformed { text: location.to_owned() }),
            };
        }
        if let Some(elsewhere) = location.strip_prefix("//") {
            return Url::parse(elsewhere);
        }
        let path = self.path.split('?').next().unwrap_or_default();
        let path = match location.chars().next() {
            None => self.path.clone(),
            Some('/') => location.to_owned(),
            Some('?') => format!("{path}{location}"),
            Some(_) => {
                let folder = path.rfind('/').map_or("/", |at| &path[..=at]);
                format!("{folder}{location}")
            }
        };
        let same = Url::parse(&format!("http://{}{path}", self.host))?;
        Ok(Url { zone: self.zone.clone(), ..same })
    }

    /// The server's address, as a stack's sockets take it.
    ///
    /// # Errors
    /// A link that is not there, or none told where there are several.
    pub(super) fn address(&self, stack: &Stack) -> Result<SocketAddr, Failure> {
        let server = Zoned { ip: self.server.ip(), zone: self.zone.clone() };
        server.at(stack, self.server.port())
    }

    /// The last part of the path, as a file's name.
    pub(super) fn file_name(&self) -> &str {
        let path = self.path.split('?').next().unwrap_or_default();
        match path.rsplit('/').next() {
            None | Some("" | "." | "..") => "index.html",
            Some(name) => name,
        }
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}{}", self.host, self.path)
    }
}

/// What stands behind the scheme without the zone of its address, and that zone. RFC 6874 §2 has it
/// behind `%25`; as RFC 6874 §3 suggests, `%` alone is taken too, as people write it elsewhere.
fn take_zone(rest: &str) -> (String, Option<String>) {
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let parts = authority.split_once('%').and_then(|(addr, behind)| {
        let (zone, port) = behind.split_once(']')?;
        addr.starts_with('[').then_some((addr, zone, port))
    });
    let Some((addr, zone, port)) = parts else { return (rest.to_owned(), None) };
    let zone = zone.strip_prefix("25").filter(|zone| !zone.is_empty()).unwrap_or(zone);
    (format!("{addr}]{port}{path}"), Some(zone.to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn told(text: &str) -> String {
        Url::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn urls_name_a_server_and_a_path() {
        assert_eq!(url("http://10.0.0.1/a?b#c").to_string(), "http://10.0.0.1/a?b");
        assert_eq!(url("10.0.0.1:8080").to_string(), "http://10.0.0.1:8080/");
        assert_eq!(url("HTTP://[fd00::1]:81/x").server, "[fd00::1]:81".parse().unwrap());
        assert_eq!(url("10.0.0.1?q").path, "/?q");
    }

    #[test]
    fn a_link_may_stand_behind_a_link_local_address() {
        for text in ["http://[fe80::1%25shmif0]:81/a", "[fe80::1%shmif0]:81/a"] {
            let url = url(text);
            assert_eq!(url.zone.as_deref(), Some("shmif0"));
            assert_eq!((url.server, &*url.path), ("[fe80::1]:81".parse().unwrap(), "/a"));
            assert_eq!(url.host, "[fe80::1]:81", "RFC 6874 §3: it is ours alone");
            assert_eq!(url.join("/b").unwrap().zone.as_deref(), Some("shmif0"));
            assert_eq!(url.join("http://10.0.0.1/").unwrap().zone, None);
        }
        assert_eq!(url("10.0.0.1/%20[x%]").zone, None);
        assert!(told("http://[fd00::1%25shmif0]/").contains("leave %shmif0 out"));
    }

    #[test]
    fn what_cannot_be_got_is_told() {
        assert_eq!(
            told("https://10.0.0.1/"),
            "`https:` is not there, only http: stacks have no https"
        );
        assert!(told("http://alice/").contains("`alice` is not an IP address"));
        for bad in [
            "",
            "http://",
            "http://10.0.0.1:0/",
            "10.0.0.1:/",
            "10.0.0.1:70000/",
            "http://a b/",
            "://x",
        ] {
            assert!(Url::parse(bad).is_err(), "{bad}");
        }
        assert!(told("http://me:pw@10.0.0.1/").contains("-H 'Authorization"));
    }

    #[test]
    fn redirects_are_resolved() {
        let from = url("http://10.0.0.1:81/a/b?c");
        for (location, to) in [
            ("http://10.0.0.2/x", "http://10.0.0.2/x"),
            ("//10.0.0.2/x", "http://10.0.0.2/x"),
            ("/x", "http://10.0.0.1:81/x"),
            ("x", "http://10.0.0.1:81/a/x"),
            ("?y", "http://10.0.0.1:81/a/b?y"),
            ("", "http://10.0.0.1:81/a/b?c"),
            ("#z", "http://10.0.0.1:81/a/b?c"),
        ] {
            assert_eq!(from.join(location).unwrap().to_string(), to, "{location}");
        }
        assert!(from.join("https://10.0.0.1/").is_err());
        assert!(from.join("mailto:x").is_err());
    }

    #[test]
    fn a_file_is_named_by_the_last_part() {
        assert_eq!(url("10.0.0.1/a/b.txt?x/y").file_name(), "b.txt");
        for path in ["", "/", "/a/", "/..", "/a/."] {
            assert_eq!(url(&format!("10.0.0.1{path}")).file_name(), "index.html");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in ".{0,40}", location in ".{0,20}") {
            let _ = Url::parse(&text);
            let _ = url("10.0.0.1/a/b").join(&location);
            if let Ok(url) = Url::parse(&format!("10.0.0.1/{text}")) {
                prop_assert!(!url.file_name().contains('/'));
            }
        }
    }
}
