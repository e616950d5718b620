//! `restart`: the process, or the binary, is replaced under the crowd.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::clients::{Running, Summary};
use crate::figure::Figures;
use crate::noise::Noise;
use crate::proxies::Kind;
use crate::stage::Stage;
use crate::tree;

pub(crate) const MEANING: &str = "\
Under the same crowd the process is replaced by each proxy's own means: hot restart (edge, Envoy), a reload of the master with a new
worker (HAProxy), USR2 and QUIT (nginx's binary upgrade), or a second process on the same port and SIGTERM to the first (hyper-util).
*Until the old one is gone* counts from the request to replace it until there are as many processes as before. Memory is that of all
its processes together, shared pages counted once (PSS).";

const EVERY: Duration = Duration::from_millis(50);
const BEFORE: Duration = Duration::from_secs(2);
/// The old process must be gone by then, beyond its drain time.
const GRACE: Duration = Duration::from_secs(15);

#[derive(Debug)]
struct Restart {
    classes: Vec<Summary>,
    first_new: Option<f64>,
    /// `None`: it was still there when nobody waited any more.
    gone: Option<Duration>,
    memory: u64,
    peak: u64,
    others: f64,
}

pub(crate) async fn play(stage: &Stage) -> anyhow::Result<Figures> {
    let mut figures = Figures::default();
    for round in 1..=stage.rounds {
        for kind in stage.kinds.iter().copied() {
            println!("restart, round {round}: {}", kind.name());
            let played = stage
                .quietly(|restart: &Restart| restart.others, || restart(stage, kind))
                .await;
            if let Some(restart) = stage.or_say(kind.name(), "restart", played) {
                enter(&mut figures, kind.name(), &restart);
            }
        }
    }
    Ok(figures)
}

async fn restart(stage: &Stage, kind: Kind) -> anyhow::Result<Restart> {
    let folder = tempfile::tempdir()?;
    let mut proxy = stage.proxy(kind, folder.path()).await?;
    let noise = Noise::since_now();
    let crowd = Running::start(proxy.doors());
    sleep(BEFORE).await;
    let (processes, memory) = (tree::count(), tree::memory());
    let mut peak = memory;
    let at = Instant::now();
    let version = proxy.replace().await?;
    proxy.until_version(version).await?;
    let limit = Instant::now() + stage.drain_time + GRACE;
    let gone = loop {
        peak = peak.max(tree::memory());
        if tree::count() <= processes {
            break Some(at.elapsed());
        }
        if Instant::now() > limit {
            break None;
        }
        sleep(EVERY).await;
    };
    sleep(BEFORE / 2).await;
    let others = noise.others();
    let tally = Arc::clone(&crowd.tally);
    let classes = crowd.end().await;
    proxy.stop().await;
    Ok(Restart {
        classes,
        first_new: tally.first_new(&[(at, version)]).pop(),
        gone,
        memory,
        peak,
        others,
    })
}

fn enter(figures: &mut Figures, column: &'static str, restart: &Restart) {
    const MIB: f64 = 1_048_576.0;
    super::storms::enter_losses(
        figures,
        "Lost by a restart",
        column,
        &restart.classes,
        restart.others,
    );
    let table = "What a restart takes";
    let rows = [
        ("first new answer, ms", restart.first_new),
        (
            "until the old one is gone, s",
            restart.gone.map(|gone| gone.as_secs_f64()),
        ),
        ("memory before, MiB", Some(restart.memory as f64 / MIB)),
        ("peak memory, MiB", Some(restart.peak as f64 / MIB)),
    ];
    for (row, value) in rows {
        let figure = figures.at(table, row, column, "");
        match value {
            Some(value) => figure.add(value, restart.others),
            None => "never seen".clone_into(&mut figure.note),
        }
    }
}
