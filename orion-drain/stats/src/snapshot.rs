//! All statistics at one moment, and as text.

use std::{collections::BTreeMap, fmt};

use super::family::Family;

/// Names and values, sorted by name. Its text is Envoy's `/stats`: a line `name: value` for each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatsSnapshot {
    values: BTreeMap<String, u64>,
    texts: BTreeMap<String, String>,
    /// Those of `values` that have labels.
    pub(super) families: Vec<Family>,
}

impl StatsSnapshot {
    /// Adds a value, or replaces it; for hosts that have statistics of their own.
    pub fn set(&mut self, name: impl Into<String>, value: u64) {
        self.values.insert(name.into(), value);
    }

    /// Adds a text, or replaces it. Texts are in `/stats`, in quotes; no other format has them.
    pub fn set_text(&mut self, name: impl Into<String>, text: impl Into<String>) {
        self.texts.insert(name.into(), text.into());
    }

    /// A text by its name.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.texts.get(name).map(String::as_str)
    }

    /// Every text by its name, sorted.
    pub fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// A value by its name.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.values.get(name).copied()
    }

    /// Every name with its value, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.values
            .iter()
            .map(|(name, value)| (name.as_str(), *value))
    }

    /// Only the names that `wanted` picks. A text counts as its length.
    pub fn retain(&mut self, wanted: impl Fn(&str, u64) -> bool) {
        self.values.retain(|name, value| wanted(name, *value));
        self.texts
            .retain(|name, text| wanted(name, text.len() as u64));
        for family in &mut self.families {
            let name = family.name;
            family
                .series
                .retain(|one| self.values.contains_key(&one.key(name)));
        }
    }
}

impl fmt::Display for StatsSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines: BTreeMap<&str, String> = BTreeMap::new();
        lines.extend(self.iter().map(|(name, value)| (name, value.to_string())));
        lines.extend(
            self.texts
                .iter()
                .map(|(name, text)| (name.as_str(), format!("{text:?}"))),
        );
        lines
            .iter()
            .try_for_each(|(name, value)| writeln!(f, "{name}: {value}"))
    }
}
