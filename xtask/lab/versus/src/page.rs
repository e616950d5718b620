//! The figures as tables, as a page, and as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::figure::Figure;
use crate::parts::Part;

/// What was found out, with what is to be known of it.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) command: String,
    pub(crate) machine: String,
    pub(crate) date: String,
    pub(crate) versions: Vec<String>,
    pub(crate) absent: Vec<String>,
    pub(crate) rounds: u32,
    pub(crate) parts: Vec<(Part, Vec<Figure>)>,
}

/// All tables of some figures, in their order.
pub(crate) fn tables(figures: &[Figure]) -> String {
    let mut out = String::new();
    let mut tables: Vec<&str> = Vec::new();
    for figure in figures {
        if !tables.contains(&figure.table.as_str()) {
            tables.push(&figure.table);
        }
    }
    for table in tables {
        let of: Vec<&Figure> = figures
            .iter()
            .filter(|figure| figure.table == table)
            .collect();
        let (mut rows, mut columns): (Vec<&str>, Vec<&str>) = Default::default();
        for figure in &of {
            if !rows.contains(&figure.row.as_str()) {
                rows.push(&figure.row);
            }
            if !columns.contains(&figure.column) {
                columns.push(figure.column);
            }
        }
        // Writing to a string cannot fail.
        writeln!(out, "### {table}\n").ok();
        writeln!(out, "| | {} |", columns.join(" | ")).ok();
        writeln!(out, "| --- |{}", " --- |".repeat(columns.len())).ok();
        for row in rows {
            let cell = |column: &&str| {
                let mut at = of
                    .iter()
                    .filter(|figure| figure.row == row && figure.column == *column);
                at.next()
                    .map_or_else(|| "–".to_owned(), |figure| figure.cell())
            };
            let cells: Vec<String> = columns.iter().map(cell).collect();
            writeln!(out, "| {row} | {} |", cells.join(" | ")).ok();
        }
        out.push('\n');
    }
    out
}

impl Page {
    /// The page in Markdown.
    pub(crate) fn markdown(&self) -> String {
        let mut out = String::from("# Beside its peers\n\n");
        let rounds = match self.rounds {
            1 => "one round".to_owned(),
            rounds => format!("{rounds} rounds, the proxies in turn within each"),
        };
        write!(
            out,
            "Written by `{}` on {}: {}; {rounds}. Compared: {}.",
            self.command,
            self.date,
            self.machine,
            self.versions.join("; "),
        )
        .ok();
        for absent in &self.absent {
            write!(out, " {absent}.").ok();
        }
        out += "\n\nEach figure is the middle of its rounds, with the smallest and the largest in parentheses. `*`: other work on the \
                machine used more than 15 % of a core meanwhile, also when it was played again. `–`: this one has no such thing.\n\n";
        for (part, figures) in &self.parts {
            write!(
                out,
                "## {}\n\n{}\n\n{}",
                part.title(),
                part.meaning(),
                tables(figures)
            )
            .ok();
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
        out
    }

    pub(crate) fn json(&self) -> Value {
        let figures = |figures: &[Figure]| figures.iter().map(Figure::json).collect::<Vec<_>>();
        let parts: Vec<Value> = self
            .parts
            .iter()
            .map(|(part, of)| json!({ "part": part.title(), "figures": figures(of) }))
            .collect();
        json!({
            "command": self.command, "machine": self.machine, "date": self.date, "versions": self.versions,
            "absent": self.absent, "rounds": self.rounds, "parts": parts,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::Figures;

    #[test]
    fn figures_stand_at_their_rows_and_columns_and_what_is_missing_is_said() {
        let mut figures = Figures::default();
        figures.at("T", "a", "edge", "ms").add(1.0, 0.0);
        figures.at("T", "a", "Envoy", "ms").add(2.0, 0.0);
        figures.at("T", "b", "Envoy", "ms").add(3.0, 0.0);
        let text = tables(&figures.0);
        assert!(text.contains("| | edge | Envoy |\n"), "{text}");
        assert!(text.contains("| a | 1 | 2 |\n| b | – | 3 |\n"), "{text}");
    }
}
