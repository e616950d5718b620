//! What does serving with drains cost a host, over hyper-util's auto connection alone?
//!
//! `cargo bench -p orion-drain --bench serving -- [--json FILE] [--quick] [PART..]`; `cargo xtask
//! bench serving` writes the rows to `docs/performance.md`. Each row is one kind of load, and what
//! one connection or one request of it takes of the server: instructions (callgrind), system calls
//! (strace), time on the processor. The server is a process of its own, which starts its client as
//! another, so that nothing of the client is counted. Instructions and system calls are the
//! difference between two runs of different length. Linux only.
//!
//! `-- serve plain|drain LOAD N` is such a server alone, for a profiler:
//!
//! `valgrind --tool=callgrind target/release/deps/serving-* serve drain closed-by-server 2000`
#![expect(clippy::unwrap_used, reason = "a bench that fails has failed")]

mod client;
mod server;

use std::process::Command;

use measure::{Program, Row, Target, instructions, median, system_calls};

/// What a client does.
struct Load {
    /// On the command line.
    word: &'static str,
    what: &'static str,
    /// More than a round, fewer than all ephemeral ports.
    times: usize,
    most: f64,
}

const LOADS: [Load; 5] = [
    Load {
        word: client::CLOSED_BY_SERVER,
        what: "a short connection, `connection: close` asked for",
        times: 2_000,
        most: 1.05,
    },
    Load {
        word: client::CLOSED_BY_CLIENT,
        what: "a short connection, closed by its client",
        times: 2_000,
        most: 1.05,
    },
    Load {
        word: client::HTTP1,
        what: "a request, HTTP/1.1",
        times: 20_000,
        most: 1.03,
    },
    Load {
        word: client::HTTP2,
        what: "a request, HTTP/2, one stream at a time",
        times: 20_000,
        most: 1.03,
    },
    Load {
        word: client::HTTP2_EIGHT,
        what: "a request, HTTP/2, eight streams at a time",
        times: 20_000,
        most: 1.03,
    },
];

const PLAIN: &str = "plain";
const DRAIN: &str = "drain";

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let word = |at: usize| args.get(at).map(String::as_str);
    match word(0) {
        Some("serve") => server::run(args[1] == DRAIN, &args[2], &args[3]),
        Some("ask") => client::run(&args[1], args[2].parse().unwrap(), args[3].parse().unwrap()),
        _ => measure(&Program::from_args()),
    }
}

fn measure(program: &Program) {
    let quick = program.quick;
    program.report(
        [
            (
                "instructions",
                &counted_instructions as &dyn Fn(bool) -> Vec<Row>,
            ),
            ("system calls", &counted_system_calls),
            ("time", &timed),
        ]
        .map(|(part, rows)| (part, move || rows(quick))),
    );
}

fn counted_instructions(quick: bool) -> Vec<Row> {
    let rows = LOADS.iter().map(|load| {
        let count = |server| per_time(quick, |times| instructions(serve(server, load, times)));
        row(
            load,
            "instructions",
            count(PLAIN),
            count(DRAIN),
            Target::Ratio(load.most),
        )
    });
    rows.collect()
}

fn counted_system_calls(quick: bool) -> Vec<Row> {
    let rows = LOADS.iter().map(|load| {
        let count = |server| per_time(quick, |times| system_calls(serve(server, load, times)));
        row(
            load,
            "system calls",
            count(PLAIN),
            count(DRAIN),
            Target::Ratio(load.most),
        )
    });
    rows.collect()
}

/// The difference between two runs: starting and stopping are in neither.
fn per_time(quick: bool, count: impl Fn(usize) -> Option<f64>) -> f64 {
    let (few, many) = if quick { (8, 16) } else { (200, 1_200) };
    let counted = count(few).zip(count(many));
    counted.map_or(f64::NAN, |(few_took, many_took)| {
        (many_took - few_took) / (many - few) as f64
    })
}

/// In rounds, each server once a round.
fn timed(quick: bool) -> Vec<Row> {
    let rounds = if quick { 1 } else { 15 };
    let rows = LOADS.iter().map(|load| {
        let times = if quick { 16 } else { load.times };
        let time = |server| {
            let program = std::env::current_exe().unwrap();
            let output = Command::new(program)
                .args(serve(server, load, times))
                .output();
            let output = output.unwrap();
            assert!(output.status.success(), "{output:?}");
            let nanos: f64 = String::from_utf8_lossy(&output.stdout)
                .trim()
                .parse()
                .unwrap();
            nanos / 1e3 / times as f64
        };
        let (mut plain, mut drain) = (vec![], vec![]);
        for round in 0..rounds {
            // Each goes first as often as the other.
            if round % 2 == 0 {
                plain.push(time(PLAIN));
                drain.push(time(DRAIN));
            } else {
                drain.push(time(DRAIN));
                plain.push(time(PLAIN));
            }
        }
        let ratios = drain.iter().zip(&plain).map(|(ours, floor)| ours / floor);
        let ratio = median(ratios.collect());
        Row {
            ratio,
            ..row(
                load,
                "us on the processor",
                median(plain),
                median(drain),
                Target::None,
            )
        }
    });
    rows.collect()
}

fn serve(server: &str, load: &Load, times: usize) -> [String; 4] {
    ["serve", server, load.word, &times.to_string()].map(str::to_owned)
}

fn row(load: &Load, unit: &'static str, floor: f64, value: f64, target: Target) -> Row {
    Row {
        row: format!("{}: {unit}", load.what),
        unit,
        value,
        floor_name: "hyper-util alone",
        floor,
        ratio: value / floor,
        target,
        peers: vec![],
    }
}
