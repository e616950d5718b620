//! All statistics of a process, and where scopes come from.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use super::drains::Drains;
use super::workers::Workers;
use super::{Counter, Gauge, HttpStats, ListenerStats, RdsStats, StatsSnapshot, TcpStats, Text};

/// The statistics of a process. Clones are handles of the same.
#[derive(Debug, Clone, Default)]
pub struct Stats(pub(super) Arc<Inner>);

#[derive(Debug, Default)]
pub(super) struct Inner {
    pub(super) drains: Drains,
    listener_manager: ListenerManagerStats,
    server: ServerStats,
    control_plane: ControlPlaneStats,
    http: Scopes<HttpStats>,
    tcp: Scopes<TcpStats>,
    rds: Scopes<RdsStats>,
    listeners: Scopes<ListenerStats>,
}

/// `listener_manager.*`
///
/// Source: [Envoy's listener manager
/// statistics](https://www.envoyproxy.io/docs/envoy/latest/configuration/listeners/stats#listener-manager).
#[non_exhaustive]
#[derive(Debug, Default)]
pub struct ListenerManagerStats {
    /// Listeners that were new.
    pub listener_added: Counter,
    /// Listeners that got a new version, in place or not.
    pub listener_modified: Counter,
    /// Listeners that were removed.
    pub listener_removed: Counter,
    /// Listeners that stopped accepting without being removed.
    pub listener_stopped: Counter,
    /// Listeners of which only filter chains changed.
    pub listener_in_place_updated: Counter,
    /// Versions that were created; Envoy counts one for each worker.
    pub listener_create_success: Counter,
    /// Versions that could not be created.
    pub listener_create_failure: Counter,
    /// Listeners that accept.
    pub total_listeners_active: Gauge,
    /// Versions that drain as a whole.
    pub total_listeners_draining: Gauge,
    /// Versions that are not ready to accept yet.
    pub total_listeners_warming: Gauge,
    /// Filter chains that drain because they were changed or removed in place.
    pub total_filter_chains_draining: Gauge,
    /// `listener_manager.lds.*`
    pub lds: LdsStats,
}

/// `listener_manager.lds.*`
#[non_exhaustive]
#[derive(Debug, Default)]
pub struct LdsStats {
    /// Updates that were looked at.
    pub update_attempt: Counter,
    /// Updates that were taken whole, even if they changed nothing.
    pub update_success: Counter,
    /// Updates of which a listener breaks a rule or cannot be applied.
    pub update_rejected: Counter,
    /// Updates that cannot be read, and streams to the control plane that could not be opened or
    /// ended.
    pub update_failure: Counter,
    /// The `version_info` of the last update that was taken whole.
    pub version_text: Text,
    /// `listener_manager.lds.control_plane.*`: the control plane of `api_config_source`.
    pub control_plane: ControlPlaneStats,
}

/// `control_plane.*`
///
/// Source: [Envoy's management server
/// statistics](https://www.envoyproxy.io/docs/envoy/latest/configuration/overview/mgmt_server#management-server-statistics).
#[non_exhaustive]
#[derive(Debug, Default)]
pub struct ControlPlaneStats {
    /// 1 while there is a stream, otherwise 0.
    pub connected_state: Gauge,
}

/// `server.*`
#[non_exhaustive]
#[derive(Debug, Default)]
pub struct ServerStats {
    /// Fields of updates that are not known.
    pub dynamic_unknown_fields: Counter,
    /// Fields of the bootstrap that are not known.
    pub static_unknown_fields: Counter,
    /// Connections that are open, of all listeners. [`ListenerStats::connection`] counts it.
    pub total_connections: Arc<Gauge>,
    /// Which process in a row this one is, from 0, if processes replace each other.
    pub hot_restart_epoch: Gauge,
}

impl Stats {
    /// Everything at zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// `listener_manager.*`
    pub fn listener_manager(&self) -> &ListenerManagerStats {
        &self.0.listener_manager
    }

    /// `listener_manager.lds.*`
    pub fn lds(&self) -> &LdsStats {
        &self.0.listener_manager.lds
    }

    /// `server.*`
    pub fn server(&self) -> &ServerStats {
        &self.0.server
    }

    /// `control_plane.*`: the control plane of `ads_config`.
    pub fn control_plane(&self) -> &ControlPlaneStats {
        &self.0.control_plane
    }

    /// `http.<stat_prefix>.*`; the same prefix is the same scope.
    pub fn http(&self, stat_prefix: &str) -> Arc<HttpStats> {
        self.0.http.scope(stat_prefix, HttpStats::default)
    }

    /// `tcp.<stat_prefix>.*`; the same prefix is the same scope.
    pub fn tcp(&self, stat_prefix: &str) -> Arc<TcpStats> {
        self.0.tcp.scope(stat_prefix, TcpStats::default)
    }

    /// `http.<stat_prefix>.rds.<route_config_name>.*`; the same names are the same scope.
    pub fn rds(&self, stat_prefix: &str, route_config_name: &str) -> Arc<RdsStats> {
        let name = format!("http.{stat_prefix}.rds.{route_config_name}");
        self.0.rds.scope(&name, RdsStats::default)
    }

    /// `listener.<address>.*`, with `_` for `:` as Envoy writes it (`127.0.0.1_80`); the same
    /// address is the same scope.
    pub fn listener(&self, address: &str) -> Arc<ListenerStats> {
        self.0
            .listeners
            .scope(&address.replace(':', "_"), || ListenerStats {
                downstream_cx_overflow: Counter::default(),
                downstream_global_cx_overflow: Counter::default(),
                downstream_cx_drain_overflow: Counter::default(),
                downstream_cx_unserved: Counter::default(),
                no_filter_chain_match: Counter::default(),
                workers: Workers::default(),
                downstream_cx_destroy: Counter::default(),
                everywhere: Arc::clone(&self.0.server.total_connections),
            })
    }

    /// Everything at this moment. Values are read one by one while others count on.
    pub fn snapshot(&self) -> StatsSnapshot {
        let mut into = StatsSnapshot::default();
        self.0.listener_manager.write(&mut into);
        let server = &self.0.server;
        into.set(
            "server.dynamic_unknown_fields",
            server.dynamic_unknown_fields.value(),
        );
        into.set(
            "server.static_unknown_fields",
            server.static_unknown_fields.value(),
        );
        into.set(
            "control_plane.connected_state",
            self.0.control_plane.connected_state.value(),
        );
        into.set_gauge(
            "server.total_connections",
            server.total_connections.value(),
            true,
        );
        into.set("server.hot_restart_epoch", server.hot_restart_epoch.value());
        self.0
            .http
            .each(|prefix, scope| scope.write(prefix, &mut into));
        self.0
            .tcp
            .each(|prefix, scope| scope.write(prefix, &mut into));
        self.0.rds.each(|name, scope| scope.write(name, &mut into));
        self.0
            .listeners
            .each(|address, scope| scope.write(address, &mut into));
        into.add_drains(&self.0.drains);
        into
    }
}

impl ListenerManagerStats {
    fn write(&self, into: &mut StatsSnapshot) {
        for (name, value) in [
            ("listener_added", self.listener_added.value()),
            ("listener_modified", self.listener_modified.value()),
            ("listener_removed", self.listener_removed.value()),
            ("listener_stopped", self.listener_stopped.value()),
            (
                "listener_in_place_updated",
                self.listener_in_place_updated.value(),
            ),
            (
                "listener_create_success",
                self.listener_create_success.value(),
            ),
            (
                "listener_create_failure",
                self.listener_create_failure.value(),
            ),
            (
                "total_listeners_active",
                self.total_listeners_active.value(),
            ),
            (
                "total_listeners_draining",
                self.total_listeners_draining.value(),
            ),
            (
                "total_listeners_warming",
                self.total_listeners_warming.value(),
            ),
            (
                "total_filter_chains_draining",
                self.total_filter_chains_draining.value(),
            ),
            ("lds.update_attempt", self.lds.update_attempt.value()),
            ("lds.update_success", self.lds.update_success.value()),
            ("lds.update_rejected", self.lds.update_rejected.value()),
            ("lds.update_failure", self.lds.update_failure.value()),
            (
                "lds.control_plane.connected_state",
                self.lds.control_plane.connected_state.value(),
            ),
        ] {
            into.set(format!("listener_manager.{name}"), value);
        }
        into.set_text(
            "listener_manager.lds.version_text",
            self.lds.version_text.value(),
        );
    }
}

/// Scopes by name, as long as a handle of them exists.
#[derive(Debug)]
struct Scopes<S>(Mutex<ByName<S>>);

#[derive(Debug)]
struct ByName<S> {
    scopes: HashMap<String, Weak<S>>,
    /// With so many, those that no handle is left of are dropped. Twice as many as were left the
    /// last time: of ten thousand listeners that come, not each looks at all before it.
    full: usize,
    /// How many scopes were looked at for that.
    #[cfg(test)]
    looked_at: usize,
}

/// Fewer scopes are not looked through.
const FEW: usize = 16;

impl<S> Default for Scopes<S> {
    fn default() -> Self {
        Self(Mutex::new(ByName {
            scopes: HashMap::new(),
            full: FEW,
            #[cfg(test)]
            looked_at: 0,
        }))
    }
}

impl<S> Scopes<S> {
    fn scope(&self, name: &str, new: impl FnOnce() -> S) -> Arc<S> {
        let mut by_name = self.lock();
        if let Some(scope) = by_name.scopes.get(name).and_then(Weak::upgrade) {
            return scope;
        }
        if by_name.scopes.len() >= by_name.full {
            by_name.drop_unused();
        }
        let scope = Arc::new(new());
        by_name
            .scopes
            .insert(name.to_owned(), Arc::downgrade(&scope));
        scope
    }

    fn each(&self, mut visit: impl FnMut(&str, &S)) {
        for (name, scope) in &self.lock().scopes {
            if let Some(scope) = scope.upgrade() {
                visit(name, &scope);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, ByName<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> ByName<S> {
    fn drop_unused(&mut self) {
        #[cfg(test)]
        (self.looked_at += self.scopes.len());
        self.scopes.retain(|_, scope| scope.strong_count() > 0);
        self.full = (2 * self.scopes.len()).max(FEW);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_name_is_the_same_scope_until_the_last_handle_is_gone() {
        let stats = Stats::new();
        let (old, new) = (stats.http("ing"), stats.http("ing"));
        old.downstream_cx_drain_close.inc();
        drop(old);
        assert_eq!(
            stats.snapshot().get("http.ing.downstream_cx_drain_close"),
            Some(1)
        );
        drop(new);
        assert_eq!(
            stats.snapshot().get("http.ing.downstream_cx_drain_close"),
            None
        );
    }

    #[test]
    fn many_names_are_not_looked_through_for_each_and_those_of_old_ones_do_not_stay() {
        let stats = Stats::new();
        let names: Vec<_> = (0..10_000).map(|number| number.to_string()).collect();
        let used: Vec<_> = names.iter().map(|name| stats.http(name)).collect();
        let looked_at = stats.0.http.lock().looked_at;
        assert!(looked_at < 20_000, "{looked_at}");
        drop(used);
        for name in &names {
            drop(stats.tcp(name));
            drop(stats.http(&format!("another {name}")));
        }
        assert!(stats.0.tcp.lock().scopes.len() <= FEW);
        assert!(stats.0.http.lock().scopes.len() <= 20_000);
    }

    #[test]
    fn a_connection_is_counted_at_its_listener_and_at_the_server() {
        let stats = Stats::new();
        let listener = stats.listener("127.0.0.1:80");
        let connection = listener.connection(3);
        let value = |name: &str| stats.snapshot().get(name);
        assert_eq!(value("listener.127.0.0.1_80.downstream_cx_active"), Some(1));
        assert_eq!(
            value("listener.127.0.0.1_80.worker_3.downstream_cx_active"),
            Some(1)
        );
        assert_eq!(value("server.total_connections"), Some(1));
        drop(connection);
        assert_eq!(value("listener.127.0.0.1_80.downstream_cx_active"), Some(0));
        assert_eq!(value("listener.127.0.0.1_80.downstream_cx_total"), Some(1));
        assert_eq!(
            value("listener.127.0.0.1_80.worker_3.downstream_cx_total"),
            Some(1)
        );
        assert_eq!(
            value("listener.127.0.0.1_80.downstream_cx_destroy"),
            Some(1)
        );
        assert_eq!(value("server.total_connections"), Some(0));
    }

    #[test]
    fn the_text_is_sorted_and_has_envoys_names() {
        let text = Stats::new().snapshot().to_string();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines.is_sorted());
        for name in [
            "listener_manager.listener_modified: 0",
            "listener_manager.total_listeners_draining: 0",
            "listener_manager.lds.update_rejected: 0",
            "server.dynamic_unknown_fields: 0",
        ] {
            assert!(lines.contains(&name), "{text}");
        }
    }
}
