//! What `/listeners/NAME/drain?fraction=..&rate=..` asks for.

use std::num::NonZeroU32;

use drain_tree::{PartialStart, Share, Spread};

use super::query::Query;

/// The parameters that make a drain of a listener a partial one.
const PARAMETERS: [&str; 2] = ["fraction", "rate"];

/// Whether the query asks for a part of the connections, or for a pace.
pub(super) fn is_asked_for(query: &Query) -> bool {
    PARAMETERS.iter().any(|name| query.has(name))
}

/// Refuses every other parameter: with a share that is misspelt all connections would leave.
pub(super) fn check(query: &Query) -> Result<(), String> {
    let mut names = query.pairs().iter().map(|(name, _)| name.as_str());
    match names.find(|name| !PARAMETERS.contains(name)) {
        Some(name) => Err(format!(
            "{name}: not a parameter here, which are `fraction` and `rate`\n"
        )),
        None => Ok(()),
    }
}

/// Which share of the connections, and when. Without a fraction: all; without a rate: over a
/// quarter of the drain time.
///
/// # Errors
///
/// What is wrong with which parameter.
pub(super) fn wanted(query: &Query) -> Result<PartialStart, String> {
    check(query)?;
    let share = query.get("fraction").map_or(Ok(Share::ALL), |text| {
        let number = text.parse::<f64>();
        let number = number.map_err(|_| format!("fraction={text}: not a number\n"))?;
        Share::new(number).map_err(|error| format!("fraction={text}: {error}\n"))
    })?;
    let start = PartialStart::new(share);
    let Some(text) = query.get("rate") else {
        return Ok(start);
    };
    let rate: NonZeroU32 = text
        .parse()
        .map_err(|_| format!("rate={text}: not a number of connections per second above 0\n"))?;
    Ok(start.with_spread(Spread::PerSecond(rate)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        Query::of(&format!("/?{text}").parse().expect("a path"))
    }

    #[test]
    fn a_share_and_a_pace_are_read_and_each_alone() {
        let tenth = PartialStart::new(Share::new(0.1).expect("a share"));
        let pace = Spread::PerSecond(NonZeroU32::new(50).expect("above zero"));
        assert_eq!(wanted(&query("fraction=0.1")), Ok(tenth));
        let both = wanted(&query("rate=50&fraction=0.1"));
        assert_eq!(both, Ok(tenth.with_spread(pace)));
        let all = PartialStart::new(Share::ALL).with_spread(pace);
        assert_eq!(wanted(&query("rate=50")), Ok(all));
        assert!(!is_asked_for(&query("graceful")) && is_asked_for(&query("rate")));
    }

    #[test]
    fn what_is_wrong_is_said_by_its_parameter() {
        for wrong in ["0", "1.1", "-1", "nan", "inf", "", "ten"] {
            let error = wanted(&query(&format!("rate=1&fraction={wrong}"))).expect_err(wrong);
            assert!(error.starts_with(&format!("fraction={wrong}: ")), "{error}");
        }
        for wrong in ["percent=10", "fraction=0.1&Rate=5", "fractoin=0.1"] {
            let error = wanted(&query(wrong)).expect_err(wrong);
            assert!(error.contains(": not a parameter here"), "{error}");
        }
        for wrong in ["0", "-1", "1.5", "", "fast", "4294967296"] {
            let error = wanted(&query(&format!("rate={wrong}"))).expect_err(wrong);
            assert!(error.starts_with(&format!("rate={wrong}: ")), "{error}");
        }
    }
}
