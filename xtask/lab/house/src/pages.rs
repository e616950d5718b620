//! What the documents point at must exist: files, headings, commands, packages and benches.

use std::collections::{BTreeMap, BTreeSet};

/// The most columns that a line of prose has; tables, code and lines that are one link may have
/// more.
const COLUMNS: usize = 100;

/// Documents from before that rule, and the reference page, which is made of comments.
const WIDE: [&str; 2] = ["CHANGELOG.md", "docs/configuration.md"];

/// Files of Orion, agentgateway and aisix that `docs/orion.md` and `docs/adopting.md` name.
const OTHERS: [&str; 7] = [
    "app.rs",
    "client/mod.rs",
    "crates/aisix-proxy/src/realtime.rs",
    "crates/aisix-server/src/main.rs",
    "http/httpproxy.rs",
    "management/readiness_server.rs",
    "proxy/gateway.rs",
];

/// Everything that a document may point at.
#[derive(Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "the one who asks names everything"
)]
pub struct House<'a> {
    /// Paths from the root, with `/`.
    pub files: BTreeSet<String>,
    /// The names of the packages.
    pub packages: BTreeSet<&'a str>,
    /// The documents' texts by their paths.
    pub pages: BTreeMap<String, String>,
    /// What is wrong with these words behind `cargo`, the first of which is `xtask`.
    pub refused: fn(&[&str]) -> Option<String>,
}

impl House<'_> {
    /// What is wrong with the documents, each with its line.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (path, text) in &self.pages {
            let mut add =
                |line: usize, what: String| problems.push(format!("{path}:{line}: {what}"));
            for (line, target) in links(text) {
                if let Some(what) = self.broken_link(path, &target) {
                    add(line, what);
                }
            }
            for (line, code) in code(text) {
                let broken = self
                    .broken_file(&code)
                    .or_else(|| self.broken_command(&code));
                if let Some(what) = broken {
                    add(line, what);
                }
            }
            let is_narrow = !WIDE.iter().any(|wide| path.contains(wide));
            for (line, columns) in wide(text).into_iter().filter(|_| is_narrow) {
                add(line, format!("{columns} columns, more than {COLUMNS}"));
            }
            for line in hidden(text) {
                add(
                    line,
                    "is hidden by rustdoc alone: a reader of the page sees it".to_owned(),
                );
            }
        }
        problems
    }

    fn broken_link(&self, page: &str, target: &str) -> Option<String> {
        if target.contains("://") || target.starts_with("mailto:") {
            return None;
        }
        let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
        let path = if path.is_empty() {
            page.to_owned()
        } else {
            joined(page, path)
        };
        let folder = format!("{path}/");
        let is_folder = || self.files.iter().any(|file| file.starts_with(&folder));
        if !self.files.contains(&path) && !is_folder() {
            return Some(format!("links to {target}, which is not there"));
        }
        let known = |text: &String| anchors(text).contains(anchor);
        let is_missing = !anchor.is_empty() && !self.pages.get(&path).is_some_and(known);
        is_missing.then(|| format!("links to {target}, a heading that is not there"))
    }

    /// A name of a file with a path, or of a Rust file, must be the end of some path here.
    fn broken_file(&self, code: &str) -> Option<String> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || "_-./{},".contains(c);
        let is_ours = [".rs", ".md"].iter().any(|end| code.ends_with(end));
        if !is_ours || !code.chars().all(is_name) || code.starts_with(['/', '.']) {
            return None;
        }
        let missing = expanded(code).into_iter().find(|name| {
            let end = format!("/{name}");
            let is_known = self.files.contains(name) || OTHERS.contains(&name.as_str());
            !is_known && !self.files.iter().any(|file| file.ends_with(&end))
        });
        missing.map(|name| format!("names {name}, which is not there"))
    }

    fn broken_command(&self, code: &str) -> Option<String> {
        // Behind a comment or a pipe it is not cargo's any more.
        let code = code.split(['#', '|', '>', '&']).next().unwrap_or_default();
        let mut words = code.split_whitespace().skip_while(|word| *word != "cargo");
        words.next()?;
        let mut words: Vec<&str> = words.collect();
        if words.first() == Some(&"xtask") {
            // `..` and capitals stand for words of the reader's.
            words.retain(|word| !is_placeholder(word));
            let why = (self.refused)(&words)?;
            return Some(format!("`cargo {}`: {why}", words.join(" ")));
        }
        let mut pairs = words.windows(2);
        let stranger = pairs.find(|pair| {
            ["-p", "--package"].contains(&pair[0])
                && !is_placeholder(pair[1])
                && !self.packages.contains(pair[1])
        })?;
        Some(format!(
            "`cargo {}` is of no package here",
            stranger.join(" ")
        ))
    }
}

fn is_placeholder(word: &str) -> bool {
    word.contains("..")
        || word.contains(['<', '['])
        || word.chars().all(|c| c.is_ascii_uppercase() || c == '_')
}

/// `path` as seen from the folder of `page`.
fn joined(page: &str, path: &str) -> String {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// `a/{b,c}.rs` as `a/b.rs` and `a/c.rs`.
fn expanded(name: &str) -> Vec<String> {
    let parts = name
        .split_once('{')
        .and_then(|(before, rest)| Some((before, rest.split_once('}')?)));
    let Some((before, (inner, after))) = parts else {
        return vec![name.to_owned()];
    };
    inner
        .split(',')
        .map(|part| format!("{before}{part}{after}"))
        .collect()
}

/// The lines with their numbers, and whether each is in a block of code.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str, bool)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(number, line)| {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            return None;
        }
        Some((number + 1, line, fenced))
    })
}

/// Where the links lead: `[..](target)` and `[name]: target`.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    for (number, line, fenced) in lines(text) {
        if fenced {
            continue;
        }
        let target = |text: &str| text.split([' ', ')']).next().unwrap_or_default().to_owned();
        // Code spans show how a link is written.
        let prose: String = line.split('`').step_by(2).collect();
        links.extend(prose.split("](").skip(1).map(|rest| (number, target(rest))));
        let is_definition = line.starts_with('[') && !line.starts_with("[^");
        if let Some((_, rest)) = line.split_once("]: ").filter(|_| is_definition) {
            links.push((number, target(rest)));
        }
    }
    links
}

/// What GitHub calls the headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    let headings = lines(text).filter(|(_, line, fenced)| !fenced && line.starts_with('#'));
    for (_, heading, _) in headings {
        let kept = |c: &char| c.is_alphanumeric() || " -_".contains(*c);
        let title = heading.trim_start_matches('#').trim().to_lowercase();
        let anchor: String = title
            .chars()
            .filter(kept)
            .collect::<String>()
            .replace(' ', "-");
        let mut copies = (1..).map(|copy| format!("{anchor}-{copy}"));
        if !anchors.insert(anchor.clone()) {
            copies.find(|copy| anchors.insert(copy.clone()));
        }
    }
    anchors
}

/// Code spans, and the lines of blocks of code that begin with a prompt or a command.
fn code(text: &str) -> Vec<(usize, String)> {
    let mut code = Vec::new();
    for (number, line, fenced) in lines(text) {
        if fenced {
            code.push((number, line.trim_start_matches("$ ").to_owned()));
        } else {
            let spans = line.split('`').skip(1).step_by(2);
            code.extend(spans.map(|span| (number, span.to_owned())));
        }
    }
    code
}

/// The lines of prose that are too long, and how long they are.
fn wide(text: &str) -> Vec<(usize, usize)> {
    let is_prose = |line: &str| !line.starts_with(['|', '[']) && line.trim().contains(' ');
    lines(text)
        .filter(|(_, line, fenced)| !fenced && is_prose(line))
        .map(|(number, line, _)| (number, line.chars().count()))
        .filter(|(_, columns)| *columns > COLUMNS)
        .collect()
}

/// The lines of Rust that rustdoc would hide, which GitHub and crates.io show as they are.
fn hidden(text: &str) -> Vec<usize> {
    let (mut hidden, mut is_rust) = (Vec::new(), false);
    for (number, line) in text.lines().enumerate() {
        if line.starts_with("```") {
            is_rust = line.starts_with("```rust");
        } else if is_rust && (line == "#" || line.starts_with("# ")) {
            hidden.push(number + 1);
        }
    }
    hidden
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> Vec<String> {
        let house = House {
            files: ["a/page.md", "a/src/b.rs", "docs/c.md"]
                .map(str::to_owned)
                .into(),
            packages: ["a"].into(),
            pages: BTreeMap::from([
                (
                    "docs/c.md".to_owned(),
                    "# One & two\n## Same\n## Same\n".to_owned(),
                ),
                ("a/page.md".to_owned(), text.to_owned()),
            ]),
            refused: |words| (words[1] != "ci").then(|| "no command".to_owned()),
        };
        house.problems()
    }

    #[test]
    fn links_lead_to_files_folders_and_headings() {
        let right = "[x](../docs/c.md) [x](src) [x](../docs/c.md#one--two) [x](#here)\n# Here\n\n[y]: ../docs/c.md#same-1\n[z](https://example.com/none.md) `[w](none.md)`";
        assert_eq!(wrong(right), [""; 0]);
        for broken in [
            "[x](docs/c.md)",
            "[x](../docs/c.md#two)",
            "[x](#none)",
            "[y]: none.md",
        ] {
            assert_eq!(wrong(broken).len(), 1, "{broken}");
        }
    }

    #[test]
    fn files_are_known_by_the_end_of_their_path() {
        assert_eq!(
            wrong("`a/src/b.rs` `src/b.rs` `b.rs` `docs/{c}.md` `x.toml` `b.rs:1`"),
            [""; 0]
        );
        for broken in ["`a/b.rs`", "`a/src/{b,d}.rs`", "`none.md`"] {
            assert_eq!(wrong(broken).len(), 1, "{broken}");
        }
    }

    #[test]
    fn commands_name_packages_and_what_xtask_takes() {
        let right = "`cargo xtask ci fmt NAME` `cargo xtask ci --any`\n`cargo test -p a` `cargo run -p CRATE`\n\n```console\n$ cargo xtask ci deny # why\n```";
        assert_eq!(wrong(right), [""; 0]);
        for broken in ["`cargo xtask dance`", "`cargo bench -p none`"] {
            assert_eq!(wrong(broken).len(), 1, "{broken}");
        }
    }

    #[test]
    fn prose_is_no_wider_than_code() {
        let long = "word ".repeat(21);
        assert_eq!(wrong(&long).len(), 1);
        assert_eq!(
            wrong(&format!("| {long} |\n\n```text\n{long}\n```")),
            [""; 0]
        );
    }

    #[test]
    fn an_example_has_no_line_that_only_rustdoc_hides() {
        let block =
            |kind: &str| format!("```{kind}\n#[test]\n# fn main() {{}}\n```\n# A heading\n");
        assert_eq!(wrong(&block("rust")).len(), 1);
        assert_eq!(wrong(&block("rust,no_run")).len(), 1);
        assert_eq!(wrong(&block("yaml")), [""; 0]);
    }
}
