//! What a drain says and when whose turn is: values and pure functions. No clock, no randomness, no
//! thread.

mod config;
mod decision;
mod event;
pub(crate) mod phase;
pub mod schedule;

pub use config::{
    DrainDirection, DrainEnd, DrainReason, DrainSchedule, DrainState, DrainStrategy, DrainedBy,
};
pub use decision::DrainDecision;
pub use event::{CloseSteps, DrainEvent};
pub use phase::Phase;
