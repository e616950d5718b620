//! The process ends: by the admin port, by signals.

use std::time::Duration;

use super::crowd::{Crowd, of};
use super::rows;
use crate::Stage;
use crate::play::{Play, Setup};
use crate::rule::Checks;
use crate::samples::{SLACK, ms};
use crate::wire::{Speak, What};
use crate::yaml::{HTTP, Listener, TCP};

struct Held {
    idle: Crowd,
    tcp: Crowd,
    slow: Crowd,
}

async fn hold(play: &Play) -> anyhow::Result<Held> {
    let slow = Crowd::fresh(play, HTTP, Speak::Http1, 2).await?;
    for client in &slow.0 {
        client.get("/slow?1500").await;
    }
    Ok(Held {
        idle: Crowd::idle(play, HTTP, Speak::Http2, 3).await?,
        tcp: Crowd::idle(play, TCP, Speak::Bytes, 2).await?,
        slow,
    })
}

/// `/quitquitquit`, also during a drain.
pub(crate) async fn quit(stage: Stage) -> anyhow::Result<Checks> {
    let mut checks = Checks::default();
    for (first, rules) in [
        (
            None,
            [
                "quit: the process exits with 0 at once",
                "quit: every connection ended, nothing answered",
            ],
        ),
        (
            Some("/drain_listeners?graceful"),
            [
                "quit during a drain: the process exits with 0 at once",
                "quit during a drain: every connection ended",
            ],
        ),
    ] {
        let mut play = stage
            .start(Setup::gradual(4, [Listener::http(), Listener::tcp()]))
            .await?;
        let held = hold(&play).await?;
        if let Some(first) = first {
            play.post(first).await?;
        }
        let start = play.post("/quitquitquit").await?;
        let exit = play.exit(Duration::from_secs(3)).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let (took, good) = match exit {
            Some((at, status)) => (ms(start, at), status.success()),
            None => (-1, false),
        };
        checks.rule(rules[0], took, good && (0..300 + SLACK).contains(&took));
        let open = held.idle.open() + held.tcp.open() + held.slow.open();
        let answered = held
            .slow
            .first(start, |what| matches!(what, What::Head { .. }))
            .len();
        checks.rule(rules[1], of(open, 7), open == 0 && answered == 0);
    }
    Ok(checks)
}

/// SIGTERM and SIGINT.
pub(crate) async fn signals(stage: Stage) -> anyhow::Result<Checks> {
    let mut checks = Checks::default();
    for (signal, rules) in [
        (
            "TERM",
            [
                "SIGTERM: the process exits with 0 at once",
                "SIGTERM: requests in flight are lost",
            ],
        ),
        (
            "INT",
            [
                "SIGINT: the process exits with 0 at once",
                "SIGINT: requests in flight are lost",
            ],
        ),
    ] {
        let mut play = stage
            .start(Setup::gradual(4, [Listener::http(), Listener::tcp()]))
            .await?;
        let held = hold(&play).await?;
        let start = tokio::time::Instant::now();
        play.signal(signal).await?;
        let exit = play.exit(Duration::from_secs(8)).await;
        let (took, good) = match exit {
            Some((at, status)) => (ms(start, at), status.success()),
            None => (-1, false),
        };
        checks
            .rule(rules[0], took, good && (0..300 + SLACK).contains(&took))
            .or(rows::SIGTERM, good && (0..4500).contains(&took));
        let answered = held
            .slow
            .first(start, |what| matches!(what, What::Body(_)))
            .len();
        checks
            .rule(rules[1], of(answered, 2), answered == 0)
            .or(rows::SIGTERM, answered == 2);
    }
    Ok(checks)
}
