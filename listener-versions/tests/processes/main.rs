//! What needs programs: this one started again, with few descriptors, to be stopped or to be killed,
//! and those that make a namespace.
#![cfg(target_os = "linux")]

mod child;
#[path = "../common/mod.rs"]
mod common;

mod descriptors;
#[cfg(all(feature = "handover", feature = "__test"))]
mod kills;
mod namespace;
mod stopped;
