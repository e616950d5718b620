//! proto-drain-h2

mod close;
pub use close::H2Connection;
mod filter;
mod frames;
pub use frames::{CLIENT_PREFACE, Frame, FrameWalker, Walked};
mod handle;
pub use handle::{GoawayHandle, Version};
mod io;
pub use io::GoawayIo;
mod linger;
#[cfg(feature = "hyper")]
mod notice;
#[cfg(feature = "hyper")]
pub use notice::{NoticeFirst, NoticeFirstFuture};
mod phase;
pub use phase::{H2Event, H2Phase, InvalidTransition};
#[cfg(feature = "hyper")]
mod reset;
#[cfg(feature = "hyper")]
pub use reset::{ResetBody, ResetFuture, ResetHandle, ResetService, StreamError};
#[cfg(feature = "h2")]
mod serve;
#[cfg(feature = "h2")]
pub use serve::ServeStreams;
mod settings;
pub use settings::{AtDeadline, H2DrainSettings};
mod shutdown;
pub use shutdown::GracefulShutdown;
