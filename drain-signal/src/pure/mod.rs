//! What a drain says and when whose turn is: values and pure functions. No clock, no randomness, no thread.

mod config;
pub mod decision;
mod event;
pub(crate) mod phase;
pub mod schedule;

pub use config::{
    DEFAULT_DRAIN_TIME, DEFAULT_PARENT_SHUTDOWN_TIME, DrainDirection, DrainEnd, DrainReason, DrainSchedule,
    DrainStrategy, DrainType, DrainedBy,
};
pub use decision::DrainDecision;
pub use event::{CloseLadder, DrainEvent};
pub use phase::Phase;
