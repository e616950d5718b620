//! What needs programs: this one started again, with few descriptors, to be stopped or to be killed,
//! and those that make a namespace.
#![cfg(target_os = "linux")]

mod child;
#[path = "../common/mod.rs"]
mod common;

mod descriptors;
#[cfg(all(feature = "handover", feature = "__test"))]
mod kills;
#[cfg(feature = "handover")]
#[path = "../handover/meeting.rs"]
#[expect(dead_code, reason = "the tests of `handover` use the rest")]
mod meeting;
mod namespace;
mod stopped;
#[cfg(feature = "handover")]
mod takeovers;
