//! What a run finds out: figures, each at a row and a column of a table.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::noise;
use crate::spread::Spread;

/// One figure, with the values of all rounds.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    /// The table it belongs to.
    pub(crate) table: String,
    pub(crate) row: String,
    /// The proxy or server.
    pub(crate) column: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) values: Vec<f64>,
    /// Of what it is made, over all rounds.
    pub(crate) kinds: BTreeMap<&'static str, u64>,
    /// Said behind the figure.
    pub(crate) note: String,
    /// The most that other work used of a core meanwhile.
    pub(crate) others: f64,
}

impl Figure {
    pub(crate) fn new(
        table: impl Into<String>,
        row: impl Into<String>,
        column: &'static str,
        unit: &'static str,
    ) -> Self {
        Self {
            table: table.into(),
            row: row.into(),
            column,
            unit,
            values: Vec::new(),
            kinds: BTreeMap::new(),
            note: String::new(),
            others: 0.0,
        }
    }

    pub(crate) fn add(&mut self, value: f64, others: f64) {
        self.values.push(value);
        self.others = self.others.max(others);
    }

    pub(crate) fn kind(&mut self, name: &'static str, many: u64) {
        *self.kinds.entry(name).or_default() += many;
    }

    pub(crate) fn spread(&self) -> Option<Spread> {
        Spread::of(self.values.iter().copied())
    }

    /// As a cell of a table. `*`: other work disturbed it.
    pub(crate) fn cell(&self) -> String {
        let none = || {
            if self.note.is_empty() && self.kinds.is_empty() {
                "–"
            } else {
                ""
            }
            .to_owned()
        };
        let mut text = self.spread().map_or_else(none, |spread| spread.to_string());
        if self.others > noise::ALLOWED && self.spread().is_some() {
            text.push('*');
        }
        let kinds = self
            .kinds
            .iter()
            .map(|(name, many)| format!("{name} {many}"));
        let note = (!self.note.is_empty()).then(|| self.note.clone());
        let said: Vec<String> = kinds.chain(note).collect();
        if !said.is_empty() {
            text += &format!(" {}", said.join(", "));
        }
        text.trim_start().to_owned()
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "table": self.table, "row": self.row, "column": self.column, "unit": self.unit,
            "values": self.values, "kinds": self.kinds, "note": self.note, "other_work": self.others,
        })
    }
}

/// A list of figures to which rounds add.
#[derive(Debug, Default)]
pub(crate) struct Figures(pub(crate) Vec<Figure>);

impl Figures {
    /// The figure at this place; a new one if there is none.
    pub(crate) fn at(
        &mut self,
        table: &str,
        row: &str,
        column: &'static str,
        unit: &'static str,
    ) -> &mut Figure {
        let here =
            |figure: &Figure| figure.table == table && figure.row == row && figure.column == column;
        let at = self.0.iter().position(here).unwrap_or_else(|| {
            self.0.push(Figure::new(table, row, column, unit));
            self.0.len() - 1
        });
        &mut self.0[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_add_to_the_same_figure_and_a_disturbed_one_is_marked() {
        let mut figures = Figures::default();
        figures.at("t", "r", "edge", "ms").add(1.0, 0.0);
        figures.at("t", "r", "edge", "ms").add(3.0, 0.5);
        figures.at("t", "r", "Envoy", "ms");
        let cells: Vec<String> = figures.0.iter().map(Figure::cell).collect();
        assert_eq!(cells, ["2 (1–3)*", "–"]);
    }
}
