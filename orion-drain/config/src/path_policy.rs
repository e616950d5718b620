//! What becomes of a request before any route looks at it: its path, its host, its headers' names.

use std::borrow::Cow;

use super::{HttpConnectionManager, names::Named, rewrite::split_port};

/// What becomes of a path with an escaped slash or backslash in it (`%2F`, `%5C`).
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum EscapedSlashes {
    /// `IMPLEMENTATION_SPECIFIC_DEFAULT`: it stays.
    #[default]
    Default,
    /// `KEEP_UNCHANGED`: it stays.
    Keep,
    /// `REJECT_REQUEST`: the request is answered with 400.
    Reject,
    /// `UNESCAPE_AND_REDIRECT`: the client is sent to the path without it, with 307; gRPC is
    /// answered with 400.
    Redirect,
    /// `UNESCAPE_AND_FORWARD`: the path without it counts.
    Forward,
}

impl Named for EscapedSlashes {
    const NAMES: &'static [(&'static str, u64, Self)] = &[
        ("IMPLEMENTATION_SPECIFIC_DEFAULT", 0, Self::Default),
        ("KEEP_UNCHANGED", 1, Self::Keep),
        ("REJECT_REQUEST", 2, Self::Reject),
        ("UNESCAPE_AND_REDIRECT", 3, Self::Redirect),
        ("UNESCAPE_AND_FORWARD", 4, Self::Forward),
    ];
}

/// What becomes of headers with an underscore in their names.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Underscores {
    /// `ALLOW`: they stay.
    #[default]
    Allow,
    /// `REJECT_REQUEST`: the request is answered with 400.
    Reject,
    /// `DROP_HEADER`: they are left out.
    Drop,
}

impl Named for Underscores {
    const NAMES: &'static [(&'static str, u64, Self)] = &[
        ("ALLOW", 0, Self::Allow),
        ("REJECT_REQUEST", 1, Self::Reject),
        ("DROP_HEADER", 2, Self::Drop),
    ];
}

/// What becomes of a request by its path.
#[expect(clippy::exhaustive_enums, reason = "a proxy does one of these")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathOutcome<'p> {
    /// It has this path and query.
    Goes(Cow<'p, str>),
    /// The client is sent to this path and query, with 307.
    Redirect(String),
    /// It is answered with 400.
    Refused,
}

impl HttpConnectionManager {
    /// What becomes of a request with this path and query: escaped slashes first, then dots, then
    /// slashes that stand together, as in
    /// [Envoy](https://www.envoyproxy.io/docs/envoy/latest/faq/configuration/edge). With
    /// `normalize_path` one with an escaped NUL (`%00`) is refused, as there.
    pub fn path<'p>(&self, path_and_query: &'p str) -> PathOutcome<'p> {
        let action = self.path_with_escaped_slashes_action;
        let keeps = matches!(action, EscapedSlashes::Default | EscapedSlashes::Keep);
        let normalizes = self.normalize_path == Some(true);
        if (keeps && !normalizes && !self.merge_slashes) || !path_and_query.starts_with('/') {
            return PathOutcome::Goes(Cow::Borrowed(path_and_query));
        }
        let at = path_and_query.find('?').unwrap_or(path_and_query.len());
        let (path, query) = path_and_query.split_at(at);
        let mut path = Cow::Borrowed(path);
        let mut redirects = false;
        if !keeps {
            let unescaped = decoded(&path, |byte| byte == b'/' || byte == b'\\');
            if unescaped != path {
                match action {
                    EscapedSlashes::Reject => return PathOutcome::Refused,
                    EscapedSlashes::Redirect => redirects = true,
                    _ => {}
                }
                path = Cow::Owned(unescaped);
            }
        }
        if normalizes {
            if path.contains("%00") {
                return PathOutcome::Refused;
            }
            path = Cow::Owned(without_dots(&path));
        }
        if self.merge_slashes && path.contains("//") {
            path = Cow::Owned(merged(&path));
        }
        if redirects {
            return PathOutcome::Redirect(format!("{path}{query}"));
        }
        PathOutcome::Goes(match path {
            Cow::Owned(path) if *path != path_and_query[..at] => Cow::Owned(path + query),
            _ => Cow::Borrowed(path_and_query),
        })
    }

    /// The host as routes and upstreams see it. `local_port` is the one that the client connected
    /// to; only `strip_matching_host_port` looks at it.
    pub fn host<'h>(&self, host: &'h str, local_port: Option<u16>) -> Cow<'h, str> {
        let (name, port) = split_port(host);
        let own = port.and_then(|port| port.parse().ok()) == local_port;
        let strips = self.strip_any_host_port || (self.strip_matching_host_port && own);
        let bare = name.strip_suffix('.');
        match (bare.filter(|_| self.strip_trailing_host_dot), port) {
            (Some(bare), Some(port)) if !strips => format!("{bare}:{port}").into(),
            (Some(bare), _) => bare.into(),
            (None, Some(_)) if !strips => host.into(),
            (None, _) => name.into(),
        }
    }
}

/// A path, without its query, as Envoy's admin interface reads it: as with `normalize_path` and
/// `merge_slashes`.
///
/// # Examples
///
/// ```
/// use orion_drain_config::normal_path;
///
/// assert_eq!(normal_path("//a/../%72eady"), "/ready");
/// assert_eq!(normal_path("/ready%2F"), "/ready%2F");
/// assert_eq!(normal_path("*"), "*");
/// ```
pub fn normal_path(path: &str) -> String {
    match path.starts_with('/') {
        true => merged(&without_dots(path)),
        false => path.to_owned(),
    }
}

/// The path in which slashes that follow each other are one.
fn merged(path: &str) -> String {
    let mut merged = String::with_capacity(path.len());
    for letter in path.chars() {
        if letter != '/' || !merged.ends_with('/') {
            merged.push(letter);
        }
    }
    merged
}

/// The path with escapes of such bytes replaced by the bytes. A `%` that begins no escape begins
/// none afterwards: where what is decoded behind it would make one of it, it becomes `%25`.
fn decoded(path: &str, wanted: impl Fn(u8) -> bool) -> String {
    let mut decoded = String::with_capacity(path.len());
    let mut bare = Vec::new();
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        decoded.push_str(&rest[..at]);
        rest = &rest[at..];
        let byte = rest
            .get(1..3)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match byte {
            Some(byte) if wanted(byte) => {
                decoded.push(char::from(byte));
                rest = &rest[3..];
            }
            _ => {
                if byte.is_none() {
                    bare.push(decoded.len());
                }
                decoded.push('%');
                rest = &rest[1..];
            }
        }
    }
    decoded.push_str(rest);
    if bare.is_empty() {
        return decoded;
    }
    let mut kept = String::with_capacity(decoded.len());
    let mut from = 0;
    for at in bare {
        kept.push_str(&decoded[from..=at]);
        from = at + 1;
        let behind = decoded.as_bytes().get(from..from + 2);
        if behind.is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)) {
            kept.push_str("25");
        }
    }
    kept + &decoded[from..]
}

/// The path by RFC 3986, section 6: unreserved characters as themselves, `\` as `/`, no segment of
/// dots.
fn without_dots(path: &str) -> String {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let path = decoded(path, unreserved).replace('\\', "/");
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                // A folder stays a folder.
                if is_last {
                    kept.push("");
                }
            }
            segment => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manager(change: impl FnOnce(&mut HttpConnectionManager)) -> HttpConnectionManager {
        let mut manager = HttpConnectionManager::default();
        change(&mut manager);
        manager
    }

    #[test]
    fn dots_and_slashes_go_as_the_manager_says() {
        let plain = manager(|_| {});
        let normal = manager(|it| it.normalize_path = Some(true));
        let merged = manager(|it| it.merge_slashes = true);
        for (manager, path, expected) in [
            (&plain, "/a/../b//c%2fd", "/a/../b//c%2fd"),
            (&normal, "/a/../b?c/../d", "/b?c/../d"),
            (&normal, "/../../etc", "/etc"),
            (&normal, "/a/./b/..", "/a/"),
            (&normal, "/a/%2e%2E/b", "/b"),
            (&normal, "/%61%2Fb\\c", "/a%2Fb/c"),
            (&normal, "/a//b", "/a//b"),
            (&normal, "/100%", "/100%"),
            (&normal, "/a%zz%2", "/a%zz%2"),
            // Played against Envoy 1.40.0: nothing becomes an escape by what is decoded.
            (&normal, "/a/%2%65%2%65/b", "/a/%252e%252e/b"),
            (&normal, "/a%0%30", "/a%2500"),
            (&normal, "/%%32e%%32%65", "/%252e%252e"),
            (&normal, "*", "*"),
            (&merged, "//a///b?//", "/a/b?//"),
            (&merged, "/a/../b", "/a/../b"),
        ] {
            let goes = PathOutcome::Goes(Cow::Borrowed(expected));
            assert_eq!(manager.path(path), goes, "{path}");
        }
    }

    /// Played against Envoy 1.40.0.
    #[test]
    fn a_path_that_is_made_plain_has_no_escaped_nul() {
        let normal = manager(|it| it.normalize_path = Some(true));
        for path in ["/a%00b", "/%00", "/a%00/../b?c"] {
            assert_eq!(normal.path(path), PathOutcome::Refused, "{path}");
            let goes = PathOutcome::Goes(Cow::Borrowed(path));
            assert_eq!(manager(|_| {}).path(path), goes, "{path}");
        }
        for path in ["/a%01b?%00", "/a%0", "/a%25%30"] {
            assert!(matches!(normal.path(path), PathOutcome::Goes(_)), "{path}");
        }
    }

    #[test]
    fn escaped_slashes_are_kept_refused_redirected_or_forwarded() {
        for (action, expected) in [
            (
                EscapedSlashes::Keep,
                PathOutcome::Goes("/a%2Fb%5cc?%2f".into()),
            ),
            (EscapedSlashes::Reject, PathOutcome::Refused),
            (
                EscapedSlashes::Redirect,
                PathOutcome::Redirect("/a/b/c?%2f".into()),
            ),
            (
                EscapedSlashes::Forward,
                PathOutcome::Goes("/a/b/c?%2f".into()),
            ),
        ] {
            let manager = manager(|it| {
                it.normalize_path = Some(true);
                it.path_with_escaped_slashes_action = action;
            });
            assert_eq!(manager.path("/a%2Fb%5cc?%2f"), expected, "{action:?}");
        }
    }

    #[test]
    fn ports_of_hosts_are_stripped_as_asked() {
        let any = manager(|it| it.strip_any_host_port = true);
        let own = manager(|it| it.strip_matching_host_port = true);
        let dot = manager(|it| it.strip_trailing_host_dot = true);
        for (manager, host, expected) in [
            (&any, "a:80", "a"),
            (&any, "[::1]:80", "[::1]"),
            (&any, "[::1]", "[::1]"),
            (&own, "a:80", "a"),
            (&own, "a:81", "a:81"),
            (&own, "a", "a"),
            (&dot, "a.", "a"),
            (&dot, "a.:80", "a:80"),
            (&dot, "a:80", "a:80"),
        ] {
            assert_eq!(manager.host(host, Some(80)), expected, "{host}");
        }
    }
}
