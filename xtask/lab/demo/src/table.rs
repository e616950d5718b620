//! The table at the end: what each class did, lost and heard.

use std::collections::BTreeMap;

use super::Outcome;
use super::verdict::{ClassVerdict, Loss, Spread};

/// How many losses of a class are told in full.
const DETAILS: usize = 5;

/// The whole text.
pub(crate) fn render(outcome: &Outcome) -> String {
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(outcome.classes.iter().map(row));
    rows.push(total(&outcome.classes));
    let mut out = String::from(
        "\nTimes: smallest, median and largest, after the update that replaced the connection's version.\n\n",
    );
    out += &aligned(&rows);
    out.push('\n');
    for class in &outcome.classes {
        out += &trouble(class);
    }
    for complaint in &outcome.complaints {
        out += &format!("FAILED: {complaint}\n");
    }
    if outcome.good() {
        let updates = outcome.updates.at.len();
        let (event, plural) = (outcome.event, if updates == 1 { "" } else { "s" });
        out += &format!(
            "{updates} {event}{plural}, nothing lost, every class heard what it should.\n"
        );
    }
    out
}

const HEAD: [&str; 9] = [
    "class",
    "connections",
    "ok",
    "bytes",
    "lost",
    "close header",
    "first GOAWAY",
    "to final GOAWAY",
    "FIN",
];

fn row(class: &ClassVerdict) -> [String; 9] {
    [
        class.class.name().to_owned(),
        grouped(class.connections as u64),
        grouped(class.ok),
        bytes(class.bytes),
        class.lost.len().to_string(),
        spread(class.close_header),
        spread(class.first_goaway),
        spread(class.goaway_gap),
        spread(class.fin),
    ]
}

fn total(classes: &[ClassVerdict]) -> [String; 9] {
    let sum = |of: fn(&ClassVerdict) -> u64| classes.iter().map(of).sum::<u64>();
    let mut row = [const { String::new() }; 9];
    row[0] = "total".to_owned();
    row[1] = grouped(sum(|class| class.connections as u64));
    row[2] = grouped(sum(|class| class.ok));
    row[3] = bytes(sum(|class| class.bytes));
    row[4] = sum(|class| class.lost.len() as u64).to_string();
    row
}

/// What is wrong with a class, if anything is; and what was retried, which is not.
fn trouble(class: &ClassVerdict) -> String {
    let name = class.class.name();
    let mut out = String::new();
    if !class.lost.is_empty() {
        out += &format!(
            "FAILED: {name}: lost {}: {}\n",
            class.lost.len(),
            by_kind(&class.lost)
        );
    }
    for loss in class.lost.iter().take(DETAILS) {
        out += &format!(
            "    {:.3} s, version {}: {}: {}\n",
            loss.at.as_secs_f64(),
            loss.version,
            loss.kind,
            loss.detail
        );
    }
    if class.lost.len() > DETAILS {
        out += &format!("    and {} more\n", class.lost.len() - DETAILS);
    }
    for complaint in &class.complaints {
        out += &format!("FAILED: {name}: {complaint}\n");
    }
    if class.retried > 0 {
        out += &format!(
            "{name}: {} streams above a final GOAWAY were asked again elsewhere\n",
            class.retried
        );
    }
    out
}

/// `2 cut, 1 reset`.
pub(crate) fn by_kind(lost: &[Loss]) -> String {
    let mut kinds = BTreeMap::<_, u32>::new();
    for loss in lost {
        *kinds.entry(loss.kind).or_default() += 1;
    }
    kinds
        .iter()
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// `0.01 0.98 1.97 s`, or a dot.
pub(crate) fn spread(spread: Option<Spread>) -> String {
    let Some(Spread {
        min, median, max, ..
    }) = spread
    else {
        return "·".to_owned();
    };
    format!(
        "{:.2} {:.2} {:.2} s",
        min.as_secs_f64(),
        median.as_secs_f64(),
        max.as_secs_f64()
    )
}

/// A number with its thousands apart.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n) % 3 == 0 {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// Bytes in the largest unit that leaves a number above one.
pub(crate) fn bytes(bytes: u64) -> String {
    match bytes {
        0 => "·".to_owned(),
        1..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

/// Columns side by side: the first to the left, the others to the right.
fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let mut out = String::new();
    for row in rows {
        let cells =
            row.iter()
                .zip(widths)
                .enumerate()
                .map(|(column, (cell, width))| match column {
                    0 => format!("{cell:width$}"),
                    _ => format!("{cell:>width$}"),
                });
        out += cells.collect::<Vec<_>>().join("  ").trim_end();
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        assert_eq!(
            [0, 999, 1000, 1_234_567].map(grouped),
            ["0", "999", "1 000", "1 234 567"]
        );
    }

    #[test]
    fn losses_are_counted_by_kind() {
        let loss = |kind| Loss {
            kind,
            at: std::time::Duration::ZERO,
            version: 1,
            detail: String::new(),
        };
        assert_eq!(
            by_kind(&[loss("reset"), loss("cut"), loss("cut")]),
            "2 cut, 1 reset"
        );
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            ["a".to_owned(), "1".to_owned()],
            ["bb".to_owned(), "22".to_owned()],
        ];
        assert_eq!(aligned(&rows), "a    1\nbb  22\n");
    }
}
