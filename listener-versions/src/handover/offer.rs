//! The old process's side until it is replaced: a process that asks gets the sockets, one at a
//! time.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};

use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::arrivals::Arrivals;
use super::giving::{Giving, GivingAction, GivingEvent};
use super::hello::{Hello, random};
use super::path::{FileId, Keeping, Lock, There};
use super::predecessor::Predecessor;
use super::removals::Removals;
use super::session::{PAUSE, exchange, give, greet, one_at_a_time};
use super::source::{SocketSource, Unsettled};
use super::wire::Wire;
use super::{HandoverError, HandoverOptions, Successor, path};
use crate::{Inherited, ListenerConfig, Listeners, SharedSocket};

/// How long a process that nothing can find waits, at most, until it tries to listen again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What this process is for the next one.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) path: PathBuf,
    /// The process that has served last, this one or a later one.
    pub(super) owner: u64,
    epoch: u32,
    since: Instant,
    /// The connection to the process before this one, which takes its end for this one's death.
    pub(super) connection: Option<Arc<OwnedFd>>,
}

impl Identity {
    pub(super) fn hello(&self) -> Hello {
        Hello::new(self.owner, self.epoch, self.since.elapsed())
    }

    /// One more process has followed.
    pub(super) fn next(&mut self) {
        self.epoch = self.epoch.saturating_add(1);
    }
}

/// The path at which a new process may ask for the sockets of this one, and the lock that says that
/// this process serves there.
///
/// Dropping it ends the offer: this process serves on, and no other can take over from it.
#[derive(Debug)]
pub struct Offer {
    identity: Identity,
    giving: Giving,
    /// `None` once another process has it.
    lock: Option<Lock>,
    /// `None` also if it could not be had so far.
    listener: Option<UnixListener>,
    /// The socket's file at the path.
    file: Option<FileId>,
    /// Whether this process serves.
    is_owner: bool,
    /// Whether the caller has been told that the lock file cannot be written.
    is_told: bool,
    /// Whether the caller has been told that nothing can listen at the path.
    is_told_unheard: bool,
    /// The connections that have said nothing yet.
    arrivals: Arrivals,
    /// Whether a process has asked and is not answered yet.
    asked: Arc<watch::Sender<bool>>,
    predecessor: Predecessor,
}

/// A process has asked, until this is dropped.
struct Asking(Arc<watch::Sender<bool>>);

impl Asking {
    fn new(asked: &Arc<watch::Sender<bool>>) -> Self {
        asked.send_replace(true);
        Self(Arc::clone(asked))
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.send_replace(false);
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        // A process that panics is about to die.
        if !self.is_owner || std::thread::panicking() {
            return;
        }
        // Without one of the two, others would take this process for dead.
        if let Some(lock) = self.lock.take() {
            if lock.set_owner(0).is_err() {
                lock.keep_for_life();
            }
        }
    }
}

impl Offer {
    /// Offers at this path, where no process may live: the file of a dead one is replaced.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::AddrInUse`] if a process lives there; [`io::ErrorKind::InvalidInput`] if
    /// the path is too long for a Unix socket (107 bytes); [`io::ErrorKind::AlreadyExists`] if
    /// there is a file that is not a socket; else what the system says.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future offers nothing: it waits only before it makes a file.
    pub async fn bind(path: &Path) -> io::Result<Self> {
        // A process may be there whose lock file was removed.
        let there = path::connect(path).await?;
        match (there, Lock::try_get(path)?) {
            (There::NoProcess, Some(lock)) if !Keeping::is_any(path) => Self::first(lock, path),
            _ => {
                let text = format!("a process serves at {}, or is about to", path.display());
                Err(io::Error::new(io::ErrorKind::AddrInUse, text))
            }
        }
    }

    /// The first process in a row.
    pub(super) fn first(lock: Lock, path: &Path) -> io::Result<Self> {
        let listener = lock.listen(path)?;
        Ok(Self::new(
            path,
            (0, Instant::now()),
            None,
            (lock, Some(listener)),
        ))
    }

    pub(super) fn new(
        path: &Path,
        (epoch, since): (u32, Instant),
        connection: Option<Arc<OwnedFd>>,
        (lock, listener): (Lock, Option<UnixListener>),
    ) -> Self {
        let file = listener.as_ref().and_then(|_| path::file_at(path));
        let identity = Identity {
            path: path.to_owned(),
            owner: random(),
            epoch,
            since,
            connection,
        };
        Self {
            identity,
            giving: Giving::Serves,
            lock: Some(lock),
            listener,
            file,
            is_owner: false,
            is_told: false,
            is_told_unheard: false,
            arrivals: Arrivals::default(),
            asked: Arc::new(watch::Sender::new(false)),
            predecessor: Predecessor::none(),
        }
    }

    /// The offer of a process that has taken over from another one.
    pub(super) fn after(mut self, predecessor: Predecessor) -> Self {
        self.predecessor = predecessor;
        self
    }

    /// Whether a process has asked for the sockets and is not answered yet; closed when the offer
    /// is gone.
    ///
    /// A process that is about to end waits for `false`: a new process that has asked meanwhile
    /// waits for its answer, and ends if it gets none. Then no process would accept on the sockets.
    ///
    /// ```no_run
    /// # async fn example(offer: listener_versions::handover::Offer) {
    /// let mut asked = offer.asked();
    /// // .. before this process ends, also while another task awaits `offer.next(..)` ..
    /// asked.wait_for(|asked| !asked).await.ok();
    /// # }
    /// ```
    #[must_use]
    pub fn asked(&self) -> watch::Receiver<bool> {
        self.asked.subscribe()
    }

    /// Writes down that this process serves, unless it is written there.
    ///
    /// # Errors
    ///
    /// Why it cannot be written. That is no reason not to serve, nor not to hand over.
    pub(super) fn own(&mut self) -> io::Result<()> {
        self.is_owner = true;
        let (owner, path) = (self.identity.owner, &self.identity.path);
        let lock = self
            .lock
            .as_ref()
            .filter(|lock| lock.owner() != Some(owner));
        let written = lock.map_or(Ok(()), |lock| lock.set_owner(owner));
        written.map_err(|error| {
            let file = Lock::file(path);
            let text = format!("{} cannot be written: {error}", file.display());
            io::Error::new(error.kind(), text)
        })
    }

    /// The number of this process in the row, from 0 (Envoy's `--restart-epoch`).
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.identity.epoch
    }

    /// When the first process in the row was started.
    #[must_use]
    pub fn since(&self) -> std::time::Instant {
        self.identity.since.into_std()
    }

    /// The process number of the old process, which had this one's sockets, as the kernel knows it.
    /// `None` if this process began afresh, or after
    /// [`predecessor_ends`](Self::predecessor_ends).
    #[must_use]
    pub fn predecessor(&self) -> Option<u32> {
        self.predecessor.pid()
    }

    /// Waits until the old process has ended by itself, or asks it to when `terminate` is ready:
    /// the parent shutdown sequence
    /// ([`start_parent_shutdown_sequence`](drain_tree::DrainManager::start_parent_shutdown_sequence),
    /// Envoy's `--parent-shutdown-time-s`). It is asked by the first call only; without an old
    /// process this is ready at once. The future borrows nothing of the offer.
    ///
    /// # Errors
    ///
    /// [`HandoverError::TimedOut`]: the old process was asked to end, and is still there after
    /// [`HandoverOptions::patience`]. It may hang.
    ///
    /// # Cancel safety
    ///
    /// Dropped, or never called, the old process is left alone: it ends when it is drained.
    pub fn predecessor_ends<F: Future<Output = ()>>(
        &mut self,
        terminate: F,
    ) -> impl Future<Output = Result<(), HandoverError>> + use<F> {
        std::mem::replace(&mut self.predecessor, Predecessor::none()).ends(terminate)
    }

    /// Waits for a new process, and hands over: the listeners stop, and drain for
    /// [`HotRestart`](drain_tree::DrainReason::HotRestart). `more` sockets go with theirs, such as
    /// an admin port's; the caller stops to accept on them when this returns.
    ///
    /// `listeners` are one or several, `[Listeners<C>]`: a program that shares nothing between its
    /// runtimes has one for each.
    ///
    /// While it is not sure which process goes on, updates of the listeners wait: a socket opened
    /// now would be lost later.
    ///
    /// # Errors
    ///
    /// [`HandoverError`]: this attempt came to nothing, and the listeners go on as if it had not
    /// been. Call it again. [`HandoverError::Given`]: they were given away before.
    /// [`HandoverError::Io`] for what keeps on is returned once, until it is over: the lock file
    /// cannot be written, as on a full disk, and the next call hands over nevertheless; nothing can
    /// listen at the path, or the path's listener fails, and the next call waits until that is over.
    ///
    /// # Cancel safety
    ///
    /// Dropped while it waits, nothing has happened. Dropped in the middle of an attempt, the
    /// attempt comes to nothing. There is no moment between: the listeners stop, and the new
    /// process is sent the answer, in one step.
    pub async fn next<C: ListenerConfig>(
        &mut self,
        listeners: &(impl AsRef<[Listeners<C>]> + ?Sized),
        options: &HandoverOptions,
        more: &Inherited,
    ) -> Result<Successor, HandoverError> {
        let source = listeners.as_ref();
        loop {
            match self.own() {
                Ok(()) => self.is_told = false,
                Err(_) if self.is_told => {}
                Err(error) => {
                    self.is_told = true;
                    return Err(error.into());
                }
            }
            // An attempt that was dropped in the middle. What it held back was released by it.
            if self.giving == Giving::Asked {
                self.giving.on(GivingEvent::Failed);
            }
            let (wire, kept, keeping) = match self.attempt(source, options, more).await {
                Ok(Some(given)) => given,
                Ok(None) => continue,
                Err(error) => {
                    self.giving.on(GivingEvent::Failed);
                    return Err(error);
                }
            };
            let identity = Identity {
                path: self.identity.path.clone(),
                connection: self.identity.connection.take(),
                ..self.identity
            };
            return Ok(Successor::new(
                self.giving,
                identity,
                wire,
                options,
                (kept, keeping),
            ));
        }
    }

    /// The path and the lock file are there again if another process or an operator has removed
    /// them: a new process must find this one, and must not begin afresh beside it.
    /// `true`: one was made anew, or has to be looked for again.
    async fn restore(&mut self, removals: &Removals) -> Result<bool, HandoverError> {
        let lock = self.lock.as_mut().ok_or(HandoverError::Given)?;
        let path = &self.identity.path;
        match lock.restore(path, &mut self.listener, &mut self.file) {
            Ok(is_new) => {
                self.is_told_unheard = false;
                Ok(is_new)
            }
            // There was none when this process took over.
            Err(_) if self.is_told_unheard => {
                // What is in the way may change all the time.
                sleep(PAUSE).await;
                // Removed, the kernel says so; what the system lacks comes back unsaid.
                timeout(LOOK_AGAIN, removals.next()).await.ok();
                Ok(true)
            }
            Err(error) => {
                self.is_told_unheard = true;
                let text = format!("nothing listens at {}: {error}", path.display());
                Err(io::Error::new(error.kind(), text).into())
            }
        }
    }

    /// Waits for one process. `None`: it only looked whether this one is here, or the path was
    /// removed.
    async fn attempt<S: SocketSource + ?Sized>(
        &mut self,
        source: &S,
        options: &HandoverOptions,
        more: &Inherited,
    ) -> Result<Option<Given>, HandoverError> {
        // Before the look at what is there: the kernel notifies this process of later removals.
        let removals = Removals::of(&self.identity.path);
        if self.restore(&removals).await? {
            // It was not there to be watched: the next attempt watches it.
            return Ok(None);
        }
        let listener = self.listener.as_ref().ok_or(HandoverError::Given)?;
        let arrived = self.arrivals.next(listener, options.patience);
        let (mut wire, heard) = match select(pin!(arrived), pin!(removals.next())).await {
            Either::Left((arrived, _)) => arrived?,
            Either::Right(_) => return Ok(None),
        };
        if heard.is_ok() {
            self.arrivals.say_busy(wire.peer());
        }
        let (pid, hello, giving) = (wire.peer(), self.identity.hello(), &mut self.giving);
        let asked = &self.asked;
        let session = async {
            match greet(&mut wire, heard, &hello, options).await {
                Ok(()) => {}
                Err(HandoverError::Lost) => return Ok(None),
                Err(error) => return Err(error),
            }
            let actions = giving.on(GivingEvent::Asked);
            debug_assert_eq!(actions, [GivingAction::Share]);
            let asking = Asking::new(asked);
            // Dropped, everything is released.
            let unsettled = Unsettled::share(source, more)?;
            let taken = exchange(&mut wire, unsettled.shared(), options).await?;
            Ok(Some((unsettled, taken, asking)))
        };
        let Some((unsettled, taken, _asking)) = one_at_a_time(listener, pid, session).await? else {
            return Ok(None);
        };
        // From here on nothing waits, so that nothing can be dropped in between.
        let (mut unsettled, mut kept) = (Some(unsettled), Vec::new());
        let keeping = Keeping::begin(&self.identity.path);
        for action in self.giving.on(GivingEvent::Drain) {
            match action {
                GivingAction::Stop => {
                    kept = unsettled
                        .take()
                        .map_or_else(Vec::new, |shared| shared.given(&taken));
                    kept.retain(|shared| taken.contains(&shared.address));
                }
                _ => give(&mut wire, &mut self.lock, &mut self.listener),
            }
        }
        Ok(Some((wire, kept, keeping)))
    }
}

#[cfg(test)]
mod tests;

/// The connection to the new process, and what this one keeps in case that the new one dies.
type Given = (Wire, Vec<SharedSocket>, Option<Keeping>);
