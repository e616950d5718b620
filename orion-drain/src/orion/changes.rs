//! What comes to a listener manager over its channels, and what serves its connections.

use std::sync::Arc;

use drain_tree::DrainManager;
use listener_versions::{Accepted, ListenerConfig, ListenerVersion, Routes};

use super::DefaultConnectionManager;
use crate::serve::{Connection, SharedBehavior};

/// A change of the listeners. `C` is the host's own listener configuration.
#[non_exhaustive]
#[derive(Debug)]
pub enum ListenerConfigurationChange<C> {
    /// This listener is new, or changed.
    Added(Box<C>),
    /// This listener is gone.
    Removed(String),
}

/// A change of routes, by the name of their configuration. `R` is what the host makes of one.
#[non_exhaustive]
#[derive(Debug)]
pub enum RouteConfigurationChange<R> {
    /// Listeners that refer to this name use these routes, now and in later versions.
    Added(String, Arc<R>),
    /// There are no routes of this name any more.
    Removed(String),
}

/// What serves the connections of a [`ListenersManager`](super::ListenersManager).
pub trait ListenerServices<C: ListenerConfig>: Send + Sync + 'static {
    /// What the host makes of a route configuration; `()` if routes do not change by themselves.
    type Routes: Send + Sync + 'static;

    /// Where routes are kept by name. Listeners [watch](Routes::watch) the names they refer to.
    fn routes(&self) -> &Routes<Self::Routes>;

    /// Serves an accepted connection. It must not block: it spawns, or passes on.
    ///
    /// `registration` is where the connection goes once its filter chain is known and a
    /// [`Connection`] has been made of it.
    fn serve(&self, accepted: Accepted<C>, registration: Registration);

    /// The drain nodes of the filter chains of `version` that serve HTTP, for
    /// [`start_draining_http_managers`](DefaultConnectionManager::start_draining_http_managers).
    /// Default: none.
    fn http_chains(&self, version: &ListenerVersion<C>) -> Vec<DrainManager> {
        let _ = version;
        Vec::new()
    }

    /// The xDS `version_info` of a configuration. Default: empty.
    fn version_info<'a>(&self, config: &'a C) -> &'a str {
        let _ = config;
        ""
    }
}

/// Enters one connection in the connection manager, and gives it the behavior that
/// [`start_listener_draining`](super::DrainSignalingManager::start_listener_draining) sets.
#[derive(Debug)]
#[must_use = "an unregistered connection cannot be drained or closed by its id"]
pub struct Registration {
    pub(super) connections: DefaultConnectionManager,
    pub(super) behavior: SharedBehavior,
}

impl Registration {
    /// The same connection, registered.
    pub fn register(self, connection: Connection) -> Connection {
        let connection = connection.with_behavior(self.behavior);
        self.connections.enter(&connection);
        connection
    }
}
