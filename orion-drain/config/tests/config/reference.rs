//! `docs/configuration.md` says what the types say: its tables are made of their fields and
//! comments.
//!
//! `UPDATE_REFERENCE=1 cargo test -p orion-drain-config --all-features --test config reference`
//! writes it anew.

use std::collections::BTreeMap;
use std::path::Path;

/// In the order of the page.
const FILES: [&str; 25] = [
    "bootstrap",
    "api_source",
    "manager",
    "overload",
    "listener",
    "address",
    "tls",
    "hcm",
    "rds",
    "path_policy",
    "http_filter",
    "route",
    "matching",
    "target",
    "rewrite",
    "headers",
    "tcp_proxy",
    "cluster",
    "endpoint",
    "upstream",
    "names",
    "flags",
    "duration",
    "numbers",
    "format",
];

/// Which test sends a field over a socket, or why none can, by message and field.
type Played = BTreeMap<(String, String), String>;

fn played() -> Played {
    let mut played = Played::new();
    let lines = include_str!("played.txt").lines();
    for line in lines.filter(|line| !line.starts_with('#')) {
        let (fields, tests) = line.split_once(" = ").expect("`Message: fields = tests`");
        let (message, fields) = fields.split_once(": ").expect("`Message: fields`");
        let cell = match tests.strip_prefix("- ") {
            Some(reason) => format!("none: {reason}"),
            None => {
                let tests: Vec<_> = tests.split(' ').map(|test| format!("`{test}`")).collect();
                tests.join(", ")
            }
        };
        for field in fields.split(' ') {
            let key = (message.to_owned(), field.to_owned());
            let twice = played.insert(key, cell.clone());
            assert!(
                twice.is_none(),
                "{message}.{field} stands twice in played.txt"
            );
        }
    }
    played
}

/// The fields and values that a source file declares, as sections of the page.
fn sections(source: &str, played: &mut Played, page: &mut String) {
    let (mut comment, mut owner, mut rename) = (Vec::new(), None, None::<&str>);
    let mut message = "";
    let mut in_attribute = false;
    for line in source.lines() {
        let text = line.trim();
        if let Some(words) = text.strip_prefix("///") {
            comment.push(words.trim());
            continue;
        }
        if let Some((_, name)) = text.split_once("rename = \"") {
            rename = name.split('"').next();
        }
        // An attribute may have several lines.
        if in_attribute || text.starts_with('#') {
            in_attribute = !text.ends_with(']');
            continue;
        }
        if line == "}" {
            owner = None;
        } else if let Some((name, is_enum)) = declared(line) {
            message = name;
            *page += &format!("\n### {name}\n\n{}\n", told(&comment));
            if !line.ends_with("{}") {
                owner = Some(is_enum);
                let what = if is_enum { "value" } else { "field" };
                *page += &format!("\n| {what} | meaning | test |\n| --- | --- | --- |\n");
            }
        } else if let (Some(is_enum), Some("    "), false) =
            (owner, line.get(..4), line.starts_with("     "))
        {
            let name = match is_enum {
                true => Some(text.split(['(', ',', ' ']).next().unwrap_or(text)),
                false => text
                    .strip_prefix("pub ")
                    .and_then(|field| field.split(':').next()),
            };
            if let Some(name) = name.filter(|_| !comment.is_empty()) {
                let name = match rename {
                    // A type URL ends in the name of its message.
                    Some(url) => url.rsplit('/').next().unwrap_or(url).to_owned(),
                    None => own_name(&comment).unwrap_or_else(|| snake_case(name)),
                };
                // The name of an extension ends in that of its message.
                let short = name.rsplit('.').next().unwrap_or(&name).to_owned();
                let test = played.remove(&(message.to_owned(), short));
                let test = test.unwrap_or_else(|| panic!("played.txt has no {message}.{name}"));
                let meaning = told(&comment).replace('|', "\\|");
                *page += &format!("| `{name}` | {meaning} | {test} |\n");
            }
        }
        rename = None;
        comment.clear();
    }
}

/// A comment as text; links to Rust items are links no more.
fn told(comment: &[&str]) -> String {
    let text = comment.join(" ").replace("  ", " ");
    let mut told = String::new();
    let mut rest = text.as_str();
    while let Some((before, link)) = rest.split_once("](") {
        let (to, after) = link.split_once(')').unwrap_or((link, ""));
        if to.starts_with("http") {
            told += &format!("{before}]({to})");
        } else {
            let (text, name) = before.rsplit_once('[').unwrap_or((before, ""));
            told += &format!("{text}{name}");
        }
        rest = after;
    }
    told + &rest.replace("[`", "`").replace("`]", "`")
}

/// The name that the comment of an enumeration's value begins with: `ROUND_ROBIN`.
fn own_name(comment: &[&str]) -> Option<String> {
    let name = comment.first()?.strip_prefix('`')?.split('`').next()?;
    let upper = name
        .bytes()
        .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
    upper.then(|| name.to_owned())
}

/// `SocketAddress` as files have it: `socket_address`.
fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

/// The message or enumeration that a line declares, and whether it is the latter.
fn declared(line: &str) -> Option<(&str, bool)> {
    let (rest, is_enum) = match line.strip_prefix("pub struct ") {
        Some(rest) => (rest, false),
        None => (line.strip_prefix("pub enum ")?, true),
    };
    // What is made of a configuration, and is none.
    let name = rest.split([' ', '(', '<']).next()?;
    let skipped = name.ends_with("Error") || name == "HttpTimeouts" || rest.contains('(');
    (!skipped).then_some((name, is_enum))
}

#[test]
fn the_reference_page_is_what_the_types_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut page = String::from(
        "# Configuration reference\n\nThe messages and fields that `orion_drain::config` reads, in Envoy's names and shapes. \
         A field that is not here has no effect,\nand is reported and counted; if ignoring it would change which requests are served, it is refused. \
         Durations are `600s` or `0.25s`; `10m` is read as well.\nHow the timeouts go together: [timeouts.md](timeouts.md).\n\n\
         Where a list may stand, one value is a list of one. What Envoy does with each field, and with which test this proxy does\n\
         the same: [envoy-compat.md](envoy-compat.md).\n\n\
         The last column names the test that sends a field over a socket and reads its effect there, or says why none can.\n\
         This page is made of the types' own comments; a test compares the two.\n",
    );
    let mut played = played();
    for file in FILES {
        let source =
            std::fs::read_to_string(root.join(format!("src/{file}.rs"))).expect("a source file");
        sections(
            source.split("#[cfg(test)]").next().unwrap_or_default(),
            &mut played,
            &mut page,
        );
    }
    assert!(
        played.is_empty(),
        "played.txt has what is not read: {played:?}"
    );
    let file = root.join("../../docs/configuration.md");
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(&file, &page).expect("the page is written");
    }
    // Outside of the repository there is no such page.
    if root.join("../../docs").is_dir() {
        let there = std::fs::read_to_string(&file).expect("docs/configuration.md");
        assert!(
            there == page,
            "docs/configuration.md is old; UPDATE_REFERENCE=1 writes it anew"
        );
    }
}
