//! What the laboratories and the tests on a wire share. None of it is made of the code that is
//! judged.
#![expect(
    clippy::missing_errors_doc,
    clippy::exhaustive_enums,
    clippy::exhaustive_structs,
    reason = "for this workspace alone"
)]

mod admin;
mod build;
mod config;
mod edge;
pub mod envoy;
pub mod h1;
pub mod h2;
mod process;
mod prose;
pub mod upstream;
pub mod websocket;
pub mod yaml;

pub use admin::{ask, stats};
pub use build::{build_edge, build_example, cargo, root};
pub use config::{Clusters, Config, VERSION_HEADER, version_text};
pub use edge::{Edge, Start, free_ports};
pub use process::{Process, Said};
pub use prose::filled;
pub use upstream::Upstream;

/// The exit code of a laboratory that cannot play here, because a program that is not ours cannot
/// be had.
pub const OUT_OF_REACH: u8 = 3;
