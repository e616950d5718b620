//! How a connection ends once it has been told, and how TCP does.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use tokio::time::Instant;

use super::crowd::{Crowd, Tasks, at, of, talk};
use super::rows;
use crate::Stage;
use crate::play::Setup;
use crate::rule::Checks;
use crate::samples::{SLACK, ms};
use crate::wire::{Client, Speak, What};
use crate::yaml::{HTTP, Listener, OTHER, TCP};

/// `drain_timeout` 1 s with a `delayed_close_timeout` of 0, 0.5 and 1.5 s.
pub(crate) async fn closing(stage: Stage) -> anyhow::Result<Checks> {
    let mut checks = Checks::default();
    let ports = [HTTP, OTHER, TCP];
    let listener = |name, port, close| Listener::http().named(name, port).timeouts(1000, close);
    let listeners = [
        listener("none", HTTP, 0),
        listener("half", OTHER, 500),
        listener("long", TCP, 1500),
    ];
    let play = stage.start(Setup::immediate(20, listeners.clone())).await?;
    // Not draining yet: a client that wants to leave, and one that talks nonsense.
    let leaving = play.open(TCP, Speak::Http1).await?;
    leaving
        .send(b"GET /v HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await;
    let garbage = play.open(TCP, Speak::Http1).await?;
    garbage.send(b"this is no HTTP\r\n\r\n").await;
    let mut all = Vec::new();
    for port in ports {
        all.push(Crowd::idle(&play, port, Speak::Http1, 2).await?);
    }
    let twice = Crowd::idle(&play, OTHER, Speak::Http1, 2).await?;
    let polite = Crowd::idle(&play, OTHER, Speak::Http1, 1).await?;
    let late = Crowd::idle(&play, TCP, Speak::Http1, 2).await?;
    let start = play.update(&listeners.map(|listener| listener.version(2)))?;
    at(start, 200).await;
    for crowd in all.iter().chain([&twice, &late]) {
        for client in &crowd.0 {
            ensure!(client.ask("/v").await.is_some(), "not answered");
        }
    }
    let asked = Instant::now();
    polite.0[0].half_close().await;
    at(start, 600).await;
    let mut second = 0;
    for client in &twice.0 {
        second += usize::from(matches!(
            client.ask("/v").await,
            Some(What::Head { close: true, .. })
        ));
    }
    // Its `drain_timeout` is over, its delayed close is not.
    at(start, 1700).await;
    let before: Vec<usize> = late.0.iter().map(|client| client.len()).collect();
    for client in &late.0 {
        client.get("/v").await;
    }
    at(start, 4500).await;
    let answered = |(client, before): &(&Arc<Client>, &usize)| {
        let seen = client.seen();
        let mut later = seen.iter().skip(**before);
        later.any(|seen| matches!(seen.what, What::Head { .. }))
    };
    let answered = late.0.iter().zip(&before).filter(answered).count();
    checks.rule(
        "a request in the delayed close: not answered",
        of(answered, 2),
        answered == 0,
    );
    let open = late.open();
    checks.rule(
        "a request in the delayed close: ended all the same",
        of(open, 2),
        open == 0,
    );
    for ((crowd, rule), wait) in all
        .iter()
        .zip([
            "delayed close 0: close response to FIN",
            "delayed close 0.5 s: close response to FIN",
            "delayed close 1.5 s: close response to FIN",
        ])
        .zip([1000, 1500, 2500])
    {
        let seen = crowd.close_to_end();
        checks
            .rule(rule, &seen, seen.all_in(wait, wait))
            .or_everywhere(rows::AFTER_CLOSE, seen.all_in(0, 0));
    }
    checks
        .rule(
            "a second request within drain_timeout: served, told again",
            of(second, 2),
            second == 2,
        )
        .or_everywhere(rows::AFTER_CLOSE, second == 0);
    let ends = polite.ends(asked);
    checks.rule(
        "a client that sends FIN first: ended at once",
        &ends,
        ends.all_in(0, 0),
    );
    let answered = leaving.first(|what| matches!(what, What::Head { .. }));
    let end = leaving.end();
    let wait = match (answered, end) {
        (Some(answered), Some(end)) => ms(answered.at, end.at),
        _ => -1,
    };
    checks
        .rule(
            "`connection: close` of the client: FIN delayed close later",
            wait,
            (1500 - SLACK..1500 + SLACK).contains(&wait),
        )
        .or_everywhere(rows::AFTER_CLOSE, (0..SLACK).contains(&wait));
    let status = garbage.first(|what| matches!(what, What::Head { status: 400, .. }));
    let got = if status.is_some() { "400" } else { "no answer" };
    checks.rule("garbage is answered with 400", got, status.is_some());
    Ok(checks)
}

/// TCP proxy at T: quiet, flooding, half closed; and with `check_drain_close`. Drain time 4 s.
pub(crate) async fn tcp(stage: Stage) -> anyhow::Result<Checks> {
    let mut checks = Checks::default();
    let mut checked = Listener::tcp().named("checked", OTHER);
    checked.check_drain_close = true;
    let listeners = [Listener::tcp(), checked];
    let play = stage.start(Setup::gradual(4, listeners.clone())).await?;
    let mut tasks = Tasks::new();
    let quiet = Crowd::idle(&play, TCP, Speak::Bytes, 3).await?;
    let talking = Crowd::idle(&play, TCP, Speak::Bytes, 3).await?;
    let half = Crowd::idle(&play, TCP, Speak::Bytes, 1).await?;
    let asking = Crowd::idle(&play, OTHER, Speak::Bytes, 12).await?;
    let unasked = Crowd::idle(&play, OTHER, Speak::Bytes, 3).await?;
    for client in talking.0.iter().chain(&asking.0) {
        talk(client, &mut tasks);
    }
    let sent = Instant::now();
    half.0[0].half_close().await;
    half.0[0].ended(Duration::from_secs(2)).await;
    let ends = half.ends(sent);
    checks.rule(
        "TCP: a half-close is passed on, and back",
        &ends,
        ends.all_in(0, 0),
    );
    let start = play.update(&listeners.map(|listener| listener.version(2)))?;
    at(start, 4700).await;
    let ends = quiet.ends(start);
    checks
        .rule("TCP quiet: ended at T", &ends, ends.all_in(4000, 4000))
        .or(rows::TUNNELS, ends.all_in(3000, 4000));
    let fins = quiet.first(start, |what| *what == What::Fin).len();
    checks.rule("TCP quiet: by FIN", of(fins, 3), fins == 3);
    let ends = talking.ends(start);
    checks
        .rule("TCP talking: ended at T", &ends, ends.all_in(4000, 4000))
        .or(rows::TUNNELS, ends.all_in(3000, 4000));
    let ends = asking.ends(start);
    checks
        .rule(
            "check_drain_close: talking ones told after 1 s, all by T",
            &ends,
            ends.all_in(1000, 4000) && ends.spread(100),
        )
        .or(rows::SCHEDULE, ends.all_in(0, 1400));
    let ends = unasked.ends(start);
    checks
        .rule(
            "check_drain_close: quiet ones live to T",
            &ends,
            ends.all_in(4000, 4000),
        )
        .or(rows::TUNNELS, ends.all_in(0, 4000));
    Ok(checks)
}
