//! What a rule asked of one side, what was seen there, and the verdict over all sides.

use std::fmt::Display;

use super::Side;

/// A rule, checked on one side.
#[derive(Debug, Clone)]
pub(crate) struct Check {
    pub(crate) rule: &'static str,
    pub(crate) seen: String,
    /// Whether it is as Envoy 1.40 does it.
    envoys: bool,
    /// Whether it is as the named row of the ledger promises instead, and for whom.
    ours: Option<Ours>,
}

#[derive(Debug, Clone)]
struct Ours {
    row: &'static str,
    holds: bool,
    /// The ledger says that `--compat envoy-1.40` does it this way too.
    in_compat: bool,
    /// What is ours may, by chance, look like Envoy's.
    may_look_alike: bool,
}

/// The checks of one play.
#[derive(Debug, Default)]
pub(crate) struct Checks(pub(crate) Vec<Check>);

impl Checks {
    pub(crate) fn are_good(&self, side: Side) -> bool {
        self.0
            .iter()
            .all(|check| check.verdict(side) != Verdict::Worse)
    }

    /// A rule as Envoy keeps it.
    pub(crate) fn rule(
        &mut self,
        rule: &'static str,
        seen: impl Display,
        envoys: bool,
    ) -> &mut Check {
        self.0.push(Check {
            rule,
            seen: seen.to_string(),
            envoys,
            ours: None,
        });
        let last = self.0.len() - 1;
        &mut self.0[last]
    }
}

impl Check {
    /// The defaults may do it as a row of the ledger says.
    pub(crate) fn or(&mut self, row: &'static str, holds: bool) {
        self.ours = Some(Ours {
            row,
            holds,
            in_compat: false,
            may_look_alike: false,
        });
    }

    /// The same, where it may look like Envoy's by chance: it is called ours all the same.
    pub(crate) fn or_alike(&mut self, row: &'static str, holds: bool) {
        self.or(row, holds);
        if let Some(ours) = &mut self.ours {
            ours.may_look_alike = true;
        }
    }

    /// `--compat envoy-1.40` too may do it as a row of the ledger says.
    pub(crate) fn or_everywhere(&mut self, row: &'static str, holds: bool) {
        self.ours = Some(Ours {
            row,
            holds,
            in_compat: true,
            may_look_alike: false,
        });
    }

    pub(crate) fn verdict(&self, side: Side) -> Verdict {
        match &self.ours {
            Some(ours) if ours.may_look_alike && ours.holds && ours.allowed(side) => {
                Verdict::Better(ours.row)
            }
            _ if self.envoys => Verdict::Same,
            Some(ours) if ours.holds && ours.allowed(side) => Verdict::Better(ours.row),
            _ => Verdict::Worse,
        }
    }
}

impl Ours {
    fn allowed(&self, side: Side) -> bool {
        match side {
            Side::Envoy => false,
            Side::Compat => self.in_compat,
            Side::Defaults => true,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Same,
    /// Other than Envoy, on purpose: the row of the ledger that says so.
    Better(&'static str),
    Worse,
}

impl Verdict {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Better(_) => "better",
            Self::Worse => "WORSE",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deviation_counts_only_where_the_ledger_allows_it() {
        let mut checks = Checks::default();
        checks.rule("a", "", false).or("row", true);
        checks.rule("b", "", false).or_everywhere("row", true);
        checks.rule("c", "", false).or("row", false);
        let verdicts = |side| {
            checks
                .0
                .iter()
                .map(|check| check.verdict(side))
                .collect::<Vec<_>>()
        };
        let (better, worse) = (Verdict::Better("row"), Verdict::Worse);
        assert_eq!(verdicts(Side::Envoy), [worse, worse, worse]);
        assert_eq!(verdicts(Side::Compat), [worse, better, worse]);
        assert_eq!(verdicts(Side::Defaults), [better, better, worse]);
    }
}
