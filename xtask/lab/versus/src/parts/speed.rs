//! `speed`: what a request costs.

use std::time::Duration;

use crate::figure::Figures;
use crate::load::{Cost, Load, load};
use crate::proxies::{Has, Kind};
use crate::stage::Stage;

pub(crate) const MEANING: &str = "\
64 connections ask again as soon as they are answered (HTTP/2: four streams on each; TCP: 64 bytes and back), by the same client for
all, on the same processors. *Processor time* is what the kernel has counted for the processes of the proxy, user and system, divided by
the requests answered meanwhile. Every proxy has two worker threads or processes. The server behind them and the client run on the same
processors, so the 99th percentile and the rate say how all of them get along there, not what a proxy can do on a machine of its own.";

pub(crate) async fn play(stage: &Stage, lasts: Duration) -> anyhow::Result<Figures> {
    let mut figures = Figures::default();
    for round in 1..=stage.rounds {
        for what in Load::ALL {
            for kind in stage.kinds.iter().copied().filter(|kind| can(*kind, what)) {
                println!("speed, round {round}: {}, {}", what.name(), kind.name());
                let played = stage
                    .quietly(
                        |cost: &Cost| cost.others,
                        || measure(stage, kind, what, lasts),
                    )
                    .await;
                if let Some(cost) = stage.or_say(kind.name(), what.name(), played) {
                    enter(&mut figures, what, kind.name(), &cost);
                }
            }
        }
    }
    figures
        .0
        .sort_by_key(|figure| TABLES.iter().position(|table| figure.table == *table));
    Ok(figures)
}

fn can(kind: Kind, what: Load) -> bool {
    match what {
        Load::Direct | Load::Http2Direct | Load::Short => true,
        Load::Tls => kind.has(Has::Tls),
        Load::Tcp => kind.has(Has::Tcp),
        Load::Proxied | Load::Http2Proxied | Load::Big => kind.has(Has::Upstream),
    }
}

async fn measure(stage: &Stage, kind: Kind, what: Load, lasts: Duration) -> anyhow::Result<Cost> {
    let folder = tempfile::tempdir()?;
    let proxy = stage.proxy(kind, folder.path()).await?;
    let cost = load(&proxy.place, what, lasts).await;
    proxy.stop().await;
    cost
}

const TABLES: [&str; 4] = [
    "Processor time per request, in µs",
    "Of it in the kernel, in µs",
    "99th percentile, in ms",
    "Requests a second",
];

fn enter(figures: &mut Figures, what: Load, column: &'static str, cost: &Cost) {
    let values = [
        cost.user + cost.system,
        cost.system,
        cost.p99,
        cost.per_second.round(),
    ];
    for (table, value) in TABLES.into_iter().zip(values) {
        figures
            .at(table, what.name(), column, "")
            .add(value, cost.others);
    }
}
