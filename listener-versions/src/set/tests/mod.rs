//! The set of versions, without sockets.

#[path = "../../../tests/common/mod.rs"]
mod common;
mod model;
mod updates;
