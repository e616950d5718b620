//! HTTP/2 connections in a drain: one program of all tests, which is linked once.
#![allow(
    clippy::unwrap_used,
    reason = "in a test's helpers too a panic is a failure"
)]

#[cfg(all(feature = "hyper-util", feature = "h2"))]
mod support;
#[cfg(all(feature = "hyper-util", feature = "h2"))]
#[path = "../../examples/ticker/ticker.rs"]
mod ticker;
#[cfg(all(feature = "hyper-util", feature = "h2"))]
#[path = "support/tls.rs"]
mod tls;

mod allocations;
mod auto_traits;
mod ending;
mod gap;
mod hostile;
mod one_signal;
mod orders;
mod peers;
mod stacks;
mod through;
mod tunnels;
mod uploads;
