//! The goals of this project beside Envoy, and what the figures say of them.

use crate::figure::Figure;
use crate::spread::short;

/// A goal, what was seen, and whether that is good enough.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Goal {
    pub(crate) goal: String,
    pub(crate) seen: String,
    pub(crate) met: bool,
}

/// The goals of which the figures say anything.
pub(crate) fn of(figures: &[&Figure]) -> Vec<Goal> {
    let mut goals = Vec::new();
    goals.extend(losses(figures));
    goals.extend(beside(
        figures,
        "Lost ",
        "TCP, endless",
        "endless TCP lost, at most Envoy's",
        |ours, theirs| ours <= theirs,
    ));
    for (row, goal) in [
        ("HTTP/1.1, answered directly", 0.7),
        ("HTTP/1.1, proxied", 0.7),
        ("HTTP/2, answered directly", 0.9),
        ("HTTP/2, proxied", 0.9),
        ("TCP, a message of 64 bytes and back", 1.0),
        ("HTTP/1.1 over TLS, proxied", 1.0),
        ("HTTP/1.1, bodies of 1 MiB, proxied", 1.0),
    ] {
        let what = format!("processor time, {row}: at most {goal} of Envoy's");
        goals.extend(beside(
            figures,
            "Processor time",
            row,
            &what,
            |ours, theirs| ours <= theirs * goal,
        ));
    }
    for row in [
        "an idle HTTP/1.1 connection",
        "an idle HTTP/2 connection",
        "an idle HTTP/1.1 connection over TLS",
        "an idle WebSocket",
    ] {
        let what = format!("memory, {row}: below Envoy's");
        goals.extend(beside(figures, "Memory", row, &what, |ours, theirs| {
            ours < theirs
        }));
    }
    // A millisecond is less than what two rounds differ by.
    goals.extend(beside(
        figures,
        "How soon",
        "first new answer",
        "first new answer, in ms, the sum of both storms: as soon as Envoy's",
        |ours, theirs| ours <= theirs + 1.0,
    ));
    goals.extend(exits(figures));
    goals
}

/// No request of any HTTP class, in any round.
fn losses(figures: &[&Figure]) -> Option<Goal> {
    let mut http = figures.iter().filter(|figure| {
        let tunnel = figure.row.starts_with("TCP") || figure.row.starts_with("WebSocket");
        figure.table.starts_with("Lost ")
            && figure.column == "edge"
            && figure.unit == "lost"
            && !tunnel
    });
    let first = http.next()?;
    let lost: f64 = std::iter::once(first)
        .chain(http)
        .flat_map(|figure| &figure.values)
        .sum();
    Some(Goal {
        goal: "requests lost in all HTTP classes, storms and restarts, all rounds: 0".to_owned(),
        seen: short(lost),
        met: lost == 0.0,
    })
}

/// The middle values of a row, summed over the tables that begin so; "first new answer" has a row
/// for each number of changes.
fn beside(
    figures: &[&Figure],
    table: &str,
    row: &str,
    what: &str,
    good: impl Fn(f64, f64) -> bool,
) -> Option<Goal> {
    let sum = |column: &str| {
        let of = figures.iter().filter(|figure| {
            let row_is_meant = figure.row == row
                || figure
                    .row
                    .strip_prefix(row)
                    .is_some_and(|of| of.starts_with(", "));
            figure.table.starts_with(table) && row_is_meant && figure.column == column
        });
        let middles: Vec<f64> = of
            .filter_map(|figure| Some(figure.spread()?.median))
            .collect();
        (!middles.is_empty()).then(|| middles.iter().sum::<f64>())
    };
    let (ours, theirs) = (sum("edge")?, sum("Envoy")?);
    let ratio = if theirs > 0.0 {
        format!(" ({}x)", short(ours / theirs))
    } else {
        String::new()
    };
    Some(Goal {
        goal: what.to_owned(),
        seen: format!("{} beside {}{ratio}", short(ours), short(theirs)),
        met: good(ours, theirs),
    })
}

/// Ours ends within its drain time, and loses nothing.
fn exits(figures: &[&Figure]) -> Option<Goal> {
    const DRAIN_TIME: f64 = 3.0;
    const CLOSING: f64 = 0.5;
    let ours = |table: &str| {
        let of = figures
            .iter()
            .filter(|figure| figure.table.starts_with(table) && figure.column.starts_with("ours"));
        let values: Vec<f64> = of.flat_map(|figure| figure.values.clone()).collect();
        values.into_iter().reduce(f64::max)
    };
    let (longest, lost) = (ours("Seconds from SIGTERM")?, ours("Requests lost by it")?);
    Some(Goal {
        goal: "exit with clients that do not help: within the drain time of 3 s and 0.5 s to close what is left, 0 lost".to_owned(),
        seen: format!("{} s at most, {} lost", short(longest), short(lost)),
        met: longest < DRAIN_TIME + CLOSING && lost == 0.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::Figures;

    #[test]
    fn a_goal_is_judged_by_the_middle_values_and_a_loss_by_all() {
        let mut figures = Figures::default();
        let table = "Processor time per request, in µs";
        figures
            .at(table, "HTTP/1.1, proxied", "edge", "")
            .add(8.0, 0.0);
        figures
            .at(table, "HTTP/1.1, proxied", "Envoy", "")
            .add(10.0, 0.0);
        let lost = figures.at("Lost with no changes", "keep-alive", "edge", "lost");
        lost.add(0.0, 0.0);
        lost.add(1.0, 0.0);
        lost.add(0.0, 0.0);
        let goals = of(&figures.0.iter().collect::<Vec<_>>());
        assert_eq!(goals.len(), 2, "{goals:?}");
        assert!(goals.iter().all(|goal| !goal.met));
        assert_eq!(goals[1].seen, "8 beside 10 (0.80x)");
    }
}
