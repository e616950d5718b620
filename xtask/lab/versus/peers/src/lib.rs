//! What all of these servers have in common: the application, and the signals.

pub mod app;
pub mod rebind;

use tokio::signal::unix::{SignalKind, signal};

/// Waits for SIGTERM.
pub async fn terminated() {
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            terminate.recv().await;
        }
        Err(error) => eprintln!("no SIGTERM: {error}"),
    }
}
