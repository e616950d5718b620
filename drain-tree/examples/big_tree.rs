//! What a drain of a big tree costs to begin, to pace and to complete: 1, 2 and 4 times 10 000
//! listeners x 10 chains x 3 HTTP connection managers, one connection in each hundredth listener.
//!
//! `cargo run --release -p drain-tree --example big_tree [listeners]`

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::time::Duration;

use drain_tree::{
    ChildOptions, DrainCompleted, DrainManager, DrainOutcome, DrainReason, DrainSequence,
    DrainSettings, DrainStart,
};
use tokio::time::Instant;

/// A tree of `listeners` x 10 x 3; all its nodes, parents first.
fn tree(listeners: usize) -> Vec<DrainManager> {
    let drain_time = Duration::from_secs(2);
    let child = |parent: &DrainManager| parent.child(ChildOptions::default());
    let root = DrainManager::root(DrainSettings::default().with_drain_time(drain_time));
    let mut nodes = vec![root.clone()];
    for _ in 0..listeners {
        let listener = child(&root);
        for _ in 0..10 {
            let chain = child(&listener);
            nodes.extend((0..3).map(|_| child(&chain)));
            nodes.push(chain);
        }
        nodes.push(listener);
    }
    nodes
}

/// Runs `sequence` and measures its polls: all together, and the longest, which keeps others on its
/// runtime waiting.
async fn measured(sequence: DrainSequence) -> (DrainOutcome, Duration, Duration) {
    let mut sequence = pin!(sequence);
    let (mut busy, mut longest) = (Duration::ZERO, Duration::ZERO);
    let outcome = poll_fn(|cx| {
        let before = Instant::now();
        let poll = sequence.as_mut().poll(cx);
        let took = before.elapsed();
        busy += took;
        longest = longest.max(took);
        poll
    });
    (outcome.await, busy, longest)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), DrainCompleted> {
    let listeners: usize = std::env::args()
        .nth(1)
        .and_then(|number| number.parse().ok())
        .unwrap_or(10_000);
    println!("    nodes      build  start returns      drain  its polls   longest poll");
    for listeners in [listeners, 2 * listeners, 4 * listeners] {
        let begin = Instant::now();
        let nodes = tree(listeners);
        let built = begin.elapsed();
        let connections = nodes.iter().step_by(4100).map(DrainManager::watch);
        for connection in connections.collect::<Result<Vec<_>, _>>()? {
            tokio::spawn(async move { connection.signaled().await });
        }
        tokio::task::yield_now().await;
        let begin = Instant::now();
        let sequence = nodes[0].start_drain_sequence(DrainStart::new(DrainReason::HotRestart));
        let returned = begin.elapsed();
        let sequence = tokio::spawn(measured(sequence));
        if let Ok((outcome, busy, longest)) = sequence.await {
            let took = outcome.took;
            println!(
                "{:>9} {built:>10.1?} {returned:>14.1?} {took:>10.1?} {busy:>10.1?} {longest:>14.1?}",
                nodes.len()
            );
        }
    }
    Ok(())
}
