//! Where connections wait and what they come in by: accept queues, Unix sockets; and the jitter of
//! the drain timeout.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use tokio::time::sleep;

use super::crowd::{Crowd, Probed, at, of, probe};
use super::rows;
use crate::Stage;
use crate::play::Setup;
use crate::rule::Checks;
use crate::wire::{Client, Speak, What};
use crate::yaml::{HTTP, Listener};

/// The process is stopped, connections wait in the accept queue over an update, and it goes on.
pub(crate) async fn queue(stage: Stage) -> anyhow::Result<Checks> {
    let mut checks = Checks::default();
    let listeners = [Listener::http()];
    let play = stage.start(Setup::gradual(6, listeners.clone())).await?;
    play.signal("STOP").await?;
    let waiting = Crowd::fresh(&play, HTTP, Speak::Http1, 40).await?;
    for client in &waiting.0 {
        client.get("/v").await;
    }
    play.update(&listeners.map(|listener| listener.version(2)))?;
    let young = Crowd::fresh(&play, HTTP, Speak::Http1, 40).await?;
    for client in &young.0 {
        client.get("/v").await;
    }
    play.signal("CONT").await?;
    sleep(Duration::from_millis(1500)).await;
    for (crowd, rule) in [
        (
            &waiting,
            "waiting to be accepted before the update: all served",
        ),
        (
            &young,
            "waiting to be accepted after the update: all served",
        ),
    ] {
        let served =
            |client: &&Arc<Client>| client.first(|what| matches!(what, What::Body(_))).is_some();
        let served = crowd.0.iter().filter(served).count();
        checks.rule(rule, of(served, crowd.len()), served == crowd.len());
    }
    let new = probe(&play, HTTP).await;
    let v2 = matches!(
        new,
        Probed::Answered {
            version: 2,
            close: false
        }
    );
    checks.rule(
        "after the queue: new ones on v2",
        if v2 { "v2" } else { "not v2" },
        v2,
    );
    Ok(checks)
}

/// A listener on a Unix socket is replaced. Drain time 4 s, the window is [2667, 3000].
pub(crate) async fn unix(stage: Stage) -> anyhow::Result<Checks> {
    let mut checks = Checks::default();
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("socket");
    let mut listener = Listener::http();
    listener.pipe = Some(path.clone());
    let play = stage.start(Setup::gradual(4, [listener.clone()])).await?;
    let mut opened = Vec::new();
    for turn in 0..8 {
        let speak = if turn < 4 { Speak::Http1 } else { Speak::Http2 };
        let mut client = Client::open_unix(&path, speak).await;
        for _ in 0..40 {
            if client.is_ok() {
                break;
            }
            sleep(Duration::from_millis(50)).await;
            client = Client::open_unix(&path, speak).await;
        }
        let client = client?;
        let answered = match speak {
            Speak::Http2 => client.ask_stream("/v").await,
            _ => client.ask("/v").await.is_some(),
        };
        ensure!(answered, "not answered: {client:?}");
        opened.push(Arc::new(client));
    }
    let idle2 = Crowd(opened.split_off(4));
    let idle1 = Crowd(opened);
    let start = play.update(&[listener.version(2)])?;
    at(start, 300).await;
    let mut v2 = 0;
    for _ in 0..10 {
        let client = Client::open_unix(&path, Speak::Http1).await?;
        v2 += usize::from(matches!(
            client.ask("/v").await,
            Some(What::Head {
                version: 2,
                close: false,
                ..
            })
        ));
    }
    checks.rule("Unix socket: new connections on v2", of(v2, 10), v2 == 10);
    at(start, 4700).await;
    let ends = idle1.ends(start);
    checks
        .rule(
            "Unix socket: idle H1 FIN at T",
            &ends,
            ends.all_in(4000, 4000),
        )
        .or(rows::IDLE, ends.all_in(3000, 4000));
    let goaway = idle2.first(start, What::is_goaway);
    checks
        .rule(
            "Unix socket: idle H2 first GOAWAY in the window",
            &goaway,
            goaway.all_in(2667, 3000),
        )
        .or(rows::SCHEDULE, goaway.all_in(0, 1000));
    let gap = idle2
        .told_before(start + Duration::from_secs(4), 1000)
        .goaway_gap();
    checks.rule(
        "Unix socket: GOAWAY to GOAWAY is drain_timeout",
        &gap,
        gap.all_in(1000, 1000),
    );
    Ok(checks)
}

/// `drain_timeout_jitter` 100 %: the time between the GOAWAYs is anything from one to two drain
/// timeouts.
pub(crate) async fn jitter(stage: Stage) -> anyhow::Result<Checks> {
    let mut checks = Checks::default();
    let mut listener = Listener::http();
    listener.jitter = Some(100);
    let play = stage.start(Setup::immediate(8, [listener.clone()])).await?;
    let crowd = Crowd::idle(&play, HTTP, Speak::Http2, 24).await?;
    let start = play.update(&[listener.version(2)])?;
    at(start, 200).await;
    for client in &crowd.0 {
        client.stream("/v").await;
    }
    at(start, 3500).await;
    let gap = crowd.goaway_gap();
    checks.rule(
        "drain_timeout_jitter 100 %: GOAWAY gaps in [1, 2] drain timeouts",
        &gap,
        gap.all_in(1000, 2000),
    );
    checks.rule(
        "drain_timeout_jitter 100 %: the gaps are spread",
        &gap,
        gap.spread(400),
    );
    Ok(checks)
}
