//! All tasks are woken: until the last has seen it, how long the starting call holds its worker,
//! and how late a ticker on the same runtime becomes meanwhile.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use crate::crowd::{self, Crowd, Flat, Ours, Tally};
use measure::{Row, Scale, Target, median};

/// One fan-out, in milliseconds.
#[derive(Debug, Clone, Copy)]
struct FanOut {
    all: f64,
    held: f64,
    late: f64,
    /// The same ticker before it began, over as many ticks.
    idle: f64,
}

pub(crate) fn rows(scale: &Scale) -> Vec<Row> {
    let mut rows = vec![];
    let crowds: &[usize] = if scale.quick {
        &[1_000]
    } else {
        &[1_000, 10_000, 100_000, 1_000_000]
    };
    let rounds = if scale.quick { 1 } else { 5 };
    for &crowd in crowds {
        // What is judged is measured oftener.
        let rounds = match crowd {
            1_000_000 => 2 * rounds,
            100_000 => rounds,
            _ => 3 * rounds,
        };
        rows.extend(immediate(crowd, rounds));
    }
    rows
}

/// The same when the slots are spread over two seconds.
pub(crate) fn gradual_rows(scale: &Scale) -> Vec<Row> {
    let rounds = if scale.quick { 1 } else { 5 };
    // Of a thousand ticks a round, the second worst is the 99.9th percentile: one round says
    // little.
    let (crowd, rounds) = if scale.quick {
        (1_000, 1)
    } else {
        (1_000_000, 3 * rounds)
    };
    vec![gradual(crowd, rounds)]
}

type Make = fn(usize) -> Box<dyn Crowd>;

const CROWDS: [(&str, Make); 9] = [
    ("flat array, two tasks", |crowd| Box::new(Flat::new(crowd))),
    ("drain-signal", |_| Box::new(Ours::immediate(2))),
    ("drain-signal, one driver", |_| Box::new(Ours::immediate(1))),
    ("linkerd drain", |_| crowd::linkerd()),
    ("tokio-util CancellationToken", |_| crowd::token()),
    ("tokio watch", |_| crowd::watch()),
    ("tokio Notify", |_| crowd::notify()),
    ("event-listener", |_| crowd::event_listener()),
    ("tokio-graceful", |_| crowd::graceful()),
];

fn immediate(crowd: usize, rounds: usize) -> Vec<Row> {
    let mut runs: Vec<Vec<FanOut>> = vec![vec![]; CROWDS.len()];
    for round in 0..rounds {
        for ((nth, (_, make)), runs) in CROWDS.iter().enumerate().zip(&mut runs) {
            // The peers are measured three times: they are far off anyway.
            if nth < 3 || round < 3 {
                runs.push(run(crowd, *make));
            }
        }
    }
    let of = |nth: usize, what: fn(&FanOut) -> f64| median(runs[nth].iter().map(what).collect());
    let peers = |what: fn(&FanOut) -> f64| {
        (2..CROWDS.len())
            .map(|nth| (CROWDS[nth].0, of(nth, what)))
            .collect()
    };
    let ratios = runs[0]
        .iter()
        .zip(&runs[1])
        .map(|(floor, ours)| ours.all / floor.all)
        .collect();
    let is_target = crowd == 1_000_000;
    let target = |target| if is_target { target } else { Target::None };
    let mut rows = vec![Row {
        row: format!("immediate fan-out to {crowd} parked tasks, until the last has seen it"),
        unit: "ms",
        value: of(1, |run| run.all),
        floor_name: CROWDS[0].0,
        floor: of(0, |run| run.all),
        ratio: median(ratios),
        target: target(Target::Ratio(1.4)),
        peers: peers(|run| run.all),
    }];
    if is_target {
        rows.push(Row {
            row: format!("starting call holds its worker, {crowd} parked tasks"),
            unit: "ms",
            value: of(1, |run| run.held),
            floor_name: CROWDS[0].0,
            floor: of(0, |run| run.held),
            ratio: of(1, |run| run.held) / of(0, |run| run.held),
            target: Target::Value(0.1),
            peers: peers(|run| run.held),
        });
        rows.push(Row {
            row: format!("p99.9 lateness of a 1 ms ticker, immediate, {crowd} parked tasks"),
            unit: "ms",
            value: of(1, |run| run.late),
            floor_name: "the idle ticker",
            floor: of(1, |run| run.idle),
            ratio: median(runs[1].iter().map(|run| run.late / run.idle).collect()),
            target: Target::Ratio(1.5),
            peers: peers(|run| run.late),
        });
    }
    rows
}

fn gradual(crowd: usize, rounds: usize) -> Row {
    let drain_time = Duration::from_secs(8);
    let runs: Vec<FanOut> = (0..rounds)
        .map(|_| run(crowd, move |_| Box::new(Ours::gradual(drain_time))))
        .collect();
    Row {
        row: format!("p99.9 lateness of a 1 ms ticker, gradual over 2 s, {crowd} parked tasks"),
        unit: "ms",
        value: median(runs.iter().map(|run| run.late).collect()),
        floor_name: "the idle ticker",
        floor: median(runs.iter().map(|run| run.idle).collect()),
        ratio: median(runs.iter().map(|run| run.late / run.idle).collect()),
        target: Target::Ratio(1.1),
        peers: vec![],
    }
}

fn run(crowd: usize, make: impl FnOnce(usize) -> Box<dyn Crowd>) -> FanOut {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .expect("a runtime");
    let _inside = runtime.enter();
    let waiting = make(crowd);
    let tally = Tally::new(crowd);
    for _ in 0..crowd {
        waiting.park(&runtime, tally.clone());
    }
    tally.all_parked();
    // How long it will take is not known before: the ticker runs long enough before and is cut to
    // the same length.
    let idle = Ticker::start(&runtime);
    runtime.block_on(tokio::time::sleep(Duration::from_millis(200)));
    let mut idle = idle.stop(&runtime);
    let ticker = Ticker::start(&runtime);
    let trigger = waiting.trigger();
    let began = Instant::now();
    let held = runtime.block_on(runtime.spawn(async move {
        let began = Instant::now();
        trigger();
        began.elapsed()
    }));
    let held = held.expect("a trigger does not panic");
    tally.all_seen();
    let all = began.elapsed();
    let mut late = ticker.stop(&runtime);
    if late.len() > idle.len() {
        let idle_again = Ticker::start(&runtime);
        runtime.block_on(tokio::time::sleep(all));
        idle = idle_again.stop(&runtime);
    }
    idle.truncate(late.len().max(1));
    let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
    let fan_out = FanOut {
        all: ms(all),
        held: ms(held),
        late: p999(&mut late),
        idle: p999(&mut idle),
    };
    drop(_inside);
    runtime.shutdown_background();
    fan_out
}

/// For how many milliseconds each worker was ready and had no processor, so far, as the kernel
/// counts it.
fn waited() -> HashMap<String, f64> {
    let tasks = std::fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    let waited = tasks.filter_map(|task| {
        let stat = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        let nanoseconds: f64 = stat.split_ascii_whitespace().nth(1)?.parse().ok()?;
        Some((task.file_name().into_string().ok()?, nanoseconds / 1e6))
    });
    waited.collect()
}

/// Writes down by how many milliseconds it is late, every millisecond. For how long one worker had
/// no processor meanwhile, because another process had it, is taken off.
struct Ticker {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Vec<f64>>,
}

impl Ticker {
    fn start(runtime: &Runtime) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let task = runtime.spawn(async move {
            let mut late = vec![];
            let mut before = waited();
            while !stopped.load(Ordering::Relaxed) {
                let at = tokio::time::Instant::now() + Duration::from_millis(1);
                tokio::time::sleep_until(at).await;
                let passed = at.elapsed().as_secs_f64() * 1e3;
                let after = waited();
                let growth = |(worker, waited)| waited - before.get(worker).unwrap_or(waited);
                let without = after.iter().map(growth).fold(0.0, f64::max);
                late.push((passed - without).max(0.0));
                before = after;
            }
            late
        });
        Self { stop, task }
    }

    fn stop(self, runtime: &Runtime) -> Vec<f64> {
        self.stop.store(true, Ordering::Relaxed);
        runtime
            .block_on(self.task)
            .expect("a ticker does not panic")
    }
}

fn p999(late: &mut [f64]) -> f64 {
    late.sort_by(f64::total_cmp);
    let at = (late.len() as f64 * 0.999) as usize;
    late.get(at.min(late.len().saturating_sub(1)))
        .copied()
        .unwrap_or(0.0)
}
