//! What users call: the channel, the watch and its handle, waits, the begun drain, the driver.

mod draining;
mod drive;
mod graceful;
mod handle;
#[cfg(feature = "tokio")]
mod pace;
mod signal;
mod wait;
mod watch;

pub use draining::{Advance, Drained, Draining};
pub use drive::{CloseCause, Closed, Drive, drive, drive_held};
pub use graceful::{Goodbye, Graceful, GracefulClose, graceful};
pub use handle::DrainHandle;
pub use signal::{DrainSignal, DrainTrigger, channel};
pub use wait::{PhaseWait, Reached};
pub use watch::{DrainCompleted, DrainWatch, WatchOptions};
