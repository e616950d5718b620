//! Measures what draining costs, against the least that could do it and against what others offer, and writes it down.

mod page;

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde_json::Value;
use xshell::{Shell, cmd};

use crate::{cargo, root};

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The drain signal: check, wait, open and close, fan-out, completion, memory.
    Signal(Signal),
}

#[derive(Debug, Args)]
struct Signal {
    /// Writes the rows there too, as an array of objects.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes the page from rows that an earlier run has left in a file, instead of measuring.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["json", "quick"])]
    from: Option<PathBuf>,
    /// Only shows that everything runs; writes no page.
    #[arg(long)]
    quick: bool,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    match &options.what {
        What::Signal(options) => signal(options),
    }
}

fn signal(options: &Signal) -> Result<ExitCode> {
    let sh = Shell::new()?;
    sh.change_dir(root());
    let text = match &options.from {
        Some(file) => fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?,
        None => measure(&sh, options.quick)?,
    };
    let rows: Vec<Value> = serde_json::from_str(&text).context("the bench writes JSON")?;
    if let Some(json) = &options.json {
        fs::write(json, &text).with_context(|| format!("write {}", json.display()))?;
    }
    println!("{}", page::table(&rows));
    if !options.quick {
        let page = root().join("docs/performance.md");
        fs::write(&page, page::whole(&sh, &rows)?).with_context(|| format!("write {}", page.display()))?;
        println!("written to {}", page.display());
    }
    // Numbers of one machine in one minute: they are reported, they do not fail the build.
    Ok(ExitCode::SUCCESS)
}

fn measure(sh: &Shell, quick: bool) -> Result<String> {
    let cargo = cargo();
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("rows.json");
    let quick = quick.then_some("--quick");
    // A program of its own: the peers are dependencies of that one bench and of nothing else.
    cmd!(
        sh,
        "{cargo} bench --package drain-signal --bench signal -- {quick...} --json {file}"
    )
    .run()?;
    fs::read_to_string(&file).context("the bench has written its rows")
}
