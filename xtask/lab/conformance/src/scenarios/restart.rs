//! Another process takes over: what becomes of the connections of the one before, and of those that
//! come meanwhile.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::crowd::{Crowd, Probes, Tasks, at, moment, of};
use super::rows;
use crate::Stage;
use crate::play::Setup;
use crate::rule::Checks;
use crate::samples::{SLACK, ms};
use crate::wire::{Speak, What};
use crate::yaml::{HTTP, Listener};

/// Drain time 8 s, the process before is asked to end after 10 s; otherwise as in `modify-gradual`.
pub(crate) async fn restart(stage: Stage) -> anyhow::Result<Checks> {
    let mut checks = Checks::default();
    let setup = |version| Setup {
        parent_shutdown: Some(10),
        ..Setup::gradual(8, [Listener::http().version(version)])
    };
    let mut play = stage.start(setup(1)).await?;
    let mut tasks = Tasks::new();
    let busy1 = Crowd::busy(&play, HTTP, Speak::Http1, 16, &mut tasks).await?;
    let idle2 = Crowd::idle(&play, HTTP, Speak::Http2, 12).await?;
    let slow = Crowd::fresh(&play, HTTP, Speak::Http1, 2).await?;
    for client in &slow.0 {
        client.get("/slow?3000").await;
    }
    let probes = Probes::start(&play, HTTP, &mut tasks);
    sleep(Duration::from_millis(300)).await;
    let begun = Instant::now();
    let mut before = play.replace(&setup(2))?;
    // The moment of the take-over: the new process answers.
    let start = loop {
        if let (Some(first), _) = probes.span_of(begun, 2) {
            break begun + Duration::from_millis(first.unsigned_abs());
        }
        anyhow::ensure!(begun.elapsed() < Duration::from_secs(15), "{}", play.tail());
        sleep(Duration::from_millis(10)).await;
    };
    let exit = before.end(Duration::from_secs(14)).await;
    let ended = Instant::now();
    at(ended, 300).await;
    let (lost, all) = (probes.lost(), probes.all().len());
    let last = probes.span_of(start, 1).1;
    tasks.abort_all();

    checks.rule(
        "hot restart: no new connection refused, reset or unanswered",
        of(lost, all),
        lost == 0,
    );
    checks.rule(
        "hot restart: the process before answers no new connection",
        format!(
            "last at {}",
            last.map_or("-".to_owned(), |last| last.to_string())
        ),
        last.is_none_or(|last| last < SLACK),
    );
    let answered = slow.first(begun, |what| matches!(what, What::Body(_)));
    checks.rule(
        "hot restart: requests in flight are answered",
        &answered,
        answered.all_in(2400, 3600),
    );
    let close = busy1.first(start, What::says_close);
    checks
        .rule(
            "hot restart: busy H1: close told after 1 s, to all by T/2",
            &close,
            close.all_in(900, 4200),
        )
        .or(rows::SCHEDULE, close.all_in(-SLACK, 2200));
    let told = idle2.first(start, |what| matches!(what, What::GoAway { .. }));
    checks
        .rule(
            "hot restart: idle H2: first GOAWAY in the window",
            &told,
            told.all_in(5333, 7000),
        )
        .or(rows::SCHEDULE, told.all_in(-SLACK, 2200));
    let success = exit.as_ref().is_ok_and(|status| status.success());
    let took = ms(start, ended);
    checks
        .rule(
            "hot restart: the process before ends with 0 after the parent shutdown time",
            moment(start, exit.is_ok().then_some(ended)),
            success && (9000..10_500).contains(&took),
        )
        .or_everywhere(
            rows::RESTART,
            success && (0..8000 + 2 * SLACK).contains(&took),
        );
    Ok(checks)
}
