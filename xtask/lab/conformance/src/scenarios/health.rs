//! `/healthcheck/fail` and `/healthcheck/ok`: a level, not a drain.

use std::sync::Arc;

use super::crowd::{Crowd, Probed, at, of, probe};
use crate::Stage;
use crate::play::Setup;
use crate::rule::Checks;
use crate::samples::Samples;
use crate::wire::{Client, Speak, What};
use crate::yaml::{HTTP, Listener, OTHER, TCP};

/// How many of them are told to leave by the next response.
async fn told(crowd: &Crowd, speak: Speak) -> usize {
    let mut told = 0;
    for client in &crowd.0 {
        told += usize::from(is_told(client, speak).await);
    }
    told
}

async fn is_told(client: &Arc<Client>, speak: Speak) -> bool {
    match speak {
        Speak::Http2 => client.ask_stream("/v").await && !client.goaways().is_empty(),
        _ => matches!(client.ask("/v").await, Some(What::Head { close: true, .. })),
    }
}

/// Drain time 4 s: longer than nothing, so that a drain would show.
pub(crate) async fn health(stage: Stage) -> anyhow::Result<Checks> {
    let mut checks = Checks::default();
    let mut modify_only = Listener::http().named("modify_only", OTHER);
    modify_only.modify_only = true;
    let play = stage
        .start(Setup::gradual(
            4,
            [Listener::http(), modify_only, Listener::tcp()],
        ))
        .await?;
    let idle1 = Crowd::idle(&play, HTTP, Speak::Http1, 6).await?;
    let idle2 = Crowd::idle(&play, HTTP, Speak::Http2, 6).await?;
    let asking1 = Crowd::idle(&play, HTTP, Speak::Http1, 8).await?;
    let asking2 = Crowd::idle(&play, HTTP, Speak::Http2, 8).await?;
    let only = Crowd::idle(&play, OTHER, Speak::Http1, 6).await?;
    let tcp = Crowd::idle(&play, TCP, Speak::Bytes, 2).await?;
    let start = play.post("/healthcheck/fail").await?;
    at(start, 100).await;
    let (status, ready) = play.admin("GET", "/ready").await?;
    let (_, info) = play.admin("GET", "/server_info").await?;
    let all1 = told(&asking1, Speak::Http1).await;
    checks.rule(
        "health failed: every H1 response says close",
        of(all1, 8),
        all1 == 8,
    );
    let all2 = told(&asking2, Speak::Http2).await;
    checks.rule(
        "health failed: every H2 response has its GOAWAY",
        of(all2, 8),
        all2 == 8,
    );
    let new = probe(&play, HTTP).await;
    let is_told = matches!(new, Probed::Answered { close: true, .. });
    checks.rule(
        "health failed: new ones served and told",
        if is_told { "told" } else { "not told" },
        is_told,
    );
    let none = told(&only, Speak::Http1).await;
    checks.rule(
        "health failed: a MODIFY_ONLY listener tells no client",
        of(none, 6),
        none == 0,
    );
    checks.rule(
        "health failed: /ready",
        format!("{status} {}", ready.trim()),
        status == 503 && ready.trim() == "DRAINING",
    );
    let draining = info.contains("\"DRAINING\"");
    checks.rule(
        "health failed: /server_info",
        if draining { "DRAINING" } else { "other" },
        draining,
    );
    at(start, 4500).await;
    let open = idle1.open() + idle2.open();
    checks.rule(
        "health failed: idle ones are left alone",
        of(open, 12),
        open == 12,
    );
    checks.rule(
        "health failed: TCP is left alone",
        of(tcp.open(), 2),
        tcp.open() == 2,
    );
    let gap = asking2.goaway_gap();
    checks.rule(
        "health failed: GOAWAY to GOAWAY is drain_timeout",
        &gap,
        gap.all_in(1000, 1000),
    );
    play.post("/healthcheck/ok").await?;
    let again = told(&idle1, Speak::Http1).await + told(&idle2, Speak::Http2).await;
    checks.rule(
        "health restored: no client is told",
        of(again, 12),
        again == 0,
    );
    let (status, ready) = play.admin("GET", "/ready").await?;
    checks.rule(
        "health restored: /ready",
        format!("{status} {}", ready.trim()),
        status == 200 && ready.trim() == "LIVE",
    );
    let ends: Samples = asking2.ends(start);
    checks.rule(
        "health failed: those told finish their drain",
        &ends,
        ends.all_in(1600, 1800),
    );
    Ok(checks)
}
