//! `storm`: configuration changes under the crowd.

use std::time::Duration;

use crate::clients::Summary;
use crate::figure::Figures;
use crate::spread::quantile;
use crate::stage::Stage;
use crate::storm::{Storm, storm};

/// In 20 s; a shorter storm has as many a second.
const CHANGES: [u32; 3] = [0, 20, 100];
const PER: u64 = 20;

pub(crate) const MEANING: &str = "\
A crowd of correct clients is served while the configuration changes: a new LDS file (edge, Envoy), a reload with seamless socket
passing (HAProxy), `nginx -s reload`, or a listener that is bound again (hyper-util). *Lost* counts requests, messages and streams by
what their client saw; what was asked again without a loss, because the close or the refusal was visible before the client wrote,
is not among them. A client that is \"away\" writes 10 or 50 ms after it has looked at its connection, as over a network that long.
TCP never ends by itself: each version's deadline must cut it once, and a loss is a message that was under way then. All requests
but those of hyper-util, which answers itself, go through the proxy to an HTTP/1.1 server behind it. *First new answer*: from the
change to the first answer of the new configuration on a new connection; the middle of all changes.";

pub(crate) async fn play(stage: &Stage, lasts: Duration) -> anyhow::Result<Figures> {
    let mut figures = Figures::default();
    for round in 1..=stage.rounds {
        for changes in CHANGES {
            for kind in stage.kinds.iter().copied() {
                let many = (u64::from(changes) * lasts.as_secs()).div_ceil(PER) as u32;
                println!("storm, round {round}: {}, {many} changes", kind.name());
                let played = stage
                    .quietly(
                        |storm: &Storm| storm.others,
                        || storm(stage, kind, many, lasts),
                    )
                    .await;
                if let Some(storm) = stage.or_say(kind.name(), "storm", played) {
                    enter(&mut figures, &storm, lasts);
                }
            }
        }
    }
    // Losses first, then times.
    figures.0.sort_by_key(|figure| figure.table == TIMES);
    Ok(figures)
}

const TIMES: &str = "How soon, in ms";

fn enter(figures: &mut Figures, played: &Storm, lasts: Duration) {
    let (column, others) = (played.kind.name(), played.others);
    let changes = match played.changes {
        0 => "no changes".to_owned(),
        changes => format!("{changes} changes in {} s", lasts.as_secs()),
    };
    enter_losses(
        figures,
        &format!("Lost with {changes}"),
        column,
        &played.classes,
        others,
    );
    if played.changes > 0 {
        let mut first = played.first_new.clone();
        let row = format!("first new answer, {changes}");
        figures
            .at(TIMES, &row, column, "ms")
            .add(quantile(&mut first, 0.5), others);
    }
    let row = format!("99th percentile of requests on new connections, {changes}");
    figures
        .at(TIMES, &row, column, "ms")
        .add(played.p99, others);
}

/// A row for each class, and what was answered and asked again in all.
pub(crate) fn enter_losses(
    figures: &mut Figures,
    table: &str,
    column: &'static str,
    classes: &[Summary],
    others: f64,
) {
    for summary in classes {
        let figure = figures.at(table, summary.class.name(), column, "lost");
        figure.add(summary.losses() as f64, others);
        for (how, many) in &summary.lost {
            figure.kind(how.name(), *many);
        }
    }
    let all = |of: fn(&Summary) -> u64| classes.iter().map(of).sum::<u64>() as f64;
    for (row, value) in [
        ("*answered*", all(|class| class.ok)),
        ("*asked again without a loss*", all(|class| class.again)),
    ] {
        figures
            .at(table, row, column, "requests")
            .add(value, others);
    }
}
