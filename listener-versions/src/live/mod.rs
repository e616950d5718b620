//! The versions that live, with their sockets, drains and connections: what carries out the
//! decisions of the [set](crate::set).

mod chain;
mod descriptors;
mod driver;
mod entrances;
mod events;
mod executor;
mod inner;
mod later;
mod listener_conns;
mod listeners;
mod observer;
mod routes;
mod state;
mod token;
mod version;

pub use chain::ListenerChain;
pub use listeners::Listeners;
pub use observer::ListenerObserver;
pub use routes::{RouteWatch, Routes};
pub use version::{ListenerVersion, VersionView};

pub(crate) use driver::{DrainJob, Job, drive};
pub(crate) use observer::Reporter;
pub(crate) use token::Life;
pub(crate) use version::Chosen;

use chain::Opened;
use driver::without_panic;
use events::Event;
use inner::Inner;
pub(crate) use later::Later;
use listener_conns::ListenerConns;
use state::State;
