//! SIGTERM and SIGINT: drain and exit; a second one exits at once.

use std::io;
use std::pin::pin;

use orion_drain::drain_tree::{DrainDirection, DrainManager, DrainReason, DrainStart};
use orion_drain::listener_versions::Listeners;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::OnSigterm;
use crate::listener::EdgeListener;

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
pub(crate) async fn wait(
    mut signals: Signals,
    root: &DrainManager,
    listeners: &Listeners<EdgeListener>,
    how: OnSigterm,
) {
    signals.next().await;
    if how == OnSigterm::Exit {
        return;
    }
    let drain = root.start_drain_sequence(DrainStart::new(DrainReason::ProcessShutdown));
    let event = drain.event();
    eprintln!(
        "draining {} connections, for {:?} at most",
        connections(listeners),
        event.drain_time
    );
    // Whoever sends us connections learns only now that we are going: for a while they are still taken, and told to
    // leave. Not to the end, though: a connection must have the time to be told and to finish.
    let accepting = (event.drain_time / 4).min(root.settings().shutdown_minimum);
    let mut drain = pin!(drain);
    let mut accepting = pin!(tokio::time::sleep(accepting));
    let mut stopped = false;
    loop {
        tokio::select! {
            outcome = &mut drain => {
                eprintln!("drained after {:?}, {} left", outcome.took, connections(listeners));
                return;
            }
            () = &mut accepting, if !stopped => {
                stopped = true;
                listeners.stop_listeners(DrainDirection::All);
            }
            () = signals.next() => {
                eprintln!("second signal, exiting now");
                return;
            }
        }
    }
}

/// How many connections are open. The drain counts their tasks.
fn connections(listeners: &Listeners<EdgeListener>) -> usize {
    let versions = listeners.snapshot();
    versions.iter().map(|version| version.connections).sum()
}
