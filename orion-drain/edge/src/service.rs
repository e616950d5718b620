//! The service that this process is: SIGHUP reads the LDS file again; and systemd, if it is there, opens and keeps sockets
//! and is told of everything.

#[cfg(feature = "systemd")]
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
#[cfg(feature = "systemd")]
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use orion_drain::lifecycle::Shutdown;
#[cfg(feature = "systemd")]
use orion_drain::lifecycle::systemd::{FdStore, Notifier, PassedSockets};
use orion_drain::listener_versions::Listeners;
#[cfg(feature = "systemd")]
use orion_drain::listener_versions::{ListenAddress, SharedSocket};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use crate::listener::EdgeListener;

/// What passes between this module and whoever applies updates.
#[derive(Debug, Default)]
pub(crate) struct Reload {
    /// The file is to be read again.
    pub(crate) asked: Notify,
    /// It has been read, whatever was in it.
    pub(crate) applied: Notify,
}

/// Where listeners come from that change.
pub(crate) struct Source {
    /// A file, which can be read again.
    pub(crate) has_file: bool,
    /// Whoever reads it; `None` if there is no source.
    pub(crate) reload: Option<Arc<Reload>>,
}

impl Source {
    /// Something has come from there; at once if there is no such place.
    async fn applied(&self) {
        if let Some(reload) = &self.reload {
            reload.applied.notified().await;
        }
    }
}

/// How long the first listeners may take: Envoy's `initial_fetch_timeout`.
const FIRST_LISTENERS: Duration = Duration::from_secs(15);

/// Sockets that were open before this process began.
#[derive(Default)]
pub(crate) struct Before {
    #[cfg(feature = "systemd")]
    passed: PassedSockets,
}

impl Before {
    /// Before there is any other thread: it changes the environment.
    pub(crate) fn from_env() -> anyhow::Result<Self> {
        Ok(Self {
            #[cfg(feature = "systemd")]
            passed: PassedSockets::from_env()?,
        })
    }
}

/// The service, towards whoever started it.
#[derive(Clone)]
pub(crate) struct Service {
    listeners: Listeners<EdgeListener>,
    #[cfg(feature = "systemd")]
    systemd: Arc<Systemd>,
}

#[cfg(feature = "systemd")]
struct Systemd {
    notifier: Option<Notifier>,
    /// What the manager keeps over a restart.
    store: Option<std::sync::Mutex<FdStore>>,
    of_units: BTreeSet<ListenAddress>,
    /// All that was passed.
    passed: BTreeSet<ListenAddress>,
    /// Another process is the service now.
    is_replaced: AtomicBool,
}

impl Service {
    /// Begins with the sockets that are there.
    pub(crate) fn new(
        listeners: &Listeners<EdgeListener>,
        before: Before,
        keeps_sockets: bool,
    ) -> io::Result<Self> {
        #[cfg(not(feature = "systemd"))]
        let _ = (before, keeps_sockets);
        Ok(Self {
            listeners: listeners.clone(),
            #[cfg(feature = "systemd")]
            systemd: Arc::new(Systemd::new(listeners, before.passed, keeps_sockets)?),
        })
    }

    /// Runs with the process, which may have replaced another one.
    pub(crate) async fn run(self, shutdown: Shutdown, source: Source, replaces: bool) -> io::Result<()> {
        let mut hangup = signal(SignalKind::hangup())?;
        let follow = self.follow(&shutdown);
        tokio::pin!(follow);
        tokio::select! {
            // A control plane that is not there must not keep us from serving what there is.
            _ = tokio::time::timeout(FIRST_LISTENERS, source.applied()) => {}
            () = &mut follow => {}
        }
        self.begins(replaces);
        loop {
            tokio::select! {
                () = source.applied(), if source.reload.is_some() => self.applied(),
                _ = hangup.recv() => {
                    self.reloads();
                    match &source.reload {
                        Some(reload) if source.has_file => reload.asked.notify_one(),
                        _ => self.applied(),
                    }
                }
                () = &mut follow => {}
            }
        }
    }
}

#[cfg(not(feature = "systemd"))]
impl Service {
    fn begins(&self, _: bool) {}
    pub(crate) fn replaced(&self) {}
    fn applied(&self) {}
    fn reloads(&self) {}
    async fn follow(&self, _: &Shutdown) {
        std::future::pending().await
    }
    /// The sockets are about to close.
    pub(crate) fn stops(&self) {
        let _ = &self.listeners;
    }
}

#[cfg(feature = "systemd")]
impl Service {
    fn begins(&self, replaces: bool) {
        let systemd = &self.systemd;
        let unclaimed = self.listeners.unclaimed();
        for address in unclaimed
            .iter()
            .filter(|address| systemd.passed.contains(address))
        {
            say!("systemd: no listener wants {address}");
        }
        if !systemd.passed.is_empty() && systemd.of_units.is_empty() {
            // Nobody else listens on what is stored: a listener that is removed refuses its clients.
            self.listeners.own_sockets();
        }
        self.keep(Listeners::copy_sockets);
        if let Some(notifier) = &systemd.notifier {
            if replaces {
                notifier.main_process();
            }
            notifier.ready("serving");
        }
    }

    fn reloads(&self) {
        if let Some(notifier) = self.notifier() {
            notifier.reloading();
        }
    }

    fn applied(&self) {
        self.keep(Listeners::copy_sockets);
        if let Some(notifier) = self.notifier() {
            notifier.ready("serving");
        }
    }

    async fn follow(&self, shutdown: &Shutdown) {
        if let Some(notifier) = &self.systemd.notifier {
            notifier.follow(shutdown).await;
        }
        std::future::pending().await
    }

    /// The sockets are about to close: what waits in the queues of those that are kept is left to the next process.
    pub(crate) fn stops(&self) {
        self.keep(Listeners::share_sockets);
    }

    /// Another process is the service from now on: what is stored is its own, and this one tells nothing.
    pub(crate) fn replaced(&self) {
        self.systemd.is_replaced.store(true, Ordering::Relaxed);
    }

    fn notifier(&self) -> Option<&Notifier> {
        let is_replaced = self.systemd.is_replaced.load(Ordering::Relaxed);
        self.systemd.notifier.as_ref().filter(|_| !is_replaced)
    }

    fn keep(&self, sockets: fn(&Listeners<EdgeListener>) -> io::Result<Vec<SharedSocket>>) {
        let systemd = &self.systemd;
        let (Some(store), Some(_)) = (&systemd.store, self.notifier()) else {
            return;
        };
        match sockets(&self.listeners) {
            Ok(mut sockets) => {
                // A unit's, also when it came from the process before.
                let is_units = |socket: &SharedSocket| match systemd.passed.contains(&socket.address) {
                    true => systemd.of_units.contains(&socket.address),
                    false => socket.is_kept,
                };
                sockets.retain(|socket| !is_units(socket));
                let mut store = store.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                store.keep(sockets);
            }
            Err(error) => say!("systemd: cannot keep sockets: {error}"),
        }
    }
}

#[cfg(feature = "systemd")]
impl Systemd {
    fn new(
        listeners: &Listeners<EdgeListener>,
        passed: PassedSockets,
        keeps_sockets: bool,
    ) -> io::Result<Self> {
        let PassedSockets {
            inherited, of_units, ..
        } = passed;
        let passed: BTreeSet<_> = inherited.addresses().cloned().collect();
        for address in &passed {
            say!("systemd: passed {address}");
        }
        listeners.inherit(inherited);
        let notifier = Notifier::from_env()?;
        // systemd 254 says how many it would keep.
        let offered =
            std::env::var("FDSTORE").is_ok_and(|most| most.parse::<u32>().is_ok_and(|most| most > 0));
        let store = notifier.clone().filter(|_| keeps_sockets || offered);
        Ok(Self {
            store: store.map(|notifier| {
                let stored = passed.difference(&of_units).cloned();
                std::sync::Mutex::new(FdStore::new(notifier, stored))
            }),
            passed,
            notifier,
            of_units,
            is_replaced: AtomicBool::new(false),
        })
    }
}
