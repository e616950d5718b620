//! The lines on README's first screen, between two marks.

use anyhow::Context;

use crate::headline::Headline;
use crate::proxies::Kind;
use crate::spread::short;

const BEGIN: &str = "<!-- begin of what `cargo xtask versus --readme` writes -->\n";
const END: &str = "<!-- end of it -->\n";

/// The text with these lines between its marks.
pub(crate) fn with_lines(text: &str, lines: &[Headline], when: &str) -> anyhow::Result<String> {
    let (before, rest) = text
        .split_once(BEGIN)
        .context("README.md has no mark where the lines begin")?;
    let (_, after) = rest
        .split_once(END)
        .context("README.md has no mark where the lines end")?;
    Ok(format!(
        "{before}{BEGIN}\n{}\n{END}{after}",
        table(lines, when)
    ))
}

fn table(lines: &[Headline], when: &str) -> String {
    let columns = Kind::COMPARED.map(Kind::name);
    let mut out = format!(
        "| {when} | {} |\n| --- |{}\n",
        columns.join(" | "),
        " --- |".repeat(columns.len())
    );
    for Headline { name, unit, values } in lines {
        let cells = columns.map(|column| {
            let value = values.iter().find(|(of, _)| *of == column);
            value.map_or_else(
                || "–".to_owned(),
                |(_, value)| format!("{}{unit}", short(*value)),
            )
        });
        out += &format!("| {name} | {} |\n", cells.join(" | "));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_stand_between_the_marks_and_the_readme_has_them() {
        let line = Headline {
            name: "lost".to_owned(),
            unit: "",
            values: vec![("Envoy", 5.0)],
        };
        let lines = [line];
        let text = with_lines(&format!("a\n{BEGIN}old\n{END}b\n"), &lines, "2026").unwrap();
        assert!(text.starts_with("a\n") && text.ends_with("b\n") && !text.contains("old"));
        assert!(text.contains("| lost | – | 5 | – |"), "{text}");

        let readme = std::fs::read_to_string(rig::root().join("README.md")).unwrap();
        with_lines(&readme, &lines, "2026").unwrap();
    }
}
