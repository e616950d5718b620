//! Routes that change while their listener stays: no connection drains by it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;

use crate::config::{HttpConnectionManager, RouteConfiguration};

/// A change of routes, by the name of their configuration.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteConfigurationChange {
    /// HTTP connection managers whose `route_config` has this name use these routes, now and in later versions.
    Added(String, Box<RouteConfiguration>),
    /// They use again what their listener says.
    Removed(String),
}

/// The routes of one HTTP connection manager, as they are now. Cheap to clone; asking takes no lock.
#[derive(Debug, Clone)]
pub struct Routes {
    inline: Option<Arc<RouteConfiguration>>,
    discovered: Arc<ArcSwapOption<RouteConfiguration>>,
}

impl Routes {
    /// The routes to choose from; ask for every request.
    pub fn current(&self) -> Option<Arc<RouteConfiguration>> {
        self.discovered.load_full().or_else(|| self.inline.clone())
    }
}

/// What route changes have said, by name.
#[derive(Debug, Default)]
pub(super) struct RouteTable(Mutex<HashMap<String, Arc<ArcSwapOption<RouteConfiguration>>>>);

impl RouteTable {
    /// The routes of `manager`, which follow the changes of their name.
    pub(super) fn of(&self, manager: &HttpConnectionManager) -> Routes {
        let inline = manager.route_config.as_ref();
        let name = inline.map_or("", |routes| &routes.name);
        Routes {
            inline: inline.map(|routes| Arc::new(routes.clone())),
            discovered: self.named(name),
        }
    }

    pub(super) fn change(&self, change: RouteConfigurationChange) {
        match change {
            RouteConfigurationChange::Added(name, routes) => {
                self.named(&name).store(Some(Arc::from(routes)))
            }
            RouteConfigurationChange::Removed(name) => self.named(&name).store(None),
        }
    }

    fn named(&self, name: &str) -> Arc<ArcSwapOption<RouteConfiguration>> {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Names that nobody uses and nothing was said about are forgotten.
        table.retain(|_, routes| Arc::strong_count(routes) > 1 || routes.load().is_some());
        Arc::clone(table.entry(name.to_owned()).or_default())
    }
}
