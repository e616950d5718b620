//! The service that this process is: SIGHUP reads the LDS file again, SIGUSR1 does nothing; and
//! systemd, if it is there, opens and keeps sockets and is notified of each step.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, Shared};
use orion_drain::lifecycle::Shutdown;
#[cfg(feature = "systemd")]
use orion_drain::lifecycle::systemd::{self, PassedSockets};
use orion_drain::listener_versions::Listeners;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

use crate::listener::EdgeListener;

/// What passes between this module and what applies updates.
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
    /// What reads it; `None` if there is no source.
    pub(crate) reload: Option<Arc<Reload>>,
    /// How long the first listeners may take: `initial_fetch_timeout`; `None`: for ever.
    pub(crate) patience: Option<Duration>,
    /// The listeners of the bootstrap have their routes, or have waited for them long enough.
    pub(crate) statics_warm: Shared<BoxFuture<'static, ()>>,
}

impl Source {
    /// Something has come from there, and static listeners serve; or it has taken too long.
    async fn first(&self) {
        let first = async {
            self.statics_warm.clone().await;
            self.applied().await;
        };
        match self.patience {
            Some(patience) => {
                let first = tokio::time::timeout(patience, first);
                first.await.unwrap_or_default();
            }
            None => first.await,
        }
    }

    /// Something has come from there; at once if there is no such place.
    async fn applied(&self) {
        if let Some(reload) = &self.reload {
            reload.applied.notified().await;
        }
    }
}

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

/// SIGHUP from now on, for [`Service::run`]; SIGUSR1 does nothing from now on. Either would end the
/// process, with all requests. SIGUSR1 is sent when logs are rotated, and Envoy opens its files again
/// then; stderr is not ours to open.
pub(crate) fn hangup() -> io::Result<Signal> {
    // What was registered stays so.
    drop(signal(SignalKind::user_defined1())?);
    signal(SignalKind::hangup())
}

/// The service, towards what started it.
#[derive(Clone)]
pub(crate) struct Service {
    #[cfg(feature = "systemd")]
    systemd: Arc<systemd::Service<EdgeListener>>,
}

impl Service {
    /// Begins with the sockets that are there.
    pub(crate) fn new(
        listeners: &Listeners<EdgeListener>,
        before: Before,
        keeps_sockets: bool,
    ) -> io::Result<Self> {
        #[cfg(not(feature = "systemd"))]
        let _ = (listeners, before, keeps_sockets);
        #[cfg(feature = "systemd")]
        let systemd = systemd::Service::new(listeners, before.passed, keeps_sockets)?;
        #[cfg(feature = "systemd")]
        for address in systemd.passed() {
            say!("systemd: passed {address}");
        }
        Ok(Self {
            #[cfg(feature = "systemd")]
            systemd: Arc::new(systemd),
        })
    }

    /// Runs with the process, which may have replaced another one.
    pub(crate) async fn run(
        self,
        shutdown: Shutdown,
        source: Source,
        mut hangup: Signal,
        replaces: bool,
    ) {
        let follow = self.follow(&shutdown);
        tokio::pin!(follow);
        tokio::select! {
            // A control plane that is not there must not keep us from serving what there is.
            () = source.first() => {}
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
    pub(crate) fn stops(&self) {}
}

#[cfg(feature = "systemd")]
impl Service {
    fn begins(&self, replaces: bool) {
        for address in self.systemd.unclaimed() {
            say!("systemd: no listener wants {address}");
        }
        kept(self.systemd.ready(replaces));
    }

    fn reloads(&self) {
        self.systemd.reloading();
    }

    fn applied(&self) {
        kept(self.systemd.applied());
    }

    async fn follow(&self, shutdown: &Shutdown) {
        self.systemd.follow(shutdown).await;
    }

    /// The sockets are about to close.
    pub(crate) fn stops(&self) {
        kept(self.systemd.stopping());
    }

    /// Another process is the service from now on.
    pub(crate) fn replaced(&self) {
        self.systemd.replaced();
    }
}

#[cfg(feature = "systemd")]
fn kept(kept: io::Result<()>) {
    if let Err(error) = kept {
        say!("systemd: cannot keep sockets: {error}");
    }
}
