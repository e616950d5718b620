//! No value that a user can pass panics or hangs.

use std::time::Duration;

use drain_tree::{DrainManager, DrainReason, DrainSettings, DrainStart};

/// tokio's own timer ends before the longest drain does.
#[tokio::test(start_paused = true)]
async fn a_drain_of_the_longest_duration_can_be_awaited() {
    for long in [Duration::MAX, Duration::from_secs(u64::MAX / 2)] {
        let settings = DrainSettings::default()
            .with_drain_time(long)
            .with_parent_shutdown_time(long);
        let listener = DrainManager::root(settings);
        let watch = listener.watch().expect("nothing drains yet");
        let sequence =
            tokio::spawn(listener.start_drain_sequence(DrainStart::new(DrainReason::ListenerModify)));
        let parent = tokio::spawn(listener.start_parent_shutdown_sequence());
        tokio::time::sleep(Duration::from_secs(1 << 20)).await;
        assert!(!sequence.is_finished() && !parent.is_finished());
        drop(watch);
        sequence.await.expect("it ends with its last connection");
        parent.abort();
    }
}
