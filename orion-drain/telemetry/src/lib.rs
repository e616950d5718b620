//! What happens to connections and listener versions, for logs and traces: stable names for events
//! and spans, and an id for every drain.
//!
//! With the feature `tracing`, `StatsObserver` of `orion-drain-stats` and every `Connection` of
//! `orion-drain-serve` report to [`tracing`](https://docs.rs/tracing) what happens;
//! `docs/observability.md` in the repository has the table of events, spans and fields. An event
//! without a subscriber is not formatted. Without the feature, nothing of this is compiled but the
//! id of a drain.
//!
//! No event and no span says who a client is.
//!
//! # Features and requirements
//!
//! - `tracing`: the events and spans. Not on by default.
//!
//! Minimum supported Rust version 1.85.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg_attr(feature = "tracing", path = "connection.rs")]
#[cfg_attr(not(feature = "tracing"), path = "silent.rs")]
mod connection;
mod drain_id;
#[cfg(feature = "tracing")]
mod listeners;

pub use connection::in_update;
pub use connection::{ConnTrace, ListenerTrace};
pub use drain_id::DrainId;
#[cfg(feature = "tracing")]
pub use listeners::lds_update;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
