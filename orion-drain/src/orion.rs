//! Orion's API by its names: what the proposal "Connection Draining for Multiple Listener Versions" calls things, each
//! operation doing its job on live connections.
//!
//! Everything here is a translation onto the crates below; whoever does not come from the proposal needs none of it. The
//! README's migration table goes through it field by field, with the reason where something differs.
//!
//! | the proposal | here | what does the work |
//! | --- | --- | --- |
//! | `DrainSignalingManager` | [`DrainSignalingManager`] | a node of the drain tree |
//! | `ListenerDrainContext` | [`ListenerDrainContext`] | the listener's node and its group in the registry |
//! | `DrainScenario`, `ListenerDrainState` | the same | the reason of a drain's event, or failed health |
//! | its second `DrainStrategy` (`Tcp`, `Http`, ..) | [`ListenerDrainStrategy`] | derived from the filter chains |
//! | `ConnectionManager`, `DefaultConnectionManager` | the same | conn-tracker, and each connection's drain handle |
//! | `ListenersManager` | [`ListenersManager`] | listener-versions |
//! | `ListenerManagerConfig` and what is in it | the same | [`config`](crate::config) |

mod connections;
mod context;
mod info;
mod listeners;
mod routes;
mod scenario;
mod signaling;

pub use connections::{ConnectionManager, DefaultConnectionManager};
pub use context::ListenerDrainContext;
pub use info::ConnectionInfo;
pub use listeners::{
    Audit, ListenerConfigurationChange, ListenerServices, ListenersManager, ManagerParts,
    ManagerRun,
};
pub use routes::{RouteConfigurationChange, Routes};
pub use scenario::{DrainScenario, ListenerDrainStrategy};
pub use signaling::{DrainSignalingManager, ListenerDrainState};

pub use crate::config::{CleanupPolicy, ListenerDrainConfig, ListenerManagerConfig};
pub use crate::serve::ProtocolDrainBehavior;
pub use conn_tracker::{ConnProtocol as ConnectionProtocol, ConnState as ConnectionState};
pub use drain_signal::DrainStrategy;
pub use drain_tree::DrainType;
