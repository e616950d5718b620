//! Measures what draining costs, against the least that could do it and against what others offer,
//! and writes it down.

mod page;

use std::{fs, num::NonZeroUsize, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use serde_json::Value;
use xshell::{Shell, cmd};

use page::Part;
use rig::{cargo, root};

/// Measures what draining costs, and writes `docs/performance.md`.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The drain signal: check, wait, open and close, fan-out, completion, memory; and a busy
    /// connection with all of it.
    Signal(Measure),
    /// The registry of connections, beside the design of Orion's proposal; and the versions of a
    /// listener.
    Registry(Measure),
    /// Serving with everything on, beside hyper-util alone: instructions, system calls and time of
    /// the processor, per connection and per request.
    Serving(Measure),
    /// What an idle connection takes: plain hyper-util, `serve_http`, edge.
    Memory(Measure),
}

#[derive(Debug, Args)]
struct Measure {
    /// Writes the rows there too, as an array of objects.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes the page from rows that an earlier run has left in a file, instead of measuring.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["json", "quick"])]
    from: Option<PathBuf>,
    /// Runs every bench so often; of each row that run counts that is the middle one.
    #[arg(long, value_name = "N", default_value = "1", conflicts_with = "from")]
    runs: NonZeroUsize,
    /// Only shows that everything runs; writes no page.
    #[arg(long)]
    quick: bool,
}

/// A bench target that takes `[--json FILE] [--quick] [PART..]`, and prints its rows there.
#[derive(Debug)]
struct Bench {
    package: &'static str,
    target: &'static str,
    /// All of them if there are none.
    parts: &'static [&'static str],
    /// What cargo is asked for: all features if a bench needs any.
    features: &'static [&'static str],
    /// Of the workspace that the bench is in.
    manifest: &'static str,
    /// Settings of glibc's allocator, for all candidates.
    tunables: &'static str,
    /// Whether it measures edge: built as for release; `EDGE` says where it is, and
    /// `EDGE_JEMALLOC` where the one with jemalloc is.
    edge: bool,
}

impl Bench {
    const fn new(package: &'static str, target: &'static str) -> Self {
        Self {
            package,
            target,
            parts: &[],
            features: &["--all-features"],
            manifest: "Cargo.toml",
            tunables: "",
            edge: false,
        }
    }

    /// These parts of it.
    const fn only(self, parts: &'static [&'static str]) -> Self {
        Self { parts, ..self }
    }

    /// One that compares with crates of others, which are in a workspace of their own.
    const fn with_peers(target: &'static str) -> Self {
        Self {
            manifest: "xtask/lab/peers/Cargo.toml",
            ..Self::new("peers", target)
        }
    }
}

const SIGNAL: [Bench; 4] = [
    // Without fast bins: a million tasks leave a million crumbs there, which are tidied up in one
    // go whenever that may be.
    Bench {
        tunables: "glibc.malloc.mxfast=0",
        ..Bench::with_peers("signal")
    },
    Bench::new("proto-drain-http1", "busy").only(&["loopback", "pipe"]),
    Bench::new("proto-drain-h2", "busy").only(&[
        "small",
        "small, server alone",
        "small, handler waits, server alone",
        "1 MB",
    ]),
    Bench::new("proto-drain-tcp", "copy"),
];

const SERVING: [Bench; 3] = [
    // As most hosts build it: `tracing` has a cost of its own.
    Bench {
        features: &[],
        ..Bench::new("orion-drain", "serving")
    },
    Bench::new("proto-drain-http1", "busy").only(&["instructions"]),
    Bench::new("proto-drain-h2", "busy").only(&["instructions"]),
];

const REGISTRY: [Bench; 2] = [
    Bench::with_peers("registry"),
    Bench::new("listener-versions", "versions"),
];

const MEMORY: [Bench; 1] = [Bench {
    edge: true,
    ..Bench::new("orion-drain-serve", "memory")
}];

fn main() -> Result<ExitCode> {
    match &Options::parse().what {
        What::Signal(measure) => write(measure, &SIGNAL, &page::SIGNAL),
        What::Registry(measure) => write(measure, &REGISTRY, &page::REGISTRY),
        What::Serving(measure) => write(measure, &SERVING, &page::SERVING),
        What::Memory(measure) => write(measure, &MEMORY, &page::MEMORY),
    }
}

fn write(options: &Measure, benches: &[Bench], part: &Part) -> Result<ExitCode> {
    let sh = Shell::new()?;
    sh.change_dir(root());
    let rows: Vec<Value> = match &options.from {
        Some(file) => {
            let text =
                fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
            serde_json::from_str(&text).context("the file holds rows")?
        }
        None => measure(&sh, benches, options)?,
    };
    if let Some(json) = &options.json {
        let text: Vec<String> = rows.iter().map(Value::to_string).collect();
        let text = format!("[\n{}\n]\n", text.join(",\n"));
        fs::write(json, text).with_context(|| format!("write {}", json.display()))?;
    }
    println!("{}", page::table(&rows));
    if !options.quick {
        let file = root().join("docs/performance.md");
        let before = fs::read_to_string(&file).unwrap_or_default();
        let after = page::with_part(
            &before,
            part.title,
            &part.body(&sh, &rows, options.runs.get())?,
        );
        fs::write(&file, after).with_context(|| format!("write {}", file.display()))?;
        println!("written to {}", file.display());
    }
    // Numbers of one machine in one minute: they are reported, they do not fail the build.
    Ok(ExitCode::SUCCESS)
}

/// The rows of all the benches that there are, in their order.
fn measure(sh: &Shell, benches: &[Bench], options: &Measure) -> Result<Vec<Value>> {
    let cargo = cargo();
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("rows.json");
    let quick = options.quick.then_some("--quick");
    // One for both workspaces: most of what is below the benches is the same.
    let built = root().join("target");
    let mut rows = vec![];
    for Bench {
        package,
        target,
        parts,
        features,
        manifest,
        tunables,
        edge,
    } in benches
    {
        let edge = if *edge { build_edge(sh)? } else { vec![] };
        let mut runs: Vec<Vec<Value>> = vec![];
        for _ in 0..options.runs.get() {
            let bench = ["--bench", *target, "--package", *package];
            let (features, parts) = (*features, *parts);
            cmd!(
                sh,
                "{cargo} bench --manifest-path {manifest} --target-dir {built} {bench...} {features...} -- {quick...} --json {file} {parts...}"
            )
            .env("GLIBC_TUNABLES", tunables)
            .envs(edge.iter().map(|(name, path)| (name, path)))
            .run()?;
            let text = fs::read_to_string(&file).context("the bench has written its rows")?;
            // What a machine that is too busy has left unmeasured.
            let text = text.replace(": NaN", ": null").replace(": inf", ": null");
            runs.push(serde_json::from_str(&text).context("the bench writes JSON")?);
            fs::remove_file(&file)?;
        }
        rows.extend(middle(runs));
    }
    Ok(rows)
}

/// The variables that say where edge is. jemalloc is built with `make`, which may be missing.
fn build_edge(sh: &Shell) -> Result<Vec<(&'static str, PathBuf)>> {
    let cargo = cargo();
    let built = root().join("target");
    let of = ["--release", "--package", "edge", "--target-dir"];
    let edge = built.join("release/edge");
    let mut variables = vec![];
    let make = cmd!(sh, "make --version").quiet().ignore_stdout();
    if make.ignore_stderr().run().is_ok() {
        cmd!(sh, "{cargo} build {of...} {built} --features jemalloc").run()?;
        let with_jemalloc = built.join("release/edge-jemalloc");
        fs::copy(&edge, &with_jemalloc)?;
        variables.push(("EDGE_JEMALLOC", with_jemalloc));
    } else {
        println!("make is not installed: no rows of edge with jemalloc");
    }
    cmd!(sh, "{cargo} build {of...} {built}").run()?;
    variables.push(("EDGE", edge));
    Ok(variables)
}

/// Of each row the run in the middle, whole: its ratio was measured within it. What has been
/// measured in no run comes last.
fn middle(runs: Vec<Vec<Value>>) -> Vec<Value> {
    let names: Vec<Value> = runs
        .first()
        .into_iter()
        .flatten()
        .map(|row| row["row"].clone())
        .collect();
    let mut rows: Vec<Value> = runs.into_iter().flatten().collect();
    let key = |row: &Value| {
        let of_value = row["target"]
            .as_str()
            .is_some_and(|target| !target.is_empty() && !target.ends_with('x'));
        row[if of_value { "value" } else { "ratio" }]
            .as_f64()
            .unwrap_or(f64::INFINITY)
    };
    rows.sort_by(|a, b| key(a).total_cmp(&key(b)));
    let of = |name: &Value| {
        let runs: Vec<&Value> = rows.iter().filter(|row| row["row"] == *name).collect();
        runs.get(runs.len().saturating_sub(1) / 2)
            .map(|&row| row.clone())
    };
    names.iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_is_that_of_the_run_in_the_middle() {
        let run = |ratio: Value, bytes: u32| {
            vec![
                json!({"row": "a", "ratio": ratio, "value": 1, "target": "<= 1x"}),
                json!({"row": "b", "ratio": 1, "value": bytes, "target": "<= 64 bytes"}),
            ]
        };
        let rows = middle(vec![
            run(json!(3), 60),
            run(Value::Null, 50),
            run(json!(2), 70),
        ]);
        assert_eq!(
            rows,
            [run(json!(3), 60)[0].clone(), run(json!(3), 60)[1].clone()]
        );
    }
}
