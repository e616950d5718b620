//! `cargo xtask versus`: edge beside Envoy, HAProxy, nginx and a plain hyper-util server, on this
//! machine.
//!
//! The story: build edge and the peers, find the others → for each part and each round, play each
//! proxy in turn → tables of figures with their spread, on the terminal, as a page and as JSON. The
//! clients are this laboratory's own, the same for all, and are checked by tests: without changes
//! they lose nothing, and of a proxy that is broken on purpose they see the losses.

mod clients;
mod figure;
mod goals;
mod guests;
mod headline;
mod load;
mod machine;
mod noise;
mod owner;
mod page;
mod parts;
mod picture;
mod programs;
mod proxies;
mod readme;
mod servers;
mod spread;
mod stage;
mod storm;
#[cfg(test)]
mod tests;
mod tree;
mod upstream;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use clap::Parser;

use page::Page;
use parts::Part;
use programs::Programs;
use proxies::Kind;
use stage::Stage;
use upstream::Upstreams;

/// Plays edge beside Envoy, HAProxy, nginx and a plain hyper-util server, and shows what each lost
/// and cost.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask versus", bin_name = "cargo xtask versus")]
struct Options {
    /// What to play; everything by default.
    #[arg(value_enum)]
    parts: Vec<Part>,
    /// Write the page, and a picture beside it.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Write three of the figures into README.md.
    #[arg(long)]
    readme: bool,
    /// Write all figures as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Shorter and fewer rounds: about twelve minutes for everything.
    #[arg(long)]
    quick: bool,
    /// How long a storm lasts, without the drain after it; 20 s, quick 4 s.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: Option<u64>,
    /// How often everything is played; 3 times, quick 2.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=20))]
    rounds: Option<u32>,
    /// How long replaced versions may drain, in seconds; 8, quick 3.
    #[arg(long, value_parser = clap::value_parser!(u64).range(2..=600))]
    drain_time_s: Option<u64>,
    /// Play only proxies whose names begin so.
    #[arg(long, num_args = 1..)]
    only: Vec<String>,
    /// Do not play a cell again that other work disturbed; it is marked all the same.
    #[arg(long)]
    once: bool,
    /// Use this edge instead of building it.
    #[arg(long, value_name = "PATH")]
    edge: Option<PathBuf>,
    /// Use this Envoy instead of installing it.
    #[arg(long, value_name = "PATH")]
    envoy: Option<PathBuf>,
    /// Use the programs of the peers' workspace that are in this folder instead of building them.
    #[arg(long, value_name = "FOLDER")]
    peers: Option<PathBuf>,
}

impl Options {
    fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.quick { 2 } else { 3 })
    }

    fn lasts(&self) -> Duration {
        Duration::from_secs(self.seconds.unwrap_or(if self.quick { 4 } else { 20 }))
    }

    fn drain_time(&self) -> Duration {
        Duration::from_secs(self.drain_time_s.unwrap_or(if self.quick { 3 } else { 8 }))
    }

    fn parts(&self) -> Vec<Part> {
        let mut parts = self.parts.clone();
        if parts.is_empty() {
            parts.extend(Part::ALL);
        }
        parts.sort_unstable();
        parts.dedup();
        parts
    }
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    tree::adopt_orphans();
    let programs = Programs::find(
        options.peers.as_deref(),
        options.edge.as_deref(),
        options.envoy.as_deref(),
    )?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let page = runtime.block_on(play(&options, programs));
    runtime.shutdown_timeout(Duration::from_secs(1));
    let page = page?;
    for (part, figures) in &page.parts {
        println!("\n## {}\n\n{}", part.title(), page::tables(figures));
    }
    for absent in &page.absent {
        println!("left out: {absent}");
    }
    let lines = headline::of(&page.figures());
    if let Some(path) = &options.json {
        write(path, &(serde_json::to_string_pretty(&page.json())? + "\n"))?;
    }
    if let Some(path) = &options.report {
        let picture = path.with_extension("svg");
        write(&picture, &picture::svg(&lines))?;
        write(path, &page.markdown(picture.file_name()))?;
    }
    if options.readme {
        let path = rig::root().join("README.md");
        let text = std::fs::read_to_string(&path)?;
        let rounds = match page.rounds {
            1 => "one round".to_owned(),
            rounds => format!("middle of {rounds} rounds"),
        };
        let when = format!("{}, {} cores, {rounds}", page.date, machine::cores());
        write(&path, &readme::with_lines(&text, &lines, &when)?)?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| path.display().to_string())?;
    println!("written: {}", path.display());
    Ok(())
}

async fn play(options: &Options, programs: Programs) -> anyhow::Result<Page> {
    let wanted = |kind: &Kind| {
        let name = kind.name().to_lowercase();
        options.only.is_empty()
            || options
                .only
                .iter()
                .any(|only| name.starts_with(&only.to_lowercase()))
    };
    let mut kinds = programs.present();
    kinds.retain(wanted);
    let stage = Stage {
        upstreams: Upstreams::start().await?,
        programs,
        drain_time: options.drain_time(),
        rounds: options.rounds(),
        kinds,
        again: !options.once,
        failed: Mutex::default(),
    };
    let mut parts = Vec::new();
    for part in options.parts() {
        let figures = part.play(&stage, options.lasts()).await;
        let figures = figures.with_context(|| format!("playing {}", part.title()))?;
        parts.push((part, figures.0));
    }
    let mut absent = stage.programs.absent.clone();
    absent.extend(
        stage
            .failed
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner),
    );
    Ok(Page {
        command: command(std::env::args().skip(1)),
        machine: machine::describe(),
        date: machine::date(),
        versions: stage.programs.versions(),
        absent,
        rounds: stage.rounds,
        parts,
    })
}

/// What was asked for, without the paths of this machine.
fn command(arguments: impl Iterator<Item = String>) -> String {
    const PATHS: [&str; 4] = ["--edge", "--envoy", "--peers", "--json"];
    let mut said = "cargo xtask versus".to_owned();
    let mut is_path = false;
    for argument in arguments {
        let hidden = is_path || PATHS.iter().any(|path| argument.starts_with(path));
        is_path = PATHS.contains(&argument.as_str());
        if !hidden {
            said += &format!(" {argument}");
        }
    }
    said
}
