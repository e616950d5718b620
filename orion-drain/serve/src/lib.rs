//! Serving a connection so that it can be drained: the protocol crates, the drain signal and the
//! registry, composed.
//!
//! ```text
//!  serve(&listeners, Http::tower(router))     one call: accepts, spawns a task a connection, and there
//!     └─ accepted ─► Connection (watch + registry entry + decision)
//!                      ├─ serve_http: LingerIo ⊂ GoawayIo ⊂ hyper, the service asked once per response
//!                      └─ serve_tcp:  a two-way copy
//!                   both run by drain_signal::drive, which leads them through slot, last word and deadline
//! ```
//!
//! [`serve`] is enough for a server. A proxy with a loop of its own takes the pieces:
//! [`Connection`], [`serve_http`], [`serve_tcp`], [`serve_tunnel`]. A program that keeps
//! `axum::serve`, or tonic's own server, gives it `ListenersIncoming` (features `axum-serve`,
//! `tonic-serve`).
//!
//! # What dropping means
//!
//! | dropped | means |
//! | --- | --- |
//! | [`Connection`], last clone | the connection is gone: the drain and the registry count it out |
//! | the future of [`serve_http`], [`serve_tcp`] or [`serve_tunnel`] | the connection is closed at once |
//! | the future of [`serve`] | this runtime accepts no more; connections that were accepted go on in their tasks |
//! | `ListenersIncoming` | it accepts no more; connections that it has accepted and not handed over are closed |
//!
//! # What it does not do
//!
//! It reads no configuration and has no names of statistics: a program gives its own counts by
//! [`HttpCounts`] and [`TcpCounts`]. It does not choose routes, and connects to no upstream.
//!
//! # Features and requirements
//!
//! None is on by default.
//!
//! - `tls`: `Tls`, by rustls with ring.
//! - `axum`, `tonic`: their handlers learn the peer, by `HttpServer::with_axum_connect_info` and
//!   `with_tonic_connect_info`.
//! - `axum-serve`, `tonic-serve`: `ListenersIncoming` for `axum::serve` and for tonic's own server.
//! - `auto`: hyper-util's auto connections in [`HttpDrain::connection`].
//! - `tracing`: log events and spans of connections.
//!
//! tokio with time, hyper 1.x. Minimum supported Rust version 1.85.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod age;
mod aging;
#[cfg(feature = "axum-serve")]
mod app;
#[cfg(feature = "axum-serve")]
mod app_service;
mod before;
mod behavior;
mod codec;
mod composed;
mod connection;
mod counts;
mod ending;
mod handlers;
mod http;
mod http_drain;
mod idle;
#[cfg(any(feature = "axum-serve", feature = "tonic-serve"))]
mod incoming;
mod jitter;
mod quiet;
mod received;
mod request;
mod responding;
mod run;
mod server;
mod settings;
mod socket;
mod stream;
mod tcp;
mod timeout;
#[cfg(feature = "tls")]
mod tls;
mod tracked;
mod tunnel;
mod upstream;
mod watch;

pub use self::http::{serve_codec, serve_http};
pub use age::ConnectionAge;
#[cfg(feature = "axum-serve")]
pub use app::DrainApp;
#[cfg(feature = "axum-serve")]
pub use app_service::{AppResponse, AppService};
pub use before::SetupTimeouts;
pub use behavior::{ProtocolDrainBehavior, SharedBehavior};
pub use codec::HyperBuilders;
pub use composed::{HttpConnection, HttpIo, HttpParts, HttpService};
pub use connection::{Connection, WeakConnection};
pub use counts::{ConnectionEnd, HttpCounts, TcpCounts};
pub use handlers::{Http, Tcp};
pub use http_drain::{AtDeadline, HttpDrain};
#[cfg(any(feature = "axum-serve", feature = "tonic-serve"))]
pub use incoming::{IncomingIo, ListenersIncoming};
/// What [`TcpServer`] is made with, and what [`serve_tcp`] and [`serve_tunnel`] return.
#[doc(no_inline)]
pub use proto_drain_tcp::{CopyError, CopyOptions, CopyReport, Ended, TcpDrainPolicy};
pub use received::{BodyError, ReceivedBody};
pub use request::ConnectionShown;
pub use run::{Handler, ListenOn, serve};
pub use server::HttpServer;
pub use settings::{CodecType, HttpTimeouts};
pub use stream::StreamTasks;
pub use tcp::{TcpServer, serve_tcp, serve_tunnel};
#[cfg(feature = "tls")]
pub use tls::{Tls, negotiated};
pub use upstream::TunnelUpstream;
pub use watch::{Watched, watch_response};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
