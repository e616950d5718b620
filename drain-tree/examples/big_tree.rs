//! How long a drain of a big tree takes to begin, to pace and to complete: 1, 2 and 4 times 10 000 listeners x 10 chains x
//! 3 HTTP connection managers, one connection in each hundredth listener.
//!
//! `cargo run --release -p drain-tree --example big_tree [listeners]`

use std::time::Duration;

use drain_tree::{ChildOptions, DrainCompleted, DrainManager, DrainReason, DrainSettings, DrainStart};
use tokio::time::{Instant, MissedTickBehavior};

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

/// The longest a 1 ms ticker had to wait beyond its time.
async fn ticker(stop: tokio::sync::oneshot::Receiver<()>) -> Duration {
    let mut stop = stop;
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut longest = Duration::ZERO;
    loop {
        let before = Instant::now();
        tokio::select! {
            _ = &mut stop => return longest.saturating_sub(Duration::from_millis(1)),
            _ = ticks.tick() => longest = longest.max(before.elapsed()),
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), DrainCompleted> {
    let listeners: usize = std::env::args()
        .nth(1)
        .and_then(|number| number.parse().ok())
        .unwrap_or(10_000);
    println!("    nodes      build  start returns   all told      drain    stall of a 1 ms ticker");
    for listeners in [listeners, 2 * listeners, 4 * listeners] {
        let begin = Instant::now();
        let nodes = tree(listeners);
        let built = begin.elapsed();
        let connections = nodes.iter().step_by(4100).map(DrainManager::watch);
        for connection in connections.collect::<Result<Vec<_>, _>>()? {
            tokio::spawn(async move { connection.signaled().await });
        }
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let stalls = tokio::spawn(ticker(stopped));
        tokio::task::yield_now().await;
        let begin = Instant::now();
        let sequence = nodes[0].start_drain_sequence(DrainStart::new(DrainReason::HotRestart));
        let returned = begin.elapsed();
        let sequence = tokio::spawn(sequence);
        // Told in any order: look at the one not told yet.
        for (index, node) in nodes.iter().enumerate() {
            if index % 512 == 0 {
                tokio::task::yield_now().await;
            }
            while !node.is_draining() {
                tokio::task::yield_now().await;
            }
        }
        let told = begin.elapsed();
        if let Ok(outcome) = sequence.await {
            drop(stop);
            let stall = stalls.await.unwrap_or_default();
            let took = outcome.took;
            println!(
                "{:>9} {built:>10.1?} {returned:>14.1?} {told:>10.1?} {took:>10.1?} {stall:>12.1?}",
                nodes.len()
            );
        }
    }
    Ok(())
}
