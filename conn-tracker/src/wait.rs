//! Waiting until no connection, or few, are left, without polling.

use crate::engine::{Group, GroupHandle, Handle, Registry, waiters::Waiters};
use drain_sync::Waiter;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

/// Resolves when the last connection has ended that completion waits for: made by
/// [`ConnTracker::wait_empty`], [`ConnGroup::wait_empty`] and [`ConnChain::wait_empty`]. The future
/// of [`ConnTracker::wait_at_most`] resolves when no more than the given number of such connections
/// are left.
///
/// It resolves if that was so at any moment since it was first polled, also if further connections
/// have opened since; that none opens is the caller's part. When it resolves, the guards of the
/// ended connections have been dropped; what their tasks do after that is not waited for.
///
/// # Cancel safety
///
/// Dropping it before it resolves removes its waker and affects no other wait. A new one starts
/// anew: an empty moment during the dropped one is forgotten.
///
/// [`ConnTracker::wait_empty`]: crate::ConnTracker::wait_empty
/// [`ConnTracker::wait_at_most`]: crate::ConnTracker::wait_at_most
/// [`ConnGroup::wait_empty`]: crate::ConnGroup::wait_empty
/// [`ConnChain::wait_empty`]: crate::ConnChain::wait_empty
#[must_use = "futures do nothing unless polled"]
pub struct WaitEmpty {
    target: Target,
    /// How many connections may be left.
    at_most: u64,
    waiter: Waiter,
    progress: Progress,
}

enum Target {
    All(Handle),
    /// A handle, so that the group is not removed during the wait.
    One(GroupHandle),
}

#[derive(Debug, Clone, Copy)]
enum Progress {
    New,
    Waiting,
    Done,
}

impl WaitEmpty {
    pub(crate) fn all(handle: Handle, at_most: u64) -> Self {
        Self {
            target: Target::All(handle),
            at_most,
            waiter: Waiter::default(),
            progress: Progress::New,
        }
    }

    pub(crate) fn one(group: GroupHandle) -> Self {
        Self {
            target: Target::One(group),
            at_most: 0,
            waiter: Waiter::default(),
            progress: Progress::New,
        }
    }

    fn leave(&mut self) {
        if matches!(self.progress, Progress::Waiting) {
            self.target.waiters().leave(&mut self.waiter);
        }
        self.progress = Progress::Done;
    }
}

impl Target {
    fn group(&self) -> Option<&Arc<Group>> {
        match self {
            Self::All(_) => None,
            Self::One(group) => Some(group.group()),
        }
    }

    fn registry(&self) -> &'static Registry {
        match self {
            Self::All(handle) => handle.registry(),
            Self::One(group) => group.handle().registry(),
        }
    }

    fn waiters(&self) -> &Waiters {
        self.registry().waiters(self.group())
    }
}

impl Future for WaitEmpty {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self {
            target,
            at_most,
            waiter,
            progress,
        } = &mut *self;
        let waiters = target.waiters();
        let is_over = match progress {
            Progress::Done => return Poll::Ready(()),
            Progress::Waiting => waiters.is_released(waiter, cx.waker()),
            Progress::New => {
                // First the waiter, then the look: invariant 5.
                waiters.enter(waiter, cx.waker(), *at_most);
                *progress = Progress::Waiting;
                target.registry().at_most(target.group()) <= *at_most
            }
        };
        if !is_over {
            return Poll::Pending;
        }
        self.leave();
        Poll::Ready(())
    }
}

impl Drop for WaitEmpty {
    fn drop(&mut self) {
        self.leave();
    }
}

impl fmt::Debug for WaitEmpty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = self.target.group().map(|group| &group.key);
        f.debug_struct("WaitEmpty")
            .field("of", &of)
            .field("progress", &self.progress)
            .finish()
    }
}
