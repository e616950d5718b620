//! `/connections?format=text`: a line for each connection, in columns.

use std::fmt::Write as _;
use std::time::Duration;

use super::{ConnectionView, NextStep};

const HEAD: [&str; 10] = [
    "ID", "LISTENER", "VERSION", "PROTOCOL", "STATE", "AGE", "STREAMS", "NEXT", "IN", "WHY",
];

/// Names are shortened to this, so that one of them cannot push everything off the screen.
const WIDEST: usize = 40;

/// Rows in columns. They are as wide as the first rows need; a longer cell of a later one moves
/// what follows it.
#[derive(Debug, Default)]
pub(super) struct Table {
    widths: Option<[usize; 10]>,
}

impl Table {
    /// The next rows, before the first ones the head.
    pub(super) fn rows(&mut self, connections: &[ConnectionView]) -> String {
        let rows: Vec<[String; 10]> = connections.iter().map(row).collect();
        let mut text = String::new();
        let is_first = self.widths.is_none();
        let widths = *self.widths.get_or_insert_with(|| {
            let mut widths = HEAD.map(str::len);
            for row in &rows {
                for (width, cell) in widths.iter_mut().zip(row) {
                    *width = (*width).max(cell.chars().count());
                }
            }
            widths
        });
        let mut line = |cells: [&str; 10]| {
            let last = cells.len() - 1;
            for (cell, width) in cells[..last].iter().zip(widths) {
                // Writing into a string does not fail.
                write!(text, "{cell:<width$}  ").ok();
            }
            writeln!(text, "{}", cells[last]).ok();
        };
        if is_first {
            line(HEAD);
        }
        for row in &rows {
            line(row.each_ref().map(String::as_str));
        }
        text
    }
}

fn row(connection: &ConnectionView) -> [String; 10] {
    let listener: String = connection.listener.chars().take(WIDEST).collect();
    [
        connection.id.clone(),
        listener.replace(char::is_control, "?"),
        connection.version.to_string(),
        connection.protocol.clone(),
        connection.state.clone(),
        seconds(connection.age),
        connection.streams.to_string(),
        connection.next.map_or("-", NextStep::as_str).to_owned(),
        connection.next_in.map_or_else(|| "-".to_owned(), seconds),
        match &connection.close_reason {
            Some(reason) => format!("{} ({reason})", connection.why),
            None => connection.why.clone(),
        },
    ]
}

fn seconds(duration: Duration) -> String {
    format!("{:.1}s", duration.as_secs_f64())
}
