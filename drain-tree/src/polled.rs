//! The interface of Envoy's own drain manager, with time and randomness passed in: the question
//! that is asked once per response, and callbacks. It has an `impl` block of its own so that
//! [`manager`](crate::manager) is about watches alone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use drain_signal::{DrainDirection, DrainStrategy};

use crate::engine::callbacks::DrainCallback;
use crate::engine::sequence::Sequence;
use crate::schedule::{late_callback_delay, polled_is_due};
use crate::{DrainManager, DrainType};

impl DrainManager {
    /// Whether a connection that asks with `scope` should leave now: Envoy's
    /// `drainClose(direction)`, as all releases up to mid 2026 ask it, for callers without a watch.
    ///
    /// In this order: failed health at a node of type `DEFAULT`: yes (along its ramp, if it has
    /// one). No drain that covers `scope`: no. Immediate, or the drain time is over: yes. Otherwise
    /// with the odds of the time that has passed, where `sample` is called, once.
    ///
    /// A pure read. The drain asked about is the one that covers the scope, and the earliest to end
    /// if several do; Envoy asks the unset deadline of an inbound drain while one in all directions
    /// runs, and so drains its `INBOUND` listeners without a ramp. How elapsed time is rounded says
    /// [`DrainSettings::rounding`](crate::DrainSettings::rounding).
    ///
    /// Source:
    /// [`DrainManagerImpl::drainClose`](https://github.com/envoyproxy/envoy/blob/main/source/server/drain_manager_impl.cc).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use drain_tree::{DrainDirection, DrainManager, DrainReason, DrainSettings, DrainStart};
    ///
    /// let listener = DrainManager::root(DrainSettings::default());
    /// let sequence = listener.start_drain_sequence(DrainStart::new(DrainReason::ListenerModify));
    /// let after = |seconds| sequence.event().start + Duration::from_secs(seconds);
    /// assert!(!listener.is_due_at(DrainDirection::All, after(300), || 450)); // 300 > 450 mod 600 is false
    /// assert!(listener.is_due_at(DrainDirection::All, after(500), || 450));
    /// assert!(listener.is_due_at(DrainDirection::All, after(600), || unreachable!()));
    /// ```
    #[doc(alias = "drainClose")]
    pub fn is_due_at(
        &self,
        scope: DrainDirection,
        now: Instant,
        sample: impl FnOnce() -> u64,
    ) -> bool {
        let mut sample = Some(sample);
        // One sample answers both questions: each alone has the odds it should have.
        let mut drawn = None;
        let mut draw = || *drawn.get_or_insert_with(|| sample.take().map_or(0, |sample| sample()));
        if self.drain_type() == DrainType::Default && self.shared().health.is_due(|| now, &mut draw)
        {
            return true;
        }
        let Some(sequence) = self.covering(scope) else {
            return false;
        };
        let elapsed = now.saturating_duration_since(sequence.event.start);
        // A deadline brought nearer ends the ramp earlier; it does not make it steeper.
        let elapsed = if now >= sequence.deadline() {
            sequence.event.drain_time
        } else {
            elapsed
        };
        polled_is_due(
            sequence.event.strategy,
            sequence.event.drain_time,
            elapsed,
            self.settings().rounding,
            draw,
        )
    }

    /// Registers `callback` for the drain that covers `scope`; it is called once, with the delay
    /// after which to close.
    ///
    /// Before such a drain it is stored, and called when one starts, by
    /// [`start_drain_sequence`](Self::start_drain_sequence) on its thread (or by another start, or
    /// a [`bring_forward`](Self::bring_forward), that meets it half-way). The stored callbacks of a
    /// node are spread over the first quarter of the drain time in the order of their
    /// registration. During a drain it is called at once, with a random share of what is left of
    /// the drain time, and nothing is returned. To act on the delay is the callback's part.
    ///
    /// A wider drain later does not call it again. (Envoy's stored callbacks have no scope: all of
    /// them run for an inbound drain, and again when it widens.) A stored callback that panics
    /// keeps no other callback from being called.
    ///
    /// Source:
    /// [`DrainManagerImpl::addOnDrainCloseCb`](https://github.com/envoyproxy/envoy/blob/main/source/server/drain_manager_impl.cc).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use std::time::Duration;
    /// use drain_tree::{DrainDirection, DrainManager, DrainReason, DrainSettings, DrainStart};
    ///
    /// let listener = DrainManager::root(DrainSettings::default());
    /// let (sender, delays) = mpsc::channel();
    /// let _kept: Vec<_> = (0..3)
    ///     .map(|_| sender.clone())
    ///     .map(|sender| listener.on_drain(DrainDirection::All, move |delay| sender.send(delay).unwrap()))
    ///     .collect();
    /// let _sequence = listener.start_drain_sequence(DrainStart::new(DrainReason::ListenerModify));
    /// let delays: Vec<_> = delays.try_iter().map(|delay| delay.as_secs()).collect();
    /// assert_eq!(delays, [0, 50, 100]); // of the 150 s that are a quarter of 600 s
    /// ```
    #[doc(alias = "addOnDrainCloseCb")]
    pub fn on_drain(
        &self,
        scope: DrainDirection,
        callback: impl FnOnce(Duration) + Send + 'static,
    ) -> Option<DrainCallback> {
        let now = tokio::time::Instant::now().into_std();
        self.on_drain_at(scope, now, || fastrand::u64(..), callback)
    }

    /// [`on_drain`](Self::on_drain) with time and randomness passed in. `sample` is called, once,
    /// only during a gradual drain of which at least a millisecond is left.
    pub fn on_drain_at(
        &self,
        scope: DrainDirection,
        now: Instant,
        sample: impl FnOnce() -> u64,
        callback: impl FnOnce(Duration) + Send + 'static,
    ) -> Option<DrainCallback> {
        let sequence = {
            let mut state = self.node().lock();
            let joined = state.joined.iter().map(|joined| &joined.sequence);
            match earliest(joined, scope) {
                Some(sequence) => Arc::clone(sequence),
                None => {
                    let id = state.callbacks.store(scope, Box::new(callback));
                    let node = Arc::downgrade(self.node());
                    return Some(DrainCallback { node, id });
                }
            }
        };
        callback(late_callback_delay(
            sequence.event.strategy,
            sequence.deadline().saturating_duration_since(now),
            sample,
        ));
        None
    }

    fn covering(&self, scope: DrainDirection) -> Option<Arc<Sequence>> {
        let state = self.node().lock();
        let joined = state.joined.iter().map(|joined| &joined.sequence);
        earliest(joined, scope).map(Arc::clone)
    }
}

/// The sequence that covers `scope` and says yes first.
fn earliest<'a>(
    joined: impl Iterator<Item = &'a Arc<Sequence>>,
    scope: DrainDirection,
) -> Option<&'a Arc<Sequence>> {
    let covering = joined.filter(|sequence| scope <= sequence.event.direction);
    covering.min_by_key(|sequence| {
        (
            sequence.event.strategy == DrainStrategy::Gradual,
            sequence.deadline(),
        )
    })
}
