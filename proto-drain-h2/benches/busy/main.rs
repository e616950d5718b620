//! What does a busy hyper HTTP/2 connection pay for what is around it while nothing drains?
//!
//! `cargo bench -p proto-drain-h2 --features hyper --bench busy -- [--json FILE] [--quick]
//! [ROW..]`. Each round plays every candidate once, so that a busy neighbour disturbs all alike; a
//! value is the median of the rounds, a ratio the median of the ratios within one round, both of
//! time on the processor. The part `instructions` counts those of the loads without h2's client by
//! callgrind: it starts this program as `--play AROUND LOAD REQUESTS`, which plays one connection;
//! the difference between two runs is what their requests take.
#![expect(clippy::unwrap_used, reason = "a bench that fails has failed")]

mod client;
mod server;

use std::time::Duration;

use measure::{Program, Row, Target, instructions, median};
use server::{Around, Work};
use tokio::time::Instant;

/// The most that the wrapper may cost.
const TARGET: Target = Target::Ratio(1.02);

#[derive(Debug, Clone, Copy)]
enum Client {
    H2,
    Raw,
}

/// One kind of load.
struct Load {
    name: &'static str,
    client: Client,
    requests: usize,
    work: Work,
}

const LOADS: [Load; 4] = [
    Load {
        name: "small",
        client: Client::H2,
        requests: 20_000,
        work: Work {
            body: 16,
            yields: false,
        },
    },
    Load {
        name: "small, server alone",
        client: Client::Raw,
        requests: 20_000,
        work: Work {
            body: 16,
            yields: false,
        },
    },
    Load {
        name: "small, handler waits, server alone",
        client: Client::Raw,
        requests: 20_000,
        work: Work {
            body: 16,
            yields: true,
        },
    },
    Load {
        name: "1 MB",
        client: Client::H2,
        requests: 200,
        work: Work {
            body: 1_000_000,
            yields: false,
        },
    },
];

const AROUNDS: [(Around, &str); 5] = [
    (Around::Plain, "plain hyper"),
    (Around::Drive, "drive alone"),
    (Around::Io, "transport wrapper"),
    (Around::Whole, "whole wrapper"),
    (Around::Shown, "whole wrapper, the drain in every request"),
];

type Part<'a> = Box<dyn FnOnce() -> Vec<Row> + 'a>;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(at) = args.iter().position(|arg| arg == "--play") {
        return play_one(&args[at + 1..]);
    }
    let program = Program::from_args();
    let timed = LOADS
        .iter()
        .map(|load| -> (_, Part<'_>) { (load.name, Box::new(|| candidates(load, program.quick))) });
    let counted: Part<'_> = Box::new(|| counted(program.quick));
    program.report(timed.chain([("instructions", counted)]));
}

/// The loads whose client costs next to nothing.
fn counted(quick: bool) -> Vec<Row> {
    let (few, many): (usize, usize) = if quick { (10, 20) } else { (1_000, 5_000) };
    let mut rows = vec![];
    for (number, load) in LOADS.iter().enumerate().take(3).skip(1) {
        let counts: Vec<f64> = (0..AROUNDS.len())
            .map(|around| {
                let count = |requests: usize| {
                    let words = [around, number, requests].map(|word| word.to_string());
                    if quick {
                        play_one(&words);
                        return f64::NAN;
                    }
                    let play = std::iter::once("--play".to_owned());
                    instructions(play.chain(words)).unwrap_or(f64::NAN)
                };
                (count(many) - count(few)) / (many - few) as f64
            })
            .collect();
        rows.extend((1..AROUNDS.len()).map(|around| Row {
            row: format!(
                "busy h2 connection, {}: {}: instructions",
                load.name, AROUNDS[around].1
            ),
            unit: "instructions",
            value: counts[around],
            floor_name: AROUNDS[0].1,
            floor: counts[0],
            ratio: counts[around] / counts[0],
            target: match AROUNDS[around].0 {
                Around::Whole => Target::Ratio(1.03),
                _ => Target::None,
            },
            peers: vec![],
        }));
    }
    rows
}

/// All candidates under one load, in rounds.
fn candidates(load: &Load, quick: bool) -> Vec<Row> {
    let (rounds, requests) = if quick { (1, 20) } else { (31, load.requests) };
    let mut took: Vec<Vec<f64>> = vec![vec![]; AROUNDS.len()];
    for round in 0..rounds {
        for turn in 0..AROUNDS.len() {
            // Each goes first as often as the others.
            let at = (turn + round) % AROUNDS.len();
            let time = play(AROUNDS[at].0, load.client, requests, load.work);
            took[at].push(time.as_secs_f64() * 1e6 / requests as f64);
        }
    }
    let floor = &took[0];
    let row = |at: usize, target| Row {
        row: format!("busy h2 connection, {}: {}", load.name, AROUNDS[at].1),
        unit: "us/request",
        value: median(took[at].clone()),
        floor_name: AROUNDS[0].1,
        floor: median(floor.clone()),
        ratio: median(
            took[at]
                .iter()
                .zip(floor)
                .map(|(ours, floor)| ours / floor)
                .collect(),
        ),
        target,
        peers: vec![],
    };
    vec![
        row(1, TARGET),
        row(2, Target::None),
        row(3, TARGET),
        row(4, Target::None),
    ]
}

/// One connection from its preface to its end; how long its requests took, on the one thread that
/// does everything.
fn play(around: Around, client: Client, requests: usize, work: Work) -> Duration {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (io, served) = tokio::io::duplex(1 << 18);
        let (_trigger, signal) = drain_signal::channel();
        server::spawn(served, around, work, signal.watch().unwrap());
        let start = Instant::now();
        let on_cpu = on_cpu();
        match client {
            Client::H2 => client::h2(io, requests).await.unwrap(),
            Client::Raw => client::raw(io, requests).await.unwrap(),
        }
        match (on_cpu, self::on_cpu()) {
            (Some(before), Some(after)) => after - before,
            _ => start.elapsed(),
        }
    })
}

/// The time that this thread has had a processor, where the system tells it (Linux): what others do
/// meanwhile is not ours.
fn on_cpu() -> Option<Duration> {
    // The account is closed when the thread makes way.
    std::thread::yield_now();
    let account = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(Duration::from_nanos(
        account.split(' ').next()?.parse().ok()?,
    ))
}

/// `AROUND LOAD REQUESTS`, the first two by their numbers.
fn play_one(words: &[String]) {
    let number = |at: usize| -> usize { words[at].parse().unwrap() };
    let load = &LOADS[number(1)];
    play(AROUNDS[number(0)].0, load.client, number(2), load.work);
}
