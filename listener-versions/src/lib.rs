//! Versions of named listeners.

mod address;
pub use address::{ListenAddress, SocketKey};
mod config;
pub use config::{DualStack, FieldError, ListenerConfig, SocketOptions};
mod state;
pub use state::{InvalidTransition, VersionEvent, VersionState};
mod update;
pub use update::{Change, ListenerReport, Update, UpdateError, UpdateMode, UpdateReport};
mod plan;
mod set;
pub use set::{Applied, Effect, Stopped, VersionRecord, VersionSet};
mod version;
pub use version::{ListenerVersion, VersionView};
mod options;
pub use options::{AcceptPolicy, CleanupPolicy, ListenersOptions};
mod observer;
pub use observer::ListenerObserver;
mod net;
pub use net::{Accepted, Limits, PeerAddress, Refusal, Stream, Worker};
mod driver;
mod shell;
pub use driver::Driver;
mod listeners;
pub use listeners::{Listeners, WarmError};
