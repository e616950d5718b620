//! A service of systemd's with listeners: its sockets are inherited and kept, and systemd is
//! notified of each step.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::{fmt, io};

use listener_versions::{ListenAddress, ListenerConfig, Listeners, SharedSocket};

use super::{FdStore, Notifier, PassedSockets};
use crate::Shutdown;

/// The process as a service with these listeners. Outside of systemd its methods do nothing.
///
/// Where sockets are kept, the file descriptor store has what the listeners have, after each of
/// these calls.
pub struct Service<C: ListenerConfig> {
    listeners: Listeners<C>,
    notifier: Option<Notifier>,
    /// What the manager keeps over a restart.
    store: Option<Mutex<FdStore>>,
    of_units: BTreeSet<ListenAddress>,
    /// All that was passed.
    passed: BTreeSet<ListenAddress>,
    /// Another process is the service now.
    is_replaced: AtomicBool,
}

impl<C: ListenerConfig> Service<C> {
    /// Lets the listeners inherit the sockets that were passed. Sockets are kept if `keeps_sockets`
    /// says so, or if systemd says that it keeps some (`FDSTORE`, systemd 254).
    ///
    /// # Errors
    ///
    /// `NOTIFY_SOCKET` cannot be used.
    pub fn new(
        listeners: &Listeners<C>,
        passed: PassedSockets,
        keeps_sockets: bool,
    ) -> io::Result<Self> {
        let PassedSockets {
            inherited,
            of_units,
        } = passed;
        let passed: BTreeSet<_> = inherited.addresses().cloned().collect();
        listeners.inherit(inherited);
        let notifier = Notifier::from_env()?;
        let offered = std::env::var("FDSTORE")
            .is_ok_and(|most| most.parse::<u32>().is_ok_and(|most| most > 0));
        let store = notifier.clone().filter(|_| keeps_sockets || offered);
        Ok(Self {
            listeners: listeners.clone(),
            store: store.map(|notifier| {
                let stored = passed.difference(&of_units).cloned();
                Mutex::new(FdStore::new(notifier, stored))
            }),
            notifier,
            of_units,
            passed,
            is_replaced: AtomicBool::new(false),
        })
    }

    /// The addresses of the sockets that were passed.
    pub fn passed(&self) -> impl Iterator<Item = &ListenAddress> {
        self.passed.iter()
    }

    /// Those of them that no listener has taken.
    pub fn unclaimed(&self) -> Vec<ListenAddress> {
        let mut unclaimed = self.listeners.unclaimed();
        unclaimed.retain(|address| self.passed.contains(address));
        unclaimed
    }

    /// The first listeners are there: `READY=1`. `replaces`: this process has replaced the one that
    /// systemd started, so it is the service's main process now.
    ///
    /// # Errors
    ///
    /// Sockets cannot be kept; systemd was notified all the same.
    pub fn ready(&self, replaces: bool) -> io::Result<()> {
        if !self.passed.is_empty() && self.of_units.is_empty() {
            // No other process listens on what is stored: a listener that is removed refuses its
            // clients.
            self.listeners.own_sockets();
        }
        let kept = self.keep(Listeners::copy_sockets);
        if let Some(notifier) = &self.notifier {
            if replaces {
                notifier.main_process();
            }
            notifier.ready("serving");
        }
        kept
    }

    /// The configuration is read again: `RELOADING=1`. [`applied`](Self::applied) follows.
    pub fn reloading(&self) {
        if let Some(notifier) = self.notifier() {
            notifier.reloading();
        }
    }

    /// Another configuration was applied: `READY=1`.
    ///
    /// # Errors
    ///
    /// As [`ready`](Self::ready).
    pub fn applied(&self) -> io::Result<()> {
        let kept = self.keep(Listeners::copy_sockets);
        if let Some(notifier) = self.notifier() {
            notifier.ready("serving");
        }
        kept
    }

    /// The sockets are about to close: what waits in the queues of those that are kept is left to
    /// the next process.
    ///
    /// # Errors
    ///
    /// Sockets cannot be kept.
    pub fn stopping(&self) -> io::Result<()> {
        self.keep(Listeners::share_sockets)
    }

    /// Another process is the service from now on: what is stored is its own, and systemd is sent
    /// no more from this one.
    pub fn replaced(&self) {
        // Relaxed: it stands for itself.
        self.is_replaced.store(true, Ordering::Relaxed);
    }

    /// Notifies systemd of each step of the shutdown. It does not return.
    ///
    /// # Cancel safety
    ///
    /// As [`Notifier::follow`].
    pub async fn follow(&self, shutdown: &Shutdown) {
        if let Some(notifier) = &self.notifier {
            notifier.follow(shutdown).await;
        }
        std::future::pending().await
    }

    fn notifier(&self) -> Option<&Notifier> {
        let is_replaced = self.is_replaced.load(Ordering::Relaxed);
        self.notifier.as_ref().filter(|_| !is_replaced)
    }

    fn keep(&self, sockets: fn(&Listeners<C>) -> io::Result<Vec<SharedSocket>>) -> io::Result<()> {
        let (Some(store), Some(_)) = (&self.store, self.notifier()) else {
            return Ok(());
        };
        let mut sockets = sockets(&self.listeners)?;
        // A unit's, also when it came from the process before.
        let is_units = |socket: &SharedSocket| match self.passed.contains(&socket.address) {
            true => self.of_units.contains(&socket.address),
            false => socket.is_kept,
        };
        sockets.retain(|socket| !is_units(socket));
        store
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .keep(sockets);
        Ok(())
    }
}

impl<C: ListenerConfig> fmt::Debug for Service<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("passed", &self.passed)
            .finish_non_exhaustive()
    }
}
