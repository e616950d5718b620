//! The one thing of the accept path that a bench cannot reach from outside: how the version of a
//! connection is found.

use std::fmt;
use std::sync::Arc;

use crate::net::Listening;
use crate::{ListenerConfig, ListenerVersion, Listeners, VersionState};

/// What an accept loop reads for each connection.
pub struct AcceptRead<C>(Arc<Listening<C>>);

impl<C: ListenerConfig> AcceptRead<C> {
    /// As the accept loops of this listener do it; `None` if it does not listen.
    #[must_use]
    pub fn of(listeners: &Listeners<C>, name: &str) -> Option<Self> {
        listeners.listening(name).map(Self)
    }

    /// The version that takes the next connection.
    #[inline]
    #[must_use]
    pub fn read(&self) -> Option<Arc<ListenerVersion<C>>> {
        self.0
            .current()
            .filter(|version| version.state() == VersionState::Active)
    }
}

impl<C> fmt::Debug for AcceptRead<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcceptRead").finish_non_exhaustive()
    }
}
