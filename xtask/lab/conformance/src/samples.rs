//! Moments and shares, and whether they are what a rule says.

use std::fmt;

use tokio::time::Instant;

/// How far off a moment may be, in ms.
pub(crate) const SLACK: i64 = 200;

/// Moments in ms, some perhaps missing.
#[derive(Debug, Clone)]
pub(crate) struct Samples {
    found: Vec<i64>,
    missing: usize,
}

/// From one moment to another in ms; negative if it was before.
pub(crate) fn ms(from: Instant, to: Instant) -> i64 {
    let whole = |span: std::time::Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
    match to.checked_duration_since(from) {
        Some(span) => whole(span),
        None => -whole(from.duration_since(to)),
    }
}

impl Samples {
    pub(crate) fn none(&self) -> bool {
        self.found.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.found.len()
    }

    /// The earliest; if there is none, the latest moment of all.
    pub(crate) fn earliest(&self) -> i64 {
        self.found.iter().min().copied().unwrap_or(i64::MAX)
    }

    /// Whether none is missing, and all lie between, give or take the slack.
    pub(crate) fn all_in(&self, from: i64, to: i64) -> bool {
        self.missing == 0 && self.found_in(from, to)
    }

    /// Whether those that there are lie between, and there are some.
    pub(crate) fn found_in(&self, from: i64, to: i64) -> bool {
        !self.none() && self.all_of_found(from, to)
    }

    fn all_of_found(&self, from: i64, to: i64) -> bool {
        self.found
            .iter()
            .all(|sample| (from - SLACK..=to + SLACK).contains(sample))
    }

    /// Whether they are not all at one time: they lie apart by at least a span.
    pub(crate) fn spread(&self, least: i64) -> bool {
        match (self.found.iter().min(), self.found.iter().max()) {
            (Some(first), Some(last)) => last - first >= least,
            _ => false,
        }
    }
}

impl FromIterator<Option<i64>> for Samples {
    fn from_iter<I: IntoIterator<Item = Option<i64>>>(all: I) -> Self {
        let (mut found, mut missing) = (Vec::new(), 0);
        for sample in all {
            match sample {
                Some(sample) => found.push(sample),
                None => missing += 1,
            }
        }
        Self { found, missing }
    }
}

impl fmt::Display for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.found.iter().min(), self.found.iter().max()) {
            (Some(first), Some(last)) if first == last => write!(f, "{first}")?,
            (Some(first), Some(last)) => write!(f, "{first}..{last}")?,
            _ => write!(f, "none")?,
        }
        if self.missing > 0 && !self.none() {
            write!(f, ", {} never", self.missing)?;
        }
        Ok(())
    }
}

/// How improbable a share must be before a rule is called broken.
pub(crate) const ERROR: f64 = 1e-6;

/// Whether `hits` of `tries` may be seen if each is a hit with probability `p`: both tails are
/// larger than [`ERROR`].
pub(crate) fn plausible(hits: usize, tries: usize, p: f64) -> bool {
    let chance: f64 = match p {
        p if p <= 0.0 => return hits == 0,
        p if p >= 1.0 => return hits == tries,
        p => p,
    };
    let mut logs = vec![0.0f64];
    for n in 1..=tries {
        logs.push(logs[n - 1] + (n as f64).ln());
    }
    let mass = |k: usize| {
        let choose = logs[tries] - logs[k] - logs[tries - k];
        (choose + k as f64 * chance.ln() + (tries - k) as f64 * (1.0 - chance).ln()).exp()
    };
    let below: f64 = (0..=hits).map(mass).sum();
    let above: f64 = (hits..=tries).map(mass).sum();
    below.min(above) > ERROR / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_refused_only_if_it_is_very_improbable() {
        assert!(plausible(25, 100, 0.25) && plausible(35, 100, 0.25));
        assert!(!plausible(50, 100, 0.25) && !plausible(4, 100, 0.25));
        assert!(plausible(0, 50, 0.0) && !plausible(1, 50, 0.0));
        assert!(plausible(50, 50, 1.0) && !plausible(49, 50, 1.0));
    }

    #[test]
    fn a_missing_moment_is_not_within() {
        let samples: Samples = [Some(1000), None].into_iter().collect();
        assert!(samples.found_in(1000, 1000) && !samples.all_in(1000, 1000));
        assert_eq!(samples.to_string(), "1000, 1 never");
    }
}
