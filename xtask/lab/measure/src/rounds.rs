//! Measuring in rounds: every candidate once a round, so that a busy neighbour disturbs all of them
//! alike; medians over the rounds, of values and of ratios to the floor in the same round.

use std::fmt;
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::{Row, Target};

/// How much of everything.
#[non_exhaustive]
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    /// Only show that it runs.
    pub quick: bool,
    /// How often each candidate is measured.
    pub rounds: usize,
}

impl Scale {
    /// Nine rounds, or one.
    pub const fn new(quick: bool) -> Self {
        let rounds = if quick { 1 } else { 9 };
        Self { quick, rounds }
    }

    /// `full`, or a thousandth of it.
    pub const fn times(&self, full: usize) -> usize {
        if self.quick { full / 1000 + 1 } else { full }
    }
}

/// What is measured: a name and one run of it.
pub struct Case<'a> {
    name: &'static str,
    run: Box<dyn FnMut() -> f64 + 'a>,
}

impl fmt::Debug for Case<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl<'a> Case<'a> {
    /// `run` returns a value in the row's unit.
    pub fn new(name: &'static str, run: impl FnMut() -> f64 + 'a) -> Self {
        Self {
            name,
            run: Box::new(run),
        }
    }
}

/// The middle one of those that say anything; not a number if none does.
pub fn median(mut values: Vec<f64>) -> f64 {
    // A run in which two threads never had a processor each says nothing.
    values.retain(|value| value.is_finite());
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The first case is the floor, the second is ours, the rest are peers.
pub fn compare(
    row: String,
    unit: &'static str,
    target: Target,
    rounds: usize,
    mut cases: Vec<Case<'_>>,
) -> Row {
    let mut values = vec![vec![]; cases.len()];
    for round in 0..=rounds {
        for (case, values) in cases.iter_mut().zip(&mut values) {
            let value = (case.run)();
            // The first round warms up.
            if round > 0 || rounds == 1 {
                values.push(value);
            }
        }
    }
    let ratios: Vec<f64> = values[0]
        .iter()
        .zip(&values[1])
        .map(|(floor, ours)| ours / floor)
        .collect();
    // On a machine so busy that no round has both.
    let in_a_round = ratios.iter().any(|ratio| ratio.is_finite());
    let names: Vec<&'static str> = cases.iter().map(|case| case.name).collect();
    let mut medians = values.into_iter().map(median);
    let (floor, value) = (medians.next().unwrap_or(0.0), medians.next().unwrap_or(0.0));
    Row {
        row,
        unit,
        value,
        floor_name: names[0],
        floor,
        ratio: if in_a_round {
            median(ratios)
        } else {
            value / floor
        },
        target,
        peers: names[2..].iter().copied().zip(medians).collect(),
    }
}

/// So many parts of a run are timed apart, so that a neighbour that takes the processor away spoils
/// one and not all. Short ones with two threads: they begin together, so most of them happen while
/// both have a processor.
const PARTS: [usize; 2] = [50, 200];

/// Nanoseconds that one call of `op` takes, on each of `threads` threads at once: the median of the
/// parts of the run during which all of them were running.
///
/// # Panics
///
/// When `op` does.
#[inline]
pub fn time<S, R>(
    threads: usize,
    times: usize,
    start: impl Fn() -> S + Sync,
    op: impl Fn(&mut S) -> R + Sync,
) -> f64 {
    let count = PARTS[usize::from(threads > 1)];
    let times = times.div_ceil(count);
    let arrived = AtomicUsize::new(0);
    let one = || {
        let mut state = start();
        let mut parts = Vec::with_capacity(count);
        for part in 1..=count {
            arrived.fetch_add(1, Ordering::AcqRel);
            let mut spins = 0;
            while arrived.load(Ordering::Acquire) < part * threads {
                spins += 1;
                if spins % 10_000 == 0 {
                    std::thread::yield_now();
                }
                std::hint::spin_loop();
            }
            let began = Instant::now();
            for _ in 0..times {
                black_box(op(black_box(&mut state)));
            }
            parts.push((began, Instant::now()));
        }
        parts
    };
    let run = || -> Vec<Parts> {
        arrived.store(0, Ordering::Release);
        if threads == 1 {
            return vec![one()];
        }
        std::thread::scope(|scope| {
            let running: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
            let joined = running.into_iter().map(|thread| thread.join());
            joined
                .map(|parts| parts.expect("a bench does not panic"))
                .collect()
        })
    };
    // On a busy machine both threads may share a processor for a while: again, then.
    let mut took = vec![];
    let began = Instant::now();
    while took.len() < count / 20 && began.elapsed() < PATIENCE {
        took.extend(together(&run()));
    }
    median(took) * 1e9 / times as f64
}

/// When each part of one thread's run began and ended.
type Parts = Vec<(Instant, Instant)>;

const PATIENCE: Duration = Duration::from_millis(400);

/// Seconds that each part took during which all threads were running.
fn together(all: &[Parts]) -> Vec<f64> {
    let part = |part: usize| {
        let took = all
            .iter()
            .map(|thread| thread[part].1 - thread[part].0)
            .max()?;
        let began = all.iter().map(|thread| thread[part].0).max()?;
        let ended = all.iter().map(|thread| thread[part].1).min()?;
        (ended.saturating_duration_since(began) >= took * 4 / 5).then_some(took.as_secs_f64())
    };
    (0..all[0].len()).filter_map(part).collect()
}
