//! Who is still connected, and why: the books of a proxy's or server's connections.
//!
//! A listener that is replaced, or a process that shuts down, asks its connections to leave and waits. An operator
//! who watches that wants to know who is still there, what they are doing, since when, and to end one of them. This
//! crate keeps those books at the price of a few uncontended atomic operations per connection.
//!
//! ```text
//!  ConnTracker ──group("ingress", 7)──► ConnGroup ──open(peer)──► ConnGuard   held by the connection's task;
//!   │  counts, snapshot, find,           │ counts of one           │          a clone rides into the tunnel
//!   │  close(id), wait_empty             │ listener version        ├─ set_state  active ► draining ► closing ► closed
//!   │                                    └─chain("tls")─► ConnChain│─ set_kind   handshaking, idle, in request, tunnel
//!   └─ advance(elapsed): the coarse clock     ▲                    ├─ set_protocol, set_label, set_closer, touch
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
//! // The version is replaced: the connection is told, answers its last request, upgrades, and ends.
//! guard.set_state(ConnState::Draining)?;
//! guard.request_started();
//! assert_eq!(ingress.counts().state(ConnState::Draining), 1);
//! let tunnel = guard.clone();
//! tunnel.set_kind(ConnKind::Tunnel);
//! drop(guard);
//! assert_eq!(tracker.by_state(ConnState::Draining)[0].kind, ConnKind::Tunnel);
//!
//! drop(tunnel);
//! ingress.wait_empty().await; // the scrape does not hold it up
//! assert_eq!((ingress.held(), ingress.len()), (0, 1));
//! # Ok(()) }
//! ```
//!
//! | dropped | means |
//! | --- | --- |
//! | [`ConnGuard`], not the last clone | nothing |
//! | [`ConnGuard`], the last clone | the connection is gone: counted with its reason, waiters looked after |
//! | [`ConnGroup`], [`ConnChain`], the last clone | it is removed from the books with its last connection |
//! | [`WaitEmpty`] | nobody waits; nothing else |
//! | [`ConnTracker`], the last handle of any kind | the books are closed; guards stay valid, unseen, and the last of them leaves the books to the next tracker |
//!
//! **What holds up completion** is a guard whose [label](ConnLabel) is not excluded. Excluded connections are listed and
//! counted, and nobody waits for them.
//!
//! **Time** is passed in: [`ConnTracker::advance`]. No event reads a clock; a stamp is one load of the last tick.
//!
//! **Cost.** Each thread opens connections in a shard of its own: no lock, counter or cache line is shared between
//! threads until a connection moves to another one. To open one and to close it is a pass each through that shard's
//! uncontended lock, and no other atomic addition. Entries live in pages that are never moved: growing to a million costs no
//! registration more than one new page. An entry takes 88 bytes and its guard 16, beside the closer. Memory follows the
//! highest number of connections that were open at a time: books and pages are used again, by the next connection and by
//! the next tracker with as many shards, and never given back to the allocator. `cargo bench -p conn-tracker` prints what
//! it costs on a machine, in pairs of atomic additions and beside a concurrent map of string ids.
//!
//! **What it does not do:** it tells no connection to leave and ends none by itself; [`ConnTracker::close`] calls what
//! it was given. It refuses nobody: limits belong to whoever accepts. Telling is `drain-signal`'s part, accepting
//! `listener-versions`'.
//!
//! **Envoy** has counters where this crate has entries (`downstream_cx_active` is [`ConnCounts::total`]) and no list of
//! connections; the admin view is an addition.
//!
//! No features. Any async runtime, or none: the one future is built on [`core::task`] alone. MSRV 1.85.

mod books;
mod clock;
mod counts;
pub use counts::ConnCounts;
mod gate;
mod group;
pub use group::{ConnChain, ConnGroup, GroupView};
mod guard;
pub use guard::ConnGuard;
mod handle;
mod id;
pub use id::{ConnId, ParseConnIdError};
mod info;
pub use info::{ConnInfo, Peer};
mod kind;
pub use kind::ConnKind;
mod labels;
pub use labels::{CloseReason, ConnLabel, ConnProtocol};
mod ledger;
mod lend;
mod registry;
mod shard;
mod slab;
mod snapshot;
pub use snapshot::ConnSnapshot;
mod state;
pub use state::{ConnState, InvalidTransition};
mod sync;
mod tracker;
pub use tracker::{CloseError, ConnTracker, TrackerOptions};
mod wait;
pub use wait::WaitEmpty;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
