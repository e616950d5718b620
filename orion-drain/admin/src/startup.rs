//! How far a process is that has begun (feature `standard`): until its first configuration is
//! there, `/ready` says 503.

use std::sync::Arc;

use tokio::sync::watch;

use super::ServerState;

/// The start of a process, for [`Standard::with_startup`](super::Standard::with_startup). Clones
/// are handles of the same.
///
/// It begins as [`ServerState::PreInitializing`]: the listeners of the bootstrap do not stand yet.
/// Source: [Envoy's
/// initialization](https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/operations/init).
#[derive(Debug, Clone)]
pub struct Startup(Arc<watch::Sender<Phase>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Phase {
    Bootstrap,
    FirstConfiguration,
    Over,
}

impl Startup {
    /// A process that has just begun.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Phase::Bootstrap)))
    }

    /// The listeners of the bootstrap stand; from now on the state is
    /// [`ServerState::Initializing`]: the process waits for its first configuration. Does nothing
    /// once it is [finished](Self::finish).
    pub fn initializing(&self) {
        self.reach(Phase::FirstConfiguration);
    }

    /// The first configuration is there, or will not be waited for: from now on the process is
    /// live, for good.
    pub fn finish(&self) {
        self.reach(Phase::Over);
    }

    /// Whether it is over.
    pub fn is_finished(&self) -> bool {
        self.state().is_none()
    }

    /// Resolves when it is over.
    ///
    /// # Cancel safety
    ///
    /// It can be dropped and called again.
    pub async fn finished(&self) {
        // The sender is here, so this does not fail.
        self.0
            .subscribe()
            .wait_for(|phase| *phase == Phase::Over)
            .await
            .ok();
    }

    /// What `/ready` says as long as it is not over.
    pub(super) fn state(&self) -> Option<ServerState> {
        match *self.0.borrow() {
            Phase::Bootstrap => Some(ServerState::PreInitializing),
            Phase::FirstConfiguration => Some(ServerState::Initializing),
            Phase::Over => None,
        }
    }

    fn reach(&self, phase: Phase) {
        self.0.send_if_modified(|have| {
            let is_later = *have < phase;
            if is_later {
                *have = phase;
            }
            is_later
        });
    }
}

impl Default for Startup {
    fn default() -> Self {
        Self::new()
    }
}
