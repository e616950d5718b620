//! tokio's timer, for any instant.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// tokio's timer ends at some instant in the future; a later one is waited for in steps.
const AT_MOST: Duration = Duration::from_secs(24 * 3600);

/// A timer that can be moved.
#[derive(Debug)]
pub(crate) struct Timer(Option<Pin<Box<tokio::time::Sleep>>>);

impl Timer {
    pub(crate) const fn new() -> Self {
        Self(None)
    }

    /// Ready at `at`, or earlier: look at the clock then.
    pub(crate) fn poll_until(&mut self, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let now = tokio::time::Instant::now();
        let wait = at.saturating_duration_since(now.into_std()).min(AT_MOST);
        // A new one each time: the last poll may have been on another runtime.
        let sleep = self.0.insert(Box::pin(tokio::time::sleep(wait)));
        sleep.as_mut().poll(cx)
    }
}
