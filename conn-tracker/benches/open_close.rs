//! What does tracking one connection cost, in pairs of atomic additions?
//!
//! `cargo bench -p conn-tracker`. Ratios within one run are the result; nanoseconds are the machine's.
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

use conn_tracker::{ConnGroup, ConnGuard, ConnTracker, Peer};
use std::{
    hint::black_box,
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

const MILLION: usize = 1_000_000;

fn main() {
    let rounds = if std::env::args().any(|arg| arg == "--test") {
        10_000
    } else {
        3_000_000
    };
    let pair = best(|| pairs(1, rounds));
    let contended = best(|| pairs(2, rounds));
    println!("fetch_add + fetch_sub: {pair:.1} ns; 2 threads on one counter: {contended:.1} ns");

    let tracker = ConnTracker::new();
    let group = tracker.group("ingress", 1);
    let empty = best(|| open_close(&group, 1, rounds));
    println!(
        "open + close, none live, 1 thread: {empty:.1} ns = {:.2} pairs",
        empty / pair
    );

    let before = resident();
    let (guards, slowest) = grow(&group, MILLION);
    if let (Some(before), Some(after)) = (before, resident()) {
        println!(
            "bytes per connection, guard included: {}",
            (after - before) / MILLION
        );
    }
    println!(
        "slowest of {MILLION} registrations while growing: {:.1} us",
        micros(slowest)
    );
    let full = best(|| open_close(&group, 1, rounds));
    println!(
        "open + close, 1 M live, 1 thread: {full:.1} ns = {:.2} pairs",
        full / pair
    );
    let two = best(|| open_close(&group, 2, rounds));
    println!(
        "open + close, 1 M live, 2 threads: {two:.1} ns = {:.2} contended pairs",
        two / contended
    );

    let alone = slowest_open(&group, || {});
    let mut took = Duration::ZERO;
    let beside = slowest_open(&group, || {
        let start = Instant::now();
        black_box(tracker.snapshot());
        took = start.elapsed();
    });
    println!(
        "snapshot of 1 M: {:.0} ms; slowest registration meanwhile {:.1} us, without {:.1} us",
        took.as_secs_f64() * 1e3,
        micros(beside),
        micros(alone)
    );
    drop(guards);
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn best(run: impl Fn() -> f64) -> f64 {
    (0..5).map(|_| run()).fold(f64::INFINITY, f64::min)
}

/// Nanoseconds per round and thread.
fn timed(threads: usize, rounds: usize, work: impl Fn() + Sync) -> f64 {
    let barrier = Barrier::new(threads);
    let times = std::thread::scope(|scope| {
        let run = || {
            barrier.wait();
            let start = Instant::now();
            (0..rounds).for_each(|_| work());
            start.elapsed()
        };
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        handles
            .into_iter()
            .map(|h| h.join().expect("no panic"))
            .max()
            .unwrap_or_default()
    });
    times.as_nanos() as f64 / rounds as f64
}

fn pairs(threads: usize, rounds: usize) -> f64 {
    let counter = AtomicU64::new(0);
    timed(threads, rounds, || {
        black_box(&counter).fetch_add(1, Relaxed);
        black_box(&counter).fetch_sub(1, Relaxed);
    })
}

fn open_close(group: &ConnGroup, threads: usize, rounds: usize) -> f64 {
    timed(threads, rounds, || drop(black_box(group.open(Peer::Unix))))
}

fn grow(group: &ConnGroup, count: usize) -> (Vec<ConnGuard>, Duration) {
    let mut guards = Vec::with_capacity(count);
    let mut slowest = Duration::ZERO;
    for _ in 0..count {
        let start = Instant::now();
        let guard = group.open(Peer::Unix);
        slowest = slowest.max(start.elapsed());
        guards.push(guard);
    }
    (guards, slowest)
}

/// The slowest registration by another thread while `beside` runs (and 200 ms at least).
fn slowest_open(group: &ConnGroup, beside: impl FnOnce()) -> Duration {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let opener = scope.spawn(|| {
            let mut slowest = Duration::ZERO;
            while !stop.load(Relaxed) {
                let start = Instant::now();
                drop(black_box(group.open(Peer::Unix)));
                slowest = slowest.max(start.elapsed());
            }
            slowest
        });
        let start = Instant::now();
        beside();
        while start.elapsed() < Duration::from_millis(200) {
            std::hint::spin_loop();
        }
        stop.store(true, Relaxed);
        opener.join().expect("no panic")
    })
}

/// Resident memory, from the kernel: a counting allocator would need `unsafe`. `None` elsewhere than on Linux.
fn resident() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace()
        .nth(1)?
        .parse::<usize>()
        .ok()
        .map(|kib| kib * 1024)
}
