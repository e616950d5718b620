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
    all: Arc<All<R>>,
}

struct All<R> {
    names: Mutex<Names<R>>,
    /// Changes whenever another set of names is watched.
    watched: watch::Sender<()>,
}

type Names<R> = BTreeMap<Arc<str>, Entry<R>>;

/// What is there of one name.
struct Entry<R> {
    table: Arc<Table<R>>,
    /// How many [`RouteWatch`]es there are.
    watches: usize,
}

struct Table<R> {
    /// Changed under the lock of the names, read without it.
    routes: ArcSwapOption<R>,
    /// Changes when they come, for those who wait.
    come: watch::Sender<()>,
}

impl<R: Send + Sync + 'static> Routes<R> {
    /// No routes yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            all: Arc::new(All {
                names: Mutex::default(),
                watched: watch::Sender::new(()),
            }),
        }
    }

    /// The routes of this name, whether they are there or not.
    #[must_use]
    pub fn watch(&self, name: impl Into<Arc<str>>) -> RouteWatch<R> {
        let name = name.into();
        let table = self.watch_more(&name);
        RouteWatch {
            name,
            table,
            all: self.clone(),
        }
    }

    /// One more watch of this name.
    fn watch_more(&self, name: &Arc<str>) -> Arc<Table<R>> {
        let mut names = self.lock();
        let entry = names.entry(Arc::clone(name)).or_default();
        entry.watches += 1;
        let (table, is_new) = (Arc::clone(&entry.table), entry.watches == 1);
        drop(names);
        if is_new {
            self.all.watched.send_replace(());
        }
        table
    }

    /// From now on these are the routes of this name. Connections that ask from now on find them,
    /// whatever version they belong to.
    pub fn set(&self, name: impl Into<Arc<str>>, routes: impl Into<Arc<R>>) {
        let (name, routes) = (name.into(), routes.into());
        let mut names = self.lock();
        let table = Arc::clone(&names.entry(name).or_default().table);
        let before = table.routes.swap(Some(routes));
        drop(names);
        // Those who wait find the routes when they are woken.
        table.come.send_replace(());
        drop(before);
    }

    /// There are no routes of this name any more.
    pub fn remove(&self, name: &str) {
        let mut names = self.lock();
        let before = names.get(name).map(|entry| entry.table.routes.swap(None));
        let unwatched = names.get(name).is_some_and(|entry| entry.watches == 0);
        let entry = if unwatched { names.remove(name) } else { None };
        drop(names);
        drop((entry, before));
    }

    /// The names that are watched and have no routes: what versions wait for.
    #[must_use]
    pub fn wanted(&self) -> Vec<Arc<str>> {
        let loaded = self.loaded().into_iter();
        let wanted = loaded.filter(|(_, routes)| routes.is_none());
        wanted.map(|(name, _)| name).collect()
    }

    /// The names that are watched, whether they have routes or not: what a client of RDS subscribes
    /// to.
    #[must_use]
    pub fn watched(&self) -> Vec<Arc<str>> {
        let names = self.lock();
        let watched = names.iter().filter(|(_, entry)| entry.watches > 0);
        watched.map(|(name, _)| Arc::clone(name)).collect()
    }

    /// Changes whenever other names may be [watched](Self::watched).
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.all.watched.subscribe()
    }

    /// Drops the routes that no version watches, because they are not subscribed to any more: the
    /// next version that refers to them waits for new ones.
    pub fn drop_unwatched(&self) {
        let mut names = self.lock();
        let unwatched = names.iter().filter(|(_, entry)| entry.watches == 0);
        let unwatched: Vec<_> = unwatched.map(|(name, _)| Arc::clone(name)).collect();
        let dropped = unwatched.iter().filter_map(|name| names.remove(name));
        let dropped: Vec<_> = dropped.collect();
        drop(names);
        drop(dropped);
    }

    /// All routes that are there, by name.
    #[must_use]
    pub fn all(&self) -> Vec<(Arc<str>, Arc<R>)> {
        let loaded = self.loaded().into_iter();
        loaded
            .filter_map(|(name, routes)| Some((name, routes?)))
            .collect()
    }

    /// Drops the entry of a name that no version watches and that has no routes.
    fn forget(&self, name: &str) {
        let mut names = self.lock();
        let unwatched = names.get(name).filter(|entry| entry.watches == 0);
        let routes = unwatched.map(|entry| entry.table.routes.load_full());
        let entry = match routes {
            Some(None) => names.remove(name),
            _ => None,
        };
        drop(names);
        drop((entry, routes));
    }
}

impl<R> Routes<R> {
    /// All routes. The last reference to some may be the one taken here: it is dropped, which is
    /// code of others, with nothing locked.
    fn loaded(&self) -> Vec<(Arc<str>, Option<Arc<R>>)> {
        let names = self.lock();
        let loaded = names.iter();
        let loaded = loaded.map(|(name, entry)| (Arc::clone(name), entry.table.routes.load_full()));
        loaded.collect()
    }

    fn lock(&self) -> MutexGuard<'_, Names<R>> {
        // Nothing of others is called while it is held.
        self.all
            .names
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R> Default for Entry<R> {
    fn default() -> Self {
        Self {
            table: Arc::default(),
            watches: 0,
        }
    }
}

impl<R> Default for Table<R> {
    fn default() -> Self {
        Self {
            routes: ArcSwapOption::empty(),
            come: watch::Sender::new(()),
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
            all: Arc::clone(&self.all),
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
    table: Arc<Table<R>>,
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
        self.table.routes.load_full()
    }

    /// Waits until there are routes. The future borrows nothing.
    ///
    /// # Cancel safety
    ///
    /// It may be dropped, and another one made.
    pub fn ready(&self) -> impl Future<Output = ()> + Send + 'static + use<R> {
        let watch = self.clone();
        async move {
            let mut come = watch.table.come.subscribe();
            // The sender is in the table.
            while watch.load().is_none() && come.changed().await.is_ok() {}
        }
    }
}

/// One more watch of the same name.
impl<R: Send + Sync + 'static> Clone for RouteWatch<R> {
    fn clone(&self) -> Self {
        self.all.watch(Arc::clone(&self.name))
    }
}

impl<R: Send + Sync + 'static> Drop for RouteWatch<R> {
    fn drop(&mut self) {
        let mut names = self.all.lock();
        let entry = names.get_mut(&self.name);
        let left = entry.map(|entry| {
            entry.watches -= 1;
            entry.watches
        });
        drop(names);
        if left == Some(0) {
            self.all.forget(&self.name);
            self.all.all.watched.send_replace(());
        }
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
