//! What the body of a request and its response say to each other.

use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Context;

use atomic_waker::AtomicWaker;
use orion_drain::serve::BodyError;

/// The body of a request that has not come whole.
#[derive(Debug, Default)]
pub(crate) struct Upload {
    /// What the client sent cannot be read, or ended too early.
    broken_off: AtomicBool,
    /// The response has ended.
    answered: AtomicBool,
    /// What sends the body to the endpoint.
    sender: AtomicWaker,
}

/// Why a body ends before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    #[error("the client's request: {0}")]
    Client(#[source] BodyError),
    #[error("the response has ended before its request")]
    Answered,
}

impl Upload {
    pub(crate) fn breaks_off(&self) {
        // Relaxed: the reader has the error from the endpoint's connection.
        self.broken_off.store(true, Ordering::Relaxed);
    }

    pub(crate) fn has_broken_off(&self) -> bool {
        self.broken_off.load(Ordering::Relaxed)
    }

    /// The response has ended, or is given up: as in Envoy, what is still to come of the request
    /// goes nowhere. An endpoint that has answered and reads no further would keep its client's
    /// connection for as long as both like.
    pub(crate) fn answered(&self) {
        // Release: pairs with the Acquire in `is_answered`. Without it the sender, woken here,
        // might look before the store and sleep again.
        self.answered.store(true, Ordering::Release);
        self.sender.wake();
    }

    /// Whether the response has ended; if not, its end wakes the task.
    pub(crate) fn is_answered(&self, cx: &Context<'_>) -> bool {
        self.sender.register(cx.waker());
        // Pairs with the Release in `answered`.
        self.answered.load(Ordering::Acquire)
    }
}
