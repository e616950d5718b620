//! Drains HTTP/2 connections as RFC 9113 section 6.8 describes: GOAWAY, exactly `drain_timeout`,
//! the final GOAWAY, the last stream, close; over unmodified h2, hyper and hyper-util.
//!
//! A closed HTTP/2 connection takes every stream with it, and a single GOAWAY loses the requests
//! that are on their way. So a server sends GOAWAY twice ([RFC 9113 section
//! 6.8](https://www.rfc-editor.org/rfc/rfc9113#section-6.8)): first with the highest possible
//! stream id, "open no more", and some time later with the last one that it has really seen. Envoy
//! waits its `drain_timeout` (5 s) between the two. h2, and hyper on top of it, wait for the
//! acknowledgement of a PING: one round trip with a peer that answers, for ever with one that does
//! not answer ([hyper#4170](https://github.com/hyperium/hyper/issues/4170)), and no other PING, as
//! hyper's keep-alive, leaves meanwhile
//! ([hyper#3050](https://github.com/hyperium/hyper/issues/3050)). This crate makes the wait exact
//! without touching either. It sits between the socket and the codec, writes the first GOAWAY
//! itself, between two frames of the codec, and asks the codec for its graceful shutdown when the
//! time is over; the codec's own first GOAWAY and its PING are kept back, and the PING is answered
//! at once.
//!
//! ```text
//!  socket ◄─► GoawayIo ◄─► h2 / hyper / hyper-util auto ◄─► ResetService(your service)
//!                │ GoawayHandle: notice, phase, finish                  │ ResetHandle
//!                └────────────────► H2Connection ◄──────────────────────┘
//!                                        │ GracefulClose: start, finish, abort
//!                          drain_signal::drive(connection, watch)
//! ```
//!
//! # Example
//!
//! A hyper server on one end of a pipe, an h2 client on the other, time paused:
//!
#![cfg_attr(feature = "hyper", doc = "```")]
#![cfg_attr(not(feature = "hyper"), doc = "```ignore")]
//! use std::{convert::Infallible, time::Duration};
//! use drain_signal::{DrainEvent, DrainReason, DrainStrategy, drive};
//! use hyper_util::rt::{TokioExecutor, TokioIo};
//! use proto_drain_h2::{H2Drain, H2DrainSettings, H2Phase};
//! use tokio::time::Instant;
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (client, socket) = tokio::io::duplex(65536);
//! let drain = H2Drain::new(H2DrainSettings::default().with_drain_timeout(Duration::from_secs(2)));
//! let (trigger, signal) = drain_signal::channel();
//!
//! // The server: your service, unmodified hyper, the wrapped transport.
//! let connection = drain.connection(socket, |io, parts| {
//!     let service = parts.service(hyper::service::service_fn(|_request| async {
//!         tokio::time::sleep(Duration::from_secs(4)).await;
//!         Ok::<_, Infallible>(http::Response::new(http_body_util::Empty::<bytes::Bytes>::new()))
//!     }));
//!     hyper::server::conn::http2::Builder::new(TokioExecutor::new())
//!         .serve_connection(TokioIo::new(io), service)
//! });
//! let handle = connection.handle().clone();
//! let served = tokio::spawn(drive(connection, signal.watch()?));
//!
//! // The client has a request in flight.
//! let (mut requests, connection) = h2::client::handshake(client).await?;
//! tokio::spawn(connection);
//! let (answer, _) = requests.send_request(http::Request::get("http://localhost/").body(())?, true)?;
//! tokio::time::sleep(Duration::from_secs(1)).await;
//!
//! // The drain: at its slot the connection's first GOAWAY, two seconds later the final one.
//! let start = Instant::now();
//! let event = DrainEvent::new(start.into_std(), Duration::from_secs(60), DrainReason::ListenerModify)
//!     .with_strategy(DrainStrategy::Immediate);
//! let draining = trigger.start(event);
//! draining.advance(start.into_std());
//! handle.reached(H2Phase::Noticed).await;
//! assert_eq!(start.elapsed().as_secs(), 0);
//! handle.reached(H2Phase::GoingAway).await;
//! assert_eq!(start.elapsed().as_secs(), 2);
//! assert_eq!(handle.last_stream_id(), Some(1));
//! assert_eq!(answer.await?.status(), 200);
//! assert!(served.await?.output.is_some_and(|ended| ended.is_ok()));
//! # Ok(()) }
//! ```
//!
//! # What dropping means
//!
//! | dropped | means |
//! | --- | --- |
//! | [`GoawayIo`] | the socket is closed, as without the wrapper; the phase is [`H2Phase::Closed`] |
//! | [`GoawayHandle`], all clones | nothing: the transport keeps its gap |
//! | [`H2Connection`] | the server is dropped, with its streams |
//! | [`H2Drain`], all clones | nothing: its connections keep what they need |
//! | [`ResetHandle`], all clones | nothing is reset; a drain's deadline then cuts the streams |
//!
//! # What happens when
//!
//! - **At the slot** GOAWAY(2^31-1). A client that has not spoken yet gets it when its preface has
//!   come; it has [`first_bytes_timeout`](H2DrainSettings::first_bytes_timeout) for its first byte. With
//!   [`NoticeFirst`] the GOAWAY precedes the HEADERS of the response that triggers it.
//! - **In the gap** new streams are served, and the server's own PINGs go on. A peer that ends its
//!   side in the gap can open nothing more, so the final GOAWAY is written, and its open streams
//!   keep the rest of the gap to be answered.
//! - **After the gap** the final GOAWAY, with the highest stream seen. It waits for the end of a
//!   frame or header block that the peer is in the middle of: no more than that is read before. A
//!   peer that neither sends nor takes a byte for 10 s there counts as gone. Earlier streams run to
//!   their end; later ones are ignored, as RFC 9113 allows, with their header tables and windows
//!   kept in order.
//! - **After the last stream** the peer has `delayed_close_timeout` to close first; then FIN. A
//!   flush or close that waits for a peer that takes nothing for as long is given up.
//! - **At the deadline** streams are reset (RST_STREAM, CANCEL) if they are served through a
//!   [`ResetHandle`]; what is left 100 ms later is cut. So a peer that does not read is bounded by
//!   the deadline.
//! - **Started shortly before the deadline** (a connection accepted late in a drain) it has half of
//!   what is left between its GOAWAYs, and the other half to finish; at the deadline, both at once
//!   and no more.
//!
//! # Long streams
//!
//! Neither GOAWAY ends a stream, so gRPC streams, server-sent events and tunnels are what a drain
//! waits for. [`WithDrain`] puts a [`RequestDrain`] into the extensions of their requests: the
//! handler sees that its connection leaves, and how long it has, and can end it with a status of
//! its own; `examples/ticker` is a tonic route that does. Tunnels (CONNECT, and extended CONNECT of
//! [RFC 8441](https://www.rfc-editor.org/rfc/rfc8441)) are streams like others, but have neither
//! response nor body to reset: their tasks wait for [`ResetHandle::wait`] and drop the tunnel, or
//! the deadline cuts them.
//!
//! # With servers of one shutdown signal
//!
//! `axum::serve` and tonic's own server keep their connections to themselves and shut all of them
//! down with one signal. Give them a listener whose transports are wrapped in [`GoawayIo`] (tonic
//! wants `Connected` for it: a newtype): each connection then has the exact gap and the delayed
//! close. If the listener keeps the [`GoawayHandle`]s it can have each first GOAWAY written at a
//! time of its own ([`notice`](GoawayHandle::notice)) and give the signal a gap later; then the
//! server's keep-alive works in the gap too, which it does not behind the signal. What such servers
//! cannot have are resets and a deadline: one stream that never ends keeps them for ever, unless
//! the listener calls [`cut`](GoawayHandle::cut). Serve their routers over hyper-util for the whole
//! drain; routers and routes need no change. `ListenersIncoming` of orion-drain-serve is such a
//! listener, for both.
//!
//! # What it does not do
//!
//! It does not decide when to drain (drain-signal, drain-tree), accept connections
//! (listener-versions), or parse more than frame headers and the server's own GOAWAY and PING.
//! HTTP/1 passes straight through (proto-drain-http1).
//!
//! # Where it follows Envoy
//!
//! The steps, their order and their defaults are Envoy's HTTP connection manager's
//! ([conn_manager_impl.cc](https://github.com/envoyproxy/envoy/blob/main/source/common/http/conn_manager_impl.cc)).
//! It deviates where Envoy loses something: streams are reset at the deadline instead of cut
//! ([`StreamsAtDeadline::Cut`] does as Envoy), a half-closed client still gets its answers within
//! the gap, and a client that has not spoken yet gets a second to do so.
//!
//! # Features and requirements
//!
//! - `hyper`: hyper's `http2::Connection`; [`ResetHandle`], [`NoticeFirst`] and [`WithDrain`] over
//!   hyper's `Service`.
//! - `hyper-util`: the auto connections, also upgradeable ones.
//! - `h2`: [`ServeStreams`] over `h2::server`.
//!
//! None by default: [`GoawayIo`] and the trait [`H2Shutdown`] serve any codec that waits for a
//! PING. Needs tokio's timer. [`GoawayIo`], [`GoawayHandle`] and [`H2Connection`] together cost 224
//! bytes a connection, nothing is allocated per frame or request, and there is one timer while it
//! drains. Minimum supported Rust version 1.85.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod close;
pub use close::H2Connection;
mod counters;
pub use counters::CloseCounts;
mod drain;
pub use drain::{H2Drain, H2Parts};
mod ending;
mod frames;
pub use frames::CLIENT_PREFACE;
mod handle;
pub use handle::{GoawayHandle, WireProtocol};
mod io;
pub use io::GoawayIo;
#[cfg(feature = "hyper")]
mod notice;
#[cfg(feature = "hyper")]
pub use notice::{Notice, NoticeFirst, NoticeFirstFuture};
mod orders;
mod phase;
pub use phase::{H2Event, H2Phase, InvalidTransition};
#[cfg(feature = "hyper")]
mod request;
#[cfg(feature = "hyper")]
pub use request::{RequestDrain, WithDrain};
#[cfg(feature = "hyper")]
mod reset;
#[cfg(feature = "hyper")]
pub use reset::{ResetHandle, ResetStream};
#[cfg(feature = "h2")]
mod serve;
#[cfg(feature = "h2")]
pub use serve::ServeStreams;
mod settings;
pub use settings::{H2DrainSettings, StreamsAtDeadline};
mod shutdown;
pub use shutdown::H2Shutdown;
#[cfg(test)]
mod sizes;
#[cfg(feature = "hyper")]
mod stream;
#[cfg(feature = "hyper")]
pub use stream::{ResetBody, ResetFuture, ResetService, StreamError};
mod walker;
mod wire;

#[cfg(all(doctest, feature = "hyper"))]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
