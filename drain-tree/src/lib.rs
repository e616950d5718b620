//! Envoy's drain managers as a tree: a drain started at any node reaches everything below it at
//! once, and gives every connection its slot.
//!
//! A proxy has a server, listeners, filter chains and HTTP connection managers. Any of them may
//! have to drain: the server when the process ends, a listener when its configuration changes, a
//! filter chain when it is replaced in place. What is below drains with it; what is beside or above
//! is untouched.
//!
//! ```text
//!  DrainManager::root ── child() ── child()          start_drain_sequence(reason) ──► DrainSequence (future: paces, completes)
//!        │ fail_health()     │ watch()                            │ at once, to every node below
//!        │ a level           ▼                                    ▼
//!        └────────────► Decision: leave_if_due()     DrainWatch: signaled() at its slot, expired() at the deadline
//! ```
//!
//! A connection learns of its drain by its watch. One without a watch asks
//! [`DrainManager::is_due_at`] once per response, or registers a callback with
//! [`DrainManager::on_drain`]: the two ways of Envoy's own drain manager.
//!
//! Inside, `engine/mod.rs` has the parts in one picture and the invariants, by number.
//!
//! # Example
//!
//! ```
//! use drain_tree::{ChildOptions, DrainEnding, DrainManager, DrainReason, DrainSettings, DrainStart};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), drain_tree::DrainCompleted> {
//! let root = DrainManager::root(DrainSettings::default());
//! let listener = root.child(ChildOptions::default());
//! let chain = listener.child(ChildOptions::default());
//! let connection = chain.watch()?;
//!
//! let sequence = listener.start_drain_sequence(DrainStart::new(DrainReason::ListenerModify));
//! assert!(chain.is_draining() && !root.is_draining());
//! let task = tokio::spawn(async move { connection.signaled().await }); // woken within 150 s of 600 s
//! assert_eq!(sequence.await.ending, DrainEnding::Empty);
//! # assert!(task.await.is_ok());
//! # Ok(()) }
//! ```
//!
//! # What dropping means
//!
//! | dropped | means |
//! | --- | --- |
//! | [`DrainManager`], last clone | the node takes no more children or connections; its children go on |
//! | [`DrainSequence`] | the drain stays begun, without further slots or deadline, until another start joins it |
//! | [`PartialDrain`] | those that have not been asked to leave are left alone |
//! | [`DrainWatch`] | its connection is gone |
//! | [`DrainCallback`] | the callback is not called any more |
//!
//! # Where it follows Envoy, and where not
//!
//! As in [Envoy's drain
//! manager](https://github.com/envoyproxy/envoy/blob/main/source/server/drain_manager_impl.cc) a
//! drain flows down only, starting twice joins, a drain never stops, and failed health drains
//! listeners of type `DEFAULT` without being a drain. Envoy's own test cases are replayed in
//! `tests/it/polled.rs`, `tests/it/callbacks.rs` and `tests/it/event.rs`.
//!
//! On purpose different, with Envoy's way where an operator may depend on it:
//!
//! | Envoy | here | Envoy's way |
//! | --- | --- | --- |
//! | a drain lasts its full time, also when empty | it completes with its last connection, after a minimum time | [`DrainLength::Full`] |
//! | the polled question rounds elapsed time up | down, as Envoy's event model | [`Rounding::Ceil`] |
//! | connections are signaled along half of the drain time | each has a slot in the first quarter | [`DrainSchedule::Envoy140`] |
//! | a chain replaced in place drains at once | along the ramp | [`DrainStart::with_strategy`] |
//! | failed health has no ramp | the same | [`DrainSettings::with_health_ramp`] adds one |
//! | whole seconds | durations | whole seconds |
//! | inbound questions have no ramp during a drain of all | that of the drain which covers them | |
//! | an inbound start during a drain of all completes at once | with that drain | |
//! | the inbound timer completes a wider drain too | each completes at its own end | |
//! | stored callbacks ignore direction, and run again when a drain widens | filtered by scope, called once | |
//! | a child that drains ignores its parent's wider start | it widens | |
//! | a late child does not drain | it inherits | |
//! | children restart the clock | they share their parent's start | |
//!
//! The last seven are accidents of timers and call order that no configuration refers to: a child's
//! clock starts within a millisecond of its parent's, and an operator who depended on the others
//! would depend on connections that are cut early or not signaled at all. They have no setting.
//!
//! # Size
//!
//! A start marks every node below before it returns: some 3 900 instructions for each of 100 000
//! nodes with a connection, and 4 percent less for each of 10 000 (callgrind, `cargo bench -p
//! drain-tree --bench cascade`). Pacing costs what the nodes with connections cost, an empty node
//! nothing. Nothing grows with the drains that are over, nor with the children, connections,
//! callbacks and sequences that have come and gone.
//!
//! # What it does not do
//!
//! It does not accept, list connections, or speak a protocol. It spawns nothing: the caller that
//! starts a drain polls it, on any tokio runtime, single-threaded ones included.
//!
//! # Features and requirements
//!
//! No features. tokio with `time`; [`DrainSequence::poll_at`] drives a drain without. Minimum
//! supported Rust version 1.85.

mod engine;
mod health;
mod manager;
mod parent;
mod partial;
mod polled;
pub mod schedule;
mod sequence;
mod settings;
mod timer;

pub use drain_signal;
#[doc(no_inline)]
pub use drain_signal::{
    CloseSteps, DrainCompleted, DrainDecision, DrainDirection, DrainEnd, DrainEvent, DrainHandle,
    DrainReason, DrainSchedule, DrainState, DrainStrategy, DrainWatch, WatchOptions,
};
pub use engine::callbacks::DrainCallback;
pub use health::Decision;
pub use manager::DrainManager;
pub use parent::ParentShutdown;
pub use partial::{InvalidShare, PartialDrain, PartialOutcome, PartialStart, Share, Spread};
pub use schedule::Rounding;
pub use sequence::{DrainEnding, DrainOutcome, DrainSequence};
pub use settings::{
    ChildOptions, DEFAULT_DRAIN_TIME, DEFAULT_PARENT_SHUTDOWN_TIME, DrainLength, DrainSettings,
    DrainStart, DrainType, TrafficDirection,
};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
