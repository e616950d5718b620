//! The rows as a part of a page: one table of ratios to the floor, one list of the peers. Each
//! command rewrites its own part and leaves the others as they are.

use std::fmt::Write as _;
use std::fs;

use anyhow::Result;
use serde_json::Value;
use xshell::{Shell, cmd};

/// What one command writes.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) title: &'static str,
    command: &'static str,
    code: &'static str,
    ours: &'static str,
    notes: &'static str,
}

const TITLE: &str = "# What it costs";

const INTRODUCTION: &str = "
Each value is a median of several runs, each ratio a median of ratios within one round: every
candidate once a round, so that other work on the machine disturbs all candidates alike. Compare
ratios of one run only; absolute times hold for that run alone. Rows of one part may have run one
after the other.
";

pub(crate) const SIGNAL: Part = Part {
    title: "The drain signal",
    command: "cargo xtask bench signal",
    code: "The code is in `xtask/lab/peers/benches/signal`; there `cargo bench --bench signal -- guard` runs one part. Rows of a \
           busy connection are in the `busy` and `copy` benches of the protocol crates.",
    ours: "drain-signal",
    notes: "
- *Parked bytes*: the future and its share of the heap, waker not counted; a million in a fresh process. drain-signal's future
  is what a driver keeps, the watch and the claim to its entry.
- *What stays*: growth of a fresh process by 500 000 connections with a closer each, all open at once and all gone, while the
  drain is there; the floor is as many again.
- *2 threads*: only stretches count in which both threads had a processor at the same time.
- *Open, move, close* goes through `DrainManager::watch`, and the watch is moved into another function, as into the connection's
  task, which drops it: two additions and two subtractions that no other core contends for, where the floor is one of each.
  *Parking* adds two passes through the shard's lock, and the record of the connection. *As the product holds one*: two watches,
  four handles and a parked wait.
- *The gradual ticker* is judged by the second worst of the thousand ticks in a round, which varies more than any other row;
  it runs fifteen rounds, and the median is shown.
- *Instructions* are counted by callgrind: those of the program, with an idle drain and one thread.
- *Fan-out*: N tasks on two tokio workers; the floor is an array of wakers that two tasks walk 32 at a time. drain-signal is
  driven by two tasks too, one a worker (`Draining` is `Clone`); a single driver is among the peers. No wait is boxed, and
  glibc's allocator runs without its fast bins (`GLIBC_TUNABLES=glibc.malloc.mxfast=0`): freeing a million boxes, or small
  allocations beside a million tasks, stalls the allocator for longer than what is measured.
- *Ticker*: the same ticker on the same runtime before the drain, over as many ticks, is its floor. Time in which a worker was
  ready and had no processor is taken off both, as the kernel counts it.
- hyper-util's `GracefulShutdown` takes hyper's own connections only, so it takes part in open and close (its `Watcher`) and
  nowhere else. linkerd's `drain` and `tokio-graceful` have no synchronous check.
",
};

pub(crate) const REGISTRY: Part = Part {
    title: "The registry of connections, and the versions of a listener",
    command: "cargo xtask bench registry",
    code: "The code is in `xtask/lab/peers/benches/registry` and `listener-versions/benches/versions`; in `xtask/lab/peers` \
           `cargo bench --bench registry -- open` runs one part.",
    ours: "this project's crate",
    notes: "
- *DashMap of string ids* is the design of Orion's proposal, written in the bench as the proposal shows it: a concurrent map of
  string ids to records, and another of counts by listener.
- *Register and deregister*: id, state and counts of the process and of the listener version; the floor is one addition and one
  subtraction of one shared word, which with two threads they contend for.
- *Slowest registration*: in the quietest of the runs. Time in which the thread was ready and had no processor is taken off, as
  the kernel counts it; of ours, that includes setting protocol and filter chain and boxing the closer.
- *Bytes*: growth of a fresh process by a million connections, each with peer, protocol, chain, stamps and closer.
- *While another thread lists*: the same registrations are timed as long without the list, with the other processor as
  busy; the quietest round of each, and waits for a processor are taken off too.
- *Storm*: client, worker and updates have a thread each. On two processors an update of whatever listeners keeps some
  connections waiting. So a second row compares with as many updates of listeners that have no clients.
- *Idle*: from the beginning of the drain until the last connection has ended, the kernel's part included. Both sides accept
  through this crate and ask each connection to leave at a slot of its own. Ours waits for the slot and for the deadline by its
  watch; the other one sleeps by a timer of tokio's until each.
",
};

pub(crate) const SERVING: Part = Part {
    title: "Serving",
    command: "cargo xtask bench serving",
    code: "The code is in `orion-drain/benches/serving` and in the `busy` benches of proto-drain-http1 and proto-drain-h2; \
           `cargo bench -p orion-drain --bench serving -- instructions` runs one part.",
    ours: "serve_http",
    notes: "
- *A short connection, a request*: `serve` with listeners and their versions, the drain tree, the registry and the statistics,
  at the default settings (no ages), beside an accept loop that spawns hyper-util's `auto` connections. One thread, loopback TCP.
  The client is a process of its own and is not counted.
- *Instructions* are counted by callgrind: those of the program, not of the kernel. *System calls* are counted by strace. Both
  are the difference between two runs of different length, and hardly depend on how busy the machine is.
- *Why the targets of instructions are missed*: the table below names every cause. A connection that its client closes is woken
  once more than one that closes by itself: its layers are polled and the time until the next timer is computed again, and its
  wait for the drain is parked.
- *Few system calls*: a connection that ends at once sets no timer (one that is nearer than the driver's next wake costs a write to
  its eventfd), reads the preface together with the request, and asks for no local address. One `setsockopt` is ours:
  `TCP_NODELAY`.
- *Time on the processor* is that of the server's thread, the kernel's part included; the middle one of 15 rounds. It depends on
  the machine and on what else it does, and has no target here.
- *A busy connection* is a pipe in memory in the benches of the protocol crates: there is no listener and no registry.

### Where the instructions go

What `serve_http` takes above hyper-util's own, by callgrind's profile of functions on 2026-11-30 (`valgrind --tool=callgrind` as
the first lines of `orion-drain/benches/serving/main.rs` say, a release build without link-time optimization); the rows of a
column add up to the whole difference.

| cause | a request, HTTP/1.1 | a short connection |
| --- | --- | --- |
| The layer about a request (`request.rs`, `responding.rs`): what is kept until the response's end, counts, statistics. | 722 | 876 |
| The `Connection` in the request's extensions: a hash map, its table and the value, allocated and freed. `ConnectionShown::Upgrades` saves it. | 679 | 679 |
| The layers around the transport (`ending.rs`, LingerIo, GoawayIo, the head's timeout, the first bytes): two reads, a write and two flushes a request; made and closed. | 380 | 1 418 |
| A timer in the runtime: the registry's clock ticks once a second, and whenever its thread has nothing to do tokio computes the time until the next tick. A host that has any timer pays it already. | 295 | 294 |
| Moving values: requests, their futures and responses are larger. A connection is smaller than hyper-util's, which has room for both codecs. | 225 | -381 |
| The drain: a watch, a handle for the registry, a parked wait; the decision before each response. | 123 | 424 |
| Whether the request says `connection: close`: its header is searched once, and the value read where there is one. | 114 | 510 |
| The layers around the connection, polled whenever its task is woken: driver, steps of both versions, age, watch of a response; the codec in its box. | 92 | 398 |
| The registry: an entry, and counts by protocol, which is known with the first request. | 0 | 307 |
| Accepting: a set of accept loops, the wait for changes of the sockets, the version of the listener. | 0 | 731 |
| The allocator, other than the extensions: 22 allocations a connection instead of 14. The plain server's requests take its slow path. | -586 | 407 |
| The head is parsed once: hyper-util's reads of the preface alone make hyper parse it twice. | 0 | -940 |
| The rest of hyper, http and tokio; drops of shared values. | 25 | 637 |
",
};

pub(crate) const MEMORY: Part = Part {
    title: "The memory of an idle connection",
    command: "cargo xtask bench memory",
    code: "The code is in `orion-drain/serve/benches/memory.rs`.",
    ours: "edge",
    notes: "
- 4 000 connections that made one request each, in a fresh process for each row; growth of its proportional set size.
- edge answers by itself (`direct_response`), with its worker threads as by default; the other servers have one thread.
- *What edge keeps*: growth that is still there 2 s after all have closed.
- *edge with jemalloc*: built with `--features jemalloc`, where `make` is installed; the other edge has the system's
  allocator, glibc's.
",
};

impl Part {
    /// All below the part's title.
    pub(crate) fn body(&self, sh: &Shell, rows: &[Value], runs: usize) -> Result<String> {
        let rustc = cmd!(sh, "rustc --version").quiet().read()?;
        let date = cmd!(sh, "date -u +%Y-%m-%d").quiet().read()?;
        let cores = std::thread::available_parallelism()?;
        let (several, middle) = match runs {
            1 => Default::default(),
            runs => (
                format!(" --runs {runs}"),
                format!(" Each row is the middle one of {runs} runs."),
            ),
        };
        let mut body = format!(
            "Written by `{}{several}` on {date}: {}, {cores} cores, load {} at the end, {rustc}.{middle} {}\n\n{}",
            self.command,
            processor(),
            load(),
            self.code,
            table(rows),
        );
        let peers = peers(rows);
        if !peers.is_empty() {
            // Writing to a string does not fail.
            write!(
                body,
                "\n### Peers\n\nTimes what {} takes in the same run.\n\n{peers}",
                self.ours
            )
            .ok();
        }
        write!(body, "\n### How to read it\n{}", self.notes).ok();
        Ok(rig::filled(&body))
    }
}

/// The page with this part new, and all others as they were. A part reaches to the next title of
/// its level.
pub(crate) fn with_part(page: &str, title: &str, body: &str) -> String {
    let part = format!("## {title}\n\n{}\n", body.trim_end());
    let mut parts = page.split("\n## ");
    let first = parts
        .next()
        .map(str::trim_end)
        .filter(|first| !first.is_empty());
    let head = first.map_or_else(
        || format!("{TITLE}\n{INTRODUCTION}"),
        |first| format!("{first}\n"),
    );
    let mut known = false;
    let mut new = head;
    for old in parts {
        new.push('\n');
        if old.lines().next() == Some(title) {
            known = true;
            new.push_str(&part);
        } else {
            writeln!(new, "## {}", old.trim_end()).ok();
        }
    }
    if !known {
        new.push('\n');
        new.push_str(&part);
    }
    new
}

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
        let unmeasured = row["value"].is_null() || row["ratio"].is_null();
        let holds = match row["holds"].as_bool() {
            _ if unmeasured => "not measured",
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "",
        };
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

fn peers(rows: &[Value]) -> String {
    let mut list = String::new();
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
        writeln!(list, "- {}: {}", text(row, "row"), peers.join(", ")).ok();
    }
    list
}

fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field].as_str().unwrap_or_default()
}

fn number(value: &Value) -> String {
    match value.as_f64() {
        Some(value) if value >= 100.0 => format!("{value:.0}"),
        Some(value) if value >= 10.0 => format!("{value:.1}"),
        Some(value) if value >= 0.1 => format!("{value:.2}"),
        Some(value) => format!("{value:.3}"),
        None => "-".to_owned(),
    }
}

fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    name.map_or("an unnamed processor".to_owned(), |name| {
        name.trim_start_matches([' ', '\t', ':']).to_owned()
    })
}

fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or("?").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_has_lines_that_tidy_takes() {
        let sh = Shell::new().unwrap();
        for part in [SIGNAL, REGISTRY, SERVING, MEMORY] {
            let body = part.body(&sh, &[], 3).unwrap();
            let page = with_part("", part.title, &body);
            let mut prose = page.lines().filter(|line| !line.starts_with('|'));
            assert!(prose.all(|line| line.chars().count() <= 100), "{page}");
        }
    }

    #[test]
    fn a_new_part_leaves_the_others_as_they_are() {
        let page = with_part("", "One", "first\n\n### Peers\n\n- a\n");
        let both = with_part(&page, "Two", "second");
        assert!(both.starts_with(TITLE) && both.starts_with(page.trim_end()));
        let newer = with_part(&both, "One", "newer");
        assert!(newer.contains("## One\n\nnewer\n\n## Two\n\nsecond\n"));
        assert_eq!(with_part(&newer, "One", "first\n\n### Peers\n\n- a"), both);
        assert_eq!(with_part(&both, "Two", "second"), both);
    }
}
