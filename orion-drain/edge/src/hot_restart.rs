//! Hot restart: this process takes the sockets of the one that serves, and later hands its own to
//! the next one.
//!
//! Everything of a start that can fail comes before [`Restart::serving`]: until then the process
//! before serves unchanged.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use orion_drain::drain_tree::DrainManager;
use orion_drain::lifecycle::{Shutdown, ShutdownReason};
use orion_drain::listener_versions::handover::{
    HandoverError, HandoverOptions, Offer, SuccessorEvent, Takeover, start,
};
use orion_drain::listener_versions::{Inherited, ListenAddress, Listeners};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::listener::EdgeListener;
use crate::log::Budget;
use crate::service::Service;

/// Bounds what is said of attempts that come to nothing: a process that may connect to the path can
/// make as many as it likes.
static ATTEMPTS: Budget = Budget::new(30, 10);

/// A process that may be one of several in a row.
pub(crate) struct Restart {
    options: HandoverOptions,
    takeover: Takeover,
}

impl Restart {
    /// Asks the process that serves at this path, if any, for its sockets.
    pub(crate) async fn begin(path: &Path) -> anyhow::Result<Self> {
        let options = HandoverOptions::default();
        let takeover = start(path, &options).await;
        let takeover = takeover.with_context(|| format!("hot restart: {}", path.display()))?;
        if let Some(pid) = takeover.pid() {
            say!("hot restart: taking over from process {pid}");
        }
        Ok(Self { options, takeover })
    }

    /// Whether another process serves.
    pub(crate) fn replaces(&self) -> bool {
        self.takeover.pid().is_some()
    }

    /// The socket of the process before at this address, for a use of its own.
    pub(crate) fn take(&mut self, address: &ListenAddress) -> Option<OwnedFd> {
        self.takeover.take(address)
    }

    /// The other sockets of the process before.
    pub(crate) fn sockets(&mut self) -> Inherited {
        self.takeover.sockets()
    }

    /// This process is ready to serve, once `first` says that all of its first listeners were
    /// taken and serve: then the process before drains. Nothing may be accepted earlier. `None`: it
    /// is told to end before that, and the process before goes on.
    pub(crate) async fn serving(
        self,
        listeners: &Listeners<EdgeListener>,
        first: impl Future<Output = bool>,
        told: impl Future<Output = ()>,
        root: &DrainManager,
    ) -> anyhow::Result<Option<Offering>> {
        let Self { options, takeover } = self;
        if let Some(pid) = takeover.pid() {
            let whole = tokio::select! {
                biased;
                whole = timeout(options.warm_up, first) => whole,
                // Later the process before may have stopped accepting: this one has to drain.
                () = told => return Ok(None),
            };
            // What this process cannot serve would be served by no process.
            anyhow::ensure!(
                whole == Ok(true),
                "hot restart: not all listeners can be served, process {pid} goes on"
            );
        }
        let mut offer = takeover.serving(listeners).await.context("hot restart")?;
        if let Some(pid) = offer.predecessor() {
            let terminate = root.start_parent_shutdown_sequence();
            let ended = offer.predecessor_ends(async move {
                terminate.await;
                say!("hot restart: process {pid} was asked to end");
            });
            tokio::spawn(see_off(pid, ended));
        }
        let keeps = watch::Sender::new(false);
        Ok(Some(Offering {
            offer,
            options,
            keeps,
        }))
    }
}

/// Whether the process before still runs, in `edge.predecessor_running`.
static PREDECESSOR_RUNS: AtomicBool = AtomicBool::new(false);

/// Whether the process before this one still runs, though this one serves.
pub(crate) fn predecessor_runs() -> bool {
    // It stands for nothing else that would have to be seen with it.
    PREDECESSOR_RUNS.load(Ordering::Relaxed)
}

async fn see_off(pid: u32, ended: impl Future<Output = Result<(), HandoverError>>) {
    PREDECESSOR_RUNS.store(true, Ordering::Relaxed);
    say!("hot restart: process {pid} drains");
    let ended = ended.await;
    PREDECESSOR_RUNS.store(ended.is_err(), Ordering::Relaxed);
    match ended {
        Ok(()) => say!("hot restart: process {pid} is done"),
        Err(_) => complain!("hot restart: process {pid} was asked to end, and has not"),
    }
}

/// The sockets are there for the next process.
pub(crate) struct Offering {
    offer: Offer,
    options: HandoverOptions,
    /// Whether this process keeps the sockets of a dead one for another.
    keeps: watch::Sender<bool>,
}

/// The admin port goes along.
#[derive(Default)]
pub(crate) struct AdminPort {
    /// A descriptor of its own.
    pub(crate) socket: Inherited,
    /// Who accepts there.
    pub(crate) accepting: Option<AbortHandle>,
}

impl Offering {
    /// Whether a next process has asked and is not answered yet.
    pub(crate) fn asked(&self) -> watch::Receiver<bool> {
        self.offer.asked()
    }

    /// Whether the next process has died, and this one keeps the sockets for another: for
    /// [`HandoverOptions::keep`] at most. Clients that connect meanwhile wait in queues that end
    /// with this process.
    pub(crate) fn keeps(&self) -> watch::Receiver<bool> {
        self.keeps.subscribe()
    }

    /// Which process in a row this one is, and when the first one was started.
    pub(crate) fn epoch(&self) -> (u32, std::time::Instant) {
        (self.offer.epoch(), self.offer.since())
    }

    /// Waits for the next process, hands over, and ends this one when that one says so, or when
    /// everything is drained.
    pub(crate) async fn run(
        mut self,
        listeners: Listeners<EdgeListener>,
        admin: AdminPort,
        (shutdown, service): (Shutdown, Service),
    ) {
        let mut successor = loop {
            match self
                .offer
                .next(&listeners, &self.options, &admin.socket)
                .await
            {
                Ok(successor) => break successor,
                Err(error) => {
                    if ATTEMPTS.has_room() {
                        complain!("hot restart: {error}; serving on");
                    }
                }
            }
        };
        service.replaced();
        say!("hot restart: process {} has taken over", successor.pid());
        if let Some(accepting) = admin.accepting {
            accepting.abort();
        }
        drop(admin.socket);
        shutdown.begin(ShutdownReason::HotRestart);
        loop {
            let event = successor.next().await;
            let pid = successor.pid();
            self.keeps.send_replace(event == SuccessorEvent::Died);
            match event {
                SuccessorEvent::Terminate => {
                    say!("hot restart: process {pid} wants this one gone");
                    break;
                }
                SuccessorEvent::Died => {
                    say!(
                        "hot restart: process {pid} has died, its sockets are kept for another one"
                    );
                }
                SuccessorEvent::Replaced => say!("hot restart: process {pid} has taken its place"),
                _ => say!("hot restart: no process came, the sockets are closed"),
            }
        }
        shutdown.end_now();
    }
}
