//! Statistics under Envoy's names, and Orion's `orion_*`: counted without locks, read as one
//! snapshot.
//!
//! [`Stats`] hands out scopes: a connection's code holds an [`HttpStats`], [`TcpStats`] or
//! [`ListenerStats`] and touches atomics only, each thread its own. A scope disappears from the
//! snapshot with its last handle, so the set of names is bounded by what is configured; keep the
//! handle in the listener's version, not in each connection.
//!
//! No name or value says who a client is.
//!
//! | Orion's metric | type, label | what it says |
//! | --- | --- | --- |
//! | `orion_listener_versions_active` | gauge, `listener` | versions that are not gone: the one that accepts, and those that drain |
//! | `orion_listener_drain_duration_seconds` | histogram, `listener` | how long drains took: one observation a version, or filter chain |
//! | `orion_listener_drain_connections_active` | gauge, `listener` | open connections of what drains |
//! | `orion_listener_drain_timeouts_total` | counter, `listener` | drains that ran into their deadline with connections left |
//! | `orion_connection_state_transitions_total` | counter, `state` | how often a connection entered a state |
//! | `orion_drain_strategy_usage_total` | counter, `strategy` | drains of versions and filter chains by strategy |
//! | `orion_connections_closed_total` | counter, `reason` | connections that ended, by reason; not in the proposal |
//!
//! A name has one unit at most: `_seconds`, or Envoy's `_ms` and `downstream_rq_time`, which is in
//! milliseconds too.
//!
//! Gauges go with the last version of their listener. Counters and histogram of a listener stay a
//! little longer, so that its last drain can be read: until 32 other listeners have gone after it.
//!
//! ```
//! use orion_drain_stats::Stats;
//!
//! let stats = Stats::new();
//! let http = stats.http("ingress");
//! let connection = http.connection();
//! http.downstream_cx_drain_close.inc();
//! assert_eq!(stats.snapshot().get("http.ingress.downstream_cx_active"), Some(1));
//! drop(connection);
//! assert_eq!(stats.snapshot().get("http.ingress.downstream_cx_active"), Some(0));
//! assert!(stats.snapshot().to_string().contains("http.ingress.downstream_cx_drain_close: 1\n"));
//! ```
//!
//! # Features and requirements
//!
//! None is on by default.
//!
//! - `metrics`: `publish` hands a snapshot to the `metrics` facade, and durations of drains go there
//!   when a drain ends.
//! - `tracing`: log events and spans of listener versions.
//!
//! Minimum supported Rust version 1.85.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod cell;
mod drains;
#[cfg(feature = "metrics")]
mod facade;
mod family;
mod histogram;
mod observer;
mod prometheus;
mod rds;
mod registry;
mod scope;
mod snapshot;
mod text;
mod workers;

pub use cell::{Counter, Gauge};
#[cfg(feature = "metrics")]
pub use facade::publish;
pub use histogram::Histogram;
pub use observer::StatsObserver;
pub use rds::RdsStats;
pub use registry::{ControlPlaneStats, LdsStats, ListenerManagerStats, ServerStats, Stats};
pub use scope::{Held, HttpStats, ListenerStats, TcpStats};
pub use snapshot::{Quantiles, StatTypes, StatsSnapshot};
pub use text::Text;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
