//! Two listeners; one is replaced and drains, the other does not notice.
//!
//! `cargo run -p drain-tree --example hierarchy`

use std::time::Duration;

use drain_tree::{
    ChildOptions, DrainCompleted, DrainManager, DrainReason, DrainSettings, DrainStart,
};
use tokio::time::Instant;

#[tokio::main]
async fn main() -> Result<(), DrainCompleted> {
    let root = DrainManager::root(DrainSettings::default().with_drain_time(Duration::from_secs(2)));
    let replaced = root.child(ChildOptions::default());
    let kept = root.child(ChildOptions::default());
    let start = Instant::now();
    for number in 0..10 {
        let connection = replaced.watch()?;
        tokio::spawn(async move {
            connection.signaled().await;
            println!(
                "{:>4} ms: connection {number} leaves",
                start.elapsed().as_millis()
            );
        });
    }
    let stays = kept.watch()?;
    let outcome = replaced
        .start_drain_sequence(DrainStart::new(DrainReason::ListenerModify))
        .await;
    println!("{:>4} ms: {outcome:?}", start.elapsed().as_millis());
    println!(
        "the other listener's connection is draining: {}",
        stays.is_draining()
    );
    Ok(())
}
