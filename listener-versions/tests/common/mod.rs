//! What the tests with sockets share.

#![allow(dead_code, unused_imports, reason = "each test binary uses its part")]

#[path = "../../src/set/tests/config.rs"]
mod config;
pub(crate) mod wire;

pub(crate) use config::{Config, at, at_port, listener};
