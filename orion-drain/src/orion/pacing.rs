//! Several drains as one future: each sequence is polled, so that each is paced.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use drain_tree::{DrainOutcome, DrainSequence};

/// The drain that
/// [`start_listener_draining`](super::DrainSignalingManager::start_listener_draining) has begun. It
/// resolves, with the outcome of the whole drain, when that and the drains of all listeners with a
/// strategy of their own are over.
///
/// # Cancel safety
///
/// Dropping it stops no drain. Connections that have not been notified yet stay uninformed, unless
/// another sequence of the same drain is polled.
#[must_use = "a drain is paced only while its sequence is polled"]
pub struct ListenerDrain(Pin<Box<dyn Future<Output = DrainOutcome> + Send>>);

impl ListenerDrain {
    /// `whole` is the drain of the manager's node, `listeners` those of listeners below it.
    pub(super) fn new(whole: DrainSequence, listeners: Vec<DrainSequence>) -> Self {
        if listeners.is_empty() {
            return Self(Box::pin(whole));
        }
        let mut sequences = listeners;
        sequences.insert(0, whole);
        let outcomes = all(sequences);
        // There is at least the first one: it was inserted above.
        Self(Box::pin(async move { outcomes.await[0] }))
    }
}

impl Future for ListenerDrain {
    type Output = DrainOutcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<DrainOutcome> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for ListenerDrain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenerDrain").finish_non_exhaustive()
    }
}

/// Polls all sequences, and resolves with their outcomes in the same order.
pub(super) fn all(
    sequences: Vec<DrainSequence>,
) -> impl Future<Output = Vec<DrainOutcome>> + Send + 'static {
    let running = sequences
        .into_iter()
        .map(|sequence| (Box::pin(sequence), None));
    let mut running: Vec<_> = running.collect();
    poll_fn(move |cx| {
        for (sequence, outcome) in &mut running {
            if outcome.is_none() {
                if let Poll::Ready(ended) = Pin::new(sequence).poll(cx) {
                    *outcome = Some(ended);
                }
            }
        }
        let outcomes: Option<Vec<_>> = running.iter().map(|(_, outcome)| *outcome).collect();
        outcomes.map_or(Poll::Pending, Poll::Ready)
    })
}
