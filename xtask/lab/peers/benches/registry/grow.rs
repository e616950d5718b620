//! Growing to a million: the slowest single registration on the way, and what one connection takes.
//! Each run in a fresh process, because the registry of an earlier one would be used again.

use std::hint::black_box;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use conn_tracker::{ConnGuard, ConnInfo, ConnProtocol, ConnTracker, Peer};

use crate::live;
use crate::patience::Stopwatch;
use crate::proposal::Proposal;
use measure::{Row, Scale, Target, median};

const OURS: &str = "conn-tracker";
const PROPOSAL: &str = "DashMap of string ids";

struct Run {
    slowest: f64,
    bytes: f64,
}

pub(crate) fn rows(scale: &Scale) -> Vec<Row> {
    let (mut ours, mut proposal) = (vec![], vec![]);
    for _ in 0..scale.rounds {
        ours.push(run(OURS, live(scale)));
        proposal.push(run(PROPOSAL, live(scale)));
    }
    // The quietest run: a rehash is in each of them, a neighbour that takes the processor away is
    // not.
    let slowest = |runs: &[Run]| {
        runs.iter()
            .map(|run| run.slowest)
            .fold(f64::INFINITY, f64::min)
    };
    let bytes = |runs: &[Run]| median(runs.iter().map(|run| run.bytes).collect());
    let guard = size_of::<ConnGuard>() as f64;
    vec![
        Row {
            row: format!("slowest registration while growing to {}", live(scale)),
            unit: "us",
            value: slowest(&ours),
            floor_name: PROPOSAL,
            floor: slowest(&proposal),
            ratio: slowest(&ours) / slowest(&proposal),
            target: Target::Ratio(0.01),
            peers: vec![],
        },
        Row {
            row: "bytes per tracked connection, guard and heap".to_owned(),
            unit: "bytes",
            value: bytes(&ours),
            floor_name: "the guard",
            floor: guard,
            ratio: bytes(&ours) / guard,
            target: Target::Value(160.0),
            peers: vec![(PROPOSAL, bytes(&proposal))],
        },
    ]
}

fn run(name: &str, live: usize) -> Run {
    let program = std::env::current_exe().expect("it runs");
    let output = Command::new(program)
        .args(["--grow", name, &live.to_string()])
        .output()
        .expect("it runs once more");
    let text = String::from_utf8_lossy(&output.stdout);
    let mut numbers = text
        .split_whitespace()
        .map(|number| number.parse().unwrap_or(f64::NAN));
    let mut next = || numbers.next().unwrap_or(f64::NAN);
    Run {
        slowest: next(),
        bytes: next(),
    }
}

/// Prints the slowest registration in microseconds, and the bytes of one.
pub(crate) fn child(name: &str, live: &str) {
    let live = live.parse().unwrap_or(1000);
    let (slowest, bytes) = if name == OURS {
        let tracker = ConnTracker::new();
        let group = tracker.group("ingress", 1);
        let chain = group.chain("tls");
        let peer = Peer::Ip(([192, 0, 2, 7], 40312).into());
        // As much as a handle on a drain.
        let (place, numbers) = (Arc::new(()), [7_u64; 3]);
        let open = || {
            let place = Arc::clone(&place);
            let closer = move || {
                black_box((&place, numbers));
            };
            let guard = group.open(ConnInfo::new(peer).with_closer(closer));
            guard.set_protocol(ConnProtocol::Http1);
            guard.attach_chain(&chain).ok();
            guard
        };
        grow(live, open)
    } else {
        let proposal = Proposal::default();
        grow(live, || proposal.open("ingress"))
    };
    println!("{slowest:.2} {bytes:.1}");
}

fn grow<G>(live: usize, open: impl Fn() -> G) -> (f64, f64) {
    let mut guards = Vec::with_capacity(live);
    let mut slowest = Duration::ZERO;
    let mut stopwatch = Stopwatch::new();
    let before = resident();
    for _ in 0..live {
        let (took, guard) = stopwatch.time(&open);
        slowest = slowest.max(took);
        guards.push(guard);
    }
    let bytes = (resident() - before) as f64 / live as f64;
    black_box(&guards);
    (slowest.as_secs_f64() * 1e6, bytes)
}

/// From the kernel, so that what an allocator adds counts too.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: usize = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .unwrap_or(0);
    pages * 4096
}
