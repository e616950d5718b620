//! What the admin interface needs from the process it belongs to.

use conn_tracker::ConnId;
use drain_tree::PartialStart;
use http::request::Parts;

use super::{
    ClusterView, ConfigDump, ConnectionPage, Denied, DrainListenerError, DrainListeners, DrainView,
    ListenerView, LogLevel, Operation, ServerInfo, ServerState, ShutdownView, VersionSummary,
};
use orion_drain_stats::StatsSnapshot;

/// The process behind the admin interface, shared by its answers. Methods that begin something
/// return when it has begun; none may block.
pub trait AdminHost {
    /// Whether traffic should come here: [`ServerState::Draining`] while the health check is
    /// failed.
    ///
    /// A drain of listeners does not change it, as in Envoy; a shutdown of the process does.
    fn state(&self) -> ServerState;

    /// All statistics.
    fn stats(&self) -> StatsSnapshot;

    /// The present version of each listener; those that were replaced are not among them.
    fn listeners(&self) -> Vec<ListenerView>;

    /// Drains listeners. Asking again while they drain changes nothing, except that the form that
    /// stops at once does.
    fn drain_listeners(&self, form: DrainListeners);

    /// From now on health checks fail, and listeners of drain type `DEFAULT` ask their connections
    /// to finish.
    fn fail_health(&self);

    /// Takes [`fail_health`](Self::fail_health) back.
    fn restore_health(&self);

    /// Ends the process at once, without a drain; after the answer has been sent, if that takes no
    /// time.
    fn quit(&self);

    /// At most `limit` of the connections that are open: the first ones, or those that follow
    /// `after`, the [`next`](ConnectionPage::next) of the page before. A list of any length is
    /// asked for page by page, with other tasks in between. Default: none are known.
    fn connections(&self, after: Option<ConnId>, limit: usize) -> ConnectionPage {
        let _ = (after, limit);
        ConnectionPage::default()
    }

    /// How many connections are open. Default: none are known.
    fn connection_count(&self) -> usize {
        0
    }

    /// The versions of the listeners that are not gone, with how many connections each has.
    /// Default: none are known.
    fn versions(&self) -> Vec<VersionSummary> {
        Vec::new()
    }

    /// The drains that run. Default: none are known.
    fn drains(&self) -> Vec<DrainView> {
        Vec::new()
    }

    /// How far the process is from its end. Default: not known.
    fn shutdown(&self) -> Option<ShutdownView> {
        None
    }

    /// The configuration of every version. Default: none is known.
    fn config_dump(&self) -> ConfigDump {
        ConfigDump::default()
    }

    /// The upstream clusters. Default: none are known.
    fn clusters(&self) -> Vec<ClusterView> {
        Vec::new()
    }

    /// The files of the certificates that listeners show. Default: none are known.
    fn certificates(&self) -> Vec<String> {
        Vec::new()
    }

    /// Which processes can replace this one by hot restart, in words. Default: `disabled`, as Envoy
    /// without hot restart.
    fn hot_restart_version(&self) -> String {
        "disabled".to_owned()
    }

    /// The parts of the log, each with its level. Default: none can be changed.
    fn log_levels(&self) -> Vec<(String, LogLevel)> {
        Vec::new()
    }

    /// From now on this part of the log has this level; it is one of
    /// [`log_levels`](Self::log_levels).
    fn set_log_level(&self, part: &str, level: LogLevel) {
        let _ = (part, level);
    }

    /// From now on counters are shown as they grow from here. Default: nothing is.
    fn reset_counters(&self) {}

    /// Drains one listener: it accepts no more, and what is left at the deadline is closed.
    /// Default: there is none such.
    ///
    /// # Errors
    ///
    /// [`DrainListenerError`]; nothing was changed then.
    fn drain_listener(&self, name: &str) -> Result<(), DrainListenerError> {
        let _ = name;
        Err(DrainListenerError::NotFound)
    }

    /// Asks a share of a listener's connections to leave, and keeps the listener as it is. How many
    /// will be asked. Default: there is no such listener.
    ///
    /// # Errors
    ///
    /// [`DrainListenerError`]; no connection is asked then.
    fn drain_partially(
        &self,
        name: &str,
        start: PartialStart,
    ) -> Result<usize, DrainListenerError> {
        let _ = (name, start);
        Err(DrainListenerError::NotFound)
    }

    /// What this process is. Default: this crate's version and the state.
    fn server_info(&self) -> ServerInfo {
        ServerInfo::new(self.state())
    }

    /// Whether `name` in a URL leads to this admin interface, besides its IP addresses and
    /// `localhost`. Pages of other sites that a browser shows can be made to ask by a name of
    /// theirs; what changes something, or reveals the configuration, is answered only under a name
    /// of its own. Default: there is none.
    fn is_own_name(&self, name: &str) -> bool {
        let _ = name;
        false
    }

    /// Whether this path, with its query, is answered at all: Envoy's `admin.allow_paths`. Default:
    /// every path is.
    fn allows_path(&self, path: &str) -> bool {
        let _ = path;
        true
    }

    /// Whether this request may do this. Default: yes, so such an interface belongs on the loopback
    /// address.
    ///
    /// # Errors
    ///
    /// The text of the answer, with 403 or, after [`Denied::without_credentials`], 401.
    fn authorize(&self, request: &Parts, operation: Operation) -> Result<(), Denied> {
        let _ = (request, operation);
        Ok(())
    }
}
