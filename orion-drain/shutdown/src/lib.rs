//! The end of a process as a state machine: serve on for a while, drain, exit; all by one deadline,
//! with its progress visible at every moment.
//!
//! ```text
//!  begin()        lead_time                     drain_time                            over
//!  ─────┼────────────────────┼──────────────────────────────────────────┼──────────────►
//!       │ LeadTime           │ Draining, and Minimum while none is      │ Done
//!       │ not ready, all is  │ left and the minimum is not over         │
//!       │ served             ├─ accepting ─┤ sockets close              │
//!       └ health_delay: /ready says 503                                 └ what is left is closed in steps
//! ```
//!
//! [`ShutdownSettings`] has the times, under the names that others have for them; with a
//! [`deadline`](ShutdownSettings::deadline) every other time is derived from that one.
//! [`shut_down`] is the whole of it in one call. A program that must be asked how far it is, or be
//! ended at once by a second signal, makes a [`Shutdown`]:
//!
//! ```
//! use conn_tracker::ConnTracker;
//! use drain_tree::{DrainManager, DrainSettings};
//! use orion_drain_shutdown::{Shutdown, ShutdownEnding, ShutdownReason, ShutdownSettings, ShutdownState};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! let root = DrainManager::root(DrainSettings::default());
//! // Kubernetes' terminationGracePeriodSeconds: 5 s of lead time, a drain of 22 s, 3 s to spare before SIGKILL.
//! let settings = ShutdownSettings::default().with_deadline(std::time::Duration::from_secs(30));
//! let (shutdown, run) = Shutdown::new(&root, &ConnTracker::new(), settings);
//! let ended = tokio::spawn(run.run(|| { /* stop accepting */ }));
//!
//! shutdown.begin(ShutdownReason::ProcessShutdown); // the first signal
//! shutdown.reached(ShutdownState::Draining).await;
//! assert!(!shutdown.is_ready());
//! shutdown.begin(ShutdownReason::ProcessShutdown); // a preStop hook did so too: nothing changes
//! shutdown.end_now(); // the second signal: now
//! assert!(ended.await.is_ok_and(|outcome| outcome.ending == ShutdownEnding::AtOnce));
//! # }
//! ```
//!
//! # What dropping means
//!
//! | dropped | means |
//! | --- | --- |
//! | [`Shutdown`] | nothing: it only asks |
//! | [`ShutdownRun`], or its future | no further step is taken; a drain that has begun stays begun, and is not paced |
//!
//! Recipes for Kubernetes and systemd are in `docs/shutdown.md`.
//!
//! # Features and requirements
//!
//! None is on by default.
//!
//! - `signals` (Unix): `Signals`, which waits for SIGTERM and SIGINT.
//! - `systemd` (Linux): sockets from systemd, its file descriptor store, and notifications for it.
//!
//! tokio with time. Minimum supported Rust version 1.85.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod audit;
mod machine;
mod plan;
mod progress;
mod run;
mod settings;
#[cfg(all(feature = "signals", unix))]
mod signals;
#[cfg(all(feature = "systemd", target_os = "linux"))]
pub mod systemd;

pub use plan::ShutdownPlan;
pub use progress::{
    NextShutdownStep, ShutdownProgress, ShutdownReason, ShutdownState, ShutdownStep,
};
pub use run::{Shutdown, ShutdownEnding, ShutdownOutcome, ShutdownRun, shut_down, shut_down_all};
pub use settings::{ShutdownHealth, ShutdownSettings};
#[cfg(all(feature = "signals", unix))]
pub use signals::Signals;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
