//! The handle: what others may know about the transport's goodbye, and the few things they may tell it.

use crate::phase::{H2Event, H2Phase};
use crate::settings::nanos;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// What the client speaks, as far as its first bytes tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum Version {
    /// Not enough bytes yet.
    Unknown = 0,
    /// The whole connection preface of HTTP/2 was read.
    Http2 = 1,
    /// Something else was read, or the client ended before it had said what it speaks.
    Other = 2,
}

/// A cheap, shared view of one [`GoawayIo`](crate::GoawayIo): clones tell the same connection's story.
///
/// Dropping every handle changes nothing: the transport goes on with the gap it was made with.
#[derive(Clone)]
pub struct GoawayHandle {
    shared: Arc<Shared>,
}

/// Written by the connection's task, except for the orders. The flags are all Relaxed or Release/Acquire pairs of one
/// variable: no order between two of them matters, since the task is polled after each order.
pub(crate) struct Shared {
    phase: AtomicU8,
    version: AtomicU8,
    finish: AtomicBool,
    ending: AtomicBool,
    cut: AtomicBool,
    lost: AtomicBool,
    told: AtomicBool,
    last_stream_id: AtomicU32,
    gap_nanos: AtomicU64,
    /// The transport's task while a gap runs, and whoever waits for a version or a phase.
    wakers: Mutex<Wakers>,
}

#[derive(Default)]
struct Wakers {
    transport: Option<Waker>,
    waiting: Vec<Waker>,
}

impl GoawayHandle {
    pub(crate) fn new(gap: Duration) -> Self {
        let handle = Self {
            shared: Arc::new(Shared {
                phase: AtomicU8::new(H2Phase::Serving as u8),
                version: AtomicU8::new(Version::Unknown as u8),
                finish: AtomicBool::new(false),
                ending: AtomicBool::new(false),
                cut: AtomicBool::new(false),
                lost: AtomicBool::new(false),
                told: AtomicBool::new(false),
                last_stream_id: AtomicU32::new(u32::MAX),
                gap_nanos: AtomicU64::new(0),
                wakers: Mutex::default(),
            }),
        };
        handle.set_gap(gap);
        handle
    }

    /// How far the goodbye has come.
    #[must_use]
    pub fn phase(&self) -> H2Phase {
        H2Phase::from_u8(self.shared.phase.load(Ordering::Acquire))
    }

    /// What the client speaks.
    #[must_use]
    pub fn version(&self) -> Version {
        match self.shared.version.load(Ordering::Acquire) {
            0 => Version::Unknown,
            1 => Version::Http2,
            _ => Version::Other,
        }
    }

    /// The last stream id of the final GOAWAY, once that was written.
    #[must_use]
    pub fn last_stream_id(&self) -> Option<u32> {
        let id = self.shared.last_stream_id.load(Ordering::Acquire);
        (id != u32::MAX).then_some(id)
    }

    /// Sets how long the gap between the two GOAWAYs will be. Without effect once the notice has been written.
    pub fn set_gap(&self, gap: Duration) {
        self.shared.gap_nanos.store(nanos(gap), Ordering::Release);
    }

    /// Ends the gap now, or makes it empty if it has not begun: the final GOAWAY leaves as soon as the peer's bytes
    /// stand between two frames.
    pub fn finish(&self) {
        self.shared.finish.store(true, Ordering::Release);
        self.wake_transport();
    }

    /// The transport's close no longer waits for the peer's FIN.
    pub fn end(&self) {
        self.shared.ending.store(true, Ordering::Release);
        self.finish();
    }

    /// Cuts the transport: reads end, writes that cannot be done at once fail. What the codec has already written is
    /// still flushed if the peer takes it. Takes effect at once when a GOAWAY has been written, otherwise when the
    /// connection is polled next.
    pub fn cut(&self) {
        self.shared.cut.store(true, Ordering::Release);
        self.end();
    }

    /// Whether a GOAWAY was written, also after the end.
    #[must_use]
    pub fn was_told(&self) -> bool {
        self.shared.told.load(Ordering::Acquire)
    }

    /// Whether the peer was gone, or had been cut, before the connection was at its end.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.shared.lost.load(Ordering::Acquire)
    }

    /// Waits until [`Self::version`] is known.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: nothing is consumed.
    pub async fn version_known(&self) -> Version {
        std::future::poll_fn(|cx| self.poll_version(cx)).await
    }

    /// Waits until a phase at or behind `phase` is reached; [`H2Phase::Closed`] ends every wait.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: nothing is consumed.
    pub async fn reached(&self, phase: H2Phase) -> H2Phase {
        std::future::poll_fn(|cx| self.poll_reached(cx, phase)).await
    }

    /// As [`Self::version_known`], to be polled.
    pub fn poll_version(&self, cx: &mut Context<'_>) -> Poll<Version> {
        self.wait(cx, || {
            Some(self.version()).filter(|version| *version != Version::Unknown)
        })
    }

    /// As [`Self::reached`], to be polled.
    pub fn poll_reached(&self, cx: &mut Context<'_>, phase: H2Phase) -> Poll<H2Phase> {
        self.wait(cx, || Some(self.phase()).filter(|now| *now >= phase))
    }

    fn wait<T>(&self, cx: &mut Context<'_>, ready: impl Fn() -> Option<T>) -> Poll<T> {
        if let Some(value) = ready() {
            return Poll::Ready(value);
        }
        {
            let mut wakers = self.shared.wakers.lock().unwrap_or_else(PoisonError::into_inner);
            if !wakers.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                wakers.waiting.push(cx.waker().clone());
            }
        }
        // Looked at again behind the lock: what changed in between wakes nobody.
        ready().map_or(Poll::Pending, Poll::Ready)
    }

    // What the transport says.

    pub(crate) fn gap(&self) -> Duration {
        Duration::from_nanos(self.shared.gap_nanos.load(Ordering::Acquire))
    }

    pub(crate) fn is_finishing(&self) -> bool {
        self.shared.finish.load(Ordering::Acquire)
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.shared.ending.load(Ordering::Acquire)
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.shared.cut.load(Ordering::Acquire)
    }

    pub(crate) fn set_lost(&self) {
        self.shared.lost.store(true, Ordering::Release);
    }

    pub(crate) fn set_version(&self, version: Version) {
        self.shared.version.store(version as u8, Ordering::Release);
        self.wake_waiting();
    }

    /// Takes an event from the wire; what the table forbids (a codec's doing, not ours) leaves the phase as it is.
    pub(crate) fn on_event(&self, event: H2Event, last_stream_id: Option<u32>) -> bool {
        let Ok(next) = self.phase().on(event) else {
            return false;
        };
        if let Some(id) = last_stream_id {
            self.shared.last_stream_id.store(id, Ordering::Release);
        }
        if next == H2Phase::Noticed || next == H2Phase::GoingAway {
            self.shared.told.store(true, Ordering::Release);
        }
        self.shared.phase.store(next as u8, Ordering::Release);
        self.wake_waiting();
        true
    }

    pub(crate) fn register_transport(&self, cx: &Context<'_>) {
        let mut wakers = self.shared.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut wakers.transport {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
    }

    fn wake_transport(&self) {
        let waker = self
            .shared
            .wakers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .transport
            .take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn wake_waiting(&self) {
        let waiting = std::mem::take(
            &mut self
                .shared
                .wakers
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .waiting,
        );
        for waker in waiting {
            waker.wake();
        }
    }
}

impl fmt::Debug for GoawayHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GoawayHandle")
            .field("phase", &self.phase())
            .field("version", &self.version())
            .field("last_stream_id", &self.last_stream_id())
            .field("gap", &self.gap())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) const SHARED_SIZE: usize = size_of::<Shared>();
