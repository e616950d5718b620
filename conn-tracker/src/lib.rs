//! The connection registry of a proxy or server: which connections are open, since when, in which
//! state and why.
//!
//! A listener that is replaced, or a process that shuts down, asks its connections to leave and
//! waits. An operator wants to know which connections are left, what they are doing, since when,
//! and to end one of them. This crate answers that at the price of a few uncontended atomic
//! operations per connection.
//!
//! ```text
//!  ConnTracker ──group("ingress", 7)──► ConnGroup ──open(peer)──► ConnGuard   owned by the connection's task;
//!   │  counts, snapshot, find,           │ counts of one           │          a clone goes into the tunnel
//!   │  close(id), wait_empty             │ listener version        ├─ set_state  active ► draining ► closing ► closed
//!   │                                    └─chain("tls")─► ConnChain├─ set_kind   handshaking, idle, in request, tunnel
//!   └─ advance(elapsed): the coarse clock     ▲                    ├─ set_protocol, set_label, set_peer, set_closer, touch
//!                                             └── attach_chain ────┘
//! ```
//!
//! ```
//! use conn_tracker::{ConnInfo, ConnKind, ConnLabel, ConnProtocol, ConnState, ConnTracker, Peer};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), conn_tracker::InvalidTransition> {
//! let tracker = ConnTracker::new();
//! let ingress = tracker.group("ingress", 7);
//!
//! let guard = ingress.open("192.0.2.7:40312".parse::<std::net::SocketAddr>().unwrap());
//! guard.set_protocol(ConnProtocol::Http1);
//! guard.set_kind(ConnKind::Idle);
//! let _scrape = ingress.open(ConnInfo::new(Peer::Unknown).with_label(ConnLabel::Metrics));
//!
//! // The version is replaced: the connection is signaled, answers its last request, upgrades, and ends.
//! guard.set_state(ConnState::Draining)?;
//! guard.request_started();
//! assert_eq!(ingress.counts().state(ConnState::Draining), 1);
//! let tunnel = guard.clone();
//! tunnel.set_kind(ConnKind::Tunnel);
//! drop(guard);
//! assert_eq!(tracker.by_state(ConnState::Draining)[0].kind, ConnKind::Tunnel);
//!
//! drop(tunnel);
//! ingress.wait_empty().await; // does not wait for the scrape
//! assert_eq!((ingress.awaited(), ingress.len()), (0, 1));
//! # Ok(()) }
//! ```
//!
//! | dropped | means |
//! | --- | --- |
//! | [`ConnGuard`], not the last clone | nothing |
//! | [`ConnGuard`], the last clone | the connection has ended: it is counted with its reason, and the tasks that waited for it are woken |
//! | [`ConnGroup`], [`ConnChain`], the last clone | it is removed with its last connection |
//! | [`WaitEmpty`] | that wait is over; nothing else |
//! | [`ConnTracker`], the last handle of any kind | nothing can be opened any more; guards stay valid, unseen |
//!
//! **Completion waits for** connections whose [label](ConnLabel) is not excluded. Excluded
//! connections are listed and counted like the others.
//!
//! **Time** is passed in: [`ConnTracker::advance`]. No event reads a clock; a stamp is one load of
//! the last value.
//!
//! **Cost.** Each thread opens connections in a shard of its own: no lock, counter or cache line is
//! shared between threads until a connection's guard is used by another one. To open a connection
//! and to end it is a pass each through that shard's uncontended lock, and no other atomic
//! read-modify-write. Entries live in blocks that are never moved: growing to a million connections
//! costs no registration more than one new block. An entry takes 88 bytes and its guard 16, beside
//! the closer. Memory follows the highest number of connections that were open at a time:
//! registries and blocks are used again, by the next connection and by the next tracker with as
//! many shards, and never given back to the allocator. What no thread uses is not allocated: a
//! tracker starts with little more than a kilobyte on a machine of 64 cores, and a group or chain
//! with one connection takes less than one. `cargo xtask bench registry` prints what it costs on a
//! machine, in pairs of atomic additions.
//!
//! **What it does not do:** it asks no connection to leave and ends none by itself;
//! [`ConnTracker::drain`] and [`ConnTracker::close`] call the connection's own control. It refuses
//! no connection. Signals are `drain-signal`'s part; accepting, with its limits, is
//! `listener-versions`'.
//!
//! **Envoy** has counters where this crate has entries (`downstream_cx_active` is
//! [`ConnCounts::total`]) and no list of connections; the admin view is an addition.
//!
//! No features. Any async runtime, or none: the one future is built on [`core::task`] alone. MSRV
//! 1.85.

mod counts;
pub use counts::ConnCounts;
mod engine;
mod group;
pub use group::{AttachError, ConnChain, ConnGroup, GroupView};
mod guard;
pub use guard::ConnGuard;
mod id;
pub use id::{ConnId, ParseConnIdError};
mod info;
pub use info::{ConnInfo, ConnRequest, Peer};
mod kind;
pub use kind::ConnKind;
mod labels;
pub use labels::{CloseReason, ConnLabel, ConnProtocol};
mod snapshot;
pub use snapshot::{ConnSnapshot, SnapshotPage};
mod state;
pub use state::{ConnState, InvalidTransition};
mod tracker;
pub use tracker::{CloseError, ConnTracker, TrackerOptions};
mod wait;
pub use wait::WaitEmpty;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
