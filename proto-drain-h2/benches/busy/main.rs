//! What does a busy hyper HTTP/2 connection pay for what is around it while nothing drains?
//!
//! `cargo bench -p proto-drain-h2 --features hyper --bench busy -- [--json FILE] [--quick] [ROW..]`. Each round plays every
//! candidate once, so that a busy neighbour disturbs all alike; a value is the median of the rounds, a ratio the median
//! of the ratios within one round, both of time on the processor. It plays one connection and measures nothing with
//! `-- --play plain|drive|io|whole|shown raw|h2 REQUESTS BODY [yields]`, for a profiler:
//!
//! `valgrind --tool=callgrind target/release/deps/busy-* --play whole raw 20000 16`
#![expect(clippy::unwrap_used, reason = "a bench that fails has failed")]

mod client;
mod server;

use std::time::Duration;

use measure::{Program, Row, Target, median};
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

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(at) = args.iter().position(|arg| arg == "--play") {
        return play_one(&args[at + 1..]);
    }
    let program = Program::from_args();
    program.report(
        LOADS
            .iter()
            .map(|load| (load.name, || candidates(load, program.quick))),
    );
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

/// One connection from its preface to its end; how long its requests took, on the one thread that does everything.
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

/// The time that this thread has had a processor, where the system tells it (Linux): what others do meanwhile is not ours.
fn on_cpu() -> Option<Duration> {
    // The account is closed when the thread makes way.
    std::thread::yield_now();
    let account = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(Duration::from_nanos(
        account.split(' ').next()?.parse().ok()?,
    ))
}

fn play_one(args: &[String]) {
    let around = match args[0].as_str() {
        "plain" => Around::Plain,
        "drive" => Around::Drive,
        "io" => Around::Io,
        "shown" => Around::Shown,
        _ => Around::Whole,
    };
    let client = if args[1] == "raw" {
        Client::Raw
    } else {
        Client::H2
    };
    let work = Work {
        body: args[3].parse().unwrap(),
        yields: args.get(4).is_some(),
    };
    play(around, client, args[2].parse().unwrap(), work);
}
