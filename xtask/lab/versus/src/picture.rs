//! The headlines as bars: an SVG that stands beside the page.

use std::fmt::Write as _;

use crate::headline::Headline;
use crate::spread::short;

const WIDTH: f64 = 760.0;
const LABELS: f64 = 170.0;
const BAR: f64 = 16.0;
const ROW: f64 = 22.0;
const TITLE: f64 = 40.0;

/// One group of bars for each headline; the longest bar of a group fills the width.
pub(crate) fn svg(lines: &[Headline]) -> String {
    let mut y = 0.0;
    let mut body = String::new();
    for Headline { name, unit, values } in lines {
        y += TITLE;
        // Writing to a string cannot fail.
        writeln!(
            body,
            "<text class=\"title\" x=\"0\" y=\"{:.0}\">{name}</text>",
            y - 12.0
        )
        .ok();
        let most = values
            .iter()
            .map(|(_, value)| *value)
            .fold(f64::MIN_POSITIVE, f64::max);
        for (column, value) in values {
            let length = (WIDTH - LABELS - 90.0) * value / most;
            let class = if *column == "edge" { "ours" } else { "other" };
            let (middle, end) = (y + BAR * 0.78, LABELS + length + 6.0);
            writeln!(
                body,
                "<text x=\"0\" y=\"{middle:.1}\">{column}</text><rect class=\"{class}\" x=\"{LABELS}\" y=\"{y:.1}\" \
                 width=\"{length:.1}\" height=\"{BAR}\"/><text x=\"{end:.1}\" y=\"{middle:.1}\">{}{unit}</text>",
                short(*value)
            )
            .ok();
            y += ROW;
        }
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {:.0}\" role=\"img\">\n<style>text {{ font: 13px \
         sans-serif; fill: #57606a }} .title {{ font-weight: bold }} .ours {{ fill: #1a7f37 }} .other {{ fill: #8c959f }}</style>\n{body}</svg>\n",
        y + 8.0
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_bar_fills_the_width_and_nothing_has_no_length() {
        let line = Headline {
            name: "lost".to_owned(),
            unit: " µs",
            values: vec![("edge", 0.0), ("nginx", 40.0)],
        };
        let svg = svg(&[line]);
        assert!(
            svg.contains("class=\"ours\" x=\"170\" y=\"40.0\" width=\"0.0\""),
            "{svg}"
        );
        assert!(
            svg.contains("class=\"other\" x=\"170\" y=\"62.0\" width=\"500.0\""),
            "{svg}"
        );
        assert!(svg.contains(">40 µs</text>"), "{svg}");
    }
}
