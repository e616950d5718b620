//! systemd's part in a process's life (feature `systemd`): sockets that it opened or keeps, and
//! the messages that it gets.
//!
//! ```text
//!  systemd ── LISTEN_FDS ──► PassedSockets ──► Listeners::inherit          nothing that waits in their queues is lost
//!          ◄── READY=1, STATUS=, RELOADING=1, STOPPING=1, EXTEND_TIMEOUT_USEC= ── Notifier
//!          ◄── FDSTORE=1 with the sockets ── FdStore                       they outlive the process
//! ```
//!
//! [`Service`] does all of it for a process with listeners. Without systemd, that is without its
//! environment variables, there are no sockets and [`Notifier::from_env`] gives none. How the units
//! look is in `docs/shutdown.md`.

mod notify;
mod passed;
mod service;
mod store;

pub use notify::Notifier;
pub use passed::{PassedError, PassedSockets};
pub use service::Service;
pub use store::FdStore;
