//! A connection is registered and deregistered: id, state, counts; with no and with a million
//! others there.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use conn_tracker::{ConnGroup, ConnGuard, ConnTracker, Peer};

use crate::live;
use crate::proposal::Proposal;
use measure::{Case, Row, Scale, Target, compare, time};

pub(crate) fn rows(scale: &Scale) -> Vec<Row> {
    let mut rows = vec![];
    for live in [0, live(scale)] {
        let tracker = ConnTracker::new();
        let group = tracker.group("ingress", 1);
        let proposal = Proposal::default();
        let _live = fill(&group, live);
        (0..live).for_each(|_| drop(proposal.open("ingress")));
        for (threads, target) in [(1, Target::Ratio(5.0)), (2, Target::Ratio(1.0))] {
            rows.push(row(scale, threads, live, target, &group, &proposal));
        }
    }
    rows
}

/// So many connections, opened by two threads.
pub(crate) fn fill(group: &ConnGroup, live: usize) -> Vec<ConnGuard> {
    let open = |count| {
        (0..count)
            .map(|_| group.open(Peer::Unix))
            .collect::<Vec<_>>()
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(move || open(live / 2));
        let mut guards = open(live - live / 2);
        guards.extend(other.join().expect("a bench does not panic"));
        guards
    })
}

fn row(
    scale: &Scale,
    threads: usize,
    live: usize,
    target: Target,
    group: &ConnGroup,
    proposal: &Proposal,
) -> Row {
    let (times, slow) = (scale.times(1_000_000), scale.times(200_000));
    let word = AtomicU64::new(0);
    let cases = vec![
        Case::new("fetch_add + fetch_sub", || {
            let op = |word: &mut &AtomicU64| {
                black_box(word.fetch_add(1, SeqCst));
                black_box(word.fetch_sub(1, SeqCst));
            };
            time(threads, times, || &word, op)
        }),
        Case::new("conn-tracker", || {
            time(
                threads,
                times,
                || group,
                |group| drop(black_box(group.open(Peer::Unix))),
            )
        }),
        Case::new("DashMap of string ids", || {
            time(
                threads,
                slow,
                || proposal,
                |proposal| proposal.close("ingress", &black_box(proposal.open("ingress"))),
            )
        }),
    ];
    let threads = if threads == 1 {
        "1 thread"
    } else {
        "2 threads"
    };
    let name = format!("register + deregister, {threads}, {live} live");
    compare(name, "ns", target, scale.rounds, cases)
}
