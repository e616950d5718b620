//! What comes from a control plane.

use orion_drain_config::{ListenerUpdate, RouteUpdate};

/// What a control plane has sent: all of one type that one response has.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum XdsUpdate {
    /// Listeners (LDS).
    Listeners(ListenerUpdate),
    /// Routes of the names that are wanted (RDS).
    Routes(RouteUpdate),
}

impl XdsUpdate {
    /// The paths of all fields that are not known here.
    pub(super) fn unknown_fields(&self) -> &[String] {
        match self {
            Self::Listeners(update) => &update.unknown_fields,
            Self::Routes(update) => &update.unknown_fields,
        }
    }
}

impl From<ListenerUpdate> for XdsUpdate {
    fn from(update: ListenerUpdate) -> Self {
        Self::Listeners(update)
    }
}

impl From<RouteUpdate> for XdsUpdate {
    fn from(update: RouteUpdate) -> Self {
        Self::Routes(update)
    }
}
