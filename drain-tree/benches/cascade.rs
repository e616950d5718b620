//! How many instructions does a start take for each node below it, and how many the end?
//!
//! `cargo bench -p drain-tree --bench cascade` prints a table. The program runs itself under
//! `valgrind --tool=callgrind`, once for each size and step: the difference between two steps is
//! what a step takes, on a busy machine as on a quiet one. Without valgrind, and under `--test`, it
//! shows that the steps run and counts nothing.
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on fails")]

use std::task::{Context, Waker};
use std::time::Duration;

use drain_tree::{
    ChildOptions, DrainLength, DrainManager, DrainReason, DrainSettings, DrainStart, DrainStrategy,
};

const SIZES: [usize; 3] = [1_000, 10_000, 100_000];
/// The tree, with a watch in each node; the start; every connection is woken; all watches are
/// dropped and the drain ends.
const STEPS: [&str; 4] = ["build", "start", "pace", "end"];

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let Some(at) = args.iter().position(|arg| arg == "--steps") {
        run(args[at + 1].parse().unwrap(), args[at + 2].parse().unwrap());
        return;
    }
    let is_test = args.iter().any(|arg| arg == "--test" || arg == "--quick");
    if is_test || count(1, 1).is_none() {
        run(STEPS.len(), 100);
        return;
    }
    println!("instructions per node, each with a connection, by callgrind");
    println!(
        "{:>9} {:>9} {:>9} {:>9}",
        "nodes", STEPS[1], STEPS[2], STEPS[3]
    );
    for nodes in SIZES {
        let counts: Vec<f64> = (1..=STEPS.len())
            .filter_map(|steps| count(steps, nodes))
            .collect();
        let per_node = |step: usize| (counts[step] - counts[step - 1]) / nodes as f64;
        println!(
            "{nodes:>9} {:>9.0} {:>9.0} {:>9.0}",
            per_node(1),
            per_node(2),
            per_node(3)
        );
    }
}

fn count(steps: usize, nodes: usize) -> Option<f64> {
    measure::instructions(["--steps", &steps.to_string(), &nodes.to_string()])
}

/// The first `steps` steps with a root, listeners of ten chains each, and a connection in each
/// node.
fn run(steps: usize, nodes: usize) {
    let child = |parent: &DrainManager| parent.child(ChildOptions::default());
    let root = DrainManager::root(DrainSettings::default().with_length(DrainLength::UntilEmpty));
    let mut below = vec![];
    while below.len() < nodes {
        let listener = child(&root);
        below.extend((0..9).map(|_| child(&listener)));
        below.push(listener);
    }
    let watches: Vec<_> = below.iter().map(|node| node.watch().unwrap()).collect();
    if steps == 1 {
        std::process::exit(0); // without taking all of it down
    }
    let start = DrainStart::new(DrainReason::HotRestart).with_strategy(DrainStrategy::Immediate);
    let mut sequence = root.start_drain_sequence(start);
    if steps == 2 {
        std::process::exit(0);
    }
    let now = sequence.event().start;
    let mut cx = Context::from_waker(Waker::noop());
    let mut next = None;
    while next.is_none() {
        assert!(sequence.poll_at(now, &mut cx, &mut next).is_pending());
    }
    if steps == 3 {
        std::process::exit(0);
    }
    drop(watches);
    while sequence
        .poll_at(now + Duration::from_secs(1), &mut cx, &mut next)
        .is_pending()
    {}
    std::process::exit(0);
}
