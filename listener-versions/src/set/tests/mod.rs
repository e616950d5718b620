//! The set of versions, without sockets.

mod bench;
mod config;
mod exchange;
mod model;
mod several;
mod updates;
