//! Parent shutdown: when, after a hot restart, the new process asks the old process to end.

use std::future::Future;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::timer::Timer;

/// When the parent shutdown sequence of a tree was begun: once.
#[derive(Debug, Default)]
pub(crate) struct ParentShutdownStart(OnceLock<Instant>);

impl ParentShutdownStart {
    pub(crate) fn start(&self) -> Instant {
        *self
            .0
            .get_or_init(|| tokio::time::Instant::now().into_std())
    }
}

/// Resolves when the old process is to be asked to end: made by
/// [`DrainManager::start_parent_shutdown_sequence`](crate::DrainManager::start_parent_shutdown_sequence).
///
/// # Cancel safety
///
/// Dropping it changes nothing; another call of that method resolves at the same instant.
///
/// # Panics
///
/// When polled outside a tokio runtime with time enabled.
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct ParentShutdown {
    at: Instant,
    timer: Timer,
}

impl ParentShutdown {
    pub(crate) const fn new(at: Instant) -> Self {
        Self {
            at,
            timer: Timer::new(),
        }
    }

    /// When that is.
    pub const fn at(&self) -> Instant {
        self.at
    }
}

impl Future for ParentShutdown {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let at = self.at;
        loop {
            if tokio::time::Instant::now().into_std() >= at {
                return Poll::Ready(());
            }
            if self.timer.poll_until(at, cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}
