//! SIGTERM and SIGINT: serve on for the lead time, drain and exit; a second one exits at once, as
//! `/quitquitquit` does.

use std::pin::pin;
use std::time::Duration;

use orion_drain::drain_tree::DrainDirection;
use orion_drain::lifecycle::{
    Shutdown, ShutdownEnding, ShutdownReason, ShutdownRun, ShutdownState, Signals,
};
use orion_drain::listener_versions::Listeners;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use crate::cli::OnSigterm;
use crate::listener::EdgeListener;
use crate::service::Service;

/// How long a drained process waits for a new one to become ready that has asked for its sockets.
const FOR_ANSWER: Duration = Duration::from_secs(10);

/// Whether a next process has asked and is not answered yet, and whether the sockets of a dead one
/// are kept for another.
type NextProcess = (watch::Receiver<bool>, watch::Receiver<bool>);

/// Returns when the process may exit.
pub(crate) async fn wait(
    signals: Signals,
    (shutdown, run): (&Shutdown, ShutdownRun),
    (listeners, service): (&Listeners<EdgeListener>, &Service),
    on_sigterm: OnSigterm,
    (quit, next): (impl Future<Output = ()>, Option<NextProcess>),
) {
    let run = run.run(|| {
        service.stops();
        listeners.stop_listeners(DrainDirection::All);
    });
    let again = Notify::new();
    let quit = async {
        quit.await;
        shutdown.end_now();
        again.notify_one();
        std::future::pending().await
    };
    let mut quit = pin!(quit);
    let mut hear = pin!(hear(signals, shutdown, on_sigterm, &again));
    let outcome = tokio::select! {
        // In this order: a step is taken before it is told, and told before the next signal is
        // heard.
        biased;
        outcome = run => outcome,
        () = tell(shutdown, listeners) => return,
        () = &mut hear => return,
        () = &mut quit => return,
    };
    if outcome.ending == ShutdownEnding::Drained {
        let took = outcome.drain.map_or(outcome.took, |drain| drain.took);
        say!("drained after {took:?}, {} left", connections(listeners));
        if let Some((mut asked, mut keeps)) = next {
            let next = async {
                // Without an answer a new process that has the sockets already would end as well.
                timeout(FOR_ANSWER, asked.wait_for(|asked| !asked))
                    .await
                    .ok();
                // What waits in the queues of a dead process ends with this one.
                keeps.wait_for(|keeps| !keeps).await.ok();
            };
            tokio::select! {
                () = next => {}
                () = again.notified() => {}
                () = hear => {}
                () = quit => {}
            }
        }
    }
}

/// Passes signals on. It does not return.
async fn hear(mut signals: Signals, shutdown: &Shutdown, on_sigterm: OnSigterm, again: &Notify) {
    signals.next().await;
    match on_sigterm {
        OnSigterm::Exit => {
            shutdown.end_now();
            again.notify_one();
        }
        OnSigterm::Drain => shutdown.begin(ShutdownReason::ProcessShutdown),
    }
    signals.next().await;
    say!("second signal, exiting now");
    shutdown.end_now();
    again.notify_one();
    std::future::pending().await
}

/// Says how far it is. It does not return.
async fn tell(shutdown: &Shutdown, listeners: &Listeners<EdgeListener>) {
    shutdown.reached(ShutdownState::LeadTime).await;
    let progress = shutdown.progress();
    if let (ShutdownState::LeadTime, Some(next)) = (progress.state, progress.next) {
        let left = next.at.saturating_duration_since(Instant::now().into_std());
        let ready = if progress.is_ready {
            "ready"
        } else {
            "not ready"
        };
        say!("{ready}, {} in {:.1?}", next.step.as_str(), left);
    }
    shutdown.reached(ShutdownState::Draining).await;
    let progress = shutdown.progress();
    let now = Instant::now().into_std();
    let at_most = progress.deadline.map_or(Duration::ZERO, |deadline| {
        deadline.saturating_duration_since(now)
    });
    if progress.state != ShutdownState::Done {
        say!(
            "draining {} connections, for {:.1?} at most",
            connections(listeners),
            at_most
        );
    }
    std::future::pending().await
}

/// How many connections are open. The drain counts their tasks.
fn connections(listeners: &Listeners<EdgeListener>) -> usize {
    let versions = listeners.snapshot();
    versions.iter().map(|version| version.connections).sum()
}
