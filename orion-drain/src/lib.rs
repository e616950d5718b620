//! Envoy-compatible connection draining for any Rust proxy or server, in one import.
//!
//! Change a listener, hand over, or shut down, and lose not one request. The new version takes new
//! connections at once on the same socket. Old connections are asked to finish in their own
//! protocol, spread over the first quarter of the drain time. What is left at the deadline is
//! closed in steps.
//!
//! ```text
//!  Listeners::apply(update) ─► new version accepts ─► old version drains ─► removed
//!                                                     (listener-versions, drain-tree)
//!           Worker::run ─► Accepted ─► Connection ─► serve_http / serve_tcp        (serve)
//!                                          │ slot: connection: close · GOAWAY twice
//!                                          │       (proto-drain-*, drain-signal)
//!                                          └ which connections are open, and why
//!                                            (conn-tracker, admin, stats)
//! ```
//!
//! # Example
//!
//! ```
//! use std::convert::Infallible;
//!
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use hyper::{body::Bytes, service::service_fn};
//! use orion_drain::conn_tracker::{ConnTracker, Peer};
//! use orion_drain::drain_tree::{DrainManager, DrainReason, DrainSettings, DrainStart, DrainStrategy};
//! use orion_drain::serve::{CodecType, Connection, HttpServer, HttpTimeouts, ReceivedBody, serve_http};
//! use orion_drain::stats::Stats;
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let root = DrainManager::root(DrainSettings::default().with_strategy(DrainStrategy::Immediate));
//! let tracker = ConnTracker::new();
//! let server = HttpServer::new(CodecType::Auto, &HttpTimeouts::default(), Stats::new().http("ingress"));
//! let service = service_fn(|_: Request<ReceivedBody>| async {
//!     Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("hello"))))
//! });
//!
//! // One accepted connection (here a pipe), served under the drain of `root`.
//! let (mut client, accepted) = tokio::io::duplex(4096);
//! let guard = tracker.group("ingress", 1).open(Peer::Unknown);
//! let connection = Connection::new(&root, root.watch()?, guard);
//! tokio::spawn(serve_http(accepted, service, connection, server));
//!
//! // The process is asked to end. The client's next response says `close`, and the drain is over.
//! let drain = tokio::spawn(root.start_drain_sequence(DrainStart::new(DrainReason::ProcessShutdown)));
//! tokio::task::yield_now().await;
//! client.write_all(b"GET / HTTP/1.1\r\nhost: example\r\n\r\n").await?;
//! let mut answer = String::new();
//! client.read_to_string(&mut answer).await?;
//! assert!(answer.contains("connection: close") && answer.ends_with("hello"));
//! drop(client);
//! assert_eq!(drain.await?.left, 0);
//! # Ok(()) }
//! ```
//!
//! # Modules
//!
//! - [`serve`]: an accepted connection from its first byte to its last.
//! - [`config`]: Envoy's configuration shapes, and Orion's `listener_manager` block.
//! - [`listener`]: an Envoy-shaped listener as versions need it, with what serves each of its
//!   filter chains.
//! - [`lifecycle`]: the end of a process: lead time, drain, minimum time.
//! - [`orion`]: the API of Orion's proposal, by its names.
//! - [`admin`]: Envoy's admin paths as a function from request to response.
//! - [`stats`]: Envoy's statistics; [`StatsObserver`] counts what happens to listener versions.
//! - [`telemetry`]: the id of a drain; with the feature `tracing` also log events and spans.
//! - `xds` (features `xds` and `lds-file`): listeners and routes that change, from a control plane or
//!   a file.
//!
//! The crates underneath are re-exported: [`listener_versions`], [`drain_tree`], [`drain_signal`],
//! [`conn_tracker`], [`proto_drain_http1`], [`proto_drain_h2`], [`proto_drain_tcp`]. The program
//! `edge` is a proxy made of them.
//!
//! # What dropping means
//!
//! | dropped | means |
//! | --- | --- |
//! | [`serve::Connection`], last clone | the connection is gone: the drain and the registry count it out |
//! | the future of [`serve::serve_http`] or [`serve::serve_tcp`] | the connection is closed at once |
//!
//! # What it does not do
//!
//! It has no drain algorithm of its own: it translates configuration and composes the crates.
//!
//! # Features and requirements
//!
//! - `yaml`: [`config`] reads YAML as well as JSON.
//! - `systemd`: `lifecycle::systemd`, sockets from systemd and notifications for it.
//! - `handover`: a new process takes the listening sockets of the running one, by
//!   `listener_versions::handover`.
//! - `tls`: `serve` and filter chains over TLS, by rustls with ring.
//! - `xds`: listeners and routes from a control plane over gRPC (`xds`); [`config`] reads messages
//!   of `envoy-types`.
//! - `lds-file`: listeners from a file that is replaced (`xds::LdsFile`).
//! - `tracing`: log events and spans, see [`telemetry`].
//! - `metrics`: `stats::publish` hands the statistics to the `metrics` facade.
//!
//! None is on by default. Other features of the crates underneath (`axum`, `tonic`, `axum-serve`,
//! `tonic-serve` of orion-drain-serve, those of the protocol crates) are asked of that crate, as a
//! dependency beside this one; `signals` of [`lifecycle`] and `standard` of [`admin`] are on.
//!
//! tokio, hyper 1.x. Minimum supported Rust version 1.85.

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod listener;
pub mod orion;

#[doc(inline)]
pub use orion_drain_stats::StatsObserver;
#[cfg(any(feature = "xds", feature = "lds-file"))]
#[doc(inline)]
pub use orion_drain_xds as xds;
#[doc(no_inline)]
pub use {
    conn_tracker, drain_signal, drain_tree, listener_versions, proto_drain_h2, proto_drain_http1,
    proto_drain_tcp,
};
#[doc(inline)]
pub use {
    orion_drain_admin as admin, orion_drain_config as config, orion_drain_serve as serve,
    orion_drain_shutdown as lifecycle, orion_drain_stats as stats,
    orion_drain_telemetry as telemetry,
};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
