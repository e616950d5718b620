//! One listening address: who takes what comes on its sockets, as one atomic load, and who accepts there.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;
use drain_tree::DrainWatch;
use socket2::{SockAddr, Socket};
use tokio::sync::watch;

use super::sockets::Sockets;
use crate::{
    Inherited, ListenAddress, ListenerConfig, ListenerVersion, SocketKey, SocketOptions, VersionState,
};

/// The sockets of an address, the version that they serve, and the accept loops that serve them.
pub(crate) struct Listening<C> {
    local: ListenAddress,
    /// The version that takes what comes next. The one thing that an accept reads.
    current: ArcSwapOption<ListenerVersion<C>>,
    /// No version takes over after `current` any more.
    closed: AtomicBool,
    /// Wakes the accept loops: a socket may have become theirs, or (`true`) all are closed and their queues saved.
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
    /// Opens the first socket, which does not listen yet; or goes on with those that listen there already.
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

    /// From now on this version, which is active, takes what comes. The version before it must not drain earlier.
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

    /// Refuses new connections from this moment on, in every worker, and keeps those that wait in the queue for the version that
    /// is current; `last` is one guard of it. It must not drain earlier.
    ///
    /// Sockets that another process has too are returned. They listen on, and nobody accepts on them here.
    pub(crate) fn close(&self, last: Option<DrainWatch>) -> Vec<Socket> {
        self.closed.store(true, Ordering::Release);
        let mut inner = self.lock();
        if inner.sockets.is_closed() {
            return Vec::new();
        }
        let shared = inner.sockets.close();
        if inner.acceptors > 0 {
            inner.last = last;
        } else {
            inner.sockets.drop_saved();
        }
        drop(inner);
        self.changes.send_replace(true);
        shared
    }

    /// Another descriptor of each socket, by index, and whether another process has it by now.
    #[cfg(unix)]
    pub(crate) fn descriptors(&self) -> io::Result<Vec<(std::os::fd::OwnedFd, bool)>> {
        self.lock().sockets.descriptors()
    }

    /// Whether another process has the sockets that are open now: closing them does not end listening then.
    /// What it was before, by index.
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

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Reserves an accept loop; `None` if the sockets are closed already.
    pub(crate) fn acceptor(self: &Arc<Self>) -> Option<Acceptor<C>> {
        let mut inner = self.lock();
        if inner.sockets.is_closed() {
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

    /// The sockets on which this acceptor accepts, each as a descriptor of its own unless `has` says that it is there already. Asking
    /// for the first time takes part: until then, no connection waits for a worker that does not run.
    pub(super) fn sockets_of(
        &self,
        acceptor: u64,
        has: impl Fn(usize) -> bool,
    ) -> io::Result<Vec<(usize, Option<Socket>)>>
    where
        C: ListenerConfig,
    {
        let current = self.current();
        let config = current.as_ref().map(|version| &**version.config());
        let mut inner = self.lock();
        let moved = inner.sockets.join(acceptor, config)?;
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

    /// The next of those that were in the queues when the sockets closed.
    ///
    /// # Errors
    ///
    /// Some wait, and the system lacks something to take them.
    pub(super) fn next_saved(&self) -> io::Result<Option<(Socket, SockAddr)>> {
        self.lock().sockets.next_saved()
    }

    /// Registers a connection with the version that takes it: one that accepts, so that its drain, which comes later, is sure to
    /// know of the connection.
    ///
    /// A connection never falls between two versions: if its version was replaced meanwhile, the newer one takes it. An open socket's
    /// current version is active, so a version that is found to drain has been replaced in `current` before; the socket is asked again
    /// only if it has.
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
            // The state says Active after the watch was opened, so the watch is older than the drain.
            if let Ok(watch) = watch {
                if version.state() == VersionState::Active {
                    return Ok((version, watch));
                }
                match self.newer_than(&version) {
                    Some(newer) => version = newer,
                    // The socket is closed: nobody takes over, and `last` has kept the drain open.
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

/// The right to run an accept loop on a listening. As long as one is held, the queue of a closed socket is worth saving.
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
mod tests {
    use std::time::Duration;

    use drain_tree::drain_signal::Phase;
    use drain_tree::{
        ChildOptions, DrainManager, DrainReason, DrainSchedule, DrainSettings, DrainStart, DrainState,
    };

    use super::*;
    use crate::{Update, VersionSet};

    struct Config(ListenAddress, u32);

    impl ListenerConfig for Config {
        type Chain = ();

        fn name(&self) -> &str {
            "a"
        }

        fn address(&self) -> &ListenAddress {
            &self.0
        }

        fn same_content(&self, other: &Self) -> bool {
            self.1 == other.1
        }

        fn drain_timeout(&self) -> Duration {
            Duration::from_secs(5)
        }
    }

    /// A listening and two versions that are active one after the other.
    fn listening() -> (Arc<Listening<Config>>, [Arc<ListenerVersion<Config>>; 2]) {
        slot_with(DrainSettings::default())
    }

    fn slot_with(settings: DrainSettings) -> (Arc<Listening<Config>>, [Arc<ListenerVersion<Config>>; 2]) {
        let address: ListenAddress = "127.0.0.1:0".parse().unwrap();
        let root = DrainManager::root(settings);
        let tracker = conn_tracker::ConnTracker::new();
        let mut set = VersionSet::new();
        let versions = [1, 2].map(|number| {
            drop(
                set.apply(Update::lds("v", [Config(address.clone(), number)]), |_, _, _| {
                    Ok(())
                }),
            );
            let record = set.active("a").unwrap();
            let drain = root.child(ChildOptions::default());
            let version =
                ListenerVersion::new(record, drain, tracker.group("a", record.number), Arc::default());
            version.set_state(VersionState::Active);
            Arc::new(version)
        });
        let mut inherited = Inherited::new();
        let listening = Listening::open(
            versions[0].socket(),
            &SocketOptions::default(),
            &**versions[0].config(),
            &mut inherited,
        )
        .unwrap();
        listening.listen().unwrap();
        (Arc::new(listening), versions)
    }

    #[test]
    fn a_connection_that_finds_its_version_replaced_moves_on_to_the_newer_one() {
        let (listening, [old, new]) = listening();
        listening.serve(Arc::clone(&old));
        // The accept has loaded `old`, and everything else of the update comes before it registers.
        let loaded = listening.current().unwrap();
        listening.serve(Arc::clone(&new));
        old.set_state(VersionState::Draining);
        let admitted = listening.admit_to(loaded).map(|(version, _)| version.number());
        assert_eq!(admitted.ok(), Some(new.number()));
        assert_eq!(
            old.drain().open_watches(),
            0,
            "nothing of it is left at the old one"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn envoys_window_leaves_the_listeners_drain_timeout_free() {
        let twelve = DrainSettings::default().with_drain_time(Duration::from_secs(12));
        let (listening, [version, _]) = slot_with(twelve.with_schedule(DrainSchedule::Envoy140));
        listening.serve(Arc::clone(&version));
        // 5 s of 12 s leave nothing of the window that begins at 8 s: idle connections are never told by themselves.
        let (_, watch) = listening.admit().unwrap();
        let drain = version
            .drain()
            .start_drain_sequence(DrainStart::new(DrainReason::ListenerModify));
        let drain = tokio::spawn(drain);
        tokio::time::sleep(Duration::from_millis(10_900)).await;
        assert_eq!(watch.phase(), Phase::Open);
        watch.expired().await;
        drop(watch);
        drain.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_version_that_is_drained_passes_the_connection_on_or_says_so() {
        let (listening, [old, new]) = listening();
        listening.serve(Arc::clone(&old));
        old.drain()
            .start_drain_sequence(DrainStart::new(DrainReason::ListenerModify))
            .await;
        assert_eq!(old.drain().state(), DrainState::Completed);
        assert_eq!(
            listening
                .admit()
                .map(drop)
                .unwrap_err()
                .map(|version| version.number()),
            Some(old.number())
        );
        listening.serve(Arc::clone(&new));
        assert_eq!(
            listening.admit().map(|(version, _)| version.number()).ok(),
            Some(new.number())
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_socket_keeps_its_last_version_from_being_drained_until_its_last_seat_is_gone() {
        let (listening, [version, _]) = listening();
        listening.serve(Arc::clone(&version));
        let acceptors = [listening.acceptor().unwrap(), listening.acceptor().unwrap()];
        assert!(listening.close(version.drain().watch().ok()).is_empty());
        assert!(listening.acceptor().is_none(), "nobody new accepts here");
        version.set_state(VersionState::Draining);
        let sequence = version
            .drain()
            .start_drain_sequence(DrainStart::new(DrainReason::ListenerRemove));
        let mut sequence = tokio_test::task::spawn(sequence);
        let [first, second] = acceptors;
        drop(first);
        assert!(sequence.poll().is_pending());
        assert_eq!(
            listening.admit().map(|(version, _)| version.number()).ok(),
            Some(version.number())
        );
        drop(second);
        assert!(sequence.is_woken());
        assert!(sequence.poll().is_ready());
    }
}
