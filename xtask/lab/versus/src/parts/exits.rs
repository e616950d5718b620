//! `exit`: from SIGTERM to the end of the process, with clients that do not help.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::figure::Figures;
use crate::guests::{self, Case, Polite};
use crate::noise::Noise;
use crate::programs::Programs;
use crate::servers::{Instance, Server, present};
use crate::stage::Stage;

pub(crate) const MEANING: &str = "\
The same application behind each server gets SIGTERM while eight polite clients use it: four have a request under way that takes
a second, four ask on kept-alive connections 20 ms away until the server ends them. Beside them are two clients of the kind that the row
names. Every server that knows a deadline is given 3 s; `axum::serve` and tonic's own server know none. The process is ended by force
after 12 s. *Lost* are requests of the polite clients.
The handler of the WebSocket sends a Close frame in ours, where the connection reports the drain to it; elsewhere the handler cannot
know of the drain. pingora-core's handler takes messages and answers none. pingora-core sleeps its whole grace period, which is the
3 s here, also when no connection is left.";

const LIMIT: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(12);

/// How many are played at the same time: they wait most of the time.
const AT_ONCE: usize = 7;

#[derive(Debug, Clone, Copy)]
struct Exit {
    /// `None`: ended by force.
    took: Option<Duration>,
    lost: u64,
}

pub(crate) async fn play(stage: &Stage) -> anyhow::Result<Figures> {
    let mut figures = Figures::default();
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let servers = present(&stage.programs);
    for round in 1..=stage.rounds {
        println!(
            "exit, round {round}: {} servers, {} kinds of clients",
            servers.len(),
            Case::ALL.len()
        );
        let noise = Noise::since_now();
        let mut plays = JoinSet::new();
        for case in Case::ALL {
            for server in servers.iter().copied() {
                let (programs, places) = (stage.programs.clone(), Arc::clone(&places));
                plays.spawn(async move {
                    // It is never closed.
                    let _place = places.acquire().await;
                    (case, server, exit(&programs, server, case).await)
                });
            }
        }
        let played = plays.join_all().await;
        let others = noise.others();
        for case in Case::ALL {
            for server in servers.iter().copied() {
                let mut of = played
                    .iter()
                    .filter(|(at, by, _)| *at == case && *by == server);
                let Some((.., exit)) = of.next() else {
                    continue;
                };
                let exit = exit.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"));
                if let Some(exit) = stage.or_say(server.name, case.name(), exit) {
                    enter(&mut figures, case, server, *exit, others);
                }
            }
        }
    }
    figures.0.sort_by_key(|figure| figure.table == LOST);
    Ok(figures)
}

const TIMES: &str = "Seconds from SIGTERM to exit";
const LOST: &str = "Requests lost by it";

fn enter(figures: &mut Figures, case: Case, server: Server, exit: Exit, others: f64) {
    let figure = figures.at(TIMES, case.name(), server.name, "s");
    match exit.took {
        Some(took) => figure.add(took.as_secs_f64(), others),
        None => figure.kind("ended by force", 1),
    }
    figures
        .at(LOST, case.name(), server.name, "lost")
        .add(exit.lost as f64, others);
}

async fn exit(programs: &Programs, server: Server, case: Case) -> anyhow::Result<Exit> {
    let mut instance = Instance::start(programs, server, LIMIT, Duration::ZERO).await?;
    let mut guests = JoinSet::new();
    for _ in 0..2 {
        guests.spawn(guests::impolite(case, instance.address));
    }
    let polite = Polite::start(instance.address);
    sleep(Duration::from_millis(500)).await;
    let begun = Instant::now();
    instance.process.signal("TERM").await?;
    let ended = instance.process.end(PATIENCE).await;
    let took = ended.is_ok().then(|| begun.elapsed());
    instance.process.kill().await;
    let lost = polite.end().await;
    Ok(Exit { took, lost })
}
