//! The rules of the house that no other tool knows, for texts: each is a pure function of what is
//! handed in.
//!
//! `cargo xtask ci tidy` reads the files and asks these; what it asks of manifests stands beside
//! it.

pub mod code;
pub mod ledger;
pub mod names;
pub mod pages;
