//! All statistics at one moment, and as text.

use std::{collections::BTreeMap, fmt};

/// Names and values, sorted by name. Its text is Envoy's `/stats`: a line `name: value` for each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatsSnapshot(BTreeMap<String, u64>);

impl StatsSnapshot {
    /// Adds a value, or replaces it; for hosts that have statistics of their own.
    pub fn set(&mut self, name: impl Into<String>, value: u64) {
        self.0.insert(name.into(), value);
    }

    /// A value by its name.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.0.get(name).copied()
    }

    /// Every name with its value, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(name, value)| (name.as_str(), *value))
    }

    /// Only the names that `wanted` picks.
    pub fn retain(&mut self, wanted: impl Fn(&str, u64) -> bool) {
        self.0.retain(|name, value| wanted(name, *value));
    }
}

impl fmt::Display for StatsSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter()
            .try_for_each(|(name, value)| writeln!(f, "{name}: {value}"))
    }
}
