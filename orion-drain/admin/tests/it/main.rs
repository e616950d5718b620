//! The admin interface: one program of all tests, which is linked once.

mod admin;
#[cfg(feature = "standard")]
mod pages;
#[cfg(feature = "standard")]
mod standard;
mod views;
