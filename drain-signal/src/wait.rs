//! The futures a connection waits on.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use crate::{DrainHandle, Goodbye, Phase};

/// Resolves when a connection has come as far as a given phase. See [`DrainHandle::finishing`] and
/// [`DrainHandle::expired`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug, Clone, Copy)]
pub struct Reached<'a> {
    handle: &'a DrainHandle,
    phase: Phase,
}

impl<'a> Reached<'a> {
    pub(crate) const fn new(handle: &'a DrainHandle, phase: Phase) -> Self {
        Self { handle, phase }
    }
}

impl Future for Reached<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut after = Phase::Open;
        while after < self.phase {
            after = ready!(self.handle.poll_phase(cx, after));
        }
        Poll::Ready(())
    }
}

/// Resolves at a connection's slot with what it needs to know to say goodbye. See [`DrainHandle::signaled`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug, Clone, Copy)]
pub struct Signaled<'a> {
    reached: Reached<'a>,
}

impl<'a> Signaled<'a> {
    pub(crate) const fn new(handle: &'a DrainHandle) -> Self {
        Self {
            reached: Reached::new(handle, Phase::Signaled),
        }
    }
}

impl Future for Signaled<'_> {
    type Output = Goodbye;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Goodbye> {
        ready!(Pin::new(&mut self.reached).poll(cx));
        Poll::Ready(self.reached.handle.goodbye())
    }
}
