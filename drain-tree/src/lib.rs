//! Envoy's drain managers as a tree: a drain started at any node reaches everything below it at once, and gives every
//! connection its slot.
//!
//! A proxy has a server, listeners, filter chains and HTTP connection managers. Any of them may have to drain: the
//! server when the process ends, a listener when its configuration changes, a filter chain when it is replaced in place.
//! What is below drains with it; what is beside or above is untouched.
//!
//! ```text
//!  DrainManager::root ── child() ── child()          start_drain_sequence(reason) ──► DrainSequence (future: paces, completes)
//!        │ fail_health()     │ watch()                            │ at once, to every node below
//!        │ a level           ▼                                    ▼
//!        └────────────► Decision: drain_close()      DrainWatch: signaled() at its slot, expired() at the deadline
//! ```
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
//! | [`DrainSequence`] | the drain stays begun, without further slots or deadline, until somebody joins it |
//! | [`DrainWatch`] | its connection is gone |
//!
//! # Where it follows Envoy, and where not
//!
//! As in [Envoy's drain manager](https://github.com/envoyproxy/envoy/blob/main/source/server/drain_manager_impl.cc) a drain
//! flows down only, starting twice joins, a drain never stops, and failed health drains listeners of type `DEFAULT`
//! without being a drain. On purpose different: children share their parent's start (Envoy restarts the clock for each),
//! late children inherit, a wider drain reaches children that already drain, and a drain completes with its last
//! connection (all of Envoy's last the full drain time; [`DrainLength::Full`] does the same here).
//!
//! # What it does not do
//!
//! It does not accept, list connections, or speak a protocol. It spawns nothing: whoever starts a drain polls it, on any
//! tokio runtime, single-threaded ones included.
//!
//! # Features and requirements
//!
//! No features. tokio with `time`. Minimum supported Rust version 1.85.

mod callbacks;
mod cascade;
mod ending;
mod health;
mod manager;
mod member;
mod node;
mod pace;
mod parent;
mod polled;
mod run;
pub mod schedule;
mod sequence;
mod settings;
mod sync;

pub use callbacks::DrainCloseCallback;
pub use drain_signal;
#[doc(no_inline)]
pub use drain_signal::{
    CloseLadder, DrainCompleted, DrainDecision, DrainDirection, DrainEnd, DrainEvent, DrainHandle,
    DrainReason, DrainSchedule, DrainState, DrainStrategy, DrainType, DrainWatch, WatchOptions,
};
pub use health::Decision;
pub use manager::DrainManager;
pub use schedule::Rounding;
pub use sequence::{DrainEnding, DrainOutcome, DrainSequence};
pub use settings::{ChildOptions, DrainLength, DrainSettings, DrainStart, TrafficDirection};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
