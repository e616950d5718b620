//! What was played, as a table in the ledger: written from the results, and checked for what it
//! names.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, ensure};

use super::Side;
use super::rule::Verdict;
use super::scenarios;
use super::table::{Outcome, Row};
use rig::envoy;

const LEDGER: &str = "docs/envoy-compat.md";
const BEGIN: &str = "<!-- begin of what `cargo xtask conformance --write` writes -->\n";
const END: &str = "<!-- end of it -->";
/// Between the rows of the ledger that one scenario names. No row has it.
const AND: &str = "; ";

/// Writes the table anew, if everything was played and is good.
pub(super) fn write(root: &Path, outcome: &Outcome, today: &str) -> anyhow::Result<()> {
    let played: BTreeSet<&str> = outcome.rows.iter().map(|row| row.scenario).collect();
    ensure!(
        outcome.is_good() && played.len() == scenarios::ALL.len(),
        "the ledger is written when all scenarios were played and nothing is worse"
    );
    let path = root.join(LEDGER);
    let ledger = std::fs::read_to_string(&path).context(LEDGER)?;
    let (before, _, after) = parts(&ledger)?;
    let written = format!("{before}{BEGIN}{}{END}{after}", table(outcome, today));
    std::fs::write(&path, written).context(LEDGER)
}

fn table(outcome: &Outcome, today: &str) -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (rules, version) = (outcome.rows.len(), envoy::VERSION);
    let mut out = format!(
        "\n{rules} rules, played on {today} on {cores} virtual cores against Envoy {version}, which keeps all of them. How many \
         edge keeps in the same way, and how many otherwise, by the rows named:\n\n\
         | scenario | rules | `--compat envoy-1.40`: same | otherwise | defaults: same | otherwise | rows |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n"
    );
    for scenario in scenarios::ALL {
        let rows: Vec<&Row> = outcome
            .rows
            .iter()
            .filter(|row| row.scenario == scenario.name)
            .collect();
        let same = |side| {
            let same = rows.iter().filter(|row| row.verdict(side) == Verdict::Same);
            same.count()
        };
        let (compat, defaults) = (same(Side::Compat), same(Side::Defaults));
        let reasons: BTreeSet<&str> = rows
            .iter()
            .flat_map(|row| [row.verdict(Side::Compat), row.verdict(Side::Defaults)])
            .filter_map(|verdict| match verdict {
                Verdict::Better(reason) => Some(reason),
                Verdict::Same | Verdict::Worse => None,
            })
            .collect();
        let reasons: Vec<&str> = reasons.into_iter().collect();
        // Writing to a string cannot fail.
        writeln!(
            out,
            "| {} | {} | {compat} | {} | {defaults} | {} | {} |",
            scenario.name,
            rows.len(),
            rows.len() - compat,
            rows.len() - defaults,
            reasons.join(AND)
        )
        .ok();
    }
    rig::filled(&out)
}

/// What is wrong with the table: scenarios that are gone or not in it, rows that are not in the
/// ledger.
#[cfg(test)]
fn problems(ledger: &str) -> Vec<String> {
    let Ok((before, table, _)) = parts(ledger) else {
        return vec![format!(
            "{LEDGER}: the table of `cargo xtask conformance --write` is gone"
        )];
    };
    let mut problems = Vec::new();
    let played = table.lines().filter(|line| line.starts_with("| ")).skip(2);
    let played: Vec<Vec<&str>> = played
        .map(|line| line.trim_matches(['|', ' ']).split(" | ").collect())
        .collect();
    let named: Vec<&str> = played
        .iter()
        .filter_map(|cells| cells.first().copied())
        .collect();
    let known: Vec<&str> = scenarios::ALL
        .iter()
        .map(|scenario| scenario.name)
        .collect();
    if named != known {
        let fresh = known.iter().filter(|name| !named.contains(name));
        let gone = named.iter().filter(|name| !known.contains(name));
        let names: Vec<&str> = fresh.chain(gone).copied().collect();
        problems.push(format!(
            "{LEDGER}: its scenarios are not those that are played ({}); `cargo xtask conformance --write` writes it",
            names.join(", ")
        ));
    }
    for reason in played
        .iter()
        .filter_map(|cells| cells.get(6))
        .flat_map(|cell| cell.split(AND))
    {
        if !before.contains(&format!("\n| {reason}")) {
            problems.push(format!(
                "{LEDGER}: the played scenarios name a row that is not there: {reason}"
            ));
        }
    }
    problems
}

/// What is before the written table, the table, and what is behind it.
fn parts(ledger: &str) -> anyhow::Result<(&str, &str, &str)> {
    let (before, rest) = ledger
        .split_once(BEGIN)
        .with_context(|| format!("{LEDGER}: no `{BEGIN}`"))?;
    let (table, after) = rest
        .split_once(END)
        .with_context(|| format!("{LEDGER}: no `{END}`"))?;
    Ok((before, table, after))
}

#[cfg(test)]
mod tests {
    use super::super::rule::Checks;
    use super::*;

    fn played(reason: &'static str) -> Outcome {
        let mut outcome = Outcome::default();
        for scenario in scenarios::ALL {
            let mut checks = Checks::default();
            checks.rule("a", "", true);
            let kept = checks.0.clone().pop();
            checks.rule("b", "", false).or(reason, true);
            outcome.rows.push(Row {
                scenario: scenario.name,
                rule: String::new(),
                envoy: kept.clone(),
                compat: kept,
                defaults: checks.0.pop(),
            });
        }
        outcome
    }

    #[test]
    fn the_ledger_names_what_is_played() {
        let ledger =
            std::fs::read_to_string(rig::root().join(LEDGER)).expect("the ledger is there");
        assert_eq!(problems(&ledger), Vec::<String>::new());
    }

    #[test]
    fn what_is_written_has_no_problems_until_a_row_or_a_scenario_goes() {
        let outcome = played("A row");
        let table = table(&outcome, "today");
        let mut prose = table.lines().filter(|line| !line.starts_with('|'));
        assert!(prose.all(|line| line.len() <= 100), "{table}");
        let ledger = format!("\n| A row | why |\n{BEGIN}{table}{END}\n");
        assert_eq!(problems(&ledger), Vec::<String>::new());
        assert!(
            ledger.contains("| modify-gradual | 1 | 1 | 0 | 0 | 1 | A row |"),
            "{ledger}"
        );
        assert_eq!(
            problems(&ledger.replace("| A row | why |", "| Another | why |")).len(),
            scenarios::ALL.len()
        );
        assert_eq!(
            problems(&ledger.replace("| corpus |", "| copus |")).len(),
            1
        );
        assert_eq!(problems("nothing").len(), 1);
    }
}
