//! Versions of named listeners: a new version accepts at once on the same socket, and the version
//! before it drains.
//!
//! Closing a listener and opening it again refuses connections in between, and resets those that
//! wait in the kernel's accept queue
//! ([pingora#427](https://github.com/cloudflare/pingora/issues/427)). Here the socket belongs to
//! the *address*: it stays open as long as some version listens there, and an update only changes
//! which version takes the next connection. The caller brings configurations (any type with a name,
//! an address and a comparison, [`ListenerConfig`]) and serves connections; this crate decides what
//! an update means, and gives every connection the version that it belongs to for life.
//!
//! ```text
//!  Update ──► Listeners::apply ──► the set of versions   what each listener becomes, in which order
//!                   │ 1 the socket's snapshot is swapped: the new version takes what comes next
//!                   │ 2 the old version drains: its node in the drain tree, its deadline
//!                   ▼
//!  Worker::run_each ──► Accepted { stream, version, watch, conn, .. } ──► the caller's future
//!   (one per runtime)                                                            │ enters its filter chain, if there are any
//!                                                                                │ ends when the connection is gone
//!  driver ◄──────────────────────────────────────────────────────────────────────┘ empty or deadline: reaped, reported once
//! ```
//!
//! # Example
//!
//! ```
//! use conn_tracker::ConnTracker;
//! use drain_tree::{DrainManager, DrainSettings};
//! use listener_versions::{Accepted, ListenAddress, ListenerConfig, Listeners, ListenersOptions, Update};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! #[derive(PartialEq)]
//! struct Greeter { address: ListenAddress, greeting: &'static str }
//!
//! impl ListenerConfig for Greeter {
//!     type Chain = ();
//!     fn name(&self) -> &str { "greeter" }
//!     fn address(&self) -> &ListenAddress { &self.address }
//!     fn same_content(&self, other: &Self) -> bool { self == other }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let root = DrainManager::root(DrainSettings::default());
//! let (listeners, driver) = Listeners::new(root, ConnTracker::new(), ListenersOptions::default(), ());
//! tokio::spawn(driver);
//! tokio::spawn(listeners.worker().run_each(|mut accepted: Accepted<Greeter>| async move {
//!     let greeting = accepted.version.config().greeting;
//!     accepted.stream.write_all(greeting.as_bytes()).await.ok();
//! }));
//!
//! let address: ListenAddress = "127.0.0.1:0".parse()?;
//! for greeting in ["hello", "howdy"] {
//!     listeners.apply(Update::lds("v1", [Greeter { address: address.clone(), greeting }])).await.into_result()?;
//!     let local = listeners.local_address("greeter").and_then(|local| local.as_socket());
//!     let mut heard = String::new();
//!     tokio::net::TcpStream::connect(local.ok_or("it listens")?).await?.read_to_string(&mut heard).await?;
//!     assert_eq!(heard, greeting);
//! }
//! # Ok(()) }
//! ```
//!
//! # Addresses
//!
//! A listener has one address or several ([`ListenerConfig::additional_addresses`]), TCP and Unix,
//! each with sockets of its own. One version takes what comes on all of them. An update takes all
//! addresses of a listener or none, and an address that stays keeps its queue, also if another
//! listener takes it over. Listeners may exchange addresses in one update, two or more in a ring; a
//! listener that warms keeps its address until it is warm.
//!
//! A listener with the address [`ListenAddress::Internal`] has no socket there. The program hands
//! connections in ([`Listeners::enter`]); versions, chains, limits and drains are the same.
//!
//! # Sockets and workers
//!
//! By default all workers accept on one socket. With [`SocketOptions::reuse_port`] each has one of
//! its own (`SO_REUSEPORT`), opened when it first runs. Closing such a socket resets what waits in
//! its queue, and accepting until the queue is empty does not help: more comes in between. So none
//! is closed before the listener gives up its address; when a worker ends, or its runtime does,
//! another one accepts on its socket too, and when there is none, the sockets wait.
//!
//! # Sockets that another process has too
//!
//! [`Listeners::inherit`] uses listening sockets that came from elsewhere (a process that is being
//! replaced, systemd), and [`Listeners::share_sockets`] gives descriptors of ours away. A socket
//! that another process has too is never shut down here, and its queue is left alone: it belongs to
//! the process that goes on.
//!
//! # What dropping means
//!
//! | dropped | means |
//! | --- | --- |
//! | [`Listeners`], last handle | sockets close (what waits in their queues is served first), workers end; nothing drains |
//! | [`Worker`], or its future | this runtime accepts no more; other workers take what comes, also on a socket of its own |
//! | the driver ([`Listeners::new`]) | drains that have begun are paced no more, and versions are not reaped |
//! | the future of [`run_each`](Worker::run_each) | this connection is gone |
//! | [`Accepted::watch`], last clone | this connection is gone: one less to wait for |
//! | [`Accepted::conn`], last clone | this connection is not listed any more |
//!
//! # The life of a version
//!
//! warming, active, draining, drained: one table: what warms is activated or discarded, what is
//! active drains, what drains is completed. Exactly one version of a name is active, any number may
//! drain, each until it is empty or its own deadline comes. Only [`ListenersOptions::max_versions`]
//! brings a deadline nearer.
//!
//! A version that [warms](ListenerConfig::warms) takes over when it is
//! [ready](ListenerConfig::ready), as [`Routes`] that come by themselves (RDS), also the address of
//! another listener that has given it up: until then the version that was there goes on accepting,
//! and drains afterwards. An open socket that listens is always served by an active version.
//!
//! A configuration's code is not ours. It is asked everything before an update changes anything; a
//! panic in it changes nothing.
//!
//! # Filter chains
//!
//! A configuration that says what its filter chains are ([`ListenerConfig::chains`],
//! [`ListenerConfig::differs_only_in_chains`]) is updated in place where only they differ: the
//! version goes on, with its number and socket. Chains that are the same keep their connections,
//! which see nothing of it; those that changed or are gone drain, each with a deadline of its own
//! ([`DrainReason::FilterChainUpdate`](drain_tree::DrainReason::FilterChainUpdate)). A connection
//! enters its chain with [`Accepted::enter_chain`], which chooses again if the chain is taken away
//! at that very moment; also after bytes were read, for SNI or a PROXY header.
//!
//! ```text
//!  root ── version 1 ─┬─ chain 1 "kept"         unchanged: the same node before and after the update
//!                     ├─ chain 2 "api"   drains
//!                     └─ chain 3 "api"          its successor, which takes new connections
//! ```
//!
//! A later drain of the version covers whatever is left below it. Caps count versions, not chains.
//!
//! # Under overload
//!
//! Load is shed in this order, the cheapest first, and nothing that was accepted is forgotten:
//!
//! 1. The queue is full ([`SocketOptions::backlog`]): the kernel drops the SYN and the client tries
//!    again. Linux counts it as `TcpExtListenOverflows`.
//! 2. Descriptors or memory are at their end: accepting pauses, 5 ms to 1 s, and connections wait
//!    in the queue ([`ListenerObserver::accept_error`]). A listener that is removed in that state
//!    lets no other client in, and serves its queue when there are descriptors again. An update
//!    that needs a socket is refused with the field `address`.
//! 3. A limit is reached, in the order total, listener, version, total during a drain: the
//!    connection is closed at once, and counted by its [`Refusal`] ([`ListenerObserver::refused`],
//!    `CloseReason::Refused`).
//! 4. Too many versions live ([`ListenersOptions::max_versions`]): the oldest drains end earlier,
//!    but not before [`floor`](ListenersOptions::floor) ([`ListenerObserver::drain_hurried`]). The
//!    active version's connections are never cut for it.
//!
//! # What it does not do
//!
//! It speaks no protocol and closes no connection: `drain-signal` decides when a connection is
//! asked to finish, and the `proto-drain-*` crates ask it in its protocol. Only
//! [`Worker::run_each`] spawns.
//!
//! # Where it follows Envoy, and where not
//!
//! As [Envoy's listener
//! manager](https://github.com/envoyproxy/envoy/blob/main/source/common/listener_manager/listener_manager_impl.cc):
//! an update with the same content is no update; the new version accepts before the old one stops;
//! listeners are taken or refused one by one, and one that is absent is removed even if another is
//! refused; static listeners cannot be changed through LDS; `enable_reuse_port` cannot change while
//! the address stays; what warms is replaced without a drain; a stopped direction takes no updates;
//! where only filter chains differ, only they drain. On purpose different: an address that one
//! listener leaves can be taken by another in the same update whatever their order, with socket and
//! queue, also if each wants the other's, unless one of the two warms; connections that wait in the
//! queue of a removed listener are served; a drain ends with its last connection; a filter chain's drain is gradual, as every
//! other ([envoy#35085](https://github.com/envoyproxy/envoy/issues/35085)); all draining versions
//! of a name are listed; a Unix socket's path is only taken over if no process listens on it;
//! workers share one socket unless [`SocketOptions::reuse_port`] says otherwise.
//!
//! # Features and requirements
//!
//! `handover` (Unix): `handover`, a new process takes the listening sockets of the running one.
//! tokio with I/O and time. Minimum supported Rust version 1.85.

#![cfg_attr(docsrs, feature(doc_cfg))]

/// What stands in signatures here.
#[doc(no_inline)]
pub use {conn_tracker, drain_tree, socket2, tokio_util};

mod address;
pub use address::ListenAddress;
pub(crate) use address::SocketKey;
mod config;
pub use config::{ListenerConfig, SocketOptions};
mod field_error;
pub use field_error::FieldError;
mod update;
pub use update::{Change, Update, UpdateError, UpdateReport};
mod set;
pub use set::VersionState;
pub(crate) use set::{
    ChainRecord, Effect, InvalidTransition, VersionEvent, VersionRecord, VersionSet,
};
mod net;
#[cfg(unix)]
pub use net::SharedSocket;
pub use net::{Accepted, Inherited, Refusal, Stream, Worker};
mod options;
pub use options::{AcceptPolicy, ListenersOptions};
mod live;
pub use live::{
    ListenerChain, ListenerObserver, ListenerVersion, Listeners, RouteWatch, Routes, VersionView,
};
#[cfg(all(unix, feature = "handover"))]
pub mod handover;
#[cfg(all(unix, feature = "handover"))]
mod hold;

/// What `benches/versions` measures of the inside.
#[cfg(feature = "__bench")]
#[doc(hidden)]
pub mod __bench;

#[cfg(test)]
extern crate self as listener_versions;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
