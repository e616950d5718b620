//! The life of one listener version: one table of states and events, and everything that is not in
//! it is an error.

use std::fmt;

/// Where a version is in its life. Envoy's words; [`Drained`](Self::Drained) is the end, when
/// nothing of it is left.
///
/// What warms becomes active, or is dropped; what is active drains; what drains is drained when
/// nothing of it is left, or its deadline has passed. Nothing else can happen to a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(
    clippy::exhaustive_enums,
    reason = "the states of the transition table, printed in the documentation"
)]
#[repr(u8)]
pub enum VersionState {
    /// Taken, but not ready to accept yet.
    Warming = 0,
    /// The one version of its name that takes what comes next.
    Active = 1,
    /// Accepts no more; its connections finish with the configuration that they began with.
    Draining = 2,
    /// Nothing is left of it.
    Drained = 3,
}

/// What happens to a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum VersionEvent {
    /// It is ready and takes what comes next.
    Activate,
    /// It was replaced or removed before it was ready: it never had a connection, so it goes
    /// without a drain.
    Discard,
    /// A newer version took over, or the listener was removed.
    Drain,
    /// Its last connection is gone, or its deadline has passed.
    Complete,
}

impl VersionState {
    /// Every state, in the order of a version's life.
    pub(crate) const ALL: [Self; 4] = [Self::Warming, Self::Active, Self::Draining, Self::Drained];

    /// The state after `event`.
    ///
    /// | state | activate | discard | drain | complete |
    /// | --- | --- | --- | --- | --- |
    /// | warming | active | drained | - | - |
    /// | active | - | - | draining | - |
    /// | draining | - | - | - | drained |
    /// | drained | - | - | - | - |
    ///
    /// # Errors
    ///
    /// [`InvalidTransition`], naming both, for every pair that is not in the table.
    pub(crate) fn on(self, event: VersionEvent) -> Result<Self, InvalidTransition> {
        match (self, event) {
            (Self::Warming, VersionEvent::Activate) => Ok(Self::Active),
            (Self::Warming, VersionEvent::Discard) => Ok(Self::Drained),
            (Self::Active, VersionEvent::Drain) => Ok(Self::Draining),
            (Self::Draining, VersionEvent::Complete) => Ok(Self::Drained),
            (state, event) => Err(InvalidTransition { state, event }),
        }
    }

    pub(crate) fn from_u8(byte: u8) -> Self {
        Self::ALL[usize::from(byte & 3)]
    }
}

impl VersionEvent {
    /// Every event.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 4] = [Self::Activate, Self::Discard, Self::Drain, Self::Complete];
}

impl fmt::Display for VersionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Warming => "warming",
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Drained => "drained",
        })
    }
}

impl fmt::Display for VersionEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Activate => "activate",
            Self::Discard => "discard",
            Self::Drain => "drain",
            Self::Complete => "complete",
        })
    }
}

/// An event that a version in this state cannot have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a version that is {state} cannot {event}")]
pub(crate) struct InvalidTransition {
    /// The state that the version is in, and stays in.
    pub(crate) state: VersionState,
    /// What was asked of it.
    pub(crate) event: VersionEvent,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_the_one_that_the_documentation_prints() {
        let mut table = String::new();
        for state in VersionState::ALL {
            for event in VersionEvent::ALL {
                let after = state
                    .on(event)
                    .map_or_else(|error| error.to_string(), |next| next.to_string());
                table += &format!("{state:<8} {event:<8} -> {after}\n");
            }
        }
        insta::assert_snapshot!(table, @r"
        warming  activate -> active
        warming  discard  -> drained
        warming  drain    -> a version that is warming cannot drain
        warming  complete -> a version that is warming cannot complete
        active   activate -> a version that is active cannot activate
        active   discard  -> a version that is active cannot discard
        active   drain    -> draining
        active   complete -> a version that is active cannot complete
        draining activate -> a version that is draining cannot activate
        draining discard  -> a version that is draining cannot discard
        draining drain    -> a version that is draining cannot drain
        draining complete -> drained
        drained  activate -> a version that is drained cannot activate
        drained  discard  -> a version that is drained cannot discard
        drained  drain    -> a version that is drained cannot drain
        drained  complete -> a version that is drained cannot complete
        ");
    }
}
