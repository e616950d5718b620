//! What tests change in a process (feature `__test`): where it is killed, and what it says of
//! itself.

#[cfg(feature = "__test")]
use std::sync::OnceLock;

/// What a process does otherwise than others.
#[cfg(feature = "__test")]
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "a test sets all of it")]
pub struct Hooks {
    /// Called at each point of a handover, with its name.
    pub at: fn(&'static str),
    /// The number of the protocol.
    pub version: u16,
    /// The features in the hello.
    pub features: u32,
}

#[cfg(feature = "__test")]
static HOOKS: OnceLock<Hooks> = OnceLock::new();

/// Sets what this process does otherwise, once.
#[cfg(feature = "__test")]
pub fn set(hooks: Hooks) {
    drop(HOOKS.set(hooks));
}

/// The process has come to this point.
pub(super) fn at(point: &'static str) {
    #[cfg(feature = "__test")]
    if let Some(hooks) = HOOKS.get() {
        (hooks.at)(point);
    }
    let _ = point;
}

/// The number of the protocol that this process speaks.
pub(super) fn version() -> u16 {
    #[cfg(feature = "__test")]
    if let Some(hooks) = HOOKS.get() {
        return hooks.version;
    }
    super::message::VERSION
}

/// The features of this process.
pub(super) fn features() -> u32 {
    #[cfg(feature = "__test")]
    if let Some(hooks) = HOOKS.get() {
        return hooks.features;
    }
    0
}
