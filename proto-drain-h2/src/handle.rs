//! The handle: what others may know of the transport's goodbye, and the few orders they may give
//! it.

use crate::drain::H2Drain;
use crate::orders::Orders;
use crate::phase::{H2Event, H2Phase};
use crate::settings::nanos;
use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

#[cfg(feature = "hyper")]
use crate::reset::{ResetHandle, ResetStream};
#[cfg(feature = "hyper")]
use slab::Slab;
#[cfg(feature = "hyper")]
use std::task::Waker;

/// What the client speaks, as far as its first bytes show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum WireProtocol {
    /// Not enough bytes yet.
    Unknown = 0,
    /// The whole connection preface of HTTP/2 was read.
    Http2 = 1,
    /// Something else was read, or the client ended before it had shown what it speaks.
    Other = 2,
}

/// A cheap, shared view of one [`GoawayIo`](crate::GoawayIo). Clones belong to the same connection.
///
/// Dropping every handle changes nothing: the transport goes on with the gap it was made with.
#[derive(Clone)]
pub struct GoawayHandle {
    shared: Arc<Shared>,
}

/// Written by the connection's task, except for the orders. Each field is one fact of its own: its
/// Release store pairs with the Acquire load in the method that reads it, and no order between two
/// fields matters.
pub(crate) struct Shared {
    phase: AtomicU8,
    protocol: AtomicU8,
    /// What happens at most once, a bit for each.
    once: AtomicU8,
    last_stream_id: AtomicU32,
    gap_nanos: AtomicU64,
    orders: Orders,
    waiting: Mutex<Option<Box<Waiting>>>,
    drain: H2Drain,
}

/// Some bytes have come, and not enough to show the protocol.
const BEGUN: u8 = 1;
const LOST: u8 = 1 << 1;
const GOAWAY_WRITTEN: u8 = 1 << 2;
/// The gap is over; the codec's own shutdown is due.
const GAP_OVER: u8 = 1 << 3;
/// The streams have been reset: what every frame looks at.
#[cfg(feature = "hyper")]
const RESET: u8 = 1 << 4;

/// The tasks that wait for something. Apart, since most connections have none.
#[derive(Default)]
pub(crate) struct Waiting {
    /// For a protocol or a phase.
    changed: Option<Arc<Notify>>,
    /// Of the streams that have something to wait for: for their reset.
    #[cfg(feature = "hyper")]
    pub(crate) resets: Slab<Waker>,
}

impl GoawayHandle {
    pub(crate) fn new(drain: &H2Drain) -> Self {
        let handle = Self {
            shared: Arc::new(Shared {
                phase: AtomicU8::new(H2Phase::Serving as u8),
                protocol: AtomicU8::new(WireProtocol::Unknown as u8),
                once: AtomicU8::new(0),
                last_stream_id: AtomicU32::new(u32::MAX),
                gap_nanos: AtomicU64::new(0),
                orders: Orders::default(),
                waiting: Mutex::default(),
                drain: drain.clone(),
            }),
        };
        handle.set_drain_timeout(drain.settings().drain_timeout);
        handle
    }

    #[inline]
    fn has(&self, once: u8) -> bool {
        self.shared.once.load(Ordering::Acquire) & once != 0
    }

    fn set(&self, once: u8) {
        self.shared.once.fetch_or(once, Ordering::Release);
    }

    /// How far the goodbye has come.
    #[must_use]
    #[inline]
    pub fn phase(&self) -> H2Phase {
        H2Phase::from_u8(self.shared.phase.load(Ordering::Acquire))
    }

    /// What the client speaks.
    #[must_use]
    #[inline]
    pub fn protocol(&self) -> WireProtocol {
        match self.shared.protocol.load(Ordering::Acquire) {
            0 => WireProtocol::Unknown,
            1 => WireProtocol::Http2,
            _ => WireProtocol::Other,
        }
    }

    /// Whether the first bytes of a preface, and not all of it, have come.
    #[inline]
    pub(crate) fn has_begun(&self) -> bool {
        self.has(BEGUN)
    }

    pub(crate) fn set_begun(&self) {
        self.set(BEGUN);
    }

    /// The last stream id of the final GOAWAY, once that was written.
    #[must_use]
    pub fn last_stream_id(&self) -> Option<u32> {
        let id = self.shared.last_stream_id.load(Ordering::Acquire);
        (id != u32::MAX).then_some(id)
    }

    /// Sets how long the gap between the two GOAWAYs will be. Without effect once the first was
    /// written.
    pub fn set_drain_timeout(&self, gap: Duration) {
        self.shared.gap_nanos.store(nanos(gap), Ordering::Release);
    }

    /// Has GOAWAY(2^31-1) written now, between two frames of the server; then the gap runs. The
    /// final GOAWAY follows when the gap is over *and* the server was asked for its graceful
    /// shutdown, before or after the end of the gap. [`H2Connection`](crate::H2Connection) does
    /// both by itself.
    ///
    /// For listeners of servers with one shutdown signal for all: each connection gets its first
    /// GOAWAY at a time of its own, and the signal comes a gap after the last of them. Without
    /// effect on a client that does not speak HTTP/2, and once a GOAWAY was written. A client that
    /// has not shown its protocol gets the GOAWAY when it has.
    pub fn notice(&self) {
        self.shared.orders.give(Orders::NOTICE);
    }

    /// Ends the gap now, or makes it empty if it has not begun: the final GOAWAY is written as soon
    /// as the peer's bytes stand between two frames.
    pub fn finish(&self) {
        self.shared.orders.give(Orders::FINISH);
    }

    /// As [`Self::finish`], and the transport's close no longer waits for the peer's FIN.
    pub fn end(&self) {
        self.shared.orders.give(Orders::FINISH | Orders::END);
    }

    /// Cuts the transport at once, in every state: reads end, writes, flushes and closes that
    /// cannot be done at once fail. What the kernel, or a TLS stream below, has already taken is
    /// still sent if the peer takes it.
    pub fn cut(&self) {
        self.shared
            .orders
            .give(Orders::FINISH | Orders::END | Orders::CUT);
    }

    /// The handle that resets the connection's streams at the deadline, as far as they are served
    /// through it.
    #[cfg(feature = "hyper")]
    #[must_use]
    pub fn resets(&self) -> ResetHandle {
        ResetHandle::of(self.clone())
    }

    /// A stream of the connection that can be reset: [`ResetHandle::stream`] of [`Self::resets`].
    #[cfg(feature = "hyper")]
    #[must_use]
    pub fn reset_stream(&self) -> ResetStream {
        ResetStream::of(self.clone())
    }

    #[cfg(feature = "hyper")]
    pub(crate) fn set_reset(&self) {
        self.set(RESET);
    }

    #[cfg(feature = "hyper")]
    #[inline]
    pub(crate) fn is_reset(&self) -> bool {
        self.has(RESET)
    }

    /// The tasks that wait, if there was any so far.
    pub(crate) fn waiting(&self) -> MutexGuard<'_, Option<Box<Waiting>>> {
        let waiting = self.shared.waiting.lock();
        waiting.unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a GOAWAY was written, also after the end.
    #[must_use]
    pub fn goaway_written(&self) -> bool {
        self.has(GOAWAY_WRITTEN)
    }

    /// Whether the peer was gone, or had been cut, before the connection was at its end.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.has(LOST)
    }

    /// Waits until [`Self::protocol`] is known.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: nothing is consumed, and nothing stays behind.
    pub async fn protocol_known(&self) -> WireProtocol {
        self.wait(|| Some(self.protocol()).filter(|protocol| *protocol != WireProtocol::Unknown))
            .await
    }

    /// Waits until a phase at or behind `phase` is reached; [`H2Phase::Closed`] ends every wait.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: nothing is consumed, and nothing stays behind.
    pub async fn reached(&self, phase: H2Phase) -> H2Phase {
        self.wait(|| Some(self.phase()).filter(|now| *now >= phase))
            .await
    }

    async fn wait<T>(&self, ready: impl Fn() -> Option<T>) -> T {
        let notify = self.changes();
        loop {
            // Made before the look: `Notify` counts a notification from here on, also before the
            // first poll.
            let changed = notify.notified();
            if let Some(value) = ready() {
                return value;
            }
            changed.await;
        }
    }

    /// Notified of every change from now on.
    fn changes(&self) -> Arc<Notify> {
        let mut waiting = self.waiting();
        let changed = &mut waiting.get_or_insert_default().changed;
        Arc::clone(changed.get_or_insert_default())
    }

    /// Behind the lock, which a wait takes before its look: the wait is found here, or sees the
    /// change.
    fn changed(&self) {
        let waiting = self.waiting();
        let changed = waiting.as_ref().and_then(|waiting| waiting.changed.clone());
        drop(waiting);
        if let Some(changed) = changed {
            changed.notify_waiters();
        }
    }

    // What the transport says.

    /// What it was made with.
    pub(crate) fn drain(&self) -> &H2Drain {
        &self.shared.drain
    }

    pub(crate) fn gap(&self) -> Duration {
        Duration::from_nanos(self.shared.gap_nanos.load(Ordering::Acquire))
    }

    #[inline]
    pub(crate) fn orders(&self) -> &Orders {
        &self.shared.orders
    }

    #[inline]
    pub(crate) fn is_cut(&self) -> bool {
        self.shared.orders.has(Orders::CUT)
    }

    #[inline]
    pub(crate) fn is_gap_over(&self) -> bool {
        self.has(GAP_OVER)
    }

    pub(crate) fn set_gap_over(&self) {
        self.set(GAP_OVER);
    }

    pub(crate) fn set_lost(&self) {
        self.set(LOST);
    }

    pub(crate) fn set_protocol(&self, protocol: WireProtocol) {
        self.shared
            .protocol
            .store(protocol as u8, Ordering::Release);
        self.changed();
    }

    /// Takes an event from the wire; what the table forbids (a codec's doing, not ours) leaves the
    /// phase as it is.
    pub(crate) fn on_event(&self, event: H2Event, last_stream_id: Option<u32>) -> bool {
        let Ok(next) = self.phase().on(event) else {
            return false;
        };
        if let Some(id) = last_stream_id {
            self.shared.last_stream_id.store(id, Ordering::Release);
        }
        if next == H2Phase::Noticed || next == H2Phase::GoingAway {
            self.set(GOAWAY_WRITTEN);
        }
        self.shared.phase.store(next as u8, Ordering::Release);
        self.changed();
        true
    }
}

impl fmt::Debug for GoawayHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GoawayHandle")
            .field("phase", &self.phase())
            .field("protocol", &self.protocol())
            .field("last_stream_id", &self.last_stream_id())
            .field("gap", &self.gap())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) const SHARED_SIZE: usize = size_of::<Shared>();

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    #[test]
    fn a_change_between_the_look_and_the_wait_ends_the_wait() {
        let handle = GoawayHandle::new(&H2Drain::default());
        let mut wait = pin!(handle.wait(|| {
            let phase = handle.phase();
            // The transport's task, right after the look.
            handle.on_event(H2Event::NoticeWritten, None);
            (phase == H2Phase::Noticed).then_some(())
        }));
        let polled = wait.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(polled, Poll::Ready(()));
    }
}
