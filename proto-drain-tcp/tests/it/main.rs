//! TCP copies in a drain: one program of all tests, which is linked once.
#![allow(
    clippy::unwrap_used,
    reason = "in a test's helpers too a panic is a failure"
)]

mod support;

mod any;
mod auto_traits;
mod copy;
mod drain;
mod loopback;
mod reset;
