//! What a request asks for, before it is done.

use super::{partial, query::Query};

/// What an admin request asks for. What it needs is a right of its own: see
/// [`AdminHost::authorize`](super::AdminHost::authorize).
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `/`
    Home,
    /// `/help`: the list of paths.
    Help,
    /// `/ready`
    Ready,
    /// `/server_info`
    ServerInfo,
    /// `/stats`
    Stats,
    /// `/stats/prometheus`
    Prometheus,
    /// `/listeners`
    Listeners,
    /// `/connections`; it names peers.
    Connections,
    /// `/config_dump`
    ConfigDump,
    /// `/drain`
    Drains,
    /// `/clusters`
    Clusters,
    /// `/certs`
    Certs,
    /// `/memory`
    Memory,
    /// `/runtime`
    Runtime,
    /// `/hot_restart_version`
    HotRestartVersion,
    /// `/logging`
    Logging,
    /// `/reset_counters`
    ResetCounters,
    /// `/listeners/NAME/drain`
    DrainListener,
    /// `/listeners/NAME/drain?fraction=..&rate=..`
    DrainPartially,
    /// `/drain_listeners`
    DrainListeners(DrainListeners),
    /// `/healthcheck/fail`
    FailHealth,
    /// `/healthcheck/ok`
    RestoreHealth,
    /// `/quitquitquit`
    Quit,
}

/// The forms of
/// [`/drain_listeners`](https://www.envoyproxy.io/docs/envoy/latest/operations/admin#post--drain_listeners).
/// A parameter counts if it is there, whatever its value.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct DrainListeners {
    /// Accept until the drain time is over. Without it, and without `skip_exit`, accepting stops at
    /// once.
    pub graceful: bool,
    /// Only listeners whose `traffic_direction` is `INBOUND`.
    pub inbound_only: bool,
    /// Never stop accepting; without `graceful` it means both, as in Envoy 1.40.
    pub skip_exit: bool,
}

impl DrainListeners {
    /// Every listener, at once.
    pub fn now() -> Self {
        Self::default()
    }

    /// Whether the listeners go on accepting when this is asked.
    pub fn keeps_accepting(self) -> bool {
        self.graceful || self.skip_exit
    }
}

/// Why a listener was not drained.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DrainListenerError {
    /// No listener of this name is active: 404.
    #[error("no such listener")]
    NotFound,
    /// It is static: it lives as long as the process. 409.
    #[error("a static listener cannot be removed")]
    Static,
}

/// An operation that is not allowed: 403, or 401.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Denied {
    /// The text of the answer.
    pub message: String,
    /// Whether the client may try again with a bearer token: 401 with `www-authenticate`, instead
    /// of 403.
    pub challenge: bool,
}

impl Denied {
    /// Denied, with these words for the client.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            challenge: false,
        }
    }

    /// Denied for want of a bearer token.
    pub fn without_credentials(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            challenge: true,
        }
    }
}

/// Every path with what it does, in the order of the home page.
pub(super) const PATHS: &[(&str, &str)] = &[
    ("/", "what drains, live (HTML)"),
    ("/certs", "the files of certificates (JSON)"),
    (
        "/clusters",
        "upstream clusters: ?filter=REGEX, ?format=json",
    ),
    (
        "/config_dump",
        "dump current configs (JSON): ?resource=FIELD, ?mask=PATHS, ?name_regex=REGEX",
    ),
    (
        "/connections",
        "which connections are open, why, and what happens next: ?limit=N, ?offset=N, ?state=STATE, ?listener=NAME, \
         ?format=json|text; ?summary",
    ),
    ("/drain", "how far each drain is (JSON): ?limit=N"),
    (
        "/drain_listeners",
        "drain listeners: POST, ?graceful, ?inboundonly, ?skip_exit",
    ),
    (
        "/healthcheck/fail",
        "cause the server to fail health checks: POST",
    ),
    (
        "/healthcheck/ok",
        "cause the server to pass health checks: POST",
    ),
    ("/help", "this list"),
    (
        "/hot_restart_version",
        "print the hot restart compatibility version",
    ),
    ("/listeners", "print listener info: ?format=json"),
    (
        "/listeners/NAME/drain",
        "remove one listener and drain it: POST; ?fraction=0.1, ?rate=50: that share leaves, so many a second, and it stays",
    ),
    (
        "/logging",
        "print levels of the log, or change them: POST, ?level=LEVEL, ?NAME=LEVEL, ?paths=NAME:LEVEL,..",
    ),
    ("/memory", "print memory of the process (JSON)"),
    ("/quitquitquit", "exit the server: POST"),
    ("/ready", "print server state, 200 if LIVE, otherwise 503"),
    ("/reset_counters", "reset all counters to zero: POST"),
    ("/runtime", "print runtime values (JSON); there are none"),
    ("/server_info", "print server version and state (JSON)"),
    (
        "/stats",
        "print server stats: ?filter=REGEX, ?usedonly, ?type=TYPE, ?format=text|json|prometheus, ?text_readouts",
    ),
    (
        "/stats/prometheus",
        "print server stats in prometheus format",
    ),
];

impl Operation {
    /// What a path asks for.
    pub(super) fn of(path: &str, query: &Query) -> Option<Self> {
        Some(match path {
            "/" => Self::Home,
            "/help" => Self::Help,
            "/config_dump" => Self::ConfigDump,
            "/ready" => Self::Ready,
            "/server_info" => Self::ServerInfo,
            "/stats" => Self::Stats,
            "/stats/prometheus" => Self::Prometheus,
            "/listeners" => Self::Listeners,
            "/connections" => Self::Connections,
            "/drain" => Self::Drains,
            "/clusters" => Self::Clusters,
            "/certs" => Self::Certs,
            "/memory" => Self::Memory,
            "/runtime" => Self::Runtime,
            "/hot_restart_version" => Self::HotRestartVersion,
            "/logging" => Self::Logging,
            "/reset_counters" => Self::ResetCounters,
            "/drain_listeners" => Self::DrainListeners(DrainListeners {
                graceful: query.has("graceful"),
                inbound_only: query.has("inboundonly"),
                skip_exit: query.has("skip_exit"),
            }),
            "/healthcheck/fail" => Self::FailHealth,
            "/healthcheck/ok" => Self::RestoreHealth,
            "/quitquitquit" => Self::Quit,
            path if listener_of(path).is_some() && partial::is_asked_for(query) => {
                Self::DrainPartially
            }
            path if listener_of(path).is_some() => Self::DrainListener,
            _ => return None,
        })
    }

    /// Whether it shows more than numbers: the configuration, or the addresses of peers.
    pub(super) fn reveals(self) -> bool {
        matches!(
            self,
            Self::Connections
                | Self::ConfigDump
                | Self::Drains
                | Self::Listeners
                | Self::Clusters
                | Self::Certs
        )
    }

    /// Whether it changes anything, so that it takes a POST.
    pub fn changes(self) -> bool {
        matches!(
            self,
            Self::DrainListeners(_)
                | Self::DrainListener
                | Self::DrainPartially
                | Self::FailHealth
                | Self::RestoreHealth
                | Self::Quit
                | Self::Logging
                | Self::ResetCounters
        )
    }
}

/// The listener that `/listeners/NAME/drain` names, percent-encoded as it stands in the path.
pub(super) fn listener_of(path: &str) -> Option<&str> {
    let name = path.strip_prefix("/listeners/")?.strip_suffix("/drain")?;
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listeners_name_may_hold_anything() {
        assert_eq!(listener_of("/listeners/a/b/drain"), Some("a/b"));
        assert_eq!(listener_of("/listeners//drain"), None);
        assert_eq!(listener_of("/listeners/drain"), None);
    }
}
