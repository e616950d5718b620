//! A listener's configuration as versions need it, with what serves each of its filter chains.

mod apply;
mod awaited;
#[cfg(feature = "tls")]
mod hello;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use conn_tracker::{CloseReason, Peer};
use drain_tree::{DrainManager, DrainType, TrafficDirection};
use listener_versions::{
    Accepted, ListenAddress, ListenerConfig, ListenerVersion, RouteWatch, SocketOptions, Stream,
};

use crate::config::{
    CidrRange, ConnectionFacts, FilterChain, FilterChainMatch, Listener, NetworkFilter, SourceType,
    choose_chain,
};
use crate::serve::{Connection, SharedBehavior};
use crate::stats::{Held, ListenerStats, Stats};

use awaited::{Awaited, AwaitedRoutes};

pub use crate::config::Refused;
pub use apply::{Applied, apply_update};

/// One configuration of a listener, made ready once: connections only look things up.
///
/// `S` is what serves a filter chain's connections. Updates are compared by the configuration
/// alone; a chain that is the same keeps its connections, and new ones get the `S` that was made
/// last.
pub struct ServedListener<S> {
    listener: Listener,
    address: ListenAddress,
    additional_addresses: Vec<ListenAddress>,
    /// One per filter chain, in the order of [`Listener::all_chains`].
    services: Vec<Arc<S>>,
    /// What identifies each of them.
    ids: Vec<Arc<str>>,
    stats: Arc<ListenerStats>,
    behavior: Option<SharedBehavior>,
    awaited: Vec<Box<dyn Awaited>>,
    max_connections: Option<usize>,
}

impl<S> ServedListener<S> {
    /// Makes what serves each of the listener's chains; connections are counted in
    /// `listener.<address>.*`.
    pub fn new(
        listener: Listener,
        stats: &Stats,
        mut service: impl FnMut(&Listener, &FilterChain) -> S,
    ) -> Self {
        let services = listener.all_chains().map(|chain| service(&listener, chain));
        let services = services.map(Arc::new).collect();
        Self {
            address: ListenAddress::from(&listener.address),
            additional_addresses: (listener.additional_addresses.iter())
                .map(|additional| ListenAddress::from(&additional.address))
                .collect(),
            stats: stats.listener(&listener.address.to_string()),
            services,
            ids: identities(&listener),
            listener,
            behavior: None,
            awaited: Vec::new(),
            max_connections: None,
        }
    }

    /// Each version has so many connections at most; `None`: no limit.
    #[must_use]
    pub fn with_max_connections(mut self, connections: Option<usize>) -> Self {
        self.max_connections = connections;
        self
    }

    /// Its connections drain with this behaviour.
    #[must_use]
    pub fn with_behavior(mut self, behavior: SharedBehavior) -> Self {
        self.behavior = Some(behavior);
        self
    }

    /// It refers to these routes, which come by themselves: as long as they are not there it
    /// [warms](ListenerConfig::warms), and the version before it serves, for `limit` at most
    /// (Envoy's `initial_fetch_timeout`; `None`: for ever). Then it takes over without them.
    ///
    /// Several limits run at the same time.
    #[must_use]
    pub fn with_routes<R: Send + Sync + 'static>(
        mut self,
        routes: RouteWatch<R>,
        limit: Option<Duration>,
    ) -> Self {
        self.awaited.push(Box::new(AwaitedRoutes { routes, limit }));
        self
    }

    /// The configuration.
    pub const fn listener(&self) -> &Listener {
        &self.listener
    }

    /// What serves a filter chain, by its place in [`Listener::all_chains`].
    pub fn service(&self, chain: usize) -> Option<&Arc<S>> {
        self.services.get(chain)
    }

    /// The drain nodes of the filter chains of `version` that have an HTTP connection manager.
    pub fn http_chains(version: &ListenerVersion<Self>) -> Vec<DrainManager>
    where
        S: Send + Sync + 'static,
    {
        let chains = version.config().listener.all_chains();
        let http = chains.zip(version.chains()).filter(|(chain, _)| {
            matches!(
                chain.terminal(),
                Some(NetworkFilter::HttpConnectionManager(_))
            )
        });
        http.map(|(_, chain)| chain.drain().clone()).collect()
    }

    fn choose(&self, facts: &ConnectionFacts<'_>) -> Option<usize> {
        let chosen = choose_chain(&self.listener, facts)?;
        self.listener
            .all_chains()
            .position(|chain| std::ptr::eq(chain, chosen))
    }
}

impl<S> fmt::Debug for ServedListener<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServedListener")
            .field("listener", &self.listener)
            .finish_non_exhaustive()
    }
}

impl<S: Send + Sync + 'static> ListenerConfig for ServedListener<S> {
    type Chain = FilterChain;

    fn name(&self) -> &str {
        &self.listener.name
    }

    fn address(&self) -> &ListenAddress {
        &self.address
    }

    fn additional_addresses(&self) -> &[ListenAddress] {
        &self.additional_addresses
    }

    fn same_content(&self, other: &Self) -> bool {
        self.listener.same_content(&other.listener)
    }

    fn chains(&self) -> Vec<(Arc<str>, &FilterChain)> {
        self.ids
            .iter()
            .cloned()
            .zip(self.listener.all_chains())
            .collect()
    }

    fn differs_only_in_chains(&self, other: &Self) -> bool {
        self.listener.differs_only_in_chains(&other.listener)
    }

    fn drain_type(&self) -> DrainType {
        self.listener.drain_type
    }

    fn max_connections(&self) -> Option<usize> {
        self.max_connections
    }

    fn drain_timeout(&self) -> Duration {
        let managers = self
            .listener
            .all_chains()
            .filter_map(|chain| match chain.terminal() {
                Some(NetworkFilter::HttpConnectionManager(manager)) => {
                    let timeouts = manager.timeouts();
                    Some(timeouts.drain.saturating_add(timeouts.drain_jitter))
                }
                _ => None,
            });
        managers.max().unwrap_or_default()
    }

    fn socket_options(&self, address: &ListenAddress) -> SocketOptions {
        self.listener.socket_options(address)
    }

    fn traffic_direction(&self) -> TrafficDirection {
        self.listener.traffic_direction
    }

    fn warms(&self) -> bool {
        self.awaited.iter().any(|routes| !routes.is_there())
    }

    fn ready(&self) -> impl Future<Output = ()> + Send + 'static {
        let awaited = self.awaited.iter().map(|routes| routes.ready());
        let awaited: Vec<_> = awaited.collect();
        async move {
            for ready in awaited {
                ready.await;
            }
        }
    }
}

/// Envoy takes chains of the same name: later ones get a number.
fn identities(listener: &Listener) -> Vec<Arc<str>> {
    let mut seen = HashMap::<Arc<str>, usize>::new();
    let chains = listener.all_chains().enumerate();
    let ids = chains.map(|(index, chain)| {
        let id = identity(chain, index >= listener.filter_chains.len());
        let count = seen.entry(id.clone()).or_default();
        *count += 1;
        match *count {
            1 => id,
            count => Arc::from(format!("{id} #{count}")),
        }
    });
    ids.collect()
}

/// A chain's name; without one, the connections that it takes: no two chains of a listener take the
/// same.
fn identity(chain: &FilterChain, is_default: bool) -> Arc<str> {
    if !chain.name.is_empty() {
        return Arc::from(&*chain.name);
    }
    let rule = chain.filter_chain_match.as_ref();
    let parts = rule.map(told).unwrap_or_default();
    match (is_default, parts.is_empty()) {
        (true, _) => Arc::from("default"),
        (false, true) => Arc::from("all"),
        (false, false) => Arc::from(parts.join(" ")),
    }
}

/// Each part of a rule in words.
fn told(rule: &FilterChainMatch) -> Vec<String> {
    let range = |range: &CidrRange| format!("{}/{}", range.address_prefix, range.prefix_len);
    let mut parts: Vec<String> = rule.source_prefix_ranges.iter().map(range).collect();
    let more = rule
        .source_ports
        .iter()
        .map(|port| format!("from port {port}"));
    parts.extend(more);
    match rule.source_type {
        SourceType::SameIpOrLoopback => parts.push("from here".to_owned()),
        SourceType::External => parts.push("from elsewhere".to_owned()),
        _ => {}
    }
    let more = rule.prefix_ranges.iter();
    parts.extend(more.map(|at| format!("to {}", range(at))));
    let port = rule.destination_port.iter();
    parts.extend(port.map(|port| format!("to port {port}")));
    let names = rule.server_names.iter();
    parts.extend(names.map(|name| format!("for {name}")));
    let protocols = rule.application_protocols.iter();
    parts.extend(protocols.map(|protocol| format!("by {protocol}")));
    if !rule.transport_protocol.is_empty() {
        parts.push(format!("over {}", rule.transport_protocol));
    }
    parts
}

/// An accepted connection in the filter chain that takes it, for life.
#[non_exhaustive]
#[must_use = "dropping it closes the connection"]
pub struct Entered<S> {
    /// The connection.
    pub stream: Stream,
    /// The client's address.
    pub peer: Peer,
    /// Its place in the drain and in the registry.
    pub connection: Connection,
    /// What serves its chain.
    pub service: Arc<S>,
    /// It counts as open in `listener.<address>.*` while this is held.
    pub counted: Held<ListenerStats>,
}

impl<S: Send + Sync + 'static> Entered<S> {
    /// Finds the filter chain that takes the connection. `None`: no chain does, and the connection
    /// is closed without an answer, as in Envoy.
    ///
    /// It keeps nothing of the listener's other chains: they may be changed or gone long before it
    /// ends.
    ///
    /// Chains that ask for a name, a protocol or TLS do not match:
    /// `after_hello` (feature `tls`) knows what they ask for.
    pub fn new(accepted: Accepted<ServedListener<S>>) -> Option<Self> {
        let source = accepted.peer.as_socket();
        let facts = ConnectionFacts::new(source, None);
        Self::of(accepted, facts)
    }

    /// The same once the client has begun, if a filter chain asks for what it says first: whether
    /// it wants TLS, by which name, for which protocols. The wait ends 15 s after the call (Envoy's
    /// default of `listener_filters_timeout`), or in a drain one second after the connection's
    /// slot.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection.
    #[cfg(feature = "tls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
    pub async fn after_hello(accepted: Accepted<ServedListener<S>>) -> Option<Self> {
        let chains = &accepted.version.config().listener.filter_chains;
        let mut rules = chains
            .iter()
            .filter_map(|chain| chain.filter_chain_match.as_ref());
        if !rules.any(FilterChainMatch::asks_for_hello) {
            return Self::new(accepted);
        }
        // Boxed: few listeners wait for it, and the task of every connection would have room for it.
        let said = Box::pin(hello::wait(&accepted)).await?;
        let source = accepted.peer.as_socket();
        let mut facts = ConnectionFacts::new(source, None);
        facts.tls = said.tls;
        facts.server_name = said.server_name.as_deref();
        facts.application_protocols = &said.application_protocols;
        Self::of(accepted, facts)
    }

    fn of(accepted: Accepted<ServedListener<S>>, mut facts: ConnectionFacts<'_>) -> Option<Self> {
        if let Stream::Tcp(tcp) = &accepted.stream {
            // Small frames (HTTP/2 HEADERS, then DATA) must not wait for each other's
            // acknowledgements. A socket that refuses is served all the same.
            tcp.set_nodelay(true).ok();
        }
        let counted = accepted.version.config().stats.connection(accepted.worker);
        // The kernel is asked only if a chain wants to know.
        let chains = &accepted.version.config().listener.filter_chains;
        let mut rules = chains
            .iter()
            .filter_map(|chain| chain.filter_chain_match.as_ref());
        if rules.any(FilterChainMatch::asks_for_destination) {
            facts.destination = accepted.local().as_socket();
        }
        let mut index = None;
        let (entered, chain) = accepted
            .enter_chain(|listener| {
                index = listener.choose(&facts);
                listener.ids.get(index?).cloned()
            })
            .map_err(|refused| {
                refused.version.config().stats.no_filter_chain_match.inc();
                // Closed here, and logged as every other one.
                let connection = Connection::of(&refused.version, refused.watch, refused.conn);
                connection
                    .guard()
                    .set_close_reason(CloseReason::NoFilterChain);
            })
            .ok()?;
        let Accepted {
            stream,
            peer,
            version,
            watch,
            conn,
            ..
        } = entered;
        let mut connection = Connection::of_chain(&version, chain.drain(), watch, conn);
        if let Some(behavior) = &version.config().behavior {
            connection = connection.with_behavior(behavior.clone());
        }
        Some(Self {
            stream,
            peer,
            connection,
            service: service(&version, index?)?,
            counted,
        })
    }
}

fn service<S: Send + Sync + 'static>(
    version: &ListenerVersion<ServedListener<S>>,
    index: usize,
) -> Option<Arc<S>> {
    version.config().service(index).cloned()
}

impl<S> fmt::Debug for Entered<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entered")
            .field("peer", &self.peer)
            .field("connection", &self.connection)
            .finish_non_exhaustive()
    }
}
