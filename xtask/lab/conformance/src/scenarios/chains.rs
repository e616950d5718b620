//! Updates of filter chains alone are taken in place.

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::crowd::{Crowd, at, of};
use super::rows;
use crate::Stage;
use crate::play::{Play, Setup};
use crate::rule::Checks;
use crate::wire::{Client, Speak, What};
use crate::yaml::{Chain, HTTP, Listener};

const fn chain(name: &'static str, last: u8, version: u32) -> Chain {
    Chain {
        name,
        source: Some(Ipv4Addr::new(127, 0, 0, last)),
        version,
    }
}

async fn open(play: &Play, last: u8, speak: Speak, many: usize) -> anyhow::Result<Crowd> {
    let mut clients = Vec::new();
    for _ in 0..many {
        let from = Ipv4Addr::new(127, 0, 0, last);
        let client = Client::open_from(from, play.address(HTTP), speak).await?;
        match speak {
            Speak::Http2 => drop(client.ask_stream("/v").await),
            _ => drop(client.ask("/v").await),
        }
        clients.push(Arc::new(client));
    }
    Ok(Crowd(clients))
}

/// What a new connection from there gets: a version, or none.
async fn version(play: &Play, last: u8) -> anyhow::Result<Option<u32>> {
    let crowd = open(play, last, Speak::Http1, 1).await?;
    let head = crowd.0[0].first(|what| matches!(what, What::Head { .. }));
    Ok(head.and_then(|head| match head.what {
        What::Head { version, .. } => Some(version),
        _ => None,
    }))
}

/// One chain changed, one kept, one removed, one added. Drain time 6 s, the window is [4, 5].
pub(crate) async fn chains(stage: Stage) -> anyhow::Result<Checks> {
    let mut checks = Checks::default();
    let mut listener = Listener::http();
    listener.chains = vec![
        chain("changed", 2, 1),
        chain("kept", 3, 1),
        chain("removed", 4, 1),
    ];
    let mut next = listener.clone();
    next.chains = vec![
        chain("changed", 2, 2),
        chain("kept", 3, 1),
        chain("added", 5, 2),
    ];
    let play = stage.start(Setup::gradual(6, [listener])).await?;
    let changed1 = open(&play, 2, Speak::Http1, 6).await?;
    let changed2 = open(&play, 2, Speak::Http2, 10).await?;
    let removed2 = open(&play, 4, Speak::Http2, 10).await?;
    let (kept1, kept2) = (
        open(&play, 3, Speak::Http1, 6).await?,
        open(&play, 3, Speak::Http2, 6).await?,
    );
    let slow = open(&play, 2, Speak::Http1, 1).await?;
    slow.0[0].get("/slow?20000").await;
    let before = play.stats().await?;
    let start = play.update(&[next])?;
    at(start, 500).await;
    let after = play.stats().await?;
    let moved = |name: &str| after.get(name).unwrap_or(&-1) - before.get(name).unwrap_or(&-1);
    let new = [
        version(&play, 2).await?,
        version(&play, 3).await?,
        version(&play, 5).await?,
        version(&play, 4).await?,
    ];
    at(start, 6700).await;
    let left = play
        .stat("listener_manager.total_filter_chains_draining")
        .await;
    for (name, rule, wanted) in [
        (
            "listener_in_place_updated",
            "chains: listener_in_place_updated",
            1,
        ),
        ("listener_modified", "chains: listener_modified", 1),
        (
            "total_listeners_draining",
            "chains: total_listeners_draining",
            0,
        ),
        (
            "total_filter_chains_draining",
            "chains: total_filter_chains_draining",
            2,
        ),
    ] {
        let value = moved(&format!("listener_manager.{name}"));
        checks.rule(rule, value, value == wanted);
    }
    checks.rule(
        "chains: total_filter_chains_draining is 0 after T",
        left,
        left == 0,
    );
    let text = new
        .map(|version| version.map_or_else(|| "none".to_owned(), |version| format!("v{version}")));
    checks.rule(
        "chains: new ones get changed v2, kept v1, added v2, removed none",
        text.join(" "),
        new == [Some(2), Some(1), Some(2), None],
    );
    for (crowd, rule) in [
        (
            &changed2,
            "changed chain: idle H2 first GOAWAY in the window",
        ),
        (
            &removed2,
            "removed chain: idle H2 first GOAWAY in the window",
        ),
    ] {
        let goaway = crowd.first(start, What::is_goaway);
        checks
            .rule(rule, &goaway, goaway.all_in(4000, 5000))
            .or(rows::SCHEDULE, goaway.all_in(0, 1500));
    }
    let ends = changed1.ends(start);
    checks
        .rule(
            "changed chain: idle H1 FIN in window + 1.5 s",
            &ends,
            ends.all_in(5500, 6000),
        )
        .or(rows::IDLE, ends.all_in(5000, 6000));
    let ends = slow.ends(start);
    checks.rule(
        "changed chain: H1 in flight FIN at T",
        &ends,
        ends.all_in(6000, 6000),
    );
    let untouched = kept1.open() + kept2.open();
    let told = kept2.first(start, What::is_goaway).len();
    checks.rule(
        "kept chain: no end, no GOAWAY",
        of(untouched, 12),
        untouched == 12 && told == 0,
    );
    let mut answered = 0;
    for client in &kept1.0 {
        answered += usize::from(matches!(
            client.ask("/v").await,
            Some(What::Head {
                close: false,
                version: 1,
                ..
            })
        ));
    }
    checks.rule(
        "kept chain: answers go on, none says close",
        of(answered, 6),
        answered == 6,
    );
    Ok(checks)
}

/// The only chain, without a match, changes its routes.
pub(crate) async fn only_chain(stage: Stage) -> anyhow::Result<Checks> {
    let mut checks = Checks::default();
    let mut listener = Listener::http();
    let play = stage.start(Setup::gradual(4, [listener.clone()])).await?;
    let idle = Crowd::idle(&play, HTTP, Speak::Http1, 4).await?;
    listener.chains[0].version = 2;
    let start = play.update(&[listener])?;
    at(start, 500).await;
    let in_place = play
        .stat("listener_manager.listener_in_place_updated")
        .await;
    let new = super::crowd::probe(&play, HTTP).await;
    at(start, 4700).await;
    checks.rule("the only chain changed: in place", in_place, in_place == 1);
    let v2 = matches!(new, super::crowd::Probed::Answered { version: 2, .. });
    checks.rule(
        "the only chain changed: new ones on v2",
        if v2 { "v2" } else { "not v2" },
        v2,
    );
    let ends = idle.ends(start);
    checks
        .rule(
            "the only chain changed: idle H1 end by T",
            &ends,
            ends.all_in(2700, 4000),
        )
        .or(rows::IDLE, ends.all_in(3000, 4000));
    Ok(checks)
}
