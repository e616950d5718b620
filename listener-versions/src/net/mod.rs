//! Sockets by address, shared between versions, and the loops that accept on them.

mod accept;
mod backoff;
mod bind;
mod enter;
mod inherited;
mod lanes;
mod limits;
mod share;
mod slot;
mod sockets;
mod stream;
mod worker;

pub use accept::Accepted;
pub use enter::{Admission, ChainEntry};
#[cfg(unix)]
pub use inherited::SharedSocket;
pub use inherited::{InheritError, Inherited};
pub use limits::{Limits, Refusal};
pub use stream::{PeerAddress, Stream};
pub use worker::Worker;

pub(crate) use accept::Shared;
pub(crate) use bind::bind;
pub(crate) use slot::{Seat, Slot};
