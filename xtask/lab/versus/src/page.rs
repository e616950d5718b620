//! The figures as tables, as a page, and as JSON.

use std::ffi::OsStr;
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::figure::Figure;
use crate::goals::{self, Goal};
use crate::parts::Part;

/// What stays true whatever the figures are.
const BETTER: &str = "\
## Where peers are better, and why

- **Memory of an idle connection.** HAProxy and nginx release a connection's buffers while nothing happens on it: what is left is a
  record of a few hundred bytes. The column of the plain hyper-util server is hyper's and h2's share: their buffers stay, and so does the
  connection's future. In edge the future of a request is boxed and goes with the request, so an idle HTTP/1.1 connection takes no more
  than plain hyper's. To be below Envoy for HTTP/2 as well, h2 would have to give its buffers back while no stream is open.
- **Endless TCP.** A message that is under way at a version's deadline is cut, in edge as in Envoy: which one has such a message in a
  run is chance.
- **Processor time of proxied requests, HAProxy and nginx.** One thread does everything for a connection there, on one buffer. In edge
  a request crosses from hyper's client to its pool, and over HTTP/2 also from h2's connection task to the service and back: each
  crossing wakes a task. The tables of the profile above say which part is h2's, hyper's and the kernel's.
- **Time to exit with idle HTTP/1.1 connections.** Servers that close such a connection at once are gone sooner, and can lose a request
  that crosses the close, as the tables of the storm show. Ours says `connection: close` with the next answer and closes the silent ones
  at the deadline; `IdlePolicy` chooses otherwise.
- **nginx and HAProxy keep an old process for each change.** That is simple and isolates versions, and is what makes their first new answer
  late and their memory grow under many changes.
";

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
    /// All figures of all parts.
    pub(crate) fn figures(&self) -> Vec<&Figure> {
        self.parts.iter().flat_map(|(_, figures)| figures).collect()
    }

    /// The page in Markdown, with this picture from beside it.
    pub(crate) fn markdown(&self, picture: Option<&OsStr>) -> String {
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
        out += "\n\nEach figure is the middle of its rounds (of two their mean), with the smallest and the largest in parentheses. `*`: other work on the \
                machine used more than 15 % of a core meanwhile, also in a second try (`--once` makes none). `–`: this one has no such thing.\n\n";
        if let Some(picture) = picture {
            let name = picture.to_string_lossy();
            write!(
                out,
                "![Requests lost, and processor time, of each proxy]({name})\n\n"
            )
            .ok();
        }
        out += &self.goals();
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
        out += BETTER;
        rig::filled(&out)
    }

    fn goals(&self) -> String {
        let mut out = String::from(
            "## Goals\n\nWhat this project wants to reach beside Envoy, and where it is.\n\n| goal | seen | |\n| --- | --- | --- |\n",
        );
        for Goal { goal, seen, met } in goals::of(&self.figures()) {
            let met = if met { "met" } else { "**missed**" };
            // Writing to a string cannot fail.
            writeln!(out, "| {goal} | {seen} | {met} |").ok();
        }
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
