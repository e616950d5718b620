//! The connection to the old process. It stays open as long as the new process lives: its end is the new process's death.

use std::os::fd::OwnedFd;

use super::wire::{Wire, say_goodbye};

/// One more descriptor of the connection, beside the one that is read from.
///
/// [`Offer`](super::Offer) and [`Predecessor`](super::Predecessor) have it together. A process that drops both goes on, and says so.
#[derive(Debug)]
pub(super) struct Link(OwnedFd);

impl Link {
    /// `None` if there is no descriptor left: then the connection ends with the [`Predecessor`](super::Predecessor), and the lock says
    /// whether this process lives.
    pub(super) fn of(wire: &Wire) -> Option<Self> {
        wire.descriptor().ok().map(Self)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // A process that panics is about to die.
        if !std::thread::panicking() {
            say_goodbye(&self.0);
        }
    }
}
