//! One listening address: which version takes the next connection of its sockets, and which accept
//! loops serve them.
//!
//! The version is [`Listening::current`]. An update stores the new one there before the old version
//! drains ([`serve`](Listening::serve)); an accepted connection reads it by one atomic load
//! ([`admit`](Listening::admit)). A connection whose version was replaced in between goes to the
//! newer one.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;
use drain_tree::DrainWatch;
use socket2::{SockAddr, Socket};
use tokio::sync::watch;

use super::bind;
use super::sockets::Sockets;
use crate::{
    Inherited, ListenAddress, ListenerConfig, ListenerVersion, SocketKey, SocketOptions,
    VersionState,
};

/// The sockets of an address, the version that they serve, and the accept loops that serve them.
pub(crate) struct Listening<C> {
    local: ListenAddress,
    /// The version that takes what comes next. The one thing that an accept reads.
    current: ArcSwapOption<ListenerVersion<C>>,
    /// No version takes over after `current` any more.
    closed: AtomicBool,
    /// Wakes the accept loops: a socket may have become theirs, or (`true`) all are closed and
    /// their queues saved.
    changes: watch::Sender<bool>,
    inner: Mutex<Inner>,
}

struct Inner {
    sockets: Sockets,
    acceptors: usize,
    next_acceptor: u64,
    /// Keeps the last version from being drained before the queues have been served.
    last: Option<DrainWatch>,
}

/// A version that takes a connection, and the guard by which it knows of it.
pub(super) type Admitted<C> = (Arc<ListenerVersion<C>>, DrainWatch);

impl<C> Listening<C> {
    /// Opens the first socket, which does not listen yet; or goes on with those that listen there
    /// already.
    pub(crate) fn open(
        key: &SocketKey,
        options: &SocketOptions,
        config: &C,
        inherited: &mut Inherited,
    ) -> io::Result<Self>
    where
        C: ListenerConfig,
    {
        let sockets = Sockets::open(key, options, config, inherited)?;
        Ok(Self {
            local: sockets.local().clone(),
            current: ArcSwapOption::empty(),
            closed: AtomicBool::new(false),
            changes: watch::Sender::new(false),
            inner: Mutex::new(Inner {
                sockets,
                acceptors: 0,
                next_acceptor: 0,
                last: None,
            }),
        })
    }

    /// Lets connections into the queues. May be called again.
    pub(crate) fn listen(&self) -> io::Result<()> {
        self.lock().sockets.listen()
    }

    /// So many may wait from now on. For an address that is listened on already.
    pub(crate) fn set_backlog(&self, backlog: u32) {
        self.lock().sockets.set_backlog(backlog);
    }

    /// The address, with the port that the kernel chose.
    pub(crate) fn local(&self) -> &ListenAddress {
        &self.local
    }

    /// From now on this version, which is active, takes what comes. The version before it must not
    /// drain earlier.
    pub(crate) fn serve(&self, version: Arc<ListenerVersion<C>>) {
        debug_assert_eq!(
            version.state(),
            VersionState::Active,
            "{version:?} takes what comes"
        );
        self.current.store(Some(version));
    }

    /// The version that takes what comes next.
    pub(crate) fn current(&self) -> Option<Arc<ListenerVersion<C>>> {
        self.current.load_full()
    }

    /// Refuses new connections from this moment on, in every worker, and keeps those that wait in
    /// the queue for the version that is current; `last` is one guard of it, which is taken if it is
    /// needed. The version must not drain earlier. The caller lets the workers
    /// [look](Self::look_again).
    ///
    /// Sockets that another process has too are returned. They listen on, and no worker of this
    /// process accepts on them.
    pub(crate) fn close(&self, last: &mut Option<DrainWatch>) -> Vec<Socket> {
        self.closed.store(true, Ordering::Release);
        let mut inner = self.lock();
        if inner.sockets.is_closed() {
            return Vec::new();
        }
        let shared = inner.sockets.close();
        if inner.acceptors > 0 {
            inner.last = last.take();
        } else {
            inner.sockets.drop_saved();
        }
        shared
    }

    /// Wakes the accept loops: a socket may have become theirs, or all are closed.
    pub(crate) fn look_again(&self) {
        // Once it is closed, and no earlier: the queues are saved then.
        let all_closed = self.lock().sockets.is_closed();
        self.changes.send_modify(|closed| *closed |= all_closed);
    }

    /// Another descriptor of each socket, by index, and whether another process has it by now.
    #[cfg(unix)]
    pub(crate) fn descriptors(&self) -> io::Result<Vec<(std::os::fd::OwnedFd, bool)>> {
        self.lock().sockets.descriptors()
    }

    /// Whether another process has the sockets that are open now: closing them does not end
    /// listening then. What it was before, by index.
    pub(crate) fn set_shared(&self, shared: bool) -> Vec<bool> {
        self.lock().sockets.set_shared(shared)
    }

    /// Whether another process has one of the sockets that are open now.
    #[cfg(all(unix, feature = "handover"))]
    pub(crate) fn is_shared(&self) -> bool {
        self.lock().sockets.is_shared()
    }

    /// As it was before.
    #[cfg(all(unix, feature = "handover"))]
    pub(crate) fn set_shared_as(&self, before: &[bool]) {
        self.lock().sockets.set_shared_as(before);
    }

    /// Whether it is undecided which process goes on: no worker opens another socket meanwhile.
    /// `true`: they have to [look](Self::look_again).
    #[cfg(all(unix, feature = "handover"))]
    pub(crate) fn set_undecided(&self, is_undecided: bool) -> bool {
        self.lock().sockets.set_undecided(is_undecided)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Reserves an accept loop; `None` if the sockets are closed already, or there are none.
    pub(crate) fn acceptor(self: &Arc<Self>) -> Option<Acceptor<C>> {
        let mut inner = self.lock();
        if inner.sockets.is_closed() || self.local == ListenAddress::Internal {
            return None;
        }
        inner.acceptors += 1;
        inner.next_acceptor += 1;
        Some(Acceptor {
            number: inner.next_acceptor,
            changes: self.changes.subscribe(),
            listening: Arc::clone(self),
        })
    }

    /// The sockets on which this acceptor accepts, each as a descriptor of its own unless `has`
    /// says that it is there already. Asking for the first time takes part: until then, no
    /// connection waits for a worker that does not run.
    pub(super) fn sockets_of(
        &self,
        acceptor: u64,
        has: impl Fn(usize) -> bool,
    ) -> io::Result<Vec<(usize, Option<Socket>)>>
    where
        C: ListenerConfig,
    {
        let mut inner = self.lock();
        let moved = inner.sockets.join(acceptor);
        if inner.sockets.wants_another(acceptor) {
            drop(inner);
            // The configuration's own code, with nothing locked.
            let opened = self.open_another();
            inner = self.lock();
            // It may be wanted no more.
            if inner.sockets.wants_another(acceptor) {
                inner.sockets.add(acceptor, opened?)?;
            }
        }
        let sockets = inner
            .sockets
            .of(acceptor)
            .map(|(index, socket)| {
                Ok((
                    index,
                    if has(index) {
                        None
                    } else {
                        Some(socket.try_clone()?)
                    },
                ))
            })
            .collect();
        drop(inner);
        if moved {
            self.changes.send_modify(|_| {});
        }
        sockets
    }

    fn open_another(&self) -> io::Result<Socket>
    where
        C: ListenerConfig,
    {
        let current = self.current().ok_or(io::ErrorKind::NotConnected)?;
        bind::socket(&**current.config(), &self.local)
    }

    /// The next of those that were in the queues when the sockets closed.
    ///
    /// # Errors
    ///
    /// Some wait, and the system lacks something to take them.
    pub(super) fn next_saved(&self) -> io::Result<Option<(Socket, SockAddr)>> {
        self.lock().sockets.next_saved()
    }

    /// Registers a connection with the version that takes it: one that accepts, so that its drain,
    /// which comes later, is sure to know of the connection.
    ///
    /// A connection never falls between two versions: if its version was replaced meanwhile, the
    /// newer one takes it. An open socket's current version is active, so a version that is found
    /// to drain has been replaced in `current` before; the socket is asked again only if it has.
    ///
    /// # Errors
    ///
    /// The version, if its drain is completed (from above) and no other took over.
    pub(super) fn admit(&self) -> Result<Admitted<C>, Option<Arc<ListenerVersion<C>>>> {
        let version = self.current.load_full().ok_or(None)?;
        self.admit_to(version)
    }

    /// The version is what was current a moment ago.
    fn admit_to(
        &self,
        mut version: Arc<ListenerVersion<C>>,
    ) -> Result<Admitted<C>, Option<Arc<ListenerVersion<C>>>> {
        loop {
            let watch = version.watch();
            // The state says Active after the watch was opened, so the watch is older than the
            // drain.
            if let Ok(watch) = watch {
                if version.state() == VersionState::Active {
                    return Ok((version, watch));
                }
                match self.newer_than(&version) {
                    Some(newer) => version = newer,
                    // The socket is closed: no version takes over, and `last` has kept the drain
                    // open.
                    None => return Ok((version, watch)),
                }
            } else {
                match self.newer_than(&version) {
                    Some(newer) => version = newer,
                    None => return Err(Some(version)),
                }
            }
        }
    }

    /// The version that has taken over from this one.
    fn newer_than(&self, version: &Arc<ListenerVersion<C>>) -> Option<Arc<ListenerVersion<C>>> {
        let current = self.current.load_full()?;
        (!Arc::ptr_eq(&current, version)).then_some(current)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it is held.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to run an accept loop on a listening. As long as one is held, the queue of a closed
/// socket is worth saving.
pub(crate) struct Acceptor<C> {
    pub(super) number: u64,
    pub(super) listening: Arc<Listening<C>>,
    pub(super) changes: watch::Receiver<bool>,
}

impl<C> Drop for Acceptor<C> {
    fn drop(&mut self) {
        let mut inner = self.listening.lock();
        inner.acceptors -= 1;
        let moved = inner.sockets.leave(self.number);
        if inner.acceptors == 0 {
            let last = inner.last.take();
            inner.sockets.drop_saved();
            drop(inner);
            drop(last);
        } else {
            drop(inner);
        }
        if moved {
            self.listening.changes.send_modify(|_| {});
        }
    }
}

#[cfg(test)]
mod tests;
