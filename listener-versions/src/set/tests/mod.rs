//! The set of versions, without sockets.

mod bench;
#[path = "../../../tests/common/mod.rs"]
mod common;
mod exchange;
mod model;
mod several;
mod updates;
