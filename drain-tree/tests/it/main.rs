//! The tree through its public face: one program of all tests but the models, which is linked once.
#![cfg(not(any(loom, shuttle)))]
#![allow(
    clippy::unwrap_used,
    reason = "in a test's helpers too a panic is a failure"
)]

mod auto_traits;
mod callbacks;
mod cascade;
mod connections;
mod debug;
mod event;
mod memory;
mod model;
mod partial;
mod polled;
mod runtimes;
mod sequences;
mod tree;
mod values;
