//! Orion's API by its names: what the proposal "Connection Draining for Multiple Listener Versions"
//! calls things, each operation doing its job on live connections.
//!
//! Everything here is a translation onto the crates below. Only hosts that come from the proposal,
//! and those that look for connections past their deadline by a [`DefaultConnectionManager`], need
//! it. The README's migration table goes through it field by field, with the reason where something
//! differs.
//!
//! ```text
//!  ListenerConfigurationChange<C> ─► ListenersManager<C, S> ─► versions accept, drain, are reaped
//!                                       │ signaling()            accepted ─► S::serve
//!                                       ▼                                      │ Registration
//!          DrainSignalingManager: start, stop, one                             ▼
//!          ListenerDrainContext for each listener        DefaultConnectionManager: list, drain, close
//! ```
//!
//! | the proposal | here | what does the work |
//! | --- | --- | --- |
//! | `DrainSignalingManager` | [`DrainSignalingManager`] | a node of the drain tree |
//! | `ListenerDrainContext` | [`ListenerDrainContext`] | the listener's node and its group in the registry |
//! | `DrainScenario`, `ListenerDrainState` | the same | a drain event's reason, or failed health |
//! | its second `DrainStrategy` (`Tcp`, `Http`, ..) | [`ListenerDrainStrategy`] | derived from the filter chains |
//! | `ConnectionManager`, `DefaultConnectionManager` | the same | conn-tracker, and each connection's drain handle |
//! | `ListenersManager` | [`ListenersManager`] | listener-versions |
//! | `ListenerManagerConfig` and what is in it | the same | [`config`](crate::config) |

mod changes;
mod connections;
mod context;
mod info;
mod listeners;
mod pacing;
mod scenario;
mod signaling;

pub use changes::{
    ListenerConfigurationChange, ListenerServices, Registration, RouteConfigurationChange,
};
pub use connections::{ConnectionManager, DefaultConnectionManager};
pub use context::ListenerDrainContext;
pub use info::ConnectionInfo;
pub use listeners::{Audit, ListenersManager, ManagerParts, ManagerRun};
pub use pacing::ListenerDrain;
pub use scenario::{DrainScenario, ListenerDrainStrategy};
pub use signaling::{DrainSignalingManager, ListenerDrainState};

pub use crate::config::{CleanupPolicy, ListenerDrainConfig, ListenerManagerConfig};
pub use crate::serve::ProtocolDrainBehavior;
pub use conn_tracker::{ConnProtocol as ConnectionProtocol, ConnState as ConnectionState};
pub use drain_signal::DrainStrategy;
pub use drain_tree::DrainType;
