//! Public names use the glossary's words, and none of those that it replaces.

use std::collections::BTreeSet;

/// Words that the glossary replaces where they mean one of its own, and that mean something else in
/// a name, or are the field's: a page of a snapshot, `Future`s that `run`, nginx's lingering close,
/// the family of an address.
const ORDINARY: [&str; 14] = [
    "cell",
    "completion",
    "family",
    "generation",
    "leaf",
    "page",
    "place",
    "predecessor",
    "run",
    "scope",
    "share",
    "sharing",
    "spare",
    "successor",
];

/// The single words of the last column of the glossary's tables, without those that are ordinary.
#[must_use]
pub fn replaced(glossary: &str) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    for row in glossary.lines().filter(|line| line.starts_with("| ")) {
        let [_, _, replaces] = row.trim_matches('|').split('|').collect::<Vec<_>>()[..] else {
            continue;
        };
        words.extend(
            replaces
                .split(',')
                .map(|word| word.trim().trim_end_matches(" in prose").to_owned())
                .filter(|word| {
                    word.chars().all(char::is_alphabetic)
                        && !word.is_empty()
                        && word != "replaces"
                        && !ORDINARY.contains(&word.as_str())
                }),
        );
    }
    words
}

/// The public names of a file that hold one of these words, with their lines.
#[must_use]
pub fn problems(path: &str, text: &str, replaced: &BTreeSet<String>) -> Vec<String> {
    let mut problems = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let Some(name) = public_name(line) else {
            continue;
        };
        for word in words(name) {
            if !replaced.contains(&word) {
                continue;
            }
            problems.push(format!(
                "{path}: line {}: `{name}` says \"{word}\": docs/glossary.md has another word for it",
                number + 1
            ));
        }
    }
    problems
}

/// The name of the item or the field that a line makes public.
fn public_name(line: &str) -> Option<&str> {
    let mut rest = line.trim_start().strip_prefix("pub ")?;
    while let Some(after) = ["async ", "const ", "unsafe "]
        .iter()
        .find_map(|word| rest.strip_prefix(word))
    {
        rest = after;
    }
    for kind in [
        "fn ", "struct ", "enum ", "trait ", "mod ", "type ", "static ",
    ] {
        rest = rest.strip_prefix(kind).unwrap_or(rest);
    }
    let end = rest.find(|at: char| !at.is_alphanumeric() && at != '_')?;
    (!rest.starts_with("use ")).then_some(&rest[..end])
}

/// `snake_case` and `CamelCase` in their words.
fn words(name: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    for at in name.chars() {
        let begins = at.is_uppercase() && !word.is_empty();
        if (at == '_' || begins) && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if at != '_' {
            word.extend(at.to_lowercase());
        }
    }
    words.push(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const GLOSSARY: &str = "| word | meaning | replaces |\n| --- | --- | --- |\n\
        | close steps | What happens. | ladder |\n| wait | A future. | berth, page |\n\
        | new process | A side. | successor in prose, letting go |\n| drain | Asking. | |\n";

    #[test]
    fn a_public_name_with_a_replaced_word_is_found() {
        let replaced = replaced(GLOSSARY);
        assert_eq!(replaced.iter().collect::<Vec<_>>(), ["berth", "ladder"]);
        let wrong = |line: &str| problems("a.rs", line, &replaced).len();
        for bad in [
            "pub struct CloseLadder {",
            "    pub const fn with_ladder(mut self) -> Self {",
            "    pub ladder: CloseSteps,",
            "pub async fn berth() {",
        ] {
            assert_eq!(wrong(bad), 1, "{bad}");
        }
        for good in [
            "pub struct CloseSteps;",
            "pub(crate) fn ladder() {",
            "fn ladder() {",
            "    pub fn snapshot_page(&self) {",
            "pub use ladder::Ladder;",
            "// pub fn ladder() {",
        ] {
            assert_eq!(wrong(good), 0, "{good}");
        }
    }
}
