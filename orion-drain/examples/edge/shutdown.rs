//! SIGTERM and SIGINT: drain and exit; a second one exits at once.

use std::io;
use std::time::Duration;

use orion_drain::drain_tree::DrainManager;
use orion_drain::listener_versions::Listeners;
use orion_drain::serve::drain_process;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::{Args, OnSigterm};
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
    args: &Args,
) {
    signals.next().await;
    if args.on_sigterm() == OnSigterm::Exit {
        return;
    }
    if args.shutdown_lead_time_s > 0 {
        // Whoever asks hears that we are not ready any more; whoever comes all the same is served.
        root.fail_health();
        let lead_time = Duration::from_secs(args.shutdown_lead_time_s);
        eprintln!("not ready, draining in {lead_time:?}");
        tokio::select! {
            () = tokio::time::sleep(lead_time) => {}
            () = signals.next() => {
                eprintln!("second signal, exiting now");
                return;
            }
        }
    }
    let settings = root.settings();
    eprintln!(
        "draining {} connections, for {:?} at most",
        connections(listeners),
        settings.drain_time
    );
    tokio::select! {
        outcome = drain_process(root, listeners) => {
            eprintln!("drained after {:?}, {} left", outcome.took, connections(listeners));
        }
        () = signals.next() => eprintln!("second signal, exiting now"),
    }
}

/// How many connections are open. The drain counts their tasks.
fn connections(listeners: &Listeners<EdgeListener>) -> usize {
    let versions = listeners.snapshot();
    versions.iter().map(|version| version.connections).sum()
}
