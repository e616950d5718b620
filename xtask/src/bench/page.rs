//! The rows as a page: one table of ratios to the floor, one of the peers.

use std::fmt::Write as _;
use std::fs;

use anyhow::Result;
use serde_json::Value;
use xshell::{Shell, cmd};

/// The rows against their floors and targets.
pub(crate) fn table(rows: &[Value]) -> String {
    let mut table = "| what | value | floor | ratio | best peer | target | holds |\n\
                     | --- | --- | --- | --- | --- | --- | --- |\n"
        .to_owned();
    for row in rows {
        let unit = text(row, "unit");
        let peer = &row["best_peer"];
        let best = peer["name"].as_str().map_or(String::new(), |name| {
            format!("{} {unit} ({name})", number(&peer["value"]))
        });
        let holds = match row["holds"].as_bool() {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "",
        };
        // Writing to a string does not fail.
        writeln!(
            table,
            "| {} | {} {unit} | {} {unit} ({}) | {}x | {best} | {} | {holds} |",
            text(row, "row"),
            number(&row["value"]),
            number(&row["floor"]),
            text(row, "floor_name"),
            number(&row["ratio"]),
            text(row, "target"),
        )
        .ok();
    }
    table
}

/// All of `docs/performance.md`.
pub(crate) fn whole(sh: &Shell, rows: &[Value]) -> Result<String> {
    let rustc = cmd!(sh, "rustc --version").quiet().read()?;
    let date = cmd!(sh, "date -u +%Y-%m-%d").quiet().read()?;
    let cores = std::thread::available_parallelism()?;
    let mut page = format!(
        "# What it costs\n\n\
         Written by `cargo xtask bench signal` on {date}: {}, {cores} cores, load {} at the end, {rustc}. Each value is a \
         median of several runs, each ratio a median of ratios within one round: every candidate once a round, so that a busy \
         neighbour disturbs all alike. Ratios hold within one run; nanoseconds are this machine's in that minute. Parts of \
         it may have run one after the other; others built and tested on the machine meanwhile. The code is in \
         `drain-signal/benches/signal`; `cargo bench -p drain-signal --bench signal -- guard` runs one part.\n\n{}\n## Peers\n\nTimes what drain-signal takes in the same run.\n\n",
        processor(),
        load(),
        table(rows)
    );
    for row in rows {
        let Some(peers) = row["peers"].as_object().filter(|peers| !peers.is_empty()) else {
            continue;
        };
        let ours = row["value"].as_f64().unwrap_or(f64::NAN);
        let mut peers: Vec<_> = peers
            .iter()
            .map(|(name, value)| (name, value.as_f64().unwrap_or(f64::NAN) / ours))
            .collect();
        peers.sort_by(|a, b| a.1.total_cmp(&b.1));
        let peers: Vec<String> = peers
            .iter()
            .map(|(name, ratio)| format!("{name} {ratio:.1}x"))
            .collect();
        writeln!(page, "- {}: {}", text(row, "row"), peers.join(", ")).ok();
    }
    page.push_str(NOTES);
    Ok(page)
}

const NOTES: &str = "
## How to read it

- *Parked bytes*: the future and its share of the heap, waker not counted; a million in a fresh process. drain-signal's future
  is the watch itself, as in `drive`.
- *2 threads*: only stretches count in which both threads had a processor at the same time.
- *Open and close* is two atomic additions and little else, as the floor is; *parking* adds two passes through the shard's
  lock, two atomic operations each, so three times the floor is what a standard mutex allows.
- *Fan-out*: N tasks on two tokio workers; the floor is an array of wakers that two tasks walk 32 at a time. drain-signal is
  driven by two tasks too, one a worker (`Draining` is `Clone`); a single driver is among the peers.
- *Ticker*: the same ticker on the same runtime before the drain, over as many ticks, is its floor. On a machine that others
  use, both are mostly theirs.
- hyper-util's `GracefulShutdown` takes hyper's own connections only, so it takes part in open and close (its `Watcher`) and
  nowhere else. linkerd's `drain` and `tokio-graceful` have no synchronous check.
";

fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field].as_str().unwrap_or_default()
}

fn number(value: &Value) -> String {
    match value.as_f64() {
        Some(value) if value >= 100.0 => format!("{value:.0}"),
        Some(value) if value >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
        None => "-".to_owned(),
    }
}

fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name"));
    name.map_or("an unnamed processor".to_owned(), |name| {
        name.trim_start_matches([' ', '\t', ':']).to_owned()
    })
}

fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or("?").to_owned()
}
