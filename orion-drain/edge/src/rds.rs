//! RDS: tables that listeners refer to by name. A new one is there for the next request, whatever
//! connection and version of a listener it comes over, and nothing drains.

#[cfg(feature = "xds")]
#[path = "rds/apply.rs"]
mod apply;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::SystemTime;

use orion_drain::admin::RouteConfigView;
use orion_drain::config::{Domains, Listener, NetworkFilter, Rds as Reference, RouteConfiguration};
use orion_drain::listener_versions::{RouteWatch, Routes};
use orion_drain::stats::{RdsStats, Stats};

/// The tables of the process, by name. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Rds(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    tables: Routes<Table>,
    stats: Stats,
    /// Where what happens to a name is counted: one for each manager that refers to it.
    scopes: Mutex<BTreeMap<String, Vec<Weak<RdsStats>>>>,
}

/// A table that came from the control plane.
#[derive(Debug)]
pub(crate) struct Table {
    routes: RouteConfiguration,
    domains: Domains,
    /// As they were read, without the content of files.
    read: RouteConfiguration,
    version_info: String,
    since: SystemTime,
}

/// The newest table of one name.
#[derive(Debug)]
pub(crate) struct Newest {
    watch: RouteWatch<Table>,
    /// Counted as long as a manager refers to it.
    _stats: Arc<RdsStats>,
}

/// A table for one request.
pub(crate) struct Taken(Arc<Table>);

impl Newest {
    /// The table at this moment; `None`: none has come.
    pub(crate) fn table(&self) -> Option<Taken> {
        self.watch.load().map(Taken)
    }
}

impl Taken {
    pub(crate) fn routes(&self) -> (&RouteConfiguration, &Domains) {
        (&self.0.routes, &self.0.domains)
    }
}

impl Rds {
    pub(crate) fn new(stats: Stats) -> Self {
        Self(Arc::new(Inner {
            tables: Routes::new(),
            stats,
            scopes: Mutex::default(),
        }))
    }

    /// The table that a manager with this prefix refers to, for requests, and what its listener
    /// waits for.
    pub(crate) fn refer(&self, stat_prefix: &str, to: &Reference) -> (Newest, RouteWatch<Table>) {
        let name = &to.route_config_name;
        let stats = self.0.stats.rds(stat_prefix, name);
        let mut scopes = self.scopes();
        let of_name = scopes.entry(name.clone()).or_default();
        of_name.retain(|scope| scope.strong_count() > 0);
        let new = Arc::downgrade(&stats);
        if !of_name.iter().any(|scope| scope.ptr_eq(&new)) {
            of_name.push(new);
        }
        drop(scopes);
        let watch = self.0.tables.watch(&**name);
        let awaited = watch.clone();
        let newest = Newest {
            watch,
            _stats: stats,
        };
        (newest, awaited)
    }

    /// Which tables of a listener are not there. It serves without them, if it serves, since they
    /// did not come in time.
    pub(crate) fn missing(&self, listener: &Listener) -> Vec<String> {
        let managers = listener
            .all_chains()
            .filter_map(|chain| match chain.terminal() {
                Some(NetworkFilter::HttpConnectionManager(manager)) => Some(manager),
                _ => None,
            });
        let mut missing = Vec::new();
        for (manager, rds) in managers.filter_map(|one| Some((one, one.rds.as_ref()?))) {
            let name = &rds.route_config_name;
            if self.0.tables.watch(&**name).load().is_none() {
                let stats = self.0.stats.rds(&manager.stat_prefix, name);
                stats.init_fetch_timeout.inc();
                missing.push(name.clone());
            }
        }
        missing.sort();
        missing.dedup();
        missing
    }

    /// For `/config_dump`.
    pub(crate) fn dump(&self) -> Vec<RouteConfigView> {
        let tables = self.0.tables.all().into_iter();
        let view =
            |table: Arc<Table>| RouteConfigView::new(&table.read, &table.version_info, table.since);
        tables.map(|(_, table)| view(table)).collect()
    }

    fn scopes(&self) -> MutexGuard<'_, BTreeMap<String, Vec<Weak<RdsStats>>>> {
        // Changed in whole steps.
        self.0.scopes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
