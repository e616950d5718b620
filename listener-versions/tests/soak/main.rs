//! Listeners under many connections and updates. `cargo xtask ci --full soak` runs those that take
//! long, alone and one after the other.

#[path = "../common/mod.rs"]
mod common;

#[cfg(target_os = "linux")]
mod soak;
mod storm;
