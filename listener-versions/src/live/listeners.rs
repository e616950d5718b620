//! The asynchronous inner: applies updates to sockets and drains, and is asked what there is.

use std::collections::HashSet;
use std::fmt;
#[cfg(unix)]
use std::io;
use std::sync::Arc;

use conn_tracker::{ConnTracker, Peer};
use drain_tree::{DrainDirection, DrainManager, DrainReason, DrainStart};
use tokio::sync::mpsc;

use super::{DrainJob, Inner, Job, drive};
#[cfg(unix)]
use crate::SharedSocket;
use crate::net::Worker;
use crate::{
    AcceptPolicy, Accepted, Inherited, ListenAddress, ListenerChain, ListenerConfig,
    ListenerObserver, ListenerVersion, ListenersOptions, Refusal, Update, UpdateError,
    UpdateReport, VersionView,
};

/// All listeners of a process, in all their versions. Clones are handles on the same listeners.
///
/// Dropping the last handle closes the sockets (what waits in their queues is still served) and
/// ends the workers. Nothing drains by it: connections stay, and the [driver](Self::new) goes on
/// until the drains that have begun are over.
pub struct Listeners<C: ListenerConfig> {
    inner: Arc<Inner<C>>,
    open: Arc<Open<C>>,
}

/// What all handles share.
struct Open<C: ListenerConfig> {
    inner: Arc<Inner<C>>,
    /// Keeps the driver's queue open.
    _jobs: mpsc::UnboundedSender<Job<C>>,
}

impl<C: ListenerConfig> Listeners<C> {
    /// No listeners yet, and their driver. `root` is the drain manager above all of them;
    /// connections are entered in `tracker`.
    ///
    /// The driver paces the drains, reaps versions, and lets versions that warm take over when they
    /// are [ready](ListenerConfig::ready). It advances the clock of the connection registry once a
    /// second. Spawn it once, on any runtime with time enabled: all this happens only while it is
    /// polled. It ends when the last handle is gone and every drain that has begun is over: at
    /// shutdown, drop the handles and wait for it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the driver leaves drains begun: no connection is asked to leave any more, deadlines
    /// do not come, versions are not reaped, and none gets warm by itself.
    pub fn new(
        root: DrainManager,
        tracker: ConnTracker,
        options: ListenersOptions,
        observer: impl ListenerObserver + 'static,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (jobs, queue) = mpsc::unbounded_channel();
        let observer = Arc::new(observer);
        let inner = Arc::new(Inner::new(
            root,
            tracker,
            options,
            observer,
            jobs.downgrade(),
        ));
        let driver = drive(Arc::clone(&inner), queue);
        let open = Arc::new(Open {
            inner: Arc::clone(&inner),
            _jobs: jobs,
        });
        (Self { inner, open }, driver)
    }

    /// Takes an update: new versions accept at once on the sockets that their names have had, and
    /// the old ones drain.
    ///
    /// Where only filter chains differ ([`ListenerConfig::differs_only_in_chains`]) the version
    /// goes on: chains that are changed or gone drain, each with a deadline of its own, and the
    /// connections of the others see nothing of it.
    ///
    /// New addresses are bound before anything is changed, and a listener that is refused goes on
    /// as it was. When this returns, new connections come to the new versions, and addresses that
    /// were given up refuse them.
    ///
    /// # Cancel safety
    ///
    /// All is done at the first poll; there is nothing to interrupt. While a new process is taking
    /// over, it waits until that is decided; dropped before, nothing has happened.
    pub async fn apply(&self, mut update: Update<C>) -> UpdateReport {
        let mut held = self.inner.held.subscribe();
        loop {
            // The sender lives as long as we do.
            drop(held.wait_for(|held| *held == 0).await);
            match self.inner.apply(update) {
                Ok(report) => return report,
                Err(again) => update = again,
            }
        }
    }

    /// The same as [`apply`](Self::apply), at once.
    ///
    /// # Errors
    ///
    /// The update as it came, while a new process is taking over: it has to wait until that is
    /// decided.
    pub fn apply_now(&self, update: Update<C>) -> Result<UpdateReport, Update<C>> {
        self.inner.apply(update)
    }

    /// A version that was [warming](crate::VersionState::Warming) is ready: it accepts, and the one
    /// that it replaces drains. `false`: it is not warming, since it accepts already, was replaced
    /// or never was.
    ///
    /// While a new process is taking over, it accepts as soon as that is decided, if it comes to
    /// nothing: the [driver](Self::new) sees to it.
    ///
    /// # Errors
    ///
    /// One of its addresses cannot be listened on. The version is dropped, and an active version
    /// goes on. For a moment the dropped version may have listened at its other addresses:
    /// connections that reached one where no active version listens are reset.
    pub fn warmed(&self, version: u64) -> Result<bool, UpdateError> {
        self.inner.warmed(version)
    }

    /// Waits until this version is not [warming](crate::VersionState::Warming) any more: it
    /// accepts, or was replaced or dropped. Returns at once for one that is not warming.
    ///
    /// # Cancel safety
    ///
    /// It may be dropped, and called again.
    pub async fn until_warm(&self, version: u64) {
        self.inner.until_warm(version).await;
    }

    /// The drain manager above all of them.
    #[must_use]
    pub fn root(&self) -> &DrainManager {
        self.inner.root()
    }

    /// The registry of their connections.
    #[must_use]
    pub fn tracker(&self) -> &ConnTracker {
        &self.inner.shared.tracker
    }

    /// One runtime's share of the accepting. Make one for each runtime, and [run](Worker::run) it
    /// there.
    pub fn worker(&self) -> Worker<C> {
        self.inner.worker()
    }

    /// Every version that is not reaped yet, oldest first.
    #[must_use]
    pub fn snapshot(&self) -> Vec<VersionView> {
        self.inner.snapshot()
    }

    /// The filter chains that drain by themselves, because their version went on without them,
    /// oldest first.
    #[must_use]
    pub fn draining_chains(&self) -> Vec<Arc<ListenerChain>> {
        self.inner.draining_chains()
    }

    /// The version of `name` that is active.
    #[must_use]
    pub fn active(&self, name: &str) -> Option<Arc<ListenerVersion<C>>> {
        self.inner.active(name)
    }

    /// The version of `name` that is [warming](crate::VersionState::Warming).
    #[must_use]
    pub fn warming(&self, name: &str) -> Option<Arc<ListenerVersion<C>>> {
        self.inner.warming(name)
    }

    /// Every version that is not reaped yet, oldest first, with its configuration.
    #[must_use]
    pub fn versions(&self) -> Vec<Arc<ListenerVersion<C>>> {
        self.inner.versions()
    }

    /// Where `name` listens, with the port that the kernel chose; of several addresses, the first.
    /// `None` if it does not listen.
    #[must_use]
    pub fn local_address(&self, name: &str) -> Option<ListenAddress> {
        self.local_addresses(name).into_iter().next()
    }

    /// All addresses at which `name` listens, with the ports that the kernel chose, in the
    /// configuration's order.
    #[must_use]
    pub fn local_addresses(&self, name: &str) -> Vec<ListenAddress> {
        self.inner.local_addresses(name)
    }

    /// A connection of the program's own comes to the listener `name`, which has the address
    /// [`ListenAddress::Internal`]: one that the program accepted itself, or that another listener
    /// passes on. What the connection is made of stays with the caller.
    ///
    /// The version that is active takes it, as if it had been accepted on a socket: it counts
    /// against the limits, it is listed under `peer`, it enters a filter chain, and it drains with
    /// the version.
    ///
    /// It takes no lock, and may be called in any thread.
    ///
    /// ```
    /// # use listener_versions::{ListenerConfig, Listeners, Refusal};
    /// # use conn_tracker::Peer;
    /// # use tokio::io::{AsyncReadExt, AsyncWriteExt};
    /// # async fn example<C: ListenerConfig>(listeners: &Listeners<C>) -> Result<tokio::io::DuplexStream, Refusal> {
    /// let (mut theirs, ours) = tokio::io::duplex(1024);
    /// let accepted = listeners.enter("inner", Peer::Unknown)?;
    /// tokio::spawn(async move {
    ///     tokio::select! {
    ///         greeted = theirs.write_all(b"hello") => drop(greeted),
    ///         _ = accepted.watch.expired() => {}
    ///     }
    /// });
    /// # Ok(ours) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Refusal::NoListener`] if no active version has this name and an internal address;
    /// otherwise why the connection is not taken, which the observer is notified of as well.
    pub fn enter(&self, name: &str, peer: impl Into<Peer>) -> Result<Accepted<C, ()>, Refusal> {
        self.inner.enter(name, peer.into())
    }

    /// Sockets that another process opened are used where an update wants their address, instead of
    /// opening others.
    ///
    /// A listener whose port is 0 never gets one of them. A socket is taken as it is: of the
    /// configuration's [`SocketOptions`](crate::SocketOptions) only the backlog counts. As long as
    /// another process may have it too, closing it does not end listening, and what waits in its
    /// queue is left to the other process; [`own_sockets`](Self::own_sockets) ends that.
    pub fn inherit(&self, inherited: Inherited) {
        self.inner.inherit(inherited);
    }

    /// The addresses of inherited sockets that no listener wants. No version accepts the clients
    /// that wait there.
    #[must_use]
    pub fn unclaimed(&self) -> Vec<ListenAddress> {
        self.inner.unclaimed()
    }

    /// Closes the inherited sockets that no listener wants, without ending what another process
    /// does with them.
    pub fn drop_unclaimed(&self) {
        self.inner.drop_unclaimed();
    }

    /// A descriptor of every listening socket, for another process: by address, then by worker.
    /// Left out are ports that the kernel chose, since no other process can ask for them.
    ///
    /// From now on closing one of them here does not end listening, what waits in its queue is left
    /// to the other process, and so is the path of a Unix socket; until
    /// [`own_sockets`](Self::own_sockets) says that there is no other process any more.
    ///
    /// # Errors
    ///
    /// If the process has no file descriptors left. Nothing is shared then.
    #[cfg(unix)]
    pub fn share_sockets(&self) -> io::Result<Vec<SharedSocket>> {
        Ok(self.inner.share_sockets()?.0)
    }

    /// The same for a process that only keeps them, as systemd's file descriptor store does:
    /// closing one here still ends listening.
    ///
    /// # Errors
    ///
    /// If the process has no file descriptors left.
    #[cfg(unix)]
    pub fn copy_sockets(&self) -> io::Result<Vec<SharedSocket>> {
        self.inner.copy_sockets()
    }

    #[cfg(all(unix, feature = "handover"))]
    pub(crate) fn inner(&self) -> &Inner<C> {
        &self.inner
    }

    /// No other process has our sockets any more: closing one ends listening again, and what waits
    /// in its queue is served.
    ///
    /// Inherited sockets that no listener wants are closed.
    pub fn own_sockets(&self) {
        self.inner.own_sockets(&HashSet::new());
    }

    #[cfg(feature = "__bench")]
    pub(crate) fn listening(&self, name: &str) -> Option<Arc<crate::net::Listening<C>>> {
        self.inner.listening(name)
    }

    /// Stops listening in this direction, for good: sockets close, and later updates of such
    /// listeners change nothing, as in Envoy.
    ///
    /// Connections stay, and nothing drains by it. What waited in a socket's queue is still served.
    /// Versions are returned (and reported to the observer) that accepted until now; stopping twice
    /// names them once.
    pub fn stop_listeners(&self, direction: DrainDirection) -> Vec<VersionView> {
        self.inner.stop(direction)
    }

    /// Drains all listeners of this direction, as Envoy's `/drain_listeners`: connections are asked
    /// to leave, none is cut.
    ///
    /// A drain that is on already is joined: its time counts. Every version that drains now is
    /// returned, with its connections.
    pub fn drain(&self, direction: DrainDirection, policy: AcceptPolicy) -> Vec<VersionView> {
        let before: Vec<u64> = self.draining().map(|version| version.number).collect();
        let start = DrainStart::new(DrainReason::Admin).with_direction(direction);
        let sequence = self.inner.root().start_drain_sequence(start);
        self.inner.run(Job::Drain(DrainJob::Admin {
            sequence,
            direction,
            policy,
        }));
        if policy == AcceptPolicy::StopNow {
            self.stop_listeners(direction);
        }
        self.inner.asked_to_leave(DrainReason::Admin, |version| {
            // Oldest first.
            version.drain.is_some() && before.binary_search(&version.number).is_err()
        });
        self.draining().collect()
    }

    fn draining(&self) -> impl Iterator<Item = VersionView> {
        self.snapshot()
            .into_iter()
            .filter(|version| version.drain.is_some())
    }
}

impl<C: ListenerConfig> Clone for Listeners<C> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            open: Arc::clone(&self.open),
        }
    }
}

impl<C: ListenerConfig> fmt::Debug for Listeners<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listeners")
            .field("versions", &self.snapshot())
            .finish()
    }
}

impl<C: ListenerConfig> Drop for Open<C> {
    fn drop(&mut self) {
        self.inner.close_all();
    }
}
