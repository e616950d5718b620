//! Listeners and their filter chains: `config.listener.v3.Listener`.

use std::collections::BTreeMap;
use std::time::Duration;

use drain_tree::DrainType;
use drain_tree::TrafficDirection;
use listener_versions::{ListenAddress, SocketOptions};
use serde::{Deserialize, Deserializer, Serialize};

use super::{
    Address, CidrRange, HttpConnectionManager, Pipe, TcpProxy, TransportSocket,
    any::{self, TypedConfig},
    duration, flags,
    names::{self, Named, is_default},
    numbers,
    path::{FieldPath, Step},
    read::Unknown,
};

/// A listener, as in
/// [`config.listener.v3.Listener`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/listener/v3/listener.proto).
///
/// Equality covers fields that are unknown here as well, since Envoy compares the whole message;
/// [`same_content`](Self::same_content) leaves the version's label out.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// The name that later updates refer to. One that was read without a name is called by its
    /// address; Envoy makes up a new UUID every time.
    #[serde(default)]
    pub name: String,
    /// Where it listens.
    pub address: Address,
    /// Where it listens as well. One version of the listener takes what comes at all of its
    /// addresses. If one of them cannot be had, the update is refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub additional_addresses: Vec<AdditionalAddress>,
    /// Which filters a connection gets, by where it comes from and goes to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filter_chains: Vec<FilterChain>,
    /// The chain of connections that match none of `filter_chains`. Without it they are closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_filter_chain: Option<FilterChain>,
    /// A soft limit of what is buffered for a connection, in bytes. Envoy's default: 1 MiB.
    #[serde(
        default,
        deserialize_with = "numbers::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub per_connection_buffer_limit_bytes: Option<u32>,
    /// Whether each worker accepts on a socket of its own, if the host runs several workers.
    /// Default, other than in Envoy: no, they share one. It cannot change while the listener keeps
    /// its address.
    #[serde(
        default,
        deserialize_with = "flags::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub enable_reuse_port: Option<bool>,
    /// How many connections may wait to be accepted. Default 1024; the kernel caps it.
    #[serde(
        default,
        deserialize_with = "numbers::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub tcp_backlog_size: Option<u32>,
    /// Whether a failed health check drains it. Default `DEFAULT`: yes.
    #[serde(default, with = "names", skip_serializing_if = "is_default")]
    pub drain_type: DrainType,
    /// What `/drain_listeners?inboundonly` goes by. Default `UNSPECIFIED`.
    #[serde(default, with = "names", skip_serializing_if = "is_default")]
    pub traffic_direction: TrafficDirection,
    /// A label of the version, kept as it is. Orion's; Envoy has it in the discovery response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_info: Option<String>,
    #[serde(skip)]
    unknown: UnknownFields,
}

/// One more address of a listener: `config.listener.v3.AdditionalAddress`.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdditionalAddress {
    /// Where the listener listens as well.
    pub address: Address,
}

impl<A: Into<Address>> From<A> for AdditionalAddress {
    fn from(address: A) -> Self {
        let address = address.into();
        Self { address }
    }
}

/// The filters of some of a listener's connections: `config.listener.v3.FilterChain`.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterChain {
    /// A name for logs and statistics.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Which connections it takes. Absent or empty: all that no other chain takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter_chain_match: Option<FilterChainMatch>,
    /// The filters; the last one decides what is spoken. Without any, connections are closed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<Filter>,
    /// What connections are wrapped in; only TLS is served. Absent: nothing, they speak in clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport_socket: Option<TransportSocket>,
    /// How long a handshake may take. Default 10 s, where Envoy has no limit; 0 means the default.
    #[serde(
        default,
        with = "duration::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub transport_socket_connect_timeout: Option<Duration>,
    #[serde(skip)]
    unknown: UnknownFields,
}

/// Which connections a chain takes: `config.listener.v3.FilterChainMatch`.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterChainMatch {
    /// The port the client connected to, if the socket serves several.
    #[serde(
        default,
        deserialize_with = "numbers::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub destination_port: Option<u16>,
    /// Where the client connects from; empty means anywhere. The longest range that holds it wins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub source_prefix_ranges: Vec<CidrRange>,
    /// Where the client connects to; empty means anywhere. The longest range that holds it wins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefix_ranges: Vec<CidrRange>,
    /// The name that a client over TLS asks for: `a.example`, or `*.example` for what ends so. The
    /// longest wins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub server_names: Vec<String>,
    /// `tls` or `raw_buffer`: whether the client begins with a TLS handshake. Default: both.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub transport_protocol: String,
    /// The protocols of which a client over TLS offers one by ALPN.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub application_protocols: Vec<String>,
    /// Where the client connects from, in general. Default `ANY`.
    #[serde(default, with = "names", skip_serializing_if = "is_default")]
    pub source_type: SourceType,
    /// The ports that the client connects from; empty means any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub source_ports: Vec<u16>,
}

/// Where a client connects from, in general.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SourceType {
    /// `ANY`
    #[default]
    Any,
    /// `SAME_IP_OR_LOOPBACK`: this machine.
    SameIpOrLoopback,
    /// `EXTERNAL`: another machine.
    External,
}

impl Named for SourceType {
    const NAMES: &'static [(&'static str, u64, Self)] = &[
        ("ANY", 0, Self::Any),
        ("SAME_IP_OR_LOOPBACK", 1, Self::SameIpOrLoopback),
        ("EXTERNAL", 2, Self::External),
    ];
}

/// A network filter: `config.listener.v3.Filter`.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// A name for logs; the type of `typed_config` decides what the filter is.
    #[serde(default)]
    pub name: String,
    /// What the filter is.
    pub typed_config: NetworkFilter,
}

/// The network filters that are known.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "@type")]
pub enum NetworkFilter {
    /// HTTP.
    #[serde(
        rename = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    )]
    HttpConnectionManager(Box<HttpConnectionManager>),
    /// Bytes.
    #[serde(rename = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy")]
    TcpProxy(TcpProxy),
}

impl TypedConfig for NetworkFilter {
    const KNOWN: &'static [&'static str] = &[
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
    ];

    fn read<'de, D: Deserializer<'de>>(known: usize, message: D) -> Result<Self, D::Error> {
        if known == 0 {
            Box::deserialize(message).map(Self::HttpConnectionManager)
        } else {
            TcpProxy::deserialize(message).map(Self::TcpProxy)
        }
    }
}

impl<'de> Deserialize<'de> for NetworkFilter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        any::deserialize(deserializer)
    }
}

impl Listener {
    /// A listener with these filter chains and nothing else.
    pub fn new(
        name: impl Into<String>,
        address: impl Into<Address>,
        filter_chains: Vec<FilterChain>,
    ) -> Self {
        Self {
            name: name.into(),
            address: address.into(),
            additional_addresses: Vec::new(),
            filter_chains,
            default_filter_chain: None,
            per_connection_buffer_limit_bytes: None,
            enable_reuse_port: None,
            tcp_backlog_size: None,
            drain_type: DrainType::Default,
            traffic_direction: TrafficDirection::Unspecified,
            version_info: None,
            unknown: UnknownFields::default(),
        }
    }

    /// How its socket at `at`, one of its addresses, is opened: `enable_reuse_port`,
    /// `tcp_backlog_size`, and the address's `ipv4_compat` or `mode`.
    pub fn socket_options(&self, at: &ListenAddress) -> SocketOptions {
        let reuse_port = self.enable_reuse_port == Some(true);
        let mut options = SocketOptions::default().with_reuse_port(reuse_port);
        if let Some(connections) = self.tcp_backlog_size {
            options = options.with_backlog(connections);
        }
        let additional = self.additional_addresses.iter();
        let mut addresses = additional.map(|additional| &additional.address);
        match addresses
            .find(|address| address.is_at(at))
            .unwrap_or(&self.address)
        {
            Address::SocketAddress(address) if address.ipv4_compat => options.with_dual_stack(true),
            Address::Pipe(Pipe {
                mode: Some(mode), ..
            }) => options.with_mode(*mode),
            Address::SocketAddress(_) | Address::Pipe(_) => options,
        }
    }

    /// Every filter chain, the default one last.
    pub fn all_chains(&self) -> impl Iterator<Item = &FilterChain> {
        self.filter_chains.iter().chain(&self.default_filter_chain)
    }

    /// Every filter chain with its place in the document, the default one last.
    pub(super) fn chains_at<'l>(
        &'l self,
        at: &FieldPath,
    ) -> impl Iterator<Item = (FieldPath, &'l FilterChain)> {
        let place = at.key("filter_chains");
        let chains = self.filter_chains.iter().enumerate();
        let chains = chains.map(move |(index, chain)| (place.index(index), chain));
        let place = at.key("default_filter_chain");
        let default = self.default_filter_chain.iter();
        chains.chain(default.map(move |chain| (place.clone(), chain)))
    }

    /// Whether an update from `self` to `other` would change nothing but the label in
    /// `version_info`.
    pub fn same_content(&self, other: &Self) -> bool {
        self.same_but_chains(other) && self.same_chains(other)
    }

    /// Whether an update to `other` can be taken in place: filter chains differ, all else is the
    /// same.
    pub fn differs_only_in_chains(&self, other: &Self) -> bool {
        self.same_but_chains(other) && !self.same_chains(other)
    }

    fn same_chains(&self, other: &Self) -> bool {
        self.filter_chains == other.filter_chains
            && self.default_filter_chain == other.default_filter_chain
    }

    fn same_but_chains(&self, other: &Self) -> bool {
        self.name == other.name
            && self.address == other.address
            && self.additional_addresses == other.additional_addresses
            && self.per_connection_buffer_limit_bytes == other.per_connection_buffer_limit_bytes
            && self.enable_reuse_port == other.enable_reuse_port
            && self.tcp_backlog_size == other.tcp_backlog_size
            && self.drain_type == other.drain_type
            && self.traffic_direction == other.traffic_direction
            && self.unknown == other.unknown
    }

    /// Keeps the content of fields that are unknown here, so that a change in one of them is a
    /// change.
    pub(super) fn keep_unknown(&mut self, own: &FieldPath, fields: &[Unknown]) {
        for field in fields {
            let Some(path) = field.path.below(own) else {
                continue;
            };
            let (keeper, path) = match path.steps() {
                [Step::Key(key), Step::Index(index), rest @ ..] if key == "filter_chains" => (
                    self.filter_chains
                        .get_mut(*index)
                        .map(|chain| &mut chain.unknown),
                    rest,
                ),
                [Step::Key(key), rest @ ..] if key == "default_filter_chain" => (
                    self.default_filter_chain
                        .as_mut()
                        .map(|chain| &mut chain.unknown),
                    rest,
                ),
                _ => (None, path.steps()),
            };
            let path: FieldPath = path.iter().cloned().collect();
            keeper
                .unwrap_or(&mut self.unknown)
                .0
                .insert(path.to_string(), field.value.to_string());
        }
    }
}

impl FilterChain {
    /// A chain for every connection, with one filter.
    pub fn new(filter: Filter) -> Self {
        Self {
            filters: vec![filter],
            ..Self::default()
        }
    }

    /// The filter that decides what is spoken: the last one. `None`: connections are closed.
    pub fn terminal(&self) -> Option<&NetworkFilter> {
        self.filters.last().map(|filter| &filter.typed_config)
    }
}

impl Filter {
    /// A filter with its name.
    pub fn new(name: impl Into<String>, typed_config: NetworkFilter) -> Self {
        Self {
            name: name.into(),
            typed_config,
        }
    }
}

impl FilterChainMatch {
    /// Takes everything.
    pub const fn any() -> Self {
        Self {
            destination_port: None,
            source_prefix_ranges: Vec::new(),
            prefix_ranges: Vec::new(),
            server_names: Vec::new(),
            transport_protocol: String::new(),
            application_protocols: Vec::new(),
            source_type: SourceType::Any,
            source_ports: Vec::new(),
        }
    }

    /// Whether it asks for the address that the client connects to.
    pub fn asks_for_destination(&self) -> bool {
        self.destination_port.is_some()
            || !self.prefix_ranges.is_empty()
            || self.source_type != SourceType::Any
    }

    /// Whether it asks for something that only the client's first bytes say.
    pub fn asks_for_hello(&self) -> bool {
        !self.server_names.is_empty()
            || !self.transport_protocol.is_empty()
            || !self.application_protocols.is_empty()
    }

    /// Takes connections to this port only.
    pub fn with_destination_port(mut self, port: u16) -> Self {
        self.destination_port = Some(port);
        self
    }

    /// Takes connections from these ranges only.
    pub fn with_source_prefix_ranges(mut self, ranges: Vec<CidrRange>) -> Self {
        self.source_prefix_ranges = ranges;
        self
    }
}

/// The content of fields that are unknown here: path below the owner, and JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct UnknownFields(BTreeMap<String, String>);
