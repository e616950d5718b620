//! The tables in documents name tests: each must exist. What conformance wrote into one of them,
//! the laboratory checks itself.

use std::collections::BTreeSet;

/// The tests that a document names and that no text of `code` defines.
#[must_use]
pub fn missing(ledger: &str, code: &[String]) -> BTreeSet<String> {
    let mut named = named(ledger);
    for text in code {
        // The second form is a line of a table that a macro makes tests of.
        named.retain(|name| {
            !text.contains(&format!("fn {name}(")) && !text.contains(&format!("\n    {name}: "))
        });
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
        let ledger = "| rule | `drain_timeout`, test `a_drain_flows_down_only`, `it_is_a_row_of_a_macro`, `it_is_not_there_at_all` |";
        let code = [
            "async fn a_drain_flows_down_only() {}".to_owned(),
            "drains! {\n    it_is_a_row_of_a_macro: Once,\n}".to_owned(),
        ];
        let missing: Vec<_> = missing(ledger, &code).into_iter().collect();
        assert_eq!(missing, ["it_is_not_there_at_all"]);
    }
}
