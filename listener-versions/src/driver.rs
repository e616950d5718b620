//! The driver: paces every drain that has begun, and reaps versions and filter chains when nothing is left of them.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use drain_tree::{DrainDirection, DrainOutcome};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;

use crate::shell::{Job, Shell};
use crate::{AcceptPolicy, ListenerChain, ListenerConfig, ListenerVersion};

/// Runs the drains of [`Listeners`](crate::Listeners). Spawn it once, on any runtime with time enabled.
///
/// It ends when the last [`Listeners`](crate::Listeners) handle is gone and every drain that has begun is over: at shutdown, drop the
/// handles and wait for it.
///
/// # Cancel safety
///
/// Dropping it leaves drains begun: no connection is told any more, deadlines do not come, and versions are not reaped.
#[must_use = "connections are told to leave, and versions reaped, only while the driver is polled"]
pub struct Driver {
    run: Pin<Box<dyn Future<Output = ()> + Send>>,
}

enum Done<C> {
    Version(Arc<ListenerVersion<C>>, DrainOutcome),
    Chain(Arc<ListenerChain>, DrainOutcome),
    Admin(DrainDirection, AcceptPolicy),
}

impl Driver {
    pub(crate) fn new<C: ListenerConfig>(
        shell: Arc<Shell<C>>,
        jobs: mpsc::UnboundedReceiver<Job<C>>,
    ) -> Self {
        Self {
            run: Box::pin(drive(shell, jobs)),
        }
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.run.as_mut().poll(cx)
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}

async fn drive<C: ListenerConfig>(shell: Arc<Shell<C>>, mut jobs: mpsc::UnboundedReceiver<Job<C>>) {
    let mut running = FuturesUnordered::new();
    let mut more = true;
    poll_fn(|cx| {
        while more {
            match jobs.poll_recv(cx) {
                Poll::Ready(Some(job)) => running.push(run(job)),
                Poll::Ready(None) => more = false,
                Poll::Pending => break,
            }
        }
        loop {
            match running.poll_next_unpin(cx) {
                Poll::Ready(Some(Done::Version(version, outcome))) => shell.reap(&version, outcome),
                Poll::Ready(Some(Done::Chain(chain, outcome))) => shell.reap_chain(&chain, outcome),
                Poll::Ready(Some(Done::Admin(direction, AcceptPolicy::UntilDrainTimeEnds))) => {
                    shell.stop(direction);
                }
                Poll::Ready(Some(Done::Admin(..))) => {}
                Poll::Ready(None) if !more => return Poll::Ready(()),
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
}

async fn run<C>(job: Job<C>) -> Done<C> {
    match job {
        Job::Version { version, sequence } => {
            let outcome = sequence.await;
            Done::Version(version, outcome)
        }
        Job::Chain { chain, sequence } => {
            let outcome = sequence.await;
            Done::Chain(chain, outcome)
        }
        Job::Admin {
            sequence,
            direction,
            policy,
        } => {
            sequence.await;
            Done::Admin(direction, policy)
        }
    }
}
