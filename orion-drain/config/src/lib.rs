//! Envoy's configuration: what it reads, what it refuses, and what each field means.
//!
//! The types have the shapes of Envoy's v3 API, as far as this proxy family serves them, and
//! Orion's `listener_manager` block. Reading follows protobuf's JSON mapping: `null` is absent,
//! `portValue` is `port_value`, durations are `600s` or `0.25s` (and `10m`, which Envoy does not
//! take). YAML needs the feature `yaml`; no type of the parser is in a signature here.
//!
//! - A field that is not known is ignored, as Envoy does, and its path is returned
//!   ([`Loaded::unknown_fields`]). Its content still counts when two listeners are compared. Those
//!   that Envoy does not have either are probably mistakes: [`Loaded::refuse_foreign_fields`].
//!   Fields that Envoy has and that cannot be ignored safely, such as `require_sni`, are refused. So
//!   are transport sockets other than `raw_buffer` and TLS (feature `tls`).
//! - A wrong value is refused, with the path of the field, its line and what is allowed there; all
//!   that is wrong with a text is found at once ([`ConfigError`]).
//! - Messages of `envoy-types`, and resources as a control plane sends them, are read by the same
//!   rules (feature `xds`).
//! - Settings that contradict each other are reported, not refused ([`Bootstrap::audit`],
//!   [`Listener::audit`]).
//! - In an update each listener stands for itself ([`ListenerUpdate`]).
//! - A field that was not written stays unwritten: a configuration without any drain field is
//!   serialised as it was read.
//!
//! ```
//! use orion_drain_config::ListenerUpdate;
//!
//! let update = ListenerUpdate::from_json(r#"{ "resources": [{
//!     "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
//!     "name": "in",
//!     "address": { "socket_address": { "address": "127.0.0.1", "port_value": 10000 } },
//!     "filter_chains": [{ "filters": [{ "name": "tcp", "typed_config": {
//!         "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
//!         "stat_prefix": "tcp", "cluster": "upstream", "idle_timeout": "soon"
//!     } }] }]
//! }] }"#)?;
//! assert_eq!(
//!     update.rejected[0].error.to_string(),
//!     "resources[0].filter_chains[0].filters[0].typed_config.idle_timeout: \
//!      `soon` is not a duration such as `600s`, `0.25s` or `10m`",
//! );
//! # Ok::<(), orion_drain_config::ConfigError>(())
//! ```
//!
//! # Features and requirements
//!
//! None is on by default.
//!
//! - `yaml`: YAML as well as JSON.
//! - `xds`: messages of `envoy-types`; bootstraps may name a control plane.
//! - `serve`: servers of `orion-drain-serve` from filters.
//! - `tls`: certificates and keys of filter chains for those servers.
//!
//! Minimum supported Rust version 1.85.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod address;
mod any;
mod api_source;
mod audit;
mod bodies;
mod bootstrap;
mod bootstrap_rules;
mod chain_choice;
mod client_address;
mod cluster;
mod discovery;
mod document;
mod domains;
mod duration;
mod endpoint;
mod error;
mod file;
mod flags;
mod foreign;
mod format;
mod hcm;
mod headers;
mod http_filter;
mod known_clusters;
mod left_out;
mod listener;
mod locate;
mod manager;
mod matching;
mod names;
mod numbers;
mod overload;
mod path;
mod path_policy;
#[cfg(feature = "xds")]
mod protobuf;
mod rds;
mod re2;
mod read;
mod refused;
mod repair;
mod request;
mod resources;
mod rewrite;
mod route;
mod route_choice;
#[cfg(feature = "xds")]
mod route_update;
mod runtime;
#[cfg(feature = "serve")]
mod serving;
mod shares;
mod stream_limits;
mod target;
mod tcp_proxy;
mod tls;
#[cfg(feature = "tls")]
mod tls_client;
#[cfg(feature = "tls")]
mod tls_files;
#[cfg(feature = "tls")]
mod tls_names;
#[cfg(feature = "tls")]
mod tls_server;
mod tuning;
mod unsupported;
mod upstream;
mod validate;

pub use address::{Address, CidrRange, Pipe, Protocol, SocketAddress};
pub use api_source::{
    AggregatedConfigSource, ApiConfigSource, ApiType, ApiVersion, EnvoyGrpc, GrpcService,
};
pub use bodies::Bodies;
pub use bootstrap::{
    Admin, Bootstrap, ConfigSource, DynamicResources, Locality, Node, PathConfigSource,
    StaticResources, WatchedDirectory,
};
pub use bootstrap_rules::BootstrapRules;
pub use chain_choice::{ConnectionFacts, choose_chain};
pub use cluster::{
    Cluster, CommonLbConfig, DiscoveryType, DnsLookupFamily, Endpoint, HealthStatus, LbEndpoint,
    LoadAssignment, LocalityEndpoints,
};
pub use discovery::{ListenerUpdate, RejectedResource, UpdateOutcome};
pub use domains::Domains;
pub use duration::{DurationError, format_duration, parse_duration};
pub use endpoint::{EndpointAddress, HostAddress};
pub use error::{ConfigError, ConfigErrorKind};
pub use file::{read_file, read_text};
pub use hcm::{
    CodecType, Http2ServerOptions, HttpConnectionManager, HttpProtocolOptions, HttpTimeouts,
    KeepaliveSettings, Percent, UpgradeConfig,
};
pub use headers::{AppendAction, HeaderEdits, HeaderField, HeaderValueOption};
pub use http_filter::{HealthCheck, HttpFilter, HttpFilterConfig, LeftOutFilter, Router};
pub use listener::{
    AdditionalAddress, Filter, FilterChain, FilterChainMatch, Listener, NetworkFilter, SourceType,
};
pub use listener_versions::FieldError;
pub use locate::line_of;
pub use manager::{
    CleanupPolicy, ListenerDrainConfig, ListenerManagerConfig, ProtocolDrainBehavior,
};
pub use matching::{
    Denominator, FractionalPercent, HeaderMatcher, HeaderPattern, Int64Range,
    QueryParameterMatcher, RegexMatcher, RuntimeFraction, StringMatcher, StringPattern,
};
pub use overload::{
    DownstreamConnections, OverloadManager, ResourceMonitor, ResourceMonitorConfig,
};
pub use path_policy::{EscapedSlashes, PathOutcome, Underscores, normal_path};
pub use rds::Rds;
pub use read::Loaded;
pub use refused::Refused;
pub use request::{RequestHead, is_grpc};
pub use rewrite::{RedirectAction, RedirectCode, RegexRewrite};
pub use route::{
    Action, ClusterNotFound, DataSource, DirectResponse, GrpcMatch, MaxStreamDuration, PathMatch,
    Route, RouteAction, RouteConfiguration, RouteMatch, TlsRequirement, VirtualHost,
};
pub use route_choice::ChosenRoute;
#[cfg(feature = "xds")]
pub use route_update::RouteUpdate;
pub use runtime::RuntimeValues;
pub use shares::Host;
pub use stream_limits::StreamLimits;
pub use target::{ChosenCluster, ClusterWeight, WeightedClusters};
pub use tcp_proxy::TcpProxy;
pub use tls::{
    CertificateValidationContext, CombinedValidationContext, CommonTlsContext,
    DownstreamTlsContext, PemSource, RawBuffer, SanType, SdsSecretConfig, Secret,
    SubjectAltNameMatcher, TlsCertificate, TlsParameters, TlsProtocol, TransportSocket,
    TransportSocketConfig, UpstreamSocketConfig, UpstreamTlsContext, UpstreamTransportSocket,
};
#[cfg(feature = "tls")]
pub use tls_client::UpstreamTls;
pub use upstream::{
    Http1Options, Http2Options, HttpVersionConfig, LbPolicy, UpstreamHttpOptions, UpstreamOptions,
    UpstreamVersion, VersionOptions,
};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
