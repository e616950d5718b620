//! What each Rust file must keep to, each rule with its reason.

/// A rule for the text of one `.rs` file: what is wrong with it, if anything.
struct Rule {
    reason: &'static str,
    broken: fn(&str, &str) -> Option<String>,
}

const RULES: &[Rule] = &[
    Rule {
        reason: "a reader learns a file's one idea from its first line",
        broken: no_first_line,
    },
    Rule {
        reason: "a test that sleeps on the real clock is slow or flaky; pause it or await an event",
        broken: sleeps,
    },
];

fn no_first_line(_: &str, text: &str) -> Option<String> {
    (!text.starts_with("//!")).then(|| "does not begin with a `//!` line".to_owned())
}

/// Files whose tests are about the pauses of real clients.
const REAL_PAUSES: &[&str] = &["proto-drain-http1/tests/rarely.rs"];

fn sleeps(path: &str, text: &str) -> Option<String> {
    let paused = text.contains("start_paused = true")
        || text.contains(".start_paused(true)")
        || text.contains("time::pause()");
    // A helper runs on the clock of the test that calls it.
    let is_helper = !text.contains("::test") && !text.contains("#[test]");
    if paused || is_helper || !path.contains("/tests/") || REAL_PAUSES.contains(&path) {
        return None;
    }
    found(text, |line| {
        line.contains("time::sleep(") || line.contains(" sleep(")
    })
}

/// The first line of code, not of comment, that `is_bad`.
fn found(text: &str, is_bad: impl Fn(&str) -> bool) -> Option<String> {
    let code = |line: &str| !line.trim_start().starts_with("//");
    let (number, line) = text
        .lines()
        .enumerate()
        .find(|(_, line)| code(line) && is_bad(line))?;
    Some(format!("line {}: `{}`", number + 1, line.trim()))
}

/// What breaks a rule in `text`, the content of `path` (relative to the root, with `/`).
#[must_use]
pub fn problems(path: &str, text: &str) -> Vec<String> {
    // The words that the rules look for stand in this file, as words.
    if path == "xtask/lab/house/src/code.rs" {
        return Vec::new();
    }
    let broken = |rule: &Rule| {
        (rule.broken)(path, text).map(|what| format!("{path}: {what}\n    ({})", rule.reason))
    };
    RULES.iter().filter_map(broken).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaks(path: &str, text: &str) -> bool {
        !problems(path, &format!("//! One idea.\n{text}")).is_empty()
    }

    #[test]
    fn a_file_without_its_first_line_is_refused() {
        assert_eq!(problems("a/src/b.rs", "use std::fmt;").len(), 1);
        assert!(problems("a/src/b.rs", "//! One idea.").is_empty());
    }

    #[test]
    fn a_test_may_sleep_only_on_a_paused_clock() {
        assert!(breaks(
            "a/tests/b.rs",
            "#[tokio::test]\n    tokio::time::sleep(SECOND).await;"
        ));
        assert!(!breaks(
            "a/tests/b.rs",
            "#[tokio::test(start_paused = true)]\n    sleep(SECOND).await;"
        ));
    }
}
