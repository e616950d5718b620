//! orion-drain
pub mod admin;
pub mod config;
mod observer;
pub mod stats;
pub use observer::StatsObserver;
pub mod serve;
#[doc(no_inline)]
pub use {conn_tracker, drain_signal, drain_tree, listener_versions, proto_drain_h2, proto_drain_http1, proto_drain_tcp};
