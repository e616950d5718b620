//! The futures a connection waits on.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

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

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.handle.poll_phase(cx, self.phase.before()).map(|_| ())
    }
}

/// Resolves at a connection's slot with what it needs to know to say goodbye. See [`DrainHandle::signaled`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug, Clone, Copy)]
pub struct Signaled<'a> {
    handle: &'a DrainHandle,
}

impl<'a> Signaled<'a> {
    pub(crate) const fn new(handle: &'a DrainHandle) -> Self {
        Self { handle }
    }
}

impl Future for Signaled<'_> {
    type Output = Goodbye;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Goodbye> {
        self.handle
            .poll_phase(cx, Phase::Open)
            .map(|_| self.handle.goodbye())
    }
}
