//! A listener is replaced by LDS while connections of every kind are open on it.

use std::time::Duration;

use anyhow::ensure;
use tokio::time::sleep;

use super::crowd::{Crowd, Probes, Tasks, at, of, talk, websocket};
use super::rows;
use crate::play::Setup;
use crate::rule::Checks;
use crate::samples::SLACK;
use crate::wire::{Speak, What};
use crate::yaml::{HTTP, Listener, TCP};
use crate::{Side, Stage};

const DRAINING: &str = "listener_manager.total_listeners_draining";

/// Drain time 8 s, `drain_timeout` 1 s, `delayed_close_timeout` 0.5 s: the ramp ends at 4 s, the
/// window is [5333, 7000].
pub(crate) async fn gradual(stage: Stage) -> anyhow::Result<Checks> {
    let mut checks = Checks::default();
    let listeners = [Listener::http(), Listener::tcp()];
    let play = stage.start(Setup::gradual(8, listeners.clone())).await?;
    let mut tasks = Tasks::new();
    let busy1 = Crowd::busy(&play, HTTP, Speak::Http1, 24, &mut tasks).await?;
    let busy2 = Crowd::busy(&play, HTTP, Speak::Http2, 24, &mut tasks).await?;
    let idle1 = Crowd::idle(&play, HTTP, Speak::Http1, 16).await?;
    let idle2 = Crowd::idle(&play, HTTP, Speak::Http2, 16).await?;
    let silent1 = Crowd::fresh(&play, HTTP, Speak::Http1, 6).await?;
    let silent2 = Crowd::fresh(&play, HTTP, Speak::Http2, 6).await?;
    let tcp_idle = Crowd::idle(&play, TCP, Speak::Bytes, 4).await?;
    let tcp_busy = Crowd::busy(&play, TCP, Speak::Bytes, 4, &mut tasks).await?;
    let slow1 = Crowd::fresh(&play, HTTP, Speak::Http1, 2).await?;
    let slow2 = Crowd::fresh(&play, HTTP, Speak::Http2, 2).await?;
    let stream2 = Crowd::fresh(&play, HTTP, Speak::Http2, 2).await?;
    // So many that not all of them are cut late in the window by chance.
    let ws = Crowd::fresh(&play, HTTP, Speak::Http1, 12).await?;
    for client in &slow1.0 {
        client.get("/slow?20000").await;
    }
    for client in &slow2.0 {
        client.stream("/slow?20000").await;
    }
    for client in &stream2.0 {
        client.stream("/stream?20000").await;
    }
    for client in &ws.0 {
        ensure!(websocket(client).await, "no WebSocket: {:?}", client.seen());
        talk(client, &mut tasks);
    }
    let probes = Probes::start(&play, HTTP, &mut tasks);
    sleep(Duration::from_millis(500)).await;
    let modified = play.stat("listener_manager.listener_modified").await;
    let start = play.update(&listeners.map(|listener| listener.version(2)))?;
    at(start, 600).await;
    let modified = play.stat("listener_manager.listener_modified").await - modified;
    let draining = play.stat(DRAINING).await;
    at(start, 7400).await;
    let draining_late = play.stat(DRAINING).await;
    at(start, 8600).await;
    let reaped = play.stat(DRAINING).await;
    let (first, last) = (probes.span_of(start, 2).0, probes.span_of(start, 1).1);
    let (lost, told) = (probes.lost(), probes.told_to_close());
    tasks.abort_all();

    let n = probes.all().len();
    checks.rule(
        "no new connection refused, reset or unanswered",
        of(lost, n),
        lost == 0,
    );
    checks.rule("no new connection told to close", of(told, n), told == 0);
    let switch = format!(
        "v1 to {}, v2 from {}",
        last.unwrap_or(0),
        first.unwrap_or(-1)
    );
    let at_once = last.is_some_and(|last| last < SLACK) && first.is_some_and(|first| first < SLACK);
    checks.rule(
        "new connections on the new version at once",
        switch,
        at_once,
    );

    let close = busy1.first(start, What::says_close);
    checks
        .rule(
            "busy H1: close told after 1 s, to all by T/2",
            &close,
            close.all_in(1000, 4200) && close.spread(200),
        )
        .or(rows::SCHEDULE, close.all_in(0, 2200) && close.spread(1000));
    let wait = busy1.close_to_end();
    checks
        .rule(
            "busy H1: close to FIN is drain_timeout + delayed close",
            &wait,
            wait.all_in(1500, 1500),
        )
        .or_everywhere(rows::AFTER_CLOSE, wait.all_in(0, 500));
    let ends = idle1.ends(start);
    checks
        .rule(
            "idle H1: FIN in window + drain_timeout + delayed close",
            &ends,
            ends.all_in(6833, 8000) && ends.spread(200),
        )
        .or(rows::IDLE, ends.all_in(7000, 8000));
    let quiet = idle1.first(start, What::says_close).none();
    checks.rule(
        "idle H1: nothing is said before FIN",
        if quiet { "nothing" } else { "something" },
        quiet,
    );
    let ends = silent1.ends(start);
    checks
        .rule(
            "H1 that never spoke: FIN in the window",
            &ends,
            ends.all_in(5333, 7000),
        )
        .or(rows::SILENT, ends.all_in(0, 3000));

    for (crowd, rule) in [
        (&idle2, "idle H2: first GOAWAY in the window"),
        (
            &silent2,
            "H2 with SETTINGS only: first GOAWAY in the window",
        ),
        (
            &slow2,
            "H2 with a request in flight: first GOAWAY in the window",
        ),
        (&stream2, "H2 streaming: first GOAWAY in the window"),
    ] {
        let goaway = crowd.first(start, What::is_goaway);
        checks
            .rule(rule, &goaway, goaway.all_in(5333, 7000))
            .or(rows::SCHEDULE, goaway.all_in(0, 2000));
    }
    let goaway = busy2.first(start, What::is_goaway);
    checks
        .rule(
            "busy H2: first GOAWAY after 1 s, to all by T/2",
            &goaway,
            goaway.all_in(1000, 4200),
        )
        .or(
            rows::SCHEDULE,
            goaway.all_in(0, 2200) && goaway.spread(1000),
        );
    for (crowd, gap_rule, end_rule, id_rule) in [
        (
            &idle2,
            "idle H2: GOAWAY to GOAWAY is drain_timeout",
            "idle H2: last GOAWAY to FIN is delayed close",
            "idle H2: GOAWAY(2^31-1), GOAWAY(last stream)",
        ),
        (
            &busy2,
            "busy H2: GOAWAY to GOAWAY is drain_timeout",
            "busy H2: last GOAWAY to FIN is delayed close",
            "busy H2: GOAWAY(2^31-1), GOAWAY(last stream)",
        ),
    ] {
        // A client that is notified later is cut by the deadline.
        let deadline = start + Duration::from_secs(8);
        let twice = crowd.told_before(deadline, 1000);
        let gap = twice.goaway_gap();
        checks.rule(gap_rule, &gap, gap.all_in(1000, 1000));
        let rest = crowd.told_before(deadline, 1500).goaway_to_end();
        checks.rule(end_rule, &rest, rest.all_in(500, 500));
        let right = twice.right_goaways();
        checks.rule(id_rule, of(right, twice.len()), right == twice.len());
    }

    let ends = slow1.ends(start);
    let unanswered = slow1.0.iter().all(|client| {
        client
            .first(|what| matches!(what, What::Head { .. }))
            .is_none()
    });
    checks.rule(
        "H1 in flight: FIN at T, no response",
        &ends,
        ends.all_in(8000, 8000) && unanswered,
    );
    for (crowd, rule) in [
        (&slow2, "H2 in flight: FIN at T"),
        (&stream2, "H2 streaming: data until T, FIN then"),
    ] {
        let ends = crowd.ends(start);
        checks.rule(rule, &ends, ends.all_in(8000, 8000));
    }
    let reset = |what: &What| matches!(what, What::StreamReset { .. });
    let resets = slow2.first(start, reset).len() + stream2.first(start, reset).len();
    checks
        .rule(
            "H2 in flight: no RST_STREAM at T",
            of(resets, 4),
            resets == 0,
        )
        .or(rows::DEADLINE, resets == 4);
    for (crowd, rule) in [
        (&tcp_idle, "TCP idle: FIN at T"),
        (&tcp_busy, "TCP busy: FIN at T"),
    ] {
        let ends = crowd.ends(start);
        let row = checks.rule(rule, &ends, ends.all_in(8000, 8000));
        row.or(rows::TUNNELS, ends.all_in(7000, 8000));
    }
    let ends = ws.ends(start);
    let ours = match stage.side {
        Side::Compat => ends.all_in(5333, 7000),
        Side::Envoy | Side::Defaults => ends.all_in(7000, 8000),
    };
    checks
        .rule(
            "WebSocket: TCP end in window + delayed close",
            &ends,
            ends.all_in(5833, 7500) && ends.earliest() < 7000,
        )
        .or_everywhere(rows::WEBSOCKETS, ours);

    checks.rule(
        "stats: listener_modified counts both",
        modified,
        modified == 2,
    );
    checks.rule(
        "stats: total_listeners_draining while it drains",
        draining,
        draining == 2,
    );
    checks
        .rule(
            "stats: total_listeners_draining up to T",
            draining_late,
            draining_late == 2,
        )
        .or(rows::LENGTH, draining_late == 2 || draining_late == 0);
    checks.rule(
        "stats: total_listeners_draining is 0 after T",
        reaped,
        reaped == 0,
    );
    Ok(checks)
}

/// Drain time 6 s, `drain_timeout` 2 s: a third of it, so there is no window.
pub(crate) async fn no_window(stage: Stage) -> anyhow::Result<Checks> {
    let mut checks = Checks::default();
    let listeners = [Listener::http().timeouts(2000, 500)];
    let play = stage.start(Setup::gradual(6, listeners.clone())).await?;
    let idle1 = Crowd::idle(&play, HTTP, Speak::Http1, 8).await?;
    let idle2 = Crowd::idle(&play, HTTP, Speak::Http2, 8).await?;
    let start = play.update(&listeners.map(|listener| listener.version(2)))?;
    at(start, 6700).await;
    let ends = idle1.ends(start);
    checks
        .rule(
            "drain_timeout of T/3: idle H1 FIN at T",
            &ends,
            ends.all_in(6000, 6000),
        )
        .or(rows::IDLE, ends.all_in(5000, 6000));
    let goaway = idle2.first(start, What::is_goaway);
    checks
        .rule(
            "drain_timeout of T/3: idle H2 never told",
            &goaway,
            goaway.none(),
        )
        .or(rows::SCHEDULE, goaway.all_in(0, 1500));
    let ends = idle2.ends(start);
    checks
        .rule(
            "drain_timeout of T/3: idle H2 FIN at T",
            &ends,
            ends.all_in(6000, 6000),
        )
        .or(rows::SCHEDULE, ends.all_in(2500, 4000));
    Ok(checks)
}
