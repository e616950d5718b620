//! The compatibility ledger names tests: each must exist.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context, Result};

/// Where the ledger is, from the root.
const LEDGER: &str = "docs/envoy-compat.md";

/// What the ledger names and no code defines.
pub(crate) fn problems(root: &Path, code: impl Iterator<Item = String>) -> Result<Vec<String>> {
    let ledger = fs::read_to_string(root.join(LEDGER)).context(LEDGER)?;
    let missing = missing(&ledger, code);
    Ok(missing
        .into_iter()
        .map(|name| format!("{LEDGER}: there is no test `{name}`"))
        .collect())
}

fn missing(ledger: &str, code: impl Iterator<Item = String>) -> BTreeSet<String> {
    let mut named = named(ledger);
    for text in code {
        named.retain(|name| !text.contains(&format!("fn {name}(")));
    }
    named
}

/// Code words with at least three underscores: the names of tests are sentences, nothing else is.
fn named(ledger: &str) -> BTreeSet<String> {
    let is_sentence = |word: &str| {
        word.matches('_').count() >= 3
            && word
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    ledger
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| is_sentence(word))
        .map(ToOwned::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_test_must_exist() {
        let ledger = "| rule | `drain_timeout`, test `a_drain_flows_down_only`, `it_is_not_there_at_all` |";
        let code = ["async fn a_drain_flows_down_only() {}".to_owned()];
        let missing: Vec<_> = missing(ledger, code.into_iter()).into_iter().collect();
        assert_eq!(missing, ["it_is_not_there_at_all"]);
    }
}
