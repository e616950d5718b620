//! The driver: paces every drain that has begun, reaps versions and filter chains when nothing is
//! left of them, and advances the connection registry's clock.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use conn_tracker::ConnTracker;
use drain_tree::{DrainDirection, DrainOutcome, DrainSequence};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Inner;
use crate::{AcceptPolicy, ListenerChain, ListenerConfig, ListenerVersion};

/// What the driver is given to run.
pub(crate) enum Job<C> {
    Warm(WarmJob<C>),
    Drain(DrainJob<C>),
}

/// The version takes over when it is ready.
pub(crate) struct WarmJob<C> {
    version: u64,
    /// That says when; `None`: it is warm.
    config: Option<Arc<C>>,
    token: CancellationToken,
}

impl<C> WarmJob<C> {
    pub(super) fn new(version: &ListenerVersion<C>, waits: bool) -> Self {
        Self {
            version: version.number(),
            config: waits.then(|| Arc::clone(version.config())),
            token: version.token(),
        }
    }
}

pub(crate) enum DrainJob<C> {
    Version {
        version: Arc<ListenerVersion<C>>,
        sequence: DrainSequence,
    },
    Chain {
        chain: Arc<ListenerChain>,
        sequence: DrainSequence,
    },
    Admin {
        sequence: DrainSequence,
        direction: DrainDirection,
        policy: AcceptPolicy,
    },
}

enum Done<C> {
    Version(Arc<ListenerVersion<C>>, DrainOutcome),
    Chain(Arc<ListenerChain>, DrainOutcome),
    Admin(DrainDirection, AcceptPolicy),
}

/// Runs the drains of [`Listeners`](crate::Listeners), lets versions that warm take over, and
/// advances the connection registry's clock: see [`Listeners::new`](crate::Listeners::new).
pub(crate) async fn drive<C: ListenerConfig>(
    inner: Arc<Inner<C>>,
    mut jobs: mpsc::UnboundedReceiver<Job<C>>,
) {
    let mut running = FuturesUnordered::new();
    let mut warming = FuturesUnordered::new();
    let mut more = true;
    let mut clock = Clock::new();
    poll_fn(|cx| {
        clock.poll(cx, &inner.shared.tracker);
        while more {
            match jobs.poll_recv(cx) {
                Poll::Ready(Some(Job::Warm(job))) => {
                    warming.push(warm(job, inner.held.subscribe()))
                }
                Poll::Ready(Some(Job::Drain(job))) => running.push(run(job)),
                Poll::Ready(None) => more = false,
                Poll::Pending => break,
            }
        }
        if !more {
            // The handles are gone, and with them the sockets.
            warming.clear();
        }
        loop {
            // If it cannot listen, the observer was notified. If its code panics, it stays warming.
            match without_panic(|| warming.poll_next_unpin(cx)) {
                Some(Poll::Ready(Some(Some(version)))) => {
                    without_panic(|| drop(inner.warmed(version)));
                }
                None | Some(Poll::Ready(Some(None))) => {}
                Some(Poll::Ready(None) | Poll::Pending) => break,
            }
        }
        loop {
            match running.poll_next_unpin(cx) {
                Poll::Ready(Some(done)) => {
                    without_panic(|| finish(&inner, done));
                }
                Poll::Ready(None) if !more => return Poll::Ready(()),
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
}

/// What is left of a version that has drained is dropped here, with its configuration.
fn finish<C: ListenerConfig>(inner: &Inner<C>, done: Done<C>) {
    match done {
        Done::Version(version, outcome) => inner.reap(&version, outcome),
        Done::Chain(chain, outcome) => inner.reap_chain(chain, outcome),
        Done::Admin(direction, AcceptPolicy::UntilDrainTimeEnds) => {
            inner.stop(direction);
        }
        Done::Admin(..) => {}
    }
}

/// A configuration's code is not ours: a panic of it, also while it is dropped, ends neither the
/// driver nor an update, and concerns no other version.
pub(super) fn without_panic<T>(run: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(run)).ok()
}

/// Advances the registry's clock once a second, so that connections know how old and how quiet they
/// are without reading a clock themselves. With several drivers the first one's time counts.
struct Clock {
    started: Instant,
    seconds: Interval,
}

impl Clock {
    fn new() -> Self {
        let mut seconds = interval(Duration::from_secs(1));
        // A late tick is as good as one in time; several at once tell no more than one.
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            started: Instant::now(),
            seconds,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, tracker: &ConnTracker) {
        while self.seconds.poll_tick(cx).is_ready() {
            tracker.advance(self.started.elapsed());
        }
    }
}

/// A future that is a configuration's own. A panic while it is dropped ends here: several are
/// dropped at once, and a second panic would end the process.
struct Foreign(Option<Pin<Box<dyn Future<Output = ()> + Send>>>);

impl Future for Foreign {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Some(future) => future.as_mut().poll(cx),
            None => Poll::Ready(()),
        }
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        without_panic(|| drop(self.0.take()));
    }
}

/// The number of the version, if it is still there and warm.
async fn warm<C: ListenerConfig>(job: WarmJob<C>, mut held: watch::Receiver<u32>) -> Option<u64> {
    // The future is the configuration's own: its panic concerns no other version. It is made here,
    // so that there is none that a lock could be held over.
    let ready = async {
        if let Some(config) = job.config {
            let ready = Foreign(Some(Box::pin(config.ready())));
            drop(config);
            ready.await;
        }
    };
    let ready = AssertUnwindSafe(ready).catch_unwind();
    job.token.run_until_cancelled(ready).await?.ok()?;
    // While it is decided which process goes on, no socket begins to listen.
    held.wait_for(|held| *held == 0).await.ok()?;
    Some(job.version)
}

async fn run<C>(job: DrainJob<C>) -> Done<C> {
    match job {
        DrainJob::Version { version, sequence } => {
            let outcome = sequence.await;
            Done::Version(version, outcome)
        }
        DrainJob::Chain { chain, sequence } => {
            let outcome = sequence.await;
            Done::Chain(chain, outcome)
        }
        DrainJob::Admin {
            sequence,
            direction,
            policy,
        } => {
            sequence.await;
            Done::Admin(direction, policy)
        }
    }
}
