//! orion-drain
pub mod config;
