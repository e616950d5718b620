//! The futures a connection waits on. Each owns its entry: any number of them wait on one handle,
//! from any tasks.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::engine::Parked;
use crate::{DrainHandle, Goodbye, Phase};

/// Waits, again and again, until a connection has come further: what a driver polls.
///
/// `H` is what it waits through: a [`DrainHandle`], a [`DrainWatch`](crate::DrainWatch), a
/// reference to one.
///
/// # Cancel safety
///
/// Nothing is lost by polling once and never again. Its entry goes with it.
#[derive(Debug)]
pub struct PhaseWait<H: AsRef<DrainHandle> = DrainHandle> {
    handle: H,
    parked: Parked,
}

impl<H: AsRef<DrainHandle>> PhaseWait<H> {
    /// A wait that is not parked yet.
    pub const fn new(handle: H) -> Self {
        Self {
            handle,
            parked: Parked::NOWHERE,
        }
    }

    /// What it waits through.
    pub const fn handle(&self) -> &H {
        &self.handle
    }

    /// Resolves when the connection has moved on from `after`, with how far it has come.
    #[inline]
    pub fn poll_phase(&mut self, cx: &mut Context<'_>, after: Phase) -> Poll<Phase> {
        let connection = &self.handle.as_ref().connection;
        let phase = connection.phase();
        let (parked, waker) = (&mut self.parked, cx.waker());
        // First what every wake-up for another reason finds: nothing is new, and this task is
        // parked.
        let is_parked = phase <= after
            && (parked.is_parked(&connection.shard, waker, after)
                || connection.park(parked, waker, after));
        if is_parked {
            return Poll::Pending;
        }
        connection.unpark(&mut self.parked);
        Poll::Ready(connection.phase())
    }
}

impl<H: AsRef<DrainHandle>> Drop for PhaseWait<H> {
    fn drop(&mut self) {
        self.handle.as_ref().connection.unpark(&mut self.parked);
    }
}

/// Resolves when a connection has come as far as a given phase, with what it needs to know to say
/// goodbye. See [`DrainHandle::signaled`], [`DrainHandle::finishing`] and [`DrainHandle::expired`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct Reached<H: AsRef<DrainHandle> = DrainHandle> {
    wait: PhaseWait<H>,
    /// The phase that it waits to pass.
    after: Phase,
}

impl<H: AsRef<DrainHandle>> Reached<H> {
    pub(crate) const fn new(handle: H, after: Phase) -> Self {
        Self {
            wait: PhaseWait::new(handle),
            after,
        }
    }
}

impl<H: AsRef<DrainHandle> + Unpin> Future for Reached<H> {
    type Output = Goodbye;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Goodbye> {
        let after = self.after;
        let phase = self.wait.poll_phase(cx, after);
        phase.map(|_| self.wait.handle.as_ref().goodbye())
    }
}
