//! One thread lists a million connections: how long does a registration on another thread wait
//! meanwhile?

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use conn_tracker::{ConnTracker, Peer};

use crate::open::fill;
use crate::patience::Stopwatch;
use crate::proposal::Proposal;
use measure::{Row, Scale, Target, median};

/// Delays of registrations on one thread, in microseconds.
#[derive(Debug, Clone, Copy)]
struct Delays {
    longest: f64,
    /// Of a million registrations, a hundred take longer.
    p9999: f64,
}

#[derive(Debug, Default)]
struct Runs {
    with: Vec<Delays>,
    without: Vec<Delays>,
    took: Vec<f64>,
}

pub(crate) fn rows(scale: &Scale) -> Vec<Row> {
    let live = crate::live(scale);
    let tracker = ConnTracker::new();
    let group = tracker.group("ingress", 1);
    let _live = fill(&group, live);
    let proposal = Proposal::default();
    (0..live).for_each(|_| drop(proposal.open("ingress")));

    let (mut ours, mut theirs) = (Runs::default(), Runs::default());
    for round in 0..=scale.rounds {
        let open = || drop(black_box(group.open(Peer::Unix)));
        let list = || drop(black_box(tracker.snapshot()));
        let new = measure(open, list);
        let open = || proposal.close("ingress", &proposal.open("ingress"));
        let list = || drop(black_box(proposal.snapshot()));
        let old = measure(open, list);
        // The first round warms up: it pages in what a list of a million needs.
        if round > 0 {
            ours.add(new);
            theirs.add(old);
        }
    }
    let row = |what: &str, of: fn(&Delays) -> f64, target| {
        // The quietest round: what a list causes is in each of them, what a neighbour causes is
        // not.
        let least = |delays: &[Delays]| delays.iter().map(of).fold(f64::INFINITY, f64::min);
        Row {
            row: format!("{what} registration while another thread lists {live}"),
            unit: "us",
            value: least(&ours.with),
            floor_name: "the same without",
            floor: least(&ours.without),
            ratio: least(&ours.with) / least(&ours.without),
            target,
            peers: vec![("DashMap of string ids", least(&theirs.with))],
        }
    };
    vec![
        row("slowest", |delays| delays.longest, Target::Ratio(1.5)),
        row("p99.99 of a", |delays| delays.p9999, Target::None),
        Row {
            row: format!("a list of {live}"),
            unit: "ms",
            value: median(ours.took.clone()),
            floor_name: "DashMap of string ids",
            floor: median(theirs.took.clone()),
            ratio: median(ours.took) / median(theirs.took),
            target: Target::None,
            peers: vec![],
        },
    ]
}

impl Runs {
    fn add(&mut self, (with, without, took): (Delays, Delays, Duration)) {
        self.with.push(with);
        self.without.push(without);
        self.took.push(took.as_secs_f64() * 1e3);
    }
}

/// Registrations with a thread that lists beside them, and as long without; the lister's processor
/// is busy then too.
fn measure(open: impl Fn() + Sync, list: impl Fn()) -> (Delays, Delays, Duration) {
    let began = Instant::now();
    let with = beside(&open, list);
    let took = began.elapsed();
    let spin = || {
        let began = Instant::now();
        while began.elapsed() < took {
            std::hint::spin_loop();
        }
    };
    (with, beside(&open, spin), took)
}

fn beside(open: &(impl Fn() + Sync), other: impl FnOnce()) -> Delays {
    let (running, stop) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let opener = scope.spawn(|| {
            let mut delays = Vec::with_capacity(1 << 22);
            let mut stopwatch = Stopwatch::new();
            while !stop.load(Relaxed) {
                let (took, ()) = stopwatch.time(open);
                let took = u32::try_from(took.as_nanos()).unwrap_or(u32::MAX);
                if delays.len() < delays.capacity() {
                    delays.push(took);
                }
                running.store(true, Relaxed);
            }
            delays
        });
        while !running.load(Relaxed) {
            std::thread::yield_now();
        }
        other();
        stop.store(true, Relaxed);
        let mut delays = opener.join().expect("a bench does not panic");
        delays.sort_unstable();
        let at = |part: f64| f64::from(delays[((delays.len() - 1) as f64 * part) as usize]) / 1e3;
        Delays {
            longest: at(1.0),
            p9999: at(0.9999),
        }
    })
}
