//! HTTP/1 connections in a drain: one program of all tests but the race in `rarely`, which is linked once.
#![allow(
    clippy::unwrap_used,
    reason = "in a test's helpers too a panic is a failure"
)]

#[cfg(feature = "hyper")]
#[path = "../rig/mod.rs"]
mod rig;
mod settle;
mod sockets;

mod auto;
mod auto_traits;
mod axum;
mod bounds;
mod close;
mod drain;
mod early;
mod ending;
mod exchanges;
mod hand_written;
mod linger;
mod response;
mod tcp;
mod tls;
mod tower;
mod truncation;
mod websocket;
