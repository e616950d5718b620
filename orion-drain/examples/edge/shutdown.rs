//! SIGTERM and SIGINT: drain and exit; a second one exits at once.

use std::io;

use orion_drain::drain_tree::{DrainManager, DrainReason, DrainStart};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::OnSigterm;

/// The signals that ask the process to end.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Returns when the process may exit: at once, or after its connections have been drained.
pub(crate) async fn wait(mut signals: Signals, root: &DrainManager, how: OnSigterm) {
    signals.next().await;
    if how == OnSigterm::Exit {
        return;
    }
    let start = DrainStart::new(DrainReason::ProcessShutdown);
    let drain = root.start_drain_sequence(start);
    eprintln!(
        "draining {} connections, for {:?} at most",
        drain.open_watches(),
        drain.event().drain_time
    );
    // New connections are still accepted, and told to leave, while the minimum time lasts: whoever sends them to us
    // learns only now that we are going.
    tokio::select! {
        outcome = drain => eprintln!("drained after {:?}, {} left", outcome.took, outcome.left),
        () = signals.next() => eprintln!("second signal, exiting now"),
    }
}
