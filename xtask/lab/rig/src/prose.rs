//! The prose of the pages that laboratories write.

/// The text with its prose in lines of at most 100 columns, as `cargo xtask ci tidy` wants it;
/// tables, titles and pictures stay as they are.
pub fn filled(text: &str) -> String {
    const COLUMNS: usize = 100;
    let mut out = String::new();
    let mut column = 0;
    for line in text.lines() {
        let item = line.starts_with("- ");
        if line.is_empty() || line.starts_with(['|', '#', '!']) || item {
            if column > 0 {
                out.push('\n');
            }
            column = 0;
        }
        if line.is_empty() || line.starts_with(['|', '#', '!']) {
            out += line;
            out.push('\n');
            continue;
        }
        let indent = if item || line.starts_with(' ') {
            "  "
        } else {
            ""
        };
        for word in line.split_whitespace() {
            let length = word.chars().count();
            if column > 0 && column + 1 + length > COLUMNS {
                out += "\n";
                out += indent;
                column = indent.len();
            } else if column > 0 {
                out.push(' ');
                column += 1;
            }
            out += word;
            column += length;
        }
    }
    if column > 0 {
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_is_filled_and_tables_are_left() {
        let long = "word ".repeat(30);
        let text = format!("# T\n\n{long}\nend\n\n- {long}\n| {long} |\n");
        let filled = filled(&text);
        let lines: Vec<&str> = filled.lines().collect();
        assert!(
            lines
                .iter()
                .all(|line| line.starts_with('|') || line.len() <= 100),
            "{filled}"
        );
        assert_eq!(lines.len(), 8, "{filled}");
        assert!(
            lines[3].ends_with("word end") && lines[6].starts_with("  word"),
            "{filled}"
        );
    }
}
