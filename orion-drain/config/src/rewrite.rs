//! What becomes of a path on its way: rewritten for the upstream, or in a redirect.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{
    RegexMatcher, RequestHead, flags,
    names::{self, Named, is_default},
    numbers,
};

/// A part of a text that is replaced wherever it stands: `type.matcher.v3.RegexMatchAndSubstitute`.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegexRewrite {
    /// What is replaced.
    pub pattern: RegexMatcher,
    /// By what; `\1` is what the first group has matched, `\0` all of it.
    #[serde(default)]
    pub substitution: String,
}

impl RegexRewrite {
    /// The text with every match replaced.
    pub fn apply<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.pattern
            .anywhere()
            .replace_all(text, |found: &regex::Captures<'_>| {
                let mut replaced = String::new();
                let mut letters = self.substitution.chars();
                while let Some(letter) = letters.next() {
                    match (letter, letter == '\\') {
                        (_, true) => match letters.next() {
                            Some(digit) if digit.is_ascii_digit() => {
                                let group = digit.to_digit(10).unwrap_or_default() as usize;
                                replaced
                                    .push_str(found.get(group).map_or("", |group| group.as_str()));
                            }
                            Some(other) => replaced.push(other),
                            None => {}
                        },
                        (letter, false) => replaced.push(letter),
                    }
                }
                replaced
            })
    }

    /// What is wrong with it.
    pub(super) fn problem(&self) -> Option<String> {
        let groups = self.pattern.anywhere().captures_len();
        let mut letters = self.substitution.chars();
        while let Some(letter) = letters.next() {
            if letter != '\\' {
                continue;
            }
            match letters.next() {
                Some('\\') => {}
                Some(digit) if digit.is_ascii_digit() => {
                    if digit.to_digit(10).unwrap_or_default() as usize >= groups {
                        return Some(format!("`\\{digit}`: the pattern has no such group"));
                    }
                }
                _ => return Some("a backslash must be followed by a digit or a backslash".into()),
            }
        }
        None
    }
}

/// Path and query with the path changed by `path`.
pub(super) fn with_path(path_and_query: &str, path: impl FnOnce(&str) -> String) -> String {
    let at = path_and_query.find(['?', '#']);
    let (old, rest) = path_and_query.split_at(at.unwrap_or(path_and_query.len()));
    path(old) + rest
}

/// An answer that sends the client elsewhere: `config.route.v3.RedirectAction`. What is not named
/// stays as it was asked for.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedirectAction {
    /// To `https`. Default: no.
    #[serde(
        default,
        deserialize_with = "flags::deserialize",
        skip_serializing_if = "is_default"
    )]
    pub https_redirect: bool,
    /// To this scheme.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub scheme_redirect: String,
    /// To this host.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host_redirect: String,
    /// To this port.
    #[serde(
        default,
        deserialize_with = "numbers::deserialize",
        skip_serializing_if = "is_default"
    )]
    pub port_redirect: u32,
    /// To this path; a query in it replaces the one of the request.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path_redirect: String,
    /// To a path in which this stands for what the route's `prefix` or `path` has matched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix_rewrite: Option<String>,
    /// To a path with parts replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regex_rewrite: Option<RegexRewrite>,
    /// The status. Default `MOVED_PERMANENTLY`, 301.
    #[serde(default, with = "names", skip_serializing_if = "is_default")]
    pub response_code: RedirectCode,
    /// Without the query. Default: with it.
    #[serde(
        default,
        deserialize_with = "flags::deserialize",
        skip_serializing_if = "is_default"
    )]
    pub strip_query: bool,
}

/// The status of a redirect.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum RedirectCode {
    /// `MOVED_PERMANENTLY`: 301.
    #[default]
    MovedPermanently,
    /// `FOUND`: 302.
    Found,
    /// `SEE_OTHER`: 303.
    SeeOther,
    /// `TEMPORARY_REDIRECT`: 307.
    TemporaryRedirect,
    /// `PERMANENT_REDIRECT`: 308.
    PermanentRedirect,
}

impl Named for RedirectCode {
    const NAMES: &'static [(&'static str, u64, Self)] = &[
        ("MOVED_PERMANENTLY", 0, Self::MovedPermanently),
        ("FOUND", 1, Self::Found),
        ("SEE_OTHER", 2, Self::SeeOther),
        ("TEMPORARY_REDIRECT", 3, Self::TemporaryRedirect),
        ("PERMANENT_REDIRECT", 4, Self::PermanentRedirect),
    ];
}

impl RedirectCode {
    /// The status.
    pub const fn status(self) -> u16 {
        match self {
            Self::MovedPermanently => 301,
            Self::Found => 302,
            Self::SeeOther => 303,
            Self::TemporaryRedirect => 307,
            Self::PermanentRedirect => 308,
        }
    }
}

impl RedirectAction {
    /// The redirect of plain requests to `https`, as a virtual host's `require_tls` asks for.
    pub(super) fn to_https() -> Self {
        Self {
            https_redirect: true,
            ..Self::default()
        }
    }

    /// Where the client is sent: the header `location`. `matched` is how much of the path the
    /// route's prefix has matched.
    pub(super) fn location(&self, request: &RequestHead<'_>, matched: usize) -> String {
        let old = request.scheme();
        let scheme = match (self.https_redirect, &*self.scheme_redirect) {
            (true, _) => "https",
            (false, "") => old,
            (false, scheme) => scheme,
        };
        let (name, port) = split_port(request.host);
        let port = match self.port_redirect {
            0 => port.filter(|port| {
                // The usual port of a scheme that is left behind goes with it.
                let usual = (scheme == "https" && old == "http" && *port == "80")
                    || (scheme == "http" && old == "https" && *port == "443");
                !usual
            }),
            _ => None,
        };
        let host = match &*self.host_redirect {
            "" => name,
            host => host,
        };
        let mut location = format!("{scheme}://{host}");
        match (self.port_redirect, port) {
            (0, Some(port)) if self.host_redirect.is_empty() => {
                location.push(':');
                location.push_str(port);
            }
            (0, _) => {}
            (port, _) => location.push_str(&format!(":{port}")),
        }
        location + &self.path(request.path, matched)
    }

    fn path(&self, asked: &str, matched: usize) -> String {
        let (asked_path, query) = asked
            .split_once('?')
            .map_or((asked, None), |(path, query)| (path, Some(query)));
        let path = if !self.path_redirect.is_empty() {
            if self.path_redirect.contains('?') {
                return self.path_redirect.clone();
            }
            self.path_redirect.clone()
        } else if let Some(prefix) = &self.prefix_rewrite {
            format!("{prefix}{}", asked_path.get(matched..).unwrap_or_default())
        } else if let Some(rewrite) = &self.regex_rewrite {
            rewrite.apply(asked_path).into_owned()
        } else {
            asked_path.to_owned()
        };
        match query.filter(|_| !self.strip_query) {
            Some(query) => format!("{path}?{query}"),
            None => path,
        }
    }
}

/// A host and its port, if one is named.
pub(super) fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|byte| byte.is_ascii_digit())
                && !name.is_empty()
                && (!name.contains(':') || name.ends_with(']')) =>
        {
            (name, Some(port))
        }
        _ => (host, None),
    }
}
