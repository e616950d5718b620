//! Values of headers that are made of the request: Envoy's command operators, as far as a route can
//! know what they stand for.

use std::borrow::Cow;
use std::net::SocketAddr;

use http::Version;

use super::RequestHead;

/// One part of a format.
enum Part<'f> {
    Text(&'f str),
    Command {
        name: &'f str,
        argument: Option<&'f str>,
        longest: Option<usize>,
    },
}

/// Splits a format; `Err`: what is wrong with it.
fn parts(format: &str) -> impl Iterator<Item = Result<Part<'_>, String>> {
    let mut rest = format;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some(at) = rest.find('%') else {
            return Some(Ok(Part::Text(std::mem::take(&mut rest))));
        };
        if at > 0 {
            let text;
            (text, rest) = rest.split_at(at);
            return Some(Ok(Part::Text(text)));
        }
        if let Some(after) = rest.strip_prefix("%%") {
            rest = after;
            return Some(Ok(Part::Text("%")));
        }
        Some(match command(rest) {
            Some((part, after)) => {
                rest = after;
                Ok(part)
            }
            None => Err(format!(
                "`{}` is no command such as `%REQ(name)%`; a percent sign is `%%`",
                std::mem::take(&mut rest)
            )),
        })
    })
}

/// `%NAME(argument):length%`
fn command(text: &str) -> Option<(Part<'_>, &str)> {
    let body = text.strip_prefix('%')?;
    let end_of_name = body.find(|letter: char| !(letter.is_ascii_uppercase() || letter == '_'))?;
    let (name, mut after) = body.split_at(end_of_name);
    let mut argument = None;
    if let Some(inside) = after.strip_prefix('(') {
        let (inside, rest) = inside.split_once(')')?;
        (argument, after) = (Some(inside), rest);
    }
    let mut longest = None;
    if let Some(length) = after.strip_prefix(':') {
        let (length, _) = length.split_once('%')?;
        longest = Some(length.parse().ok()?);
        after = &after[1 + length.len()..];
    }
    let after = after.strip_prefix('%')?;
    let command = Part::Command {
        name,
        argument,
        longest,
    };
    (!name.is_empty()).then_some((command, after))
}

/// Whether every command in it can be carried out.
pub(super) fn check(format: &str) -> Result<(), String> {
    for part in parts(format) {
        let Part::Command { name, argument, .. } = part? else {
            continue;
        };
        let known = match argument {
            Some(argument) => name == "REQ" && !argument.is_empty(),
            None => COMMANDS.contains(&name),
        };
        if !known {
            return Err(format!("the command `%{name}%` is not supported"));
        }
    }
    Ok(())
}

const COMMANDS: &[&str] = &[
    "PROTOCOL",
    "DOWNSTREAM_REMOTE_ADDRESS",
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_REMOTE_PORT",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_DIRECT_REMOTE_PORT",
];

/// The format with each command carried out.
pub(super) fn fill<'f>(format: &'f str, request: &RequestHead<'_>) -> Cow<'f, str> {
    if !format.contains('%') {
        return Cow::Borrowed(format);
    }
    let mut filled = String::with_capacity(format.len() + 32);
    for part in parts(format).map_while(Result::ok) {
        match part {
            Part::Text(text) => filled.push_str(text),
            Part::Command {
                name,
                argument,
                longest,
            } => {
                let value = value(name, argument, request);
                let end = longest.map_or(value.len(), |longest| {
                    let mut end = longest.min(value.len());
                    while !value.is_char_boundary(end) {
                        end -= 1;
                    }
                    end
                });
                filled.push_str(&value[..end]);
            }
        }
    }
    Cow::Owned(filled)
}

/// What a command stands for; as in Envoy's headers, nothing where there is nothing.
fn value<'r>(name: &str, argument: Option<&str>, request: &RequestHead<'r>) -> Cow<'r, str> {
    if let Some(argument) = argument {
        // `REQ(first?second)`
        let names = argument.split('?');
        let mut found = names.filter_map(|name| match name {
            ":PATH" | ":METHOD" | ":SCHEME" | ":AUTHORITY" => {
                request.header(&name.to_ascii_lowercase())
            }
            name => request.header(name),
        });
        return found.next().unwrap_or_default();
    }
    if name == "PROTOCOL" {
        let version = match request.version {
            Version::HTTP_10 => "HTTP/1.0",
            Version::HTTP_2 => "HTTP/2",
            Version::HTTP_3 => "HTTP/3",
            _ => "HTTP/1.1",
        };
        return Cow::Borrowed(version);
    }
    let address = match name.starts_with("DOWNSTREAM_DIRECT_") {
        true => request.peer,
        false => request.client.or(request.peer),
    };
    let Some(address) = address else {
        return Cow::default();
    };
    Cow::Owned(if name.ends_with("_WITHOUT_PORT") {
        address.ip().to_canonical().to_string()
    } else if name.ends_with("_PORT") {
        address.port().to_string()
    } else {
        SocketAddr::new(address.ip().to_canonical(), address.port()).to_string()
    })
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;

    #[test]
    fn commands_stand_for_what_the_request_is() {
        let mut headers = HeaderMap::new();
        headers.insert("x-id", HeaderValue::from_static("seven"));
        let mut request = RequestHead::new("shop:80", "/a?b", &headers);
        request.peer = Some(([192, 0, 2, 1], 99).into());
        for (format, expected) in [
            ("plain", "plain"),
            ("100%%", "100%"),
            ("%REQ(x-id)%-%REQ(:AUTHORITY)%", "seven-shop:80"),
            ("%REQ(none?x-id):3%", "sev"),
            ("%REQ(:path)%", "/a?b"),
            ("[%REQ(none)%]", "[]"),
            ("%DOWNSTREAM_REMOTE_ADDRESS%", "192.0.2.1:99"),
            ("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "192.0.2.1"),
            ("%PROTOCOL%", "HTTP/1.1"),
        ] {
            assert_eq!(check(format), Ok(()), "{format}");
            assert_eq!(fill(format, &request), expected, "{format}");
        }
    }

    #[test]
    fn what_is_no_command_and_what_is_not_known_is_refused() {
        for format in [
            "100%",
            "%%%",
            "%a%",
            "%REQ(a%",
            "%REQ(a):x%",
            "%REQ()%",
            "%UPSTREAM_HOST%",
        ] {
            assert!(check(format).is_err(), "{format}");
        }
    }
}
