//! Connections that leave by their own age or idleness, without a drain.

use super::crowd::{Crowd, Tasks, at};
use super::rows;
use crate::Stage;
use crate::play::Setup;
use crate::rule::Checks;
use crate::wire::{Speak, What};
use crate::yaml::{HTTP, Listener, OTHER, TCP};
use tokio::time::Instant;

const PORTS: [u16; 3] = [HTTP, OTHER, TCP];

/// `idle_timeout` 1 s with a `drain_timeout` of 0, 0.5 and 2 s, `delayed_close_timeout` 1 s.
pub(crate) async fn idle(stage: Stage) -> anyhow::Result<Checks> {
    let mut checks = Checks::default();
    let drains: [u64; 3] = [0, 500, 2000];
    let listeners: Vec<Listener> = ["none", "half", "two"]
        .into_iter()
        .zip(PORTS)
        .zip(drains)
        .map(|((name, port), drain)| {
            let mut listener = Listener::http().named(name, port).timeouts(drain, 1000);
            listener.idle_timeout = Some(1000);
            listener
        })
        .collect();
    let play = stage.start(Setup::gradual(60, listeners)).await?;
    let start = Instant::now();
    let mut all = Vec::new();
    for port in PORTS {
        let http1 = Crowd::idle(&play, port, Speak::Http1, 3).await?;
        let http2 = Crowd::idle(&play, port, Speak::Http2, 3).await?;
        all.push((http1, http2));
    }
    let opened = Instant::now();
    let silent = Crowd::fresh(&play, HTTP, Speak::Http1, 3).await?;
    let slow = Crowd::fresh(&play, HTTP, Speak::Http2, 2).await?;
    for client in &slow.0 {
        client.stream("/slow?2500").await;
    }
    at(start, 5700).await;
    let rules = [
        [
            "idle 1 s, drain 0: H1 FIN",
            "idle 1 s, drain 0: H2 first GOAWAY",
            "idle 1 s, drain 0: H2 FIN",
        ],
        [
            "idle 1 s, drain 0.5 s: H1 FIN",
            "idle 1 s, drain 0.5 s: H2 first GOAWAY",
            "idle 1 s, drain 0.5 s: H2 FIN",
        ],
        [
            "idle 1 s, drain 2 s: H1 FIN",
            "idle 1 s, drain 2 s: H2 first GOAWAY",
            "idle 1 s, drain 2 s: H2 FIN",
        ],
    ];
    for (((http1, http2), rules), drain) in all.iter().zip(rules).zip([0, 500, 2000]) {
        let ends = http1.after_answer(What::ends);
        checks
            .rule(rules[0], &ends, ends.all_in(2000 + drain, 2000 + drain))
            .or(rows::IDLE_TIMEOUT, ends.all_in(1000, 1000));
        let goaway = http2.after_answer(What::is_goaway);
        checks.rule(rules[1], &goaway, goaway.all_in(1000, 1000));
        let ends = http2.after_answer(What::ends);
        checks.rule(rules[2], &ends, ends.all_in(2000 + drain, 2000 + drain));
    }
    let ends = silent.ends(opened);
    checks
        .rule(
            "idle 1 s: a connection that never spoke: FIN",
            &ends,
            ends.all_in(1000, 1000),
        )
        .or(rows::SILENT, ends.all_in(1000, 2000));
    let goaway = slow.after_answer(What::is_goaway);
    checks.rule(
        "idle 1 s counts from the end of the last stream",
        &goaway,
        goaway.all_in(1000, 1000),
    );
    Ok(checks)
}

/// `max_connection_duration` 1 s, `drain_timeout` 1 s, `delayed_close_timeout` 0.5 s.
pub(crate) async fn age(stage: Stage) -> anyhow::Result<Checks> {
    let mut checks = Checks::default();
    let mut listener = Listener::http();
    listener.max_duration = Some(1000);
    let play = stage.start(Setup::gradual(60, [listener])).await?;
    let start = Instant::now();
    let mut tasks = Tasks::new();
    let busy1 = Crowd::busy(&play, HTTP, Speak::Http1, 4, &mut tasks).await?;
    let busy2 = Crowd::busy(&play, HTTP, Speak::Http2, 4, &mut tasks).await?;
    let slow = Crowd::fresh(&play, HTTP, Speak::Http1, 2).await?;
    for client in &slow.0 {
        client.get("/slow?2000").await;
    }
    at(start, 4500).await;
    let close = busy1.first(start, What::says_close);
    checks.rule(
        "age 1 s: busy H1 told by the next response",
        &close,
        close.all_in(1000, 1250),
    );
    let goaway = busy2.first(start, What::is_goaway);
    checks.rule(
        "age 1 s: busy H2 first GOAWAY",
        &goaway,
        goaway.all_in(1000, 1000),
    );
    let gap = busy2.goaway_gap();
    checks.rule(
        "age 1 s: GOAWAY to GOAWAY is drain_timeout",
        &gap,
        gap.all_in(1000, 1000),
    );
    let rest = busy2.goaway_to_end();
    checks.rule(
        "age 1 s: last GOAWAY to FIN is delayed close",
        &rest,
        rest.all_in(500, 500),
    );
    let answered = slow.first(start, |what| matches!(what, What::Body(_)));
    checks.rule(
        "age 1 s: a request in flight is served",
        &answered,
        answered.all_in(2000, 2000),
    );
    Ok(checks)
}
