//! Drains HTTP/1.1 connections: `connection: close` on the right response, then a close in stages
//! that loses no response.
//!
//! A server that just closes its connections loses requests: those in flight, those on their way,
//! and responses that an RST removes from the client's receive buffer. An HTTP/1 server can
//! announce a close only by a header on a response. With this crate a server sends that header,
//! processes nothing behind that response, and closes the connection in stages. The drain decides
//! *when*: it arrives as a [`DrainDecision`](drain_signal::DrainDecision) and a
//! [`DrainWatch`](drain_signal::DrainWatch).
//!
//! ```text
//!  DrainWatch ── handle ─► DrainService ── asks per response ─► apply() ── connection: close
//!      │                       │ requests
//!      │                       ▼
//!      │                   Exchanges   "is a request in flight?"
//!      │                       ▲ bytes
//!      └─► drive(Http1Connection( hyper( LingerIo( socket )))) ── half-close, read and discard, close
//! ```
//!
//! # Example
//!
//! ```
//! # #[cfg(feature = "hyper")]
//! # mod example {
//! use std::convert::Infallible;
//! use std::time::Duration;
//!
//! use drain_signal::{CloseCause, DrainEvent, DrainReason, DrainStrategy, drive};
//! use http::{Request, Response};
//! use http_body_util::Empty;
//! use hyper::{body::{Bytes, Incoming}, server::conn::http1, service::service_fn};
//! use hyper_util::rt::TokioIo;
//! use proto_drain_http1::{
//!     CloseCounters, DrainService, Http1Connection, Http1Settings, LingerIo, LingerSettings,
//! };
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! use tokio::time::Instant;
//!
//! async fn hello(_: Request<Incoming>) -> Result<Response<Empty<Bytes>>, Infallible> {
//!     Ok(Response::new(Empty::new()))
//! }
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let (trigger, signal) = drain_signal::channel();
//!     let (mut client, server) = tokio::io::duplex(4096);
//!
//!     let watch = signal.watch()?;
//!     let io = LingerIo::new(server, LingerSettings::default(), CloseCounters::new());
//!     let exchanges = io.exchanges().clone();
//!     let service = DrainService::new(service_fn(hello), watch.handle(), exchanges.clone());
//!     let connection = http1::Builder::new().serve_connection(TokioIo::new(io), service);
//!     let connection = Http1Connection::new(connection, exchanges, Http1Settings::default());
//!     let served = tokio::spawn(drive(connection, watch));
//!
//!     let start = Instant::now().into_std();
//!     let event = DrainEvent::new(start, Duration::from_secs(60), DrainReason::ListenerModify);
//!     let draining = trigger.start(event.with_strategy(DrainStrategy::Immediate));
//!     draining.advance(start);
//!
//!     client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await?;
//!     let mut response = String::new();
//!     client.read_to_string(&mut response).await?;
//!     assert!(response.contains("connection: close"));
//!     drop(client);
//!     assert_eq!(served.await?.cause, CloseCause::Drained);
//!     Ok(())
//! }
//! # }
//! # #[cfg(feature = "hyper")]
//! # fn main() { example::main().unwrap() }
//! # #[cfg(not(feature = "hyper"))]
//! # fn main() {}
//! ```
//!
//! A server that is not hyper's uses the same pieces: [`apply`] for its response heads,
//! [`LingerIo`] as its transport, [`GracefulShutdown`] for its connection; `examples/hand_written`
//! is one. What follows an upgrade is a tunnel, with a guard of its own (a clone of the watch);
//! [`WebSocketIo`] lets a relayed WebSocket end in a Close frame.
//!
//! # What dropping means
//!
//! | dropped | means |
//! | --- | --- |
//! | [`LingerIo`] | closed in stages by a task, or counted as aborted, if there was something to lose (table there) |
//! | [`Lingering`] before its end | counted as aborted |
//! | [`Exchange`] | the request is answered, or never will be |
//! | [`Exchanges`], [`CloseCounters`], [`DrainService`] | nothing |
//! | [`Http1Connection`] | the connection is cut, as by its `abort` step |
//! | [`WebSocketIo`], [`WebSocketClientIo`] | both directions of its transport are gone; nothing is said |
//!
//! # What it does not do
//!
//! It does not parse or serve HTTP/1 (hyper, or you), decide who leaves when (drain-signal,
//! drain-tree), accept (listener-versions), or speak HTTP/2 (proto-drain-h2). It cannot inform a
//! silent client that its connection is about to be closed: a close at the deadline can cross a
//! request, and that request is lost.
//!
//! # Where it follows Envoy
//!
//! The header, its exceptions and `delayed_close_timeout` are Envoy's ([draining],
//! [`delayed_close_timeout`]). It deviates where RFC 9112 section 9.6 asks for it: after a response
//! with `close` it closes instead of serving on until `drain_timeout`, and it half-closes before it
//! waits. Other options in a `Connection` field are kept. An idle connection is not closed before
//! the deadline unless [`IdlePolicy::AfterGrace`] says so, and one that speaks rarely reads `close`
//! before its slot ([`Exchanges::leaving`]).
//!
//! [draining]: https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/operations/draining
//! [`delayed_close_timeout`]: https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto
//!
//! # Features and requirements
//!
//! None is on by default.
//!
//! - `hyper`: [`GracefulShutdown`] for hyper's HTTP/1 connections, `DrainService` as a hyper
//!   service, `ExchangeBody`.
//! - `hyper-util`: the same for hyper-util's auto connections; `CleanEnd`, for those still waiting
//!   for the first bytes.
//! - `tower`: `DrainLayer`, and `DrainService` as a tower service.
//!
//! Staged closes and graces need a tokio runtime with time. Minimum supported Rust version 1.85.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod activity;
pub use activity::{Activity, ActivityObserver};
#[cfg(feature = "hyper-util")]
mod auto;
#[cfg(feature = "hyper-util")]
pub use auto::CleanEnd;
#[cfg(feature = "hyper")]
mod body;
#[cfg(feature = "hyper")]
pub use body::ExchangeBody;
mod close;
pub use close::{
    AtDeadline, GracefulShutdown, Http1Connection, Http1Settings, IdlePolicy, Outcome,
};
mod connection_field;
mod counters;
pub use counters::{CloseCounters, CloseCounts};
mod exchange;
pub use exchange::{Exchange, Exchanges, OpenBody};
#[cfg(feature = "hyper")]
mod hyper;
#[cfg(feature = "tower")]
mod layer;
#[cfg(feature = "tower")]
pub use layer::DrainLayer;
mod linger;
mod linger_settings;
pub use linger::LingerIo;
pub use linger_settings::LingerSettings;
mod lingering;
pub use lingering::Lingering;
mod request;
pub use request::RequestFacts;
mod response;
pub use response::{AfterResponse, Leaving, after_response, apply};
#[cfg(any(feature = "hyper", feature = "tower"))]
mod service;
#[cfg(any(feature = "hyper", feature = "tower"))]
pub use service::{DrainService, Responding};
mod socket;
mod staged;
#[cfg(any(feature = "hyper", feature = "tower"))]
mod taken;
#[cfg(any(feature = "hyper", feature = "tower"))]
pub use taken::TakenRequest;

mod websocket;
pub use websocket::{CloseCode, WebSocketClientIo, WebSocketIo};

#[cfg(all(doctest, feature = "hyper"))]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
