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

/// The rows of the tables whose last column is called `test`: what stands in the first cell, and in
/// the last.
#[must_use]
pub fn tested(page: &str) -> Vec<(String, String)> {
    let (mut rows, mut is_table) = (Vec::new(), false);
    for line in page.lines() {
        let Some(row) = line.strip_prefix("| ") else {
            is_table = false;
            continue;
        };
        let mut cells = row.trim_end_matches('|').split(" | ").map(str::trim);
        let (first, last) = (cells.next(), cells.last());
        if last == Some("test") {
            is_table = true;
        } else if let (true, Some(first), Some(last)) = (is_table, first, last) {
            rows.push((first.to_owned(), last.to_owned()));
        }
    }
    rows.retain(|(first, _)| !first.starts_with("---"));
    rows
}

/// The rows of such tables that name no test and give no reason.
#[must_use]
pub fn untested(page: &str) -> Vec<String> {
    let is_open = |cell: &str| {
        let reason = cell.strip_prefix("none: ");
        named(cell).is_empty() && reason.is_none_or(|reason| reason.trim().is_empty())
    };
    let rows = tested(page).into_iter();
    rows.filter(|(_, cell)| is_open(cell))
        .map(|(row, _)| row)
        .collect()
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
    fn a_row_needs_a_test_or_a_reason() {
        let page = "| a | b |\n| --- | --- |\n| `x` | no test |\n\n| field | meaning | test |\n| --- | --- | --- |\n\
            | `a_b_c_d` | One \\| two. | `it_is_read_on_a_socket` |\n| `b` | Two. | none: a label |\n\
            | `c` | Three. | none: |\n| `d` | Four. |  |\n";
        assert_eq!(untested(page), ["`c`", "`d`"]);
        let cells: Vec<_> = tested(page).into_iter().map(|(_, cell)| cell).collect();
        let missing: Vec<_> = missing(&cells.join(" "), &[]).into_iter().collect();
        assert_eq!(missing, ["it_is_read_on_a_socket"]);
    }

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
