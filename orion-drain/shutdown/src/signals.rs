//! The signals that ask a process to end (feature `signals`).

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM and SIGINT. From the moment it is made, neither ends the process by itself, for as long
/// as the process lives.
///
/// ```no_run
/// use orion_drain_shutdown::{Shutdown, ShutdownReason, Signals};
///
/// # async fn example(shutdown: Shutdown) -> std::io::Result<()> {
/// let mut signals = Signals::new()?;
/// signals.next().await;
/// shutdown.begin(ShutdownReason::ProcessShutdown);
/// signals.next().await;
/// shutdown.end_now(); // A second signal is an order.
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Registers for both; make it before anyone can see that the process is ready.
    ///
    /// # Errors
    ///
    /// The system's.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with I/O enabled.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next one. Signals that came together may be one.
    ///
    /// # Cancel safety
    ///
    /// Dropping it loses no signal.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
