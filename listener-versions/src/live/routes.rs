//! Routes that come by themselves (RDS): versions wait for them, and every version has the newest.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;
use tokio::sync::watch;

/// Routes by name, as RDS brings them: one store for all listeners. `R` is what the caller makes of
/// a route configuration.
///
/// A configuration [watches](Self::watch) the names that it refers to. What is [set](Self::set)
/// reaches every version that watches the name, also those that come later: routes are not asked
/// for again because a listener was updated. A configuration that
/// [warms](crate::ListenerConfig::warms) as long as its routes are not there, and is
/// [ready](crate::ListenerConfig::ready) when they are, takes over from the version before it
/// without a moment in which clients find no route.
///
/// ```
/// use listener_versions::{ListenAddress, ListenerConfig, RouteWatch, Routes};
///
/// struct Ingress { address: ListenAddress, routes: RouteWatch<String> }
///
/// impl ListenerConfig for Ingress {
///     type Chain = ();
///     fn name(&self) -> &str { "ingress" }
///     fn address(&self) -> &ListenAddress { &self.address }
///     fn same_content(&self, other: &Self) -> bool { self.routes.name() == other.routes.name() }
///     fn warms(&self) -> bool { self.routes.load().is_none() }
///     fn ready(&self) -> impl Future<Output = ()> + Send + 'static { self.routes.ready() }
/// }
///
/// let routes = Routes::new();
/// let ingress = Ingress { address: "127.0.0.1:0".parse()?, routes: routes.watch("shop") };
/// assert!(ingress.warms());
/// assert_eq!(routes.wanted(), ["shop".into()]);
/// routes.set("shop", "/cart -> cart".to_owned());
/// assert_eq!(ingress.routes.load().as_deref().map(String::as_str), Some("/cart -> cart"));
/// # Ok::<_, std::net::AddrParseError>(())
/// ```
pub struct Routes<R> {
    tables: Arc<Mutex<Tables<R>>>,
}

type Tables<R> = BTreeMap<Arc<str>, Arc<Table<R>>>;

struct Table<R> {
    routes: ArcSwapOption<R>,
    /// Whether there are any, for those who wait.
    is_there: watch::Sender<bool>,
}

impl<R: Send + Sync + 'static> Routes<R> {
    /// No routes yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            tables: Arc::default(),
        }
    }

    /// The routes of this name, whether they are there or not.
    #[must_use]
    pub fn watch(&self, name: impl Into<Arc<str>>) -> RouteWatch<R> {
        let name = name.into();
        let table = Arc::clone(self.lock().entry(Arc::clone(&name)).or_default());
        RouteWatch {
            name,
            table: Some(table),
            all: self.clone(),
        }
    }

    /// From now on these are the routes of this name. Connections that ask from now on find them,
    /// whatever version they belong to.
    pub fn set(&self, name: impl Into<Arc<str>>, routes: impl Into<Arc<R>>) {
        let name = name.into();
        let table = Arc::clone(self.lock().entry(name).or_default());
        // Those who wait find the routes when they are woken.
        table.routes.store(Some(routes.into()));
        table.is_there.send_replace(true);
    }

    /// There are no routes of this name any more.
    pub fn remove(&self, name: &str) {
        let table = self.lock().get(name).map(Arc::clone);
        if let Some(table) = table {
            table.routes.store(None);
            table.is_there.send_replace(false);
            drop(table);
            self.forget(name);
        }
    }

    /// The names that are watched and have no routes: what a client of RDS should ask for.
    #[must_use]
    pub fn wanted(&self) -> Vec<Arc<str>> {
        let loaded = self.loaded().into_iter();
        let wanted = loaded.filter(|(_, routes)| routes.is_none());
        wanted.map(|(name, _)| name).collect()
    }

    /// Drops the entry of a name that no version watches and that has no routes.
    fn forget(&self, name: &str) {
        let mut tables = self.lock();
        let unwatched = tables
            .get(name)
            .filter(|&table| Arc::strong_count(table) == 1);
        let routes = unwatched.map(|table| table.routes.load_full());
        if matches!(routes, Some(None)) {
            tables.remove(name);
        }
        drop(tables);
        drop(routes);
    }
}

impl<R> Routes<R> {
    /// All routes. The last reference to some may be the one taken here: it is dropped, which is
    /// code of others, with nothing locked.
    fn loaded(&self) -> Vec<(Arc<str>, Option<Arc<R>>)> {
        let tables = self.lock();
        let loaded = tables.iter();
        let loaded = loaded.map(|(name, table)| (Arc::clone(name), table.routes.load_full()));
        loaded.collect()
    }

    fn lock(&self) -> MutexGuard<'_, Tables<R>> {
        // Nothing of others is called while it is held.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R> Default for Table<R> {
    fn default() -> Self {
        Self {
            routes: ArcSwapOption::empty(),
            is_there: watch::Sender::new(false),
        }
    }
}

impl<R: Send + Sync + 'static> Default for Routes<R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R> Clone for Routes<R> {
    fn clone(&self) -> Self {
        Self {
            tables: Arc::clone(&self.tables),
        }
    }
}

impl<R> fmt::Debug for Routes<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let loaded = self.loaded().into_iter();
        let names = loaded.map(|(name, routes)| (name, routes.is_some()));
        f.debug_map().entries(names).finish()
    }
}

/// The routes of one name: the newest, for as long as it is held.
pub struct RouteWatch<R: Send + Sync + 'static> {
    name: Arc<str>,
    /// There until it is dropped.
    table: Option<Arc<Table<R>>>,
    all: Routes<R>,
}

impl<R: Send + Sync + 'static> RouteWatch<R> {
    /// Their name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The newest routes, without a lock; `None` as long as there are none.
    #[must_use]
    pub fn load(&self) -> Option<Arc<R>> {
        self.table.as_ref()?.routes.load_full()
    }

    /// Waits until there are routes. The future borrows nothing.
    ///
    /// # Cancel safety
    ///
    /// It may be dropped, and another one made.
    pub fn ready(&self) -> impl Future<Output = ()> + Send + 'static + use<R> {
        let watch = self.clone();
        async move {
            if let Some(table) = &watch.table {
                // The sender is in the table.
                drop(table.is_there.subscribe().wait_for(|there| *there).await);
            }
        }
    }
}

impl<R: Send + Sync + 'static> Clone for RouteWatch<R> {
    fn clone(&self) -> Self {
        Self {
            name: Arc::clone(&self.name),
            table: self.table.clone(),
            all: self.all.clone(),
        }
    }
}

impl<R: Send + Sync + 'static> Drop for RouteWatch<R> {
    fn drop(&mut self) {
        // Before: an entry that has a watch is not forgotten.
        self.table = None;
        self.all.forget(&self.name);
    }
}

impl<R: Send + Sync + 'static> fmt::Debug for RouteWatch<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteWatch")
            .field("name", &self.name)
            .field("is_there", &self.load().is_some())
            .finish_non_exhaustive()
    }
}
