//! A drain signal for any async runtime: it says to each connection of a server when to finish and
//! by when it must be gone, and to the server when the last connection is gone.
//!
//! A server that closes its connections when its configuration changes loses requests. A server
//! that *drains* asks its connections, one after the other, to finish in their own protocol, and
//! closes at a deadline what is left. The owner of the [`DrainTrigger`] decides when the drain
//! begins. At a connection's slot its driver ([`drive`]) calls the connection's own step
//! ([`GracefulClose::start`]), such as `connection: close` or GOAWAY.
//!
//! ```text
//!  DrainTrigger ── start(event) ──► Draining ── advance(now) ──► slots, deadline
//!                                       │
//!  DrainSignal ── watch() ──► DrainWatch (guard, one a connection) ── signaled() · is_due() · expired()
//!                                       │ dropped
//!                                       └──────────────────────► drained()
//! ```
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//! use drain_signal::{DrainDecision, DrainEvent, DrainReason};
//! use tokio::time::Instant;
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), drain_signal::DrainCompleted> {
//! let (trigger, signal) = drain_signal::channel();
//! let connection = signal.watch()?;
//! assert!(!connection.is_due());
//!
//! let start = Instant::now().into_std();
//! let draining = trigger.start(DrainEvent::new(start, Duration::from_secs(60), DrainReason::ListenerModify));
//! draining.advance(start + Duration::from_secs(15)); // all slots lie in the first quarter
//! assert!(connection.is_due());
//!
//! let goodbye = connection.signaled().await;
//! assert_eq!(goodbye.deadline, Some(start + Duration::from_secs(60)));
//! drop(connection);
//! draining.drained().await;
//! assert!(signal.watch().is_err());
//! # Ok(()) }
//! ```
//!
//! # What dropping means
//!
//! | dropped | means |
//! | --- | --- |
//! | [`DrainTrigger`] before `start` | nothing drains, ever; connections go on |
//! | [`DrainSignal`] | nothing |
//! | [`Draining`], all clones | the drain stays begun; no further slot comes, nothing is closed |
//! | [`DrainWatch`] | this connection is gone (its clones say so too: the last one counts) |
//! | [`DrainHandle`] | nothing |
//! | [`Reached`], [`Drained`] | nothing; ask again |
//! | [`Drive`] | the connection is dropped, then its guard |
//!
//! A dropped handle never means "drain".
//!
//! # Gradual and immediate
//!
//! A gradual drain gives every connection one slot, `place * drain_time / 4` after the start, where
//! `place` is a fraction of one fixed when its watcher opens. An immediate drain has all slots at
//! the start. Envoy 1.40's own schedule is a second, named one ([`DrainSchedule::Envoy140`]). The
//! slots of both are pure functions in [`schedule`].
//!
//! # Direction
//!
//! A drain of inbound listeners ([`DrainDirection::InboundOnly`]) does not concern watches opened
//! with [`WatchOptions::with_drained_by`] [`DrainedBy::Full`]: they do not see it, and it does not
//! wait for them. [`Draining::widen`] publishes a second event with the same start and deadline for
//! all connections; a connection already signaled keeps its slot.
//!
//! # What it costs
//!
//! Threads are spread over as many shards as there are cores: a shard has a count of watches, the
//! records of connections, and the entries of parked waits. A question is one load of the state
//! word. A watch is opened by two atomic additions that no other core contends for, and closed by
//! two. A wait parks with the shard locked for a few nanoseconds; a poll by the same task takes no
//! lock. The drain walks the entries in place, 32 wakes a call, and passes over pages in which no
//! slot has come; whether one has follows from 32 bits kept beside the waker. Shards are made when
//! one of their threads opens a watch, pages of entries are given back when they are empty, and all
//! of it is freed with the last watch, handle and signal. The invariants are on one page,
//! `src/engine/mod.rs`.
//!
//! # What it does not do
//!
//! It does not accept (listener-versions), cascade (drain-tree), list (conn-tracker), or speak any
//! protocol (proto-drain-http1, proto-drain-h2, proto-drain-tcp). It has no timer and reads no
//! clock (but for `pace`): the caller passes the time in.
//!
//! # Where it follows Envoy
//!
//! Words, defaults and formulas are Envoy's; the first-quarter window is the one of Envoy's [drain
//! documentation](https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/operations/draining).
//! Times are durations rather than whole seconds, and a drain completes when its last connection is
//! gone rather than always at the end.
//!
//! # Features and requirements
//!
//! Feature `tokio`: `Draining::pace`, a drain moved on by tokio's clock. Works on any executor;
//! tested under tokio and smol, on Linux; compiled, not run, for macOS and Windows. Minimum
//! supported Rust version 1.85.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod api;
mod engine;
mod pure;

pub use api::*;
pub use pure::*;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
