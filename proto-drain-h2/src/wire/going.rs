//! What a connection needs in its goodbye and nowhere else.

use crate::frames::{Goodbye, Short};
use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// What a connection in its goodbye needs.
#[derive(Debug, Default)]
pub(super) struct Going {
    pub(super) gap: Gap,
    pub(super) shutdown: Shutdown,
    /// The beginning of a frame of the codec that is looked at before it is written.
    pub(super) held: Short,
    /// What is written before anything else, and what it means when it has been.
    pub(super) out: Short,
    pub(super) on_written: Option<Goodbye>,
    pub(super) unflushed: bool,
    /// What the codec reads before anything else: the acknowledgement of its PING, or what `next`
    /// was.
    pub(super) ack: Short,
    /// Behind the final GOAWAY: the beginning of a frame of the peer that is looked at before the
    /// codec reads it.
    pub(super) next: Short,
    /// Runs in the gap, and behind it while the peer is in the middle of a frame.
    pub(super) timer: Option<Pin<Box<Sleep>>>,
}

/// What the timer and the end of the peer's bytes mean at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Gap {
    #[default]
    NotBegun,
    /// Until the timer ends.
    Running,
    /// The peer has ended its side and can open no more streams: the final GOAWAY is due, and the
    /// codec learns of the end when the timer ends.
    PeerEnded,
    /// The final GOAWAY is due. The timer runs while the peer is in the middle of a frame.
    Over,
}

/// How far the codec's own graceful shutdown has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Shutdown {
    #[default]
    NotBegun,
    /// Its GOAWAY(2^31-1) has come; its PING is next.
    Announced,
    /// Its PING has come, and waits for the acknowledgement.
    Asks([u8; 8]),
    Answered,
}

impl Going {
    /// Whether it has not begun after all.
    pub(super) fn is_over(&self) -> bool {
        self.gap == Gap::NotBegun
            && self.shutdown == Shutdown::NotBegun
            && self.ack.is_empty()
            && self.out.is_empty()
            && self.held.is_empty()
            && !self.unflushed
    }

    pub(super) fn arm(&mut self, after: Duration) {
        if let Some(timer) = self.timer.as_mut() {
            timer.as_mut().reset(later(after));
        } else {
            self.timer = Some(Box::pin(tokio::time::sleep_until(later(after))));
        }
    }

    pub(super) fn poll_timer(&mut self, cx: &mut Context<'_>) -> bool {
        let timer = self.timer.as_mut();
        timer.is_some_and(|timer| timer.as_mut().poll(cx).is_ready())
    }
}

fn later(after: Duration) -> Instant {
    let now = Instant::now();
    // Further than the clock reaches is a year: no connection drains longer.
    now.checked_add(after)
        .unwrap_or(now + Duration::from_secs(365 * 24 * 3600))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_longest_wait_is_a_year() {
        let year = Duration::from_secs(365 * 24 * 3600);
        let now = Instant::now();
        assert!(later(Duration::MAX) >= now + year);
    }
}
