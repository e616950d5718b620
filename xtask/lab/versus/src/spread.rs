//! A figure with its spread: the middle of several runs, and the smallest and the largest of them.

use std::fmt;

/// At least one value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// `None` of none. An even number of values has two in the middle: their mean counts.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values
            .into_iter()
            .filter(|value| value.is_finite())
            .collect();
        values.sort_by(f64::total_cmp);
        let (&min, &max) = (values.first()?, values.last()?);
        Some(Self {
            min,
            median: f64::midpoint(values[(values.len() - 1) / 2], values[values.len() / 2]),
            max,
        })
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [min, median, max] = [self.min, self.median, self.max].map(short);
        if min == max {
            f.pad(&median)
        } else {
            f.pad(&format!("{median} ({min}–{max})"))
        }
    }
}

/// Three digits or so.
pub(crate) fn short(value: f64) -> String {
    if value == value.round() || value.abs() >= 100.0 {
        format!("{value:.0}")
    } else if value.abs() >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

/// The value below which so much of them are; 0 of none.
pub(crate) fn quantile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (values.len() as f64 * part).ceil() as usize;
    values
        .get(at.clamp(1, values.len().max(1)) - 1)
        .copied()
        .unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_shows_its_middle_and_its_ends_and_one_value_alone() {
        let text =
            |values: &[f64]| Spread::of(values.iter().copied()).map(|spread| spread.to_string());
        assert_eq!(text(&[3.0, 1.0, 2.0]).as_deref(), Some("2 (1–3)"));
        assert_eq!(text(&[0.0, 0.0]).as_deref(), Some("0"));
        assert_eq!(text(&[1.0, 2.0]).as_deref(), Some("1.50 (1–2)"));
        assert_eq!(text(&[]), None);
        assert_eq!(text(&[12.34, f64::NAN]).as_deref(), Some("12.3"));
    }

    #[test]
    fn the_99th_percentile_is_the_largest_of_a_hundred_but_one() {
        let mut values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(quantile(&mut values, 0.99), 99.0);
        assert_eq!(quantile(&mut [], 0.99), 0.0);
    }
}
