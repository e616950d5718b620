//! All statistics at one moment, and as text.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::family::{Family, Value};
use super::histogram::{Durations, QUANTILES};
use super::prometheus::{is_gauge, metric};

/// Names and values, sorted by name. Its text is Envoy's `/stats`: a line `name: value` for each.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StatsSnapshot {
    values: BTreeMap<String, u64>,
    /// Gauges that have been set, though they are zero now.
    used: BTreeSet<String>,
    gauges: BTreeSet<String>,
    pub(super) durations: BTreeMap<String, Durations>,
    texts: BTreeMap<String, String>,
    /// Those of `values` that have labels.
    pub(super) families: Vec<Family>,
}

impl StatsSnapshot {
    /// Adds a value, or replaces it; for hosts that have statistics of their own.
    pub fn set(&mut self, name: impl Into<String>, value: u64) {
        self.values.insert(name.into(), value);
    }

    /// The same for a gauge: whether it counts as [used](Self::retain_used) though it is zero.
    pub fn set_gauge(&mut self, name: impl Into<String>, value: u64, is_used: bool) {
        let name = name.into();
        self.gauges.insert(name.clone());
        if is_used {
            self.used.insert(name.clone());
        }
        self.values.insert(name, value);
    }

    pub(super) fn set_durations(&mut self, name: impl Into<String>, durations: Durations) {
        self.durations.insert(name.into(), durations);
    }

    /// Adds a text, or replaces it. Texts are in `/stats`, in quotes; Prometheus gets them if it
    /// asks.
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

    /// Only the names that `wanted` picks.
    pub fn retain(&mut self, wanted: impl Fn(&str) -> bool) {
        self.keep(|name, _| wanted(name));
    }

    /// Only what was used, as `/stats?usedonly`: counters and histograms that counted something,
    /// gauges that were set even if they are zero again, texts that are not empty.
    pub fn retain_used(&mut self) {
        let used = std::mem::take(&mut self.used);
        self.keep(|name, value| value > 0 || used.contains(name));
        self.used = used;
    }

    /// Only statistics of these types.
    pub fn retain_types(&mut self, types: StatTypes) {
        if !types.texts {
            self.texts.clear();
        }
        if !types.histograms {
            self.durations.clear();
        }
        let gauges_by_name = std::mem::take(&mut self.gauges);
        let is_gauge = |name: &str| gauges_by_name.contains(name) || is_gauge(&metric(name).0);
        // Of a family, histograms are those of drains.
        let of_drains: Vec<String> = self
            .families
            .iter()
            .filter(|family| {
                let first = family.series.first();
                first.is_some_and(|one| matches!(one.value, Value::Histogram(_)))
            })
            .map(|family| family.name.to_owned())
            .collect();
        let gauges: Vec<String> = self
            .families
            .iter()
            .filter(|family| {
                let first = family.series.first();
                first.is_some_and(|one| matches!(one.value, Value::Gauge(_)))
            })
            .map(|family| family.name.to_owned())
            .collect();
        self.values.retain(|name, _| {
            let of = |families: &[String]| families.iter().any(|family| name.starts_with(family));
            if of(&of_drains) {
                types.histograms
            } else if of(&gauges) || is_gauge(name) {
                types.gauges
            } else {
                types.counters
            }
        });
        self.gauges = gauges_by_name;
        self.keep(|_, _| true);
    }

    /// Whether a value may go down.
    pub(super) fn is_gauge(&self, name: &str) -> bool {
        self.gauges.contains(name) || is_gauge(&metric(name).0)
    }

    /// Counters as they are since `before`, an earlier snapshot: `/reset_counters`. One that is
    /// smaller now began anew meanwhile, and is kept as it is.
    #[must_use]
    pub fn since(mut self, before: &Self) -> Self {
        for (name, value) in &mut self.values {
            let is_family = self
                .families
                .iter()
                .any(|family| name.starts_with(family.name));
            if !is_family && !is_gauge(&metric(name).0) {
                let before = before.get(name).unwrap_or_default();
                *value = value.checked_sub(before).unwrap_or(*value);
            }
        }
        self
    }

    fn keep(&mut self, wanted: impl Fn(&str, u64) -> bool) {
        self.values.retain(|name, value| wanted(name, *value));
        self.durations
            .retain(|name, durations| wanted(name, durations.count()));
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

/// Types of statistics, for [`StatsSnapshot::retain_types`].
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatTypes {
    /// What only grows.
    pub counters: bool,
    /// What goes up and down.
    pub gauges: bool,
    /// Durations by buckets.
    pub histograms: bool,
    /// Texts.
    pub texts: bool,
}

impl StatTypes {
    /// What `/stats?type=` names: `Counters`, `Gauges`, `Histograms`, `TextReadouts`, `All`.
    pub fn named(name: &str) -> Option<Self> {
        let is = |one: &str| name == one || name == "All";
        let types = Self {
            counters: is("Counters"),
            gauges: is("Gauges"),
            histograms: is("Histograms"),
            texts: is("TextReadouts"),
        };
        (types.counters || types.gauges || types.histograms || types.texts).then_some(types)
    }
}

/// The quantiles of a histogram as `/stats` has them in JSON.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq)]
pub struct Quantiles {
    /// Which ones, in percent.
    pub supported: &'static [f64],
    /// Of each histogram, its name and the values in milliseconds; no value if nothing was
    /// recorded.
    pub computed: Vec<(String, Vec<Option<f64>>)>,
}

impl StatsSnapshot {
    /// The histograms, by their quantiles.
    pub fn quantiles(&self) -> Quantiles {
        let computed = self.durations.iter().map(|(name, durations)| {
            let value =
                |percent: &f64| (durations.count() > 0).then(|| durations.quantile(*percent));
            (name.clone(), QUANTILES.iter().map(value).collect())
        });
        Quantiles {
            supported: &QUANTILES,
            computed: computed.collect(),
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
            .try_for_each(|(name, value)| writeln!(f, "{name}: {value}"))?;
        // After all else, as in Envoy: for each quantile the value of the last interval, which
        // nothing here counts, and of all time.
        for (name, durations) in &self.durations {
            write!(f, "{name}:")?;
            if durations.count() == 0 {
                write!(f, " No recorded values")?;
            } else {
                for percent in QUANTILES {
                    write!(f, " P{percent}(nan,{})", durations.quantile(percent))?;
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
