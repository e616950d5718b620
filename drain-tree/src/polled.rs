//! The polled question: Envoy's drain manager asked once per response, with time and randomness passed in.

use std::sync::Arc;
use std::time::{Duration, Instant};

use drain_signal::{DrainDirection, DrainStrategy, DrainType};

use crate::DrainManager;
use crate::callbacks::DrainCloseCallback;
use crate::run::Run;
use crate::schedule::{drain_close, late_callback_delay};

impl DrainManager {
    /// Whether whoever asks with `scope` should leave now: Envoy's `drainClose(direction)`, as all releases up to mid 2026
    /// ask it, for callers without a watcher.
    ///
    /// In this order: failed health at a node of type `DEFAULT`: yes (along its ramp, if it has one). No drain that covers `scope`: no. Immediate, or the
    /// drain time is over: yes. Otherwise with the odds of the time that has passed, where `sample` is called, once.
    ///
    /// A pure read. The drain asked about is the one that covers the scope, and the earliest to end if several do; Envoy
    /// asks the unset deadline of an inbound drain while one in all directions runs, and so drains its `INBOUND`
    /// listeners without a ramp. How elapsed time is rounded says
    /// [`DrainSettings::rounding`](crate::DrainSettings::rounding).
    ///
    /// Source: [`DrainManagerImpl::drainClose`](https://github.com/envoyproxy/envoy/blob/main/source/server/drain_manager_impl.cc).
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
    /// assert!(!listener.drain_close_at(DrainDirection::All, after(300), || 450)); // 300 > 450 mod 600 is false
    /// assert!(listener.drain_close_at(DrainDirection::All, after(500), || 450));
    /// assert!(listener.drain_close_at(DrainDirection::All, after(600), || unreachable!()));
    /// ```
    #[doc(alias = "drainClose")]
    pub fn drain_close_at(&self, scope: DrainDirection, now: Instant, sample: impl FnOnce() -> u64) -> bool {
        let mut sample = Some(sample);
        // One sample answers both questions: each alone has the odds it should have.
        let mut drawn = None;
        let mut draw = || *drawn.get_or_insert_with(|| sample.take().map_or(0, |sample| sample()));
        if self.drain_type() == DrainType::Default && self.shared().health.drain_close(|| now, &mut draw) {
            return true;
        }
        let Some(run) = self.covering(scope) else {
            return false;
        };
        let elapsed = now.saturating_duration_since(run.event.start);
        // A deadline brought nearer ends the ramp earlier; it does not make it steeper.
        let elapsed = if now >= run.deadline() {
            run.event.drain_time
        } else {
            elapsed
        };
        drain_close(
            run.event.strategy,
            run.event.drain_time,
            elapsed,
            self.settings().rounding,
            draw,
        )
    }

    /// Registers `callback` for the drain that covers `scope`; it is called once, with the delay after which to close.
    ///
    /// Before such a drain it is stored, and called when one starts, by [`start_drain_sequence`](Self::start_drain_sequence)
    /// on its thread. The stored callbacks of a node are spread over the first quarter of the drain time in the order of
    /// their registration. During a drain it is called at once, with a random share of what is left of the drain time, and
    /// nothing is returned. Acting on the delay is the callback's job.
    ///
    /// A wider drain later does not call it again. (Envoy's stored callbacks have no scope: all of them run for an inbound
    /// drain, and again when it widens.) A stored callback that panics keeps nobody else from being told.
    ///
    /// Source: [`DrainManagerImpl::addOnDrainCloseCb`](https://github.com/envoyproxy/envoy/blob/main/source/server/drain_manager_impl.cc).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use std::time::Duration;
    /// use drain_tree::{DrainDirection, DrainManager, DrainReason, DrainSettings, DrainStart};
    ///
    /// let listener = DrainManager::root(DrainSettings::default());
    /// let (told, delays) = mpsc::channel();
    /// let _kept: Vec<_> = (0..3)
    ///     .map(|_| told.clone())
    ///     .map(|told| listener.on_drain_close(DrainDirection::All, move |delay| told.send(delay).unwrap()))
    ///     .collect();
    /// let _sequence = listener.start_drain_sequence(DrainStart::new(DrainReason::ListenerModify));
    /// let delays: Vec<_> = delays.try_iter().map(|delay| delay.as_secs()).collect();
    /// assert_eq!(delays, [0, 50, 100]); // of the 150 s that are a quarter of 600 s
    /// ```
    #[doc(alias = "addOnDrainCloseCb")]
    pub fn on_drain_close(
        &self,
        scope: DrainDirection,
        callback: impl FnOnce(Duration) + Send + 'static,
    ) -> Option<DrainCloseCallback> {
        let now = tokio::time::Instant::now().into_std();
        self.on_drain_close_at(scope, now, || fastrand::u64(..), callback)
    }

    /// [`on_drain_close`](Self::on_drain_close) with time and randomness passed in. `sample` is called, once, only during a
    /// gradual drain of which at least a millisecond is left.
    pub fn on_drain_close_at(
        &self,
        scope: DrainDirection,
        now: Instant,
        sample: impl FnOnce() -> u64,
        callback: impl FnOnce(Duration) + Send + 'static,
    ) -> Option<DrainCloseCallback> {
        let run = {
            let mut state = self.node().lock();
            let runs = state.joined.iter().map(|joined| &joined.run);
            match earliest(runs, scope) {
                Some(run) => Arc::clone(run),
                None => {
                    let id = state.callbacks.store(scope, Box::new(callback));
                    let node = Arc::downgrade(self.node());
                    return Some(DrainCloseCallback { node, id });
                }
            }
        };
        callback(late_callback_delay(
            run.event.strategy,
            run.deadline().saturating_duration_since(now),
            sample,
        ));
        None
    }

    fn covering(&self, scope: DrainDirection) -> Option<Arc<Run>> {
        let state = self.node().lock();
        earliest(state.joined.iter().map(|joined| &joined.run), scope).map(Arc::clone)
    }
}

/// The run that covers `scope` and says yes first.
fn earliest<'a>(runs: impl Iterator<Item = &'a Arc<Run>>, scope: DrainDirection) -> Option<&'a Arc<Run>> {
    runs.filter(|run| scope <= run.event.direction)
        .min_by_key(|run| (run.event.strategy == DrainStrategy::Gradual, run.deadline()))
}
