//! The channel: a trigger, which begins the drain, and a signal, which opens watches.

use std::sync::Arc;

use crate::engine::Drain;
use crate::{
    DrainCompleted, DrainEvent, DrainHandle, DrainState, DrainWatch, Drained, Draining,
    WatchOptions,
};

/// A new drain that has not begun.
///
/// # Examples
///
/// ```
/// let (trigger, signal) = drain_signal::channel();
/// let connection = signal.watch()?;
/// assert!(!connection.is_draining());
/// # drop(trigger);
/// # Ok::<(), drain_signal::DrainCompleted>(())
/// ```
pub fn channel() -> (DrainTrigger, DrainSignal) {
    let drain = Arc::<Drain>::default();
    let signal = DrainSignal { drain };
    let trigger = DrainTrigger {
        signal: signal.clone(),
    };
    (trigger, signal)
}

/// Begins the drain, once. Not `Clone`: one owner decides.
///
/// Dropping it does not begin a drain; it only means that none can begin any more.
#[derive(Debug)]
pub struct DrainTrigger {
    signal: DrainSignal,
}

impl DrainTrigger {
    /// Begins the drain. Every connection that it concerns sees it from now on
    /// ([`is_draining`](DrainHandle::is_draining)). Slots come only while [`Draining`] is driven.
    pub fn start(self, event: DrainEvent) -> Draining {
        self.signal.drain.start(Arc::new(event));
        Draining::new(self.signal)
    }
}

/// Opens watches, and answers questions about the drain as a whole. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DrainSignal {
    pub(crate) drain: Arc<Drain>,
}

impl DrainSignal {
    /// Opens a watch: one per connection, kept as long as the connection lives.
    ///
    /// # Errors
    ///
    /// [`DrainCompleted`] once the drain is completed.
    #[inline]
    pub fn watch(&self) -> Result<DrainWatch, DrainCompleted> {
        self.watch_with(WatchOptions::default())
    }

    /// Opens a watch with a place, a `drain_timeout` or a direction of its own.
    ///
    /// # Errors
    ///
    /// [`DrainCompleted`] once the drain is completed.
    #[inline]
    pub fn watch_with(&self, options: WatchOptions) -> Result<DrainWatch, DrainCompleted> {
        let connection = self.drain.open(options)?;
        let handle = DrainHandle { connection };
        Ok(DrainWatch { handle })
    }

    /// Whether the drain has begun: one atomic load.
    pub fn is_draining(&self) -> bool {
        !self.drain.state.word().is_idle()
    }

    /// The state of the drain.
    pub fn state(&self) -> DrainState {
        self.drain.state.word().state()
    }

    /// The facts of the drain, once it has begun.
    pub fn event(&self) -> Option<Arc<DrainEvent>> {
        self.drain.state.lock().event.clone()
    }

    /// When what is left is closed; may come nearer.
    pub fn deadline(&self) -> Option<std::time::Instant> {
        self.drain.state.lock().deadline()
    }

    /// How many watches are open. Counted shard by shard: exact if none opens or closes meanwhile.
    pub fn open_watches(&self) -> usize {
        self.drain.open_watches()
    }

    /// A handle of each connection that waits for its slot now: that is driven
    /// ([`drive`](crate::drive)), or has a wait of another kind parked, and has not been notified.
    /// In no order.
    ///
    /// For those that are to leave one by one, by [`DrainHandle::start_now`]: a share of all, or
    /// the oldest. The list is not one moment of all connections: one that opens or goes meanwhile
    /// is in it or not. It takes 16 bytes for each, and a lock of each shard for 64 connections at
    /// a time.
    pub fn waiting(&self) -> Vec<DrainHandle> {
        let handle = |connection| DrainHandle { connection };
        self.drain.waiting().into_iter().map(handle).collect()
    }

    /// Resolves when the drain has begun and the last watch is dropped. From then on new watches
    /// are refused.
    ///
    /// # Cancel safety
    ///
    /// May be dropped and called again at any time.
    pub fn drained(&self) -> Drained {
        Drained(Draining::new(self.clone()))
    }
}
