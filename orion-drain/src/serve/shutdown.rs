//! The end of a process: accept for a while, tell everybody, stop accepting, be gone.

use std::pin::pin;

use drain_tree::{DrainDirection, DrainManager, DrainOutcome, DrainReason, DrainStart};
use listener_versions::{ListenerConfig, Listeners};

/// Drains the whole process, and resolves when it may exit.
///
/// Whoever sends us connections learns only now that we are going: for a while (the settings' `shutdown_minimum`, at most a
/// quarter of the drain time) they are still taken, and told to leave. Not to the end, though: a connection must have the
/// time to be told and to finish.
///
/// # Cancel safety
///
/// The drain has begun with the first poll. Dropped afterwards, it stays begun, and is not paced any more.
pub async fn drain_process<C: ListenerConfig>(root: &DrainManager, listeners: &Listeners<C>) -> DrainOutcome {
    let drain = root.start_drain_sequence(DrainStart::new(DrainReason::ProcessShutdown));
    let accepting = (drain.event().drain_time / 4).min(root.settings().shutdown_minimum);
    let mut drain = pin!(drain);
    let early = tokio::select! {
        outcome = &mut drain => Some(outcome),
        () = tokio::time::sleep(accepting) => None,
    };
    listeners.stop_listeners(DrainDirection::All);
    match early {
        Some(outcome) => outcome,
        None => drain.await,
    }
}
