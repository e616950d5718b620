//! Listeners that change: from a file that is replaced (`LdsFile`, feature `file`), or from a
//! control plane (`XdsClient`, feature `grpc`): LDS over gRPC, alone or aggregated (ADS), state of
//! the world or delta; and over ADS the routes that they refer to by name (RDS).
//!
//! ```text
//!              ┌── XdsClient::run ──────────────────────────────────────────┐
//!  control ◄───┤ request: who asks, what is there already, which routes     │
//!  plane   ───►│ response ─► XdsUpdate ─► apply (yours, one at a time)      │
//!          ◄───┤ ACK: taken whole      NACK: which resource, which field    │
//!              └── stream ends ─► wait (jittered backoff) ─► another one ───┘
//! ```
//!
//! The rules of the protocol are in `session`, which knows no socket and no clock; `client` keeps
//! the stream. An update is given to a closure, which is what `apply_update` of `orion-drain` is
//! made for, and what it refuses is reported to the control plane. The listeners of the last good
//! update go on serving whatever happens to the stream.
//!
//! ```no_run
//! # #[cfg(feature = "grpc")] {
//! use orion_drain_config::Bootstrap;
//! use orion_drain_stats::Stats;
//! use orion_drain_xds::{XdsClient, XdsUpdate};
//!
//! # async fn example(bootstrap: Bootstrap) {
//! if let Some(client) = XdsClient::of(&bootstrap, Stats::new()) {
//!     tokio::spawn(client.run(|update| async move {
//!         if let XdsUpdate::Listeners(update) = update {
//!             println!("{} listeners as {:?}", update.listeners.len(), update.version_info);
//!         }
//!         Vec::new() // Nothing is refused: ACK.
//!     }));
//! }
//! # }
//! # }
//! ```
//!
//! # What dropping means
//!
//! | dropped | means |
//! | --- | --- |
//! | the future of `XdsClient::run` | the stream is closed; listeners and routes stay as they are |
//! | the future of `LdsFile::next` | it may forget that the file was replaced: keep the future, or ask for the file again with `Reload::ask` |
//! | `LdsFile` | the file is not watched any more |
//!
//! Sources: [the xDS protocol](https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol),
//! and what Envoy 1.40 was seen to do. `docs/xds.md` has the table of both.
//!
//! # Features and requirements
//!
//! None is on by default.
//!
//! - `file`: listeners from a file that is replaced.
//! - `grpc`: listeners and routes from a control plane.
//! - `tls`: TLS to the control plane, by rustls with ring. Does nothing without `grpc`.
//!
//! tokio. Minimum supported Rust version 1.85.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "grpc")]
mod backoff;
#[cfg(feature = "grpc")]
mod client;
#[cfg(feature = "grpc")]
mod connect;
#[cfg(feature = "file")]
mod file;
#[cfg(feature = "grpc")]
mod refusals;
#[cfg(feature = "grpc")]
mod session;
#[cfg(feature = "grpc")]
mod streams;
#[cfg(all(feature = "grpc", feature = "tls"))]
mod tls;
#[cfg(feature = "grpc")]
mod update;
#[cfg(feature = "file")]
mod watch;

#[cfg(feature = "grpc")]
pub use client::{StreamEnded, XdsClient};
#[cfg(feature = "file")]
pub use file::{LdsFile, Reload};
#[cfg(feature = "grpc")]
pub use update::XdsUpdate;

#[cfg(all(doctest, feature = "grpc"))]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
