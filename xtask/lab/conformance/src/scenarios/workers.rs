//! One worker drains as several do. Drain time 5 s, the window is [3333, 4000].

use std::time::Duration;

use tokio::time::sleep;

use super::crowd::{Crowd, Probes, Tasks, at, of};
use super::rows;
use crate::Stage;
use crate::play::Setup;
use crate::rule::Checks;
use crate::samples::SLACK;
use crate::wire::{Speak, What};
use crate::yaml::{HTTP, Listener};

pub(crate) async fn one(stage: Stage) -> anyhow::Result<Checks> {
    with(stage, 1).await
}

pub(crate) async fn four(stage: Stage) -> anyhow::Result<Checks> {
    with(stage, 4).await
}

async fn with(stage: Stage, workers: u8) -> anyhow::Result<Checks> {
    let mut checks = Checks::default();
    let listeners = [Listener::http()];
    let mut setup = Setup::gradual(5, listeners.clone());
    setup.workers = Some(workers);
    let play = stage.start(setup).await?;
    let mut tasks = Tasks::new();
    let busy1 = Crowd::busy(&play, HTTP, Speak::Http1, 12, &mut tasks).await?;
    let busy2 = Crowd::busy(&play, HTTP, Speak::Http2, 12, &mut tasks).await?;
    let idle2 = Crowd::idle(&play, HTTP, Speak::Http2, 12).await?;
    let probes = Probes::start(&play, HTTP, &mut tasks);
    sleep(Duration::from_millis(300)).await;
    let start = play.update(&listeners.map(|listener| listener.version(2)))?;
    at(start, 5700).await;
    let lost = probes.lost();
    checks.rule(
        "no new connection lost",
        of(lost, probes.all().len()),
        lost == 0,
    );
    let last = probes.span_of(start, 1).1.unwrap_or(0);
    checks.rule(
        "new connections on the new version at once",
        format!("v1 to {last}"),
        last < SLACK,
    );
    let close = busy1.first(start, What::says_close);
    checks
        .rule(
            "busy H1: close told after 1 s, to all soon after T/2",
            &close,
            close.all_in(1000, 3250),
        )
        .or(rows::SCHEDULE, close.all_in(0, 1500) && close.spread(600));
    let goaway = busy2.first(start, What::is_goaway);
    checks
        .rule(
            "busy H2: first GOAWAY after 1 s, to all soon after T/2",
            &goaway,
            goaway.all_in(1000, 3250),
        )
        .or(rows::SCHEDULE, goaway.all_in(0, 1500) && goaway.spread(600));
    let goaway = idle2.first(start, What::is_goaway);
    checks
        .rule(
            "idle H2: first GOAWAY in the window",
            &goaway,
            goaway.all_in(3333, 4000),
        )
        .or(rows::SCHEDULE, goaway.all_in(0, 1250));
    let gap = busy2.goaway_gap();
    checks.rule(
        "busy H2: GOAWAY to GOAWAY is drain_timeout",
        &gap,
        gap.all_in(1000, 1000),
    );
    Ok(checks)
}
