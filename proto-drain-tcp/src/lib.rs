//! TCP lets go in its own words: a drain-aware two-way copy that keeps half-close, delivers what it took, and ends in
//! FIN.
//!
mod copy;
mod half;
mod options;
mod policy;
mod report;
mod reset;
mod run;
mod timer;

pub use copy::{DrainCopy, OwnSlot};
pub use options::CopyOptions;
pub use policy::{DrainPoint, Flow, Rule, Step, TcpDrainPolicy};
pub use report::{Bytes, CopyError, CopyReport, Ended, Side};
pub use reset::{CloseMode, ResetOnDrop};
