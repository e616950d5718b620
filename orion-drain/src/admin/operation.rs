//! What a request asks for, before anybody does it.

use http::Uri;

/// What an admin request asks for. What it needs is a right of its own: see [`AdminHost::authorize`](super::AdminHost::authorize).
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// The list of paths.
    Home,
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
    /// `/drain`
    Drains,
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
/// [`/drain_listeners`](https://www.envoyproxy.io/docs/envoy/latest/operations/admin#post--drain_listeners). A parameter
/// counts if it is there, whatever its value.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct DrainListeners {
    /// Accept until the drain time is over. Without it, and without `skip_exit`, accepting stops at once.
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

/// An operation that is not allowed: 403.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Denied {
    /// What the client is told.
    pub message: String,
}

impl Denied {
    /// Denied, with these words for the client.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
        }
    }
}

/// Every path with what it does, in the order of the home page.
pub(super) const PATHS: &[(&str, &str)] = &[
    ("/", "this list"),
    ("/connections", "who is still here (JSON)"),
    ("/drain", "how far each drain is (JSON)"),
    (
        "/drain_listeners",
        "drain listeners: POST, ?graceful, ?inboundonly, ?skip_exit",
    ),
    (
        "/healthcheck/fail",
        "cause the server to fail health checks: POST",
    ),
    ("/healthcheck/ok", "cause the server to pass health checks: POST"),
    ("/listeners", "print listener info: ?format=json"),
    ("/quitquitquit", "exit the server: POST"),
    ("/ready", "print server state, 200 if LIVE, otherwise 503"),
    ("/server_info", "print server version and state (JSON)"),
    (
        "/stats",
        "print server stats: ?filter=TEXT, ?usedonly, ?format=json|prometheus",
    ),
    ("/stats/prometheus", "print server stats in prometheus format"),
];

impl Operation {
    /// What a path asks for.
    pub(super) fn of(uri: &Uri) -> Option<Self> {
        Some(match uri.path() {
            "/" => Self::Home,
            "/ready" => Self::Ready,
            "/server_info" => Self::ServerInfo,
            "/stats" => Self::Stats,
            "/stats/prometheus" => Self::Prometheus,
            "/listeners" => Self::Listeners,
            "/connections" => Self::Connections,
            "/drain" => Self::Drains,
            "/drain_listeners" => Self::DrainListeners(DrainListeners {
                graceful: parameter(uri, "graceful").is_some(),
                inbound_only: parameter(uri, "inboundonly").is_some(),
                skip_exit: parameter(uri, "skip_exit").is_some(),
            }),
            "/healthcheck/fail" => Self::FailHealth,
            "/healthcheck/ok" => Self::RestoreHealth,
            "/quitquitquit" => Self::Quit,
            _ => return None,
        })
    }

    /// Whether it changes anything, so that it takes a POST.
    pub fn changes(self) -> bool {
        matches!(
            self,
            Self::DrainListeners(_) | Self::FailHealth | Self::RestoreHealth | Self::Quit
        )
    }
}

/// The first value of a query parameter, empty if it has none.
pub(super) fn parameter<'u>(uri: &'u Uri, name: &str) -> Option<&'u str> {
    uri.query()?.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value)
    })
}
