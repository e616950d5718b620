//! The registry through its public face: one program, which is linked once, of all tests but the
//! models, and `memory`, whose trackers are the only ones of their process: what a tracker leaves
//! is kept for the process's next.
#![cfg(not(loom))]

mod auto_traits;
mod completion;
mod control;
mod guard;
mod model;
mod upgrade;
mod values;
mod view;
