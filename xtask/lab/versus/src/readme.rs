//! The lines on README's first screen: three of the figures, between two marks.

use std::fmt::Write as _;

use anyhow::Context;

use crate::figure::Figure;
use crate::proxies::Kind;
use crate::spread::short;

const BEGIN: &str = "<!-- begin of what `cargo xtask versus --readme` writes -->\n";
const END: &str = "<!-- end of it -->\n";

/// The text with the lines of these figures between its marks.
pub(crate) fn with_lines(text: &str, figures: &[&Figure], when: &str) -> anyhow::Result<String> {
    let (before, rest) = text
        .split_once(BEGIN)
        .context("README.md has no mark where the lines begin")?;
    let (_, after) = rest
        .split_once(END)
        .context("README.md has no mark where the lines end")?;
    Ok(format!(
        "{before}{BEGIN}\n{}\n{END}{after}",
        lines(figures, when)
    ))
}

fn lines(figures: &[&Figure], when: &str) -> String {
    let columns: Vec<&str> = Kind::COMPARED.iter().map(|kind| kind.name()).collect();
    let mut out = format!(
        "| {when} | {} |\n| --- |{}\n",
        columns.join(" | "),
        " --- |".repeat(columns.len())
    );
    // The storm with the most changes comes last.
    let mut storms = figures
        .iter()
        .filter(|figure| figure.table.starts_with("Lost with "));
    let storm = storms
        .next_back()
        .map(|figure| figure.table.clone())
        .unwrap_or_default();
    let many = storm.trim_start_matches("Lost with ");
    let rows = [
        (
            format!("HTTP requests lost with {many}"),
            storm.as_str(),
            None,
        ),
        (
            "HTTP requests lost by a restart".to_owned(),
            "Lost by a restart",
            None,
        ),
        (
            "processor time of a proxied HTTP/1.1 request".to_owned(),
            "Processor time per request, in µs",
            Some("HTTP/1.1, proxied"),
        ),
    ];
    for (name, table, row) in rows {
        let cell = |column: &&str| {
            let is_meant = |figure: &&&Figure| {
                let tunnel = figure.row.starts_with("TCP") || figure.row.starts_with("WebSocket");
                let counts = row.map_or(figure.unit == "lost" && !tunnel, |row| figure.row == row);
                figure.table == table && figure.column == *column && counts
            };
            let of = figures
                .iter()
                .filter(is_meant)
                .filter_map(|figure| Some(figure.spread()?.median));
            let middles: Vec<f64> = of.collect();
            let unit = if row.is_some() { " µs" } else { "" };
            match middles.is_empty() {
                true => "–".to_owned(),
                false => format!("{}{unit}", short(middles.iter().sum())),
            }
        };
        let cells: Vec<String> = columns.iter().map(cell).collect();
        // Writing to a string cannot fail.
        writeln!(out, "| {name} | {} |", cells.join(" | ")).ok();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::Figures;

    #[test]
    fn the_lines_stand_between_the_marks_and_the_readme_has_them() {
        let mut figures = Figures::default();
        let table = "Lost with 100 changes in 20 s";
        figures
            .at(table, "keep-alive", "Envoy", "lost")
            .add(2.0, 0.0);
        figures
            .at(table, "HTTP/2, small", "Envoy", "lost")
            .add(3.0, 0.0);
        figures
            .at(table, "TCP, endless", "Envoy", "lost")
            .add(9.0, 0.0);
        let all: Vec<&Figure> = figures.0.iter().collect();
        let text = with_lines(&format!("a\n{BEGIN}old\n{END}b\n"), &all, "2026").unwrap();
        assert!(text.starts_with("a\n") && text.ends_with("b\n") && !text.contains("old"));
        assert!(
            text.contains("lost with 100 changes in 20 s | – | 5 | – |"),
            "{text}"
        );

        let readme = std::fs::read_to_string(rig::root().join("README.md")).unwrap();
        with_lines(&readme, &all, "2026").unwrap();
    }
}
