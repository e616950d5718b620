//! A partial drain: some of the open connections are asked to leave, one after the other, and the
//! node goes on as before.
//!
//! What Envoy has no word for yet: a percentage of the connections, to rebalance after scaling out
//! ([envoy#15283](https://github.com/envoyproxy/envoy/issues/15283)), at a pace of so many a second
//! ([envoy#43612](https://github.com/envoyproxy/envoy/issues/43612)). Which connections and when
//! are pure functions: [`Share::choose`] and [`Spread::turn`].

use std::fmt;
use std::future::Future;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use drain_signal::DrainHandle;

use crate::DrainManager;
use crate::engine::later;
use crate::timer::Timer;

/// How many connections one poll asks, so that no other task of its runtime waits.
const BATCH: usize = 32;

/// Which share of the connections leaves: more than nothing, at most all.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Share(f64);

/// A share that is not above 0 and at most 1.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("a share of the connections is above 0 and at most 1, not {0}")]
pub struct InvalidShare(f64);

impl Share {
    /// All of them.
    pub const ALL: Self = Self(1.0);

    /// `fraction` of the connections.
    ///
    /// # Errors
    ///
    /// [`InvalidShare`] if it is not above 0 and at most 1, or not a number.
    pub fn new(fraction: f64) -> Result<Self, InvalidShare> {
        if fraction > 0.0 && fraction <= 1.0 {
            Ok(Self(fraction))
        } else {
            Err(InvalidShare(fraction))
        }
    }

    /// The fraction.
    pub const fn fraction(self) -> f64 {
        self.0
    }

    /// How many of `count` that is: rounded to the nearest, half a connection up.
    pub fn of(self, count: usize) -> usize {
        // A float is as exact as is needed: no machine has 2^53 connections.
        ((count as f64 * self.0).round() as usize).min(count)
    }

    /// Keeps that share of `items`, each of them with the same odds, in an order that is as random.
    ///
    /// `sample` is called once for each that is kept.
    ///
    /// # Examples
    ///
    /// ```
    /// use drain_tree::Share;
    ///
    /// let mut connections: Vec<_> = (0..100).collect();
    /// Share::new(0.2)?.choose(&mut connections, || 7);
    /// assert_eq!(connections.len(), 20);
    /// # Ok::<(), drain_tree::InvalidShare>(())
    /// ```
    pub fn choose<T>(self, items: &mut Vec<T>, mut sample: impl FnMut() -> u64) {
        let kept = self.of(items.len());
        for index in 0..kept {
            let others = (items.len() - index) as u64;
            items.swap(index, index + (sample() % others) as usize);
        }
        items.truncate(kept);
    }
}

/// When those that leave are asked.
#[expect(
    clippy::exhaustive_enums,
    reason = "either the time is fixed or the number a second"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Spread {
    /// Evenly over this time, the first at its start.
    Over(Duration),
    /// So many a second, evenly.
    PerSecond(NonZeroU32),
}

impl Spread {
    /// When, since the start, connection `index` of `count` is asked: not before the one in front
    /// of it, and at most [`Duration::MAX`].
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use drain_tree::Spread;
    ///
    /// let quarter = Spread::Over(Duration::from_secs(150));
    /// assert_eq!([0, 1, 299].map(|index| quarter.turn(index, 300).as_millis()), [0, 500, 149_500]);
    /// let pace = Spread::PerSecond(4.try_into().unwrap());
    /// assert_eq!([0, 1, 9].map(|index| pace.turn(index, 10).as_millis()), [0, 250, 2250]);
    /// ```
    pub fn turn(self, index: usize, count: usize) -> Duration {
        let (whole, parts) = match self {
            Self::Over(window) => (window, count.max(1) as u128),
            Self::PerSecond(rate) => (Duration::from_secs(1), rate.get().into()),
        };
        // A remainder is below 2^64, and so is an index: their product does not overflow. The rest
        // may, for an index beyond `count`.
        let (nanos, index) = (whole.as_nanos(), index as u128);
        let nanos = (nanos / parts)
            .saturating_mul(index)
            .saturating_add(nanos % parts * index / parts)
            .min(Duration::MAX.as_nanos());
        Duration::new(
            (nanos / 1_000_000_000) as u64,
            (nanos % 1_000_000_000) as u32,
        )
    }
}

/// What a partial drain at a [`DrainManager`] says.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PartialStart {
    /// Which share of the connections that are open at the start, at the node and below.
    pub share: Share,
    /// When they are asked; `None`: over a quarter of the drain time, as in a gradual drain.
    pub spread: Option<Spread>,
}

impl PartialStart {
    /// A partial drain of `share`, over a quarter of the drain time.
    pub const fn new(share: Share) -> Self {
        Self {
            share,
            spread: None,
        }
    }

    /// With a spread of its own.
    pub const fn with_spread(mut self, spread: Spread) -> Self {
        self.spread = Some(spread);
        self
    }
}

/// What became of a partial drain.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartialOutcome {
    /// How many connections had been chosen.
    pub chosen: usize,
    /// How many of them were there to be asked: at a [`DrainManager`], those that nothing else had
    /// asked meanwhile (one that has gone by itself counts), else as its owner's `ask` said.
    pub asked: usize,
}

/// Asks the chosen connections to leave, one after the other, and resolves when the last has been
/// asked.
///
/// Nothing else changes: no node drains or completes, connections that open meanwhile are not
/// asked, and a drain may start at any time. Two at once may choose the same connection, which is
/// asked once.
///
/// A connection that was asked has no deadline by this. One that does not leave stays until its own
/// timeouts, [`DrainHandle::force`], or the deadline of a drain that starts later end it.
///
/// The connections of a tree are chosen by [`DrainManager::start_partial_drain`]; those of a
/// registry by a predicate of its owner, [`PartialDrain::new`].
///
/// # Cancel safety
///
/// Dropping it leaves alone those that have not been asked.
///
/// # Panics
///
/// When polled outside a tokio runtime with time enabled. [`poll_at`](Self::poll_at) needs none.
#[must_use = "connections are asked only while it is polled"]
pub struct PartialDrain<T = DrainHandle> {
    /// Those that have not been asked, the next one last.
    left: Vec<T>,
    ask: Box<dyn FnMut(T) -> bool + Send>,
    outcome: PartialOutcome,
    spread: Spread,
    start: Instant,
    timer: Timer,
}

impl<T> PartialDrain<T> {
    /// Asks `connections` in their order, by `ask`, which says whether the connection was there to
    /// be asked. None is asked before `start`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use drain_tree::{PartialDrain, Spread};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// // Ids of a registry, of the connections that have been open for more than an hour.
    /// let old = vec![3, 17, 29];
    /// let pace = Spread::PerSecond(10.try_into().unwrap());
    /// let start = tokio::time::Instant::now();
    /// let outcome = PartialDrain::new(old, pace, start.into_std(), |id| id != 17).await;
    /// assert_eq!((outcome.chosen, outcome.asked), (3, 2));
    /// assert_eq!(start.elapsed(), Duration::from_millis(200));
    /// # }
    /// ```
    pub fn new(
        mut connections: Vec<T>,
        spread: Spread,
        start: Instant,
        ask: impl FnMut(T) -> bool + Send + 'static,
    ) -> Self {
        connections.reverse();
        // Those that were not chosen leave their room behind, for as long as the drain lasts.
        connections.shrink_to_fit();
        Self {
            outcome: PartialOutcome {
                chosen: connections.len(),
                asked: 0,
            },
            left: connections,
            ask: Box::new(ask),
            spread,
            start,
            timer: Timer::new(),
        }
    }

    /// How many connections have not had their turn.
    pub fn left(&self) -> usize {
        self.left.len()
    }

    /// Asks those whose turn has come at `now`, for callers that keep time themselves.
    ///
    /// Otherwise call again at the instant it leaves in `next`, or when the waker of `cx` is woken.
    pub fn poll_at(
        &mut self,
        now: Instant,
        cx: &mut Context<'_>,
        next: &mut Option<Instant>,
    ) -> Poll<PartialOutcome> {
        *next = None;
        let elapsed = now.checked_duration_since(self.start);
        for _ in 0..BATCH {
            let index = self.outcome.chosen - self.left.len();
            let turn = self.spread.turn(index, self.outcome.chosen);
            let is_early = elapsed.is_none_or(|elapsed| turn > elapsed);
            if is_early && !self.left.is_empty() {
                *next = Some(later(self.start, turn));
                return Poll::Pending;
            }
            let Some(connection) = self.left.pop() else {
                return Poll::Ready(self.outcome);
            };
            self.outcome.asked += usize::from((self.ask)(connection));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<T> Future for PartialDrain<T> {
    type Output = PartialOutcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<PartialOutcome> {
        loop {
            let (now, mut next) = (tokio::time::Instant::now().into_std(), None);
            if let Poll::Ready(outcome) = self.poll_at(now, cx, &mut next) {
                return Poll::Ready(outcome);
            }
            let Some(next) = next else {
                return Poll::Pending;
            };
            if self.timer.poll_until(next, cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

/// Nothing in it is pinned.
impl<T> Unpin for PartialDrain<T> {}

impl<T> fmt::Debug for PartialDrain<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartialDrain")
            .field("outcome", &self.outcome)
            .field("left", &self.left.len())
            .field("spread", &self.spread)
            .finish_non_exhaustive()
    }
}

/// An `impl` block of its own, so that `manager.rs` is about drains of the whole node alone.
impl DrainManager {
    /// Asks a share of the connections that are open here and below to leave, one after the other.
    ///
    /// They are chosen now, with the same odds each, among those that wait for a slot
    /// ([`DrainSignal::waiting`](drain_signal::DrainSignal::waiting)): driven ones, that have not
    /// been asked yet. The node neither drains nor completes: see [`PartialDrain`].
    ///
    /// # Examples
    ///
    /// ```
    /// use drain_tree::{DrainManager, DrainSettings, PartialStart, Share, Spread};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let listener = DrainManager::root(DrainSettings::default());
    /// for _ in 0..50 {
    ///     let connection = listener.watch()?;
    ///     tokio::spawn(async move { connection.signaled().await });
    /// }
    /// tokio::task::yield_now().await;
    /// let start = PartialStart::new(Share::new(0.2)?).with_spread(Spread::PerSecond(5.try_into()?));
    /// let outcome = listener.start_partial_drain(start).await; // takes two seconds
    /// tokio::task::yield_now().await;
    /// assert_eq!((outcome.asked, listener.open_watches()), (10, 40));
    /// assert!(!listener.is_draining());
    /// # Ok(()) }
    /// ```
    pub fn start_partial_drain(&self, start: PartialStart) -> PartialDrain {
        let now = tokio::time::Instant::now().into_std();
        self.start_partial_drain_at(start, now, || fastrand::u64(..))
    }

    /// [`start_partial_drain`](Self::start_partial_drain) with time and randomness passed in.
    /// `sample` is called once for each connection that is chosen.
    pub fn start_partial_drain_at(
        &self,
        start: PartialStart,
        now: Instant,
        sample: impl FnMut() -> u64,
    ) -> PartialDrain {
        let mut connections = self.node().waiting();
        start.share.choose(&mut connections, sample);
        let quarter = Spread::Over(self.settings().drain_time / 4);
        let spread = start.spread.unwrap_or(quarter);
        PartialDrain::new(connections, spread, now, |connection: DrainHandle| {
            connection.start_now()
        })
    }
}
