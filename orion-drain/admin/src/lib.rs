//! Envoy's admin interface as a function from request to response, usable in any server.
//!
//! [`handle`] answers a request from an [`AdminHost`], which knows the state of the process and does
//! what is asked; [`answer`] does the same and bounds the body of the request. A request that
//! changes anything must be a POST, as in
//! [Envoy](https://www.envoyproxy.io/docs/envoy/latest/operations/admin), and not one of another
//! site's page. [`AdminHost::authorize`] decides which client may do what, by [`BearerToken`] or a
//! rule of the host. An interface without such a rule belongs on the loopback address. With the
//! feature `standard` there is a host for processes with listeners of `listener_versions`, served
//! on a port (`Standard`).
//!
//! | path | answer |
//! | --- | --- |
//! | `/` | a page that shows the drains live; the list of paths for a client that does not ask for HTML |
//! | `/help` | the list of paths |
//! | `/ready` | 200 `LIVE`, or 503 and the state |
//! | `/server_info` | version, state, uptime, drain settings (JSON) |
//! | `/stats` | `name: value`; `?filter=REGEX`, `?usedonly`, `?type=TYPE`, `?format=json`; `/stats/prometheus`, `?text_readouts` |
//! | `/listeners` | `name::address`; `?format=json` |
//! | `/config_dump` | the configuration of every version as it was read, and as it works (JSON); `?resource=dynamic_listeners` or `dynamic_route_configs`, `?mask=PATHS`, `?name_regex=REGEX` |
//! | `/clusters`, `/certs`, `/memory`, `/runtime`, `/hot_restart_version` | under Envoy's keys, as far as there is something to say |
//! | `/connections` | which connections are open, why, and what happens to each next (JSON); `?limit=N&offset=N&state=STATE&listener=NAME`, `?format=text`; `?summary`: the versions and how many connections each has. Envoy has no such list |
//! | `/drain` | how far each drain is, and the end of the process (JSON); `?limit=N`. Envoy has no such list |
//! | POST `/listeners/NAME/drain` | removes one listener: its connections drain, and are cut at the deadline |
//! | POST `/listeners/NAME/drain?fraction=0.1&rate=50` | keeps the listener and asks that share of its connections to leave, so many a second; without a rate, over a quarter of the drain time. Envoy has no such drain yet ([envoy#15283](https://github.com/envoyproxy/envoy/issues/15283), [envoy#43612](https://github.com/envoyproxy/envoy/issues/43612)) |
//! | POST `/drain_listeners` | stops accepting; `?graceful`, `?inboundonly`, `?skip_exit` |
//! | POST `/healthcheck/fail`, `/healthcheck/ok` | sets and clears the failed state |
//! | POST `/logging` | the levels of the log; `?level=LEVEL`, `?NAME=LEVEL`, `?paths=NAME:LEVEL,..` change them |
//! | POST `/reset_counters` | counters are shown as they grow from here |
//! | POST `/quitquitquit` | ends the process at once |
//!
//! # Features and requirements
//!
//! - `standard`: `Standard`, the host for processes with listeners of `listener_versions`; needs
//!   tokio.
//!
//! Not on by default. Minimum supported Rust version 1.85.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod body;
mod config_dump;
mod connection;
mod host;
mod logging;
mod operation;
mod origin;
mod page;
mod partial;
mod process;
mod query;
mod router;
mod rows;
#[cfg(feature = "standard")]
mod server;
#[cfg(feature = "standard")]
mod standard;
#[cfg(feature = "standard")]
mod startup;
mod text;
mod token;
mod translate;
mod view;

pub use body::{AdminBody, MAX_BODY, answer};
pub use config_dump::{
    ConfigDump, EffectiveListener, ListenerConfigView, RefusedListenerView, RouteConfigView,
};
pub use connection::{ConnectionPage, ConnectionView, NextStep};
pub use host::AdminHost;
pub use logging::LogLevel;
pub use operation::{Denied, DrainListenerError, DrainListeners, Operation};
pub use process::ClusterView;
pub use router::handle;
#[cfg(feature = "standard")]
pub use standard::Standard;
#[cfg(feature = "standard")]
pub use startup::Startup;
pub use token::BearerToken;
pub use view::{
    CommandLineOptions, DrainView, ListenerView, ServerInfo, ServerState, ShutdownView,
    VersionSummary,
};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
