//! The result: one table for people, JSON for programs.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::json;

use super::Side;
use super::rule::{Check, Verdict};

/// One rule over all sides.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) scenario: &'static str,
    pub(crate) rule: String,
    pub(crate) envoy: Option<Check>,
    pub(crate) compat: Option<Check>,
    pub(crate) defaults: Option<Check>,
}

/// Everything that was played.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) rows: Vec<Row>,
    /// Plays that could not be judged, and why.
    pub(crate) failures: Vec<String>,
    pub(crate) took: Duration,
    /// Plays that were repeated because the machine stood still.
    pub(crate) repeated: u16,
}

impl Row {
    pub(crate) fn on(&self, side: Side) -> Option<&Check> {
        match side {
            Side::Envoy => self.envoy.as_ref(),
            Side::Compat => self.compat.as_ref(),
            Side::Defaults => self.defaults.as_ref(),
        }
    }

    /// The verdict on a side; a rule that was not played there is not kept there.
    pub(crate) fn verdict(&self, side: Side) -> Verdict {
        self.on(side)
            .map_or(Verdict::Worse, |check| check.verdict(side))
    }

    pub(crate) fn is_good(&self) -> bool {
        Side::ALL
            .iter()
            .all(|side| self.verdict(*side) != Verdict::Worse)
    }
}

impl Outcome {
    pub(crate) fn is_good(&self) -> bool {
        self.failures.is_empty() && self.rows.iter().all(Row::is_good)
    }

    fn count(&self, side: Side, is: impl Fn(Verdict) -> bool) -> usize {
        self.rows.iter().filter(|row| is(row.verdict(side))).count()
    }

    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        let head = ["rule", "Envoy", "edge", "--compat", "edge", "defaults"];
        let mut lines = vec![head.map(str::to_owned)];
        let mut scenario = "";
        for row in &self.rows {
            if scenario != row.scenario {
                scenario = row.scenario;
                lines.push([scenario, "", "", "", "", ""].map(str::to_owned));
            }
            let seen = |side| {
                row.on(side)
                    .map_or_else(|| "not played".to_owned(), |check| check.seen.clone())
            };
            let envoy = match row.verdict(Side::Envoy) {
                Verdict::Same => seen(Side::Envoy),
                _ => format!("NO: {}", seen(Side::Envoy)),
            };
            let cells = [
                format!("  {}", row.rule),
                envoy,
                row.verdict(Side::Compat).word().to_owned(),
                seen(Side::Compat),
                row.verdict(Side::Defaults).word().to_owned(),
                seen(Side::Defaults),
            ];
            lines.push(cells);
        }
        write_columns(&mut out, &lines);
        let mut reasons: Vec<&str> = Vec::new();
        for row in &self.rows {
            for side in [Side::Compat, Side::Defaults] {
                if let Verdict::Better(reason) = row.verdict(side) {
                    reasons.push(reason);
                }
            }
        }
        reasons.sort_unstable();
        reasons.dedup();
        writeln!(
            out,
            "\nbetter on purpose, by these rows of docs/envoy-compat.md:"
        )
        .ok();
        for reason in reasons {
            writeln!(out, "  {reason}").ok();
        }
        for failure in &self.failures {
            writeln!(out, "not judged: {failure}").ok();
        }
        let (rules, took, again) = (self.rows.len(), self.took.as_secs_f64(), self.repeated);
        writeln!(
            out,
            "\n{rules} rules in {took:.0} s, {again} plays repeated"
        )
        .ok();
        let denied = self.count(Side::Envoy, |verdict| verdict == Verdict::Worse);
        writeln!(out, "Envoy: {denied} not as the ledger says").ok();
        for side in [Side::Compat, Side::Defaults] {
            writeln!(
                out,
                "{}: {} same, {} better on purpose, {} worse",
                side.name(),
                self.count(side, |verdict| verdict == Verdict::Same),
                self.count(side, |verdict| matches!(verdict, Verdict::Better(_))),
                self.count(side, |verdict| verdict == Verdict::Worse),
            )
            .ok();
        }
        out
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        let rows = self.rows.iter().map(|row| {
            let side = |side| {
                let ledger = match row.verdict(side) {
                    Verdict::Better(ledger) => Some(ledger),
                    _ => None,
                };
                json!({
                    "seen": row.on(side).map(|check| &check.seen),
                    "verdict": row.verdict(side).word().to_ascii_lowercase(),
                    "ledger": ledger,
                })
            };
            json!({
                "scenario": row.scenario,
                "rule": row.rule,
                "envoy": side(Side::Envoy),
                "edge_compat": side(Side::Compat),
                "edge_defaults": side(Side::Defaults),
            })
        });
        json!({
            "envoy": rig::envoy::VERSION,
            "good": self.is_good(),
            "repeated": self.repeated,
            "seconds": self.took.as_secs_f64(),
            "rows": rows.collect::<Vec<_>>(),
            "not_judged": self.failures,
        })
    }
}

/// Lines of cells, each column as wide as its widest cell.
fn write_columns(out: &mut String, lines: &[[String; 6]]) {
    let mut widths = [0; 6];
    for line in lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.chars().count().max(*width);
        }
    }
    for cells in lines {
        let mut line = String::new();
        for (cell, width) in cells.iter().zip(widths) {
            // Writing to a string cannot fail.
            write!(line, "{cell:width$}  ").ok();
        }
        writeln!(out, "{}", line.trim_end()).ok();
    }
}
