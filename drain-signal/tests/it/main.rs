//! The signal through its public face: one program of all tests but the models, which is linked
//! once.
#![cfg(not(any(loom, shuttle)))]
#![allow(
    clippy::unwrap_used,
    reason = "in a test's helpers too a panic is a failure"
)]

mod anywhere;
mod auto_traits;
mod debug;
mod direction;
mod drive;
mod dropping;
mod memory;
mod odd_orders;
#[cfg(feature = "tokio")]
mod pace;
mod phases;
mod schedule;
mod signal;
mod threads;
mod values;
mod waits;
