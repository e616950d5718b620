//! Tables from the control plane: taken one by one, and asked for as long as a listener refers to
//! them.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use orion_drain::config::{RouteConfiguration, RouteUpdate};
use orion_drain::listener::Refused;
use orion_drain::stats::RdsStats;
use tokio::sync::watch;

use super::{Rds, Table};

impl Rds {
    /// The names that listeners refer to.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        let names = self.0.tables.watched().into_iter();
        names.map(|name| name.to_string()).collect()
    }

    /// Tells which names are wanted whenever that changes; ends only with the process. Tables that
    /// are not wanted any more are dropped: newer ones are not asked for.
    pub(crate) async fn follow(&self, wanted: &watch::Sender<BTreeSet<String>>) {
        let mut changes = self.0.tables.changes();
        loop {
            let names = self.names();
            self.0.tables.drop_unwatched();
            self.scopes()
                .retain(|_, of_name| of_name.iter().any(|scope| scope.strong_count() > 0));
            wanted.send_if_modified(|before| {
                let is_another = *before != names;
                *before = names;
                is_another
            });
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// An update was refused whole.
    pub(crate) fn refused(&self) {
        self.count(None, |stats| stats.update_rejected.inc());
    }

    /// Takes the tables of an update that can be had; what is refused, and the names of those that
    /// are others than before. Nothing drains by it.
    pub(crate) fn apply(&self, update: RouteUpdate) -> (Vec<Refused>, Vec<String>) {
        let mut refused = Vec::new();
        for rejected in update.rejected {
            self.count(rejected.name.as_deref(), |stats| {
                stats.update_rejected.inc();
            });
            for field in rejected.error.fields() {
                let name = rejected.name.clone();
                refused.push(Refused::new(name, field.in_full().to_string()));
            }
        }
        let mut changed = Vec::new();
        for table in update.routes {
            let name = table.name.clone();
            match self.take(table, &update.version_info) {
                Ok(true) => changed.push(name),
                Ok(false) => {}
                Err(message) => {
                    self.count(Some(&name), |stats| stats.update_rejected.inc());
                    refused.push(Refused::new(Some(name), message));
                }
            }
        }
        (refused, changed)
    }

    /// Whether it is another one than before.
    fn take(&self, read: RouteConfiguration, version_info: &str) -> Result<bool, String> {
        let name = read.name.clone();
        // Watched until it is set: a table that is not wanted any more does not stay.
        let watch = self.0.tables.watch(&*name);
        let before = watch.load();
        let bodies = read.bodies().map_err(|field| field.in_full().to_string())?;
        let routes = read.with_bodies(&bodies);
        let is_same = |before: &Table| before.read == read && before.routes == routes;
        let is_new = !before.as_deref().is_some_and(is_same);
        if is_new {
            let table = Table {
                domains: routes.domains(),
                routes,
                read,
                version_info: version_info.to_owned(),
                since: SystemTime::now(),
            };
            self.0.tables.set(&*name, table);
        }
        self.count(Some(&name), |stats| {
            stats.update_success.inc();
            stats.version_text.set(version_info);
            if is_new {
                stats.config_reload.inc();
            }
        });
        drop(watch);
        Ok(is_new)
    }

    /// Counts at every manager that refers to this name; without one, at all.
    fn count(&self, name: Option<&str>, count: impl Fn(&RdsStats)) {
        let scopes = self.scopes();
        let alive = |of_name: &Vec<Weak<RdsStats>>| -> Vec<_> {
            of_name.iter().filter_map(Weak::upgrade).collect()
        };
        let scopes: Vec<Arc<RdsStats>> = match name {
            Some(name) => scopes.get(name).map(alive).unwrap_or_default(),
            None => scopes.values().flat_map(alive).collect(),
        };
        scopes.iter().for_each(|stats| count(stats));
    }
}
