//! Sockets by address, shared between versions, and the loops that accept on them.

mod accept;
mod accepted;
mod assignment;
mod backoff;
mod bind;
mod inherited;
mod limits;
mod listening;
mod sockets;
mod stream;
mod worker;
mod worker_sockets;

pub use accepted::Accepted;
pub use inherited::Inherited;
#[cfg(unix)]
pub use inherited::SharedSocket;
pub use limits::Refusal;
pub use stream::Stream;
pub use worker::Worker;

pub(crate) use accept::{Shared, enter};
pub(crate) use bind::bind;
pub(crate) use listening::{Acceptor, Listening};
