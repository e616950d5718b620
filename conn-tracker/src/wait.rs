//! Waiting until no connection, or few, are left, without polling.

use crate::engine::{Group, GroupHandle, Handle};
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
    Waiting { key: u64 },
    Done,
}

impl WaitEmpty {
    pub(crate) fn all(handle: Handle, at_most: u64) -> Self {
        Self {
            target: Target::All(handle),
            at_most,
            progress: Progress::New,
        }
    }

    pub(crate) fn one(group: GroupHandle) -> Self {
        Self {
            target: Target::One(group),
            at_most: 0,
            progress: Progress::New,
        }
    }

    fn group(&self) -> Option<&Arc<Group>> {
        match &self.target {
            Target::All(_) => None,
            Target::One(group) => Some(group.group()),
        }
    }

    fn handle(&self) -> &Handle {
        match &self.target {
            Target::All(handle) => handle,
            Target::One(group) => group.handle(),
        }
    }

    fn leave(&mut self) {
        if let Progress::Waiting { key } = self.progress {
            self.handle().registry().waiters(self.group()).leave(key);
        }
        self.progress = Progress::Done;
    }
}

impl Future for WaitEmpty {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let registry = self.handle().registry();
        let waiters = registry.waiters(self.group());
        let is_over = match self.progress {
            Progress::Done => return Poll::Ready(()),
            Progress::Waiting { key } => waiters.is_released(key, cx.waker()),
            Progress::New => {
                // First the waiter, then the look: invariant 5.
                let key = waiters.enter(cx.waker(), self.at_most);
                let is_over = registry.at_most(self.group()) <= self.at_most;
                self.progress = Progress::Waiting { key };
                is_over
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
        let of = self.group().map(|group| &group.key);
        f.debug_struct("WaitEmpty")
            .field("of", &of)
            .field("progress", &self.progress)
            .finish()
    }
}
