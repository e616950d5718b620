//! Strategy immediate, and drain times that are shorter than what a connection needs.

use tokio::time::sleep;

use super::crowd::{Crowd, SETTLE, Tasks, at, of};
use super::rows;
use crate::Stage;
use crate::play::Setup;
use crate::rule::Checks;
use crate::wire::{Speak, What};
use crate::yaml::{HTTP, Listener, TCP};

/// Drain time 6 s, the window is [4, 5].
pub(crate) async fn immediate(stage: Stage) -> anyhow::Result<Checks> {
    let mut checks = Checks::default();
    let listeners = [Listener::http(), Listener::tcp()];
    let play = stage.start(Setup::immediate(6, listeners.clone())).await?;
    let mut tasks = Tasks::new();
    let busy1 = Crowd::busy(&play, HTTP, Speak::Http1, 12, &mut tasks).await?;
    let busy2 = Crowd::busy(&play, HTTP, Speak::Http2, 12, &mut tasks).await?;
    let idle1 = Crowd::idle(&play, HTTP, Speak::Http1, 8).await?;
    let idle2 = Crowd::idle(&play, HTTP, Speak::Http2, 12).await?;
    let silent = Crowd::fresh(&play, HTTP, Speak::Http1, 4).await?;
    sleep(SETTLE).await;
    let tcp = Crowd::idle(&play, TCP, Speak::Bytes, 2).await?;
    let start = play.update(&listeners.map(|listener| listener.version(2)))?;
    at(start, 6700).await;
    let close = busy1.first(start, What::says_close);
    checks.rule(
        "immediate: busy H1 told by its next response",
        &close,
        close.all_in(0, 250),
    );
    let goaway = busy2.first(start, What::is_goaway);
    checks.rule(
        "immediate: busy H2 first GOAWAY at once",
        &goaway,
        goaway.all_in(0, 250),
    );
    let gap = busy2.goaway_gap();
    checks.rule(
        "immediate: GOAWAY to GOAWAY is drain_timeout",
        &gap,
        gap.all_in(1000, 1000),
    );
    let goaway = idle2.first(start, What::is_goaway);
    checks
        .rule(
            "immediate: idle H2 first GOAWAY in the window",
            &goaway,
            goaway.all_in(4000, 5000),
        )
        .or(rows::IMMEDIATE, goaway.all_in(0, 0));
    let ends = idle1.ends(start);
    checks
        .rule(
            "immediate: idle H1 FIN in window + 1.5 s",
            &ends,
            ends.all_in(5500, 6000),
        )
        .or(rows::IDLE, ends.all_in(5000, 6000));
    let ends = silent.ends(start);
    checks
        .rule(
            "immediate: H1 that never spoke: FIN in the window",
            &ends,
            ends.all_in(4000, 5000),
        )
        .or(rows::SILENT, ends.all_in(0, 1100));
    let ends = tcp.ends(start);
    checks
        .rule("immediate: TCP FIN at T", &ends, ends.all_in(6000, 6000))
        .or(rows::TUNNELS, ends.all_in(5000, 6000));
    Ok(checks)
}

/// Drain time 2 s, `drain_timeout` 5 s.
pub(crate) async fn short(stage: Stage) -> anyhow::Result<Checks> {
    let mut checks = Checks::default();
    let listeners = [Listener::http().timeouts(5000, 1000)];
    let play = stage.start(Setup::immediate(2, listeners.clone())).await?;
    let mut tasks = Tasks::new();
    let busy1 = Crowd::busy(&play, HTTP, Speak::Http1, 6, &mut tasks).await?;
    let busy2 = Crowd::busy(&play, HTTP, Speak::Http2, 6, &mut tasks).await?;
    let idle = Crowd::idle(&play, HTTP, Speak::Http1, 4).await?;
    let start = play.update(&listeners.map(|listener| listener.version(2)))?;
    at(start, 2600).await;
    let close = busy1.first(start, What::says_close);
    checks.rule(
        "T < drain_timeout: busy H1 told at once",
        &close,
        close.all_in(0, 250),
    );
    let goaway = busy2.first(start, What::is_goaway);
    checks.rule(
        "T < drain_timeout: busy H2 first GOAWAY at once",
        &goaway,
        goaway.all_in(0, 250),
    );
    let last = busy2
        .0
        .iter()
        .filter(|client| client.goaways().len() > 1)
        .count();
    checks
        .rule("T < drain_timeout: no last GOAWAY", of(last, 6), last == 0)
        .or(rows::DEADLINE, last == 6);
    let ends = busy2.ends(start);
    checks
        .rule(
            "T < drain_timeout: busy H2 FIN at T",
            &ends,
            ends.all_in(2000, 2000),
        )
        .or(rows::DEADLINE, ends.all_in(1500, 2250));
    let ends = idle.ends(start);
    checks
        .rule(
            "T < drain_timeout: idle H1 FIN at T",
            &ends,
            ends.all_in(2000, 2000),
        )
        .or(rows::IDLE, ends.all_in(1500, 2000));
    Ok(checks)
}

/// Drain time 0.
pub(crate) async fn zero(stage: Stage) -> anyhow::Result<Checks> {
    let mut checks = Checks::default();
    let listeners = [Listener::http(), Listener::tcp()];
    let play = stage.start(Setup::gradual(0, listeners.clone())).await?;
    let idle1 = Crowd::idle(&play, HTTP, Speak::Http1, 4).await?;
    let idle2 = Crowd::idle(&play, HTTP, Speak::Http2, 4).await?;
    let tcp = Crowd::idle(&play, TCP, Speak::Bytes, 2).await?;
    let slow = Crowd::fresh(&play, HTTP, Speak::Http1, 2).await?;
    for client in &slow.0 {
        client.get("/slow?3000").await;
    }
    sleep(SETTLE).await;
    let start = play.update(&listeners.map(|listener| listener.version(2)))?;
    at(start, 1500).await;
    for (crowd, rule) in [
        (&idle1, "T = 0: idle H1 ended at once"),
        (&idle2, "T = 0: idle H2 ended at once"),
        (&tcp, "T = 0: TCP ended at once"),
        (&slow, "T = 0: H1 in flight ended at once, unanswered"),
    ] {
        let ends = crowd.ends(start);
        checks
            .rule(rule, &ends, ends.all_in(0, 100))
            .or(rows::DEADLINE, ends.all_in(0, 300));
    }
    let goaways = idle2.first(start, What::is_goaway).len();
    checks
        .rule("T = 0: no GOAWAY", of(goaways, 4), goaways == 0)
        .or(rows::DEADLINE, goaways == 4);
    let new = super::crowd::probe(&play, HTTP).await;
    let v2 = matches!(
        new,
        super::crowd::Probed::Answered {
            version: 2,
            close: false
        }
    );
    checks.rule(
        "T = 0: new ones on v2",
        if v2 { "v2" } else { "not v2" },
        v2,
    );
    Ok(checks)
}
