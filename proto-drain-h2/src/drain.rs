//! The drain settings of a server, and one connection made with them.

use crate::close::H2Connection;
use crate::counters::{CloseCounts, Counters};
use crate::handle::GoawayHandle;
use crate::io::GoawayIo;
use crate::settings::H2DrainSettings;
use std::sync::Arc;

#[cfg(feature = "hyper")]
use crate::{reset::ResetHandle, stream::ResetService};

/// How the HTTP/2 connections of a server leave: one value for all of them, cheap to clone.
///
/// # Examples
///
/// See the [crate's page](crate).
#[derive(Clone, Debug, Default)]
pub struct H2Drain {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    settings: H2DrainSettings,
    counters: Counters,
}

impl H2Drain {
    /// For connections with these settings.
    #[must_use]
    pub fn new(settings: H2DrainSettings) -> Self {
        let counters = Counters::default();
        Self {
            shared: Arc::new(Shared { settings, counters }),
        }
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &H2DrainSettings {
        &self.shared.settings
    }

    /// How its connections have ended so far.
    #[must_use]
    pub fn counts(&self) -> CloseCounts {
        self.counters().counts()
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// A connection over `io`, whose first byte has not been read yet. `serve` makes the server
    /// over the wrapped transport; it finds there what its service may need of the connection.
    pub fn connection<IO, C>(
        &self,
        io: IO,
        serve: impl FnOnce(GoawayIo<IO>, &H2Parts) -> C,
    ) -> H2Connection<C> {
        let (io, handle) = GoawayIo::new(io, self);
        let parts = H2Parts { handle };
        let server = serve(io, &parts);
        H2Connection::new(server, parts)
    }
}

/// What the parts of one connection share.
#[derive(Debug)]
pub struct H2Parts {
    pub(crate) handle: GoawayHandle,
}

impl H2Parts {
    /// The handle of the transport.
    #[must_use]
    pub fn handle(&self) -> &GoawayHandle {
        &self.handle
    }

    /// The handle that resets the connection's streams at the deadline; see
    /// [`GoawayHandle::resets`].
    #[cfg(feature = "hyper")]
    #[must_use]
    pub fn resets(&self) -> ResetHandle {
        self.handle.resets()
    }

    /// A service whose streams are reset at the deadline.
    #[cfg(feature = "hyper")]
    pub fn service<S>(&self, inner: S) -> ResetService<S> {
        self.resets().service(inner)
    }
}
