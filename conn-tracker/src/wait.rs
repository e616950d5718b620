//! Waiting until nothing, or little, is held open, without polling.

use crate::{
    handle::{Handle, LedgerHandle},
    ledger::Ledger,
};
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc as StdArc,
    task::{Context, Poll},
};

/// Resolves when nothing that holds up completion is open: made by [`ConnTracker::wait_empty`],
/// [`ConnGroup::wait_empty`] and [`ConnChain::wait_empty`]. That of [`ConnTracker::wait_at_most`] leaves some.
///
/// It resolves if, at some moment since it was first polled, every connection that had been opened was gone, but for as
/// many as it leaves.
/// Connections that open afterwards change nothing; that none open is the caller's business. When it resolves, all
/// guards have been dropped; what their tasks do after dropping them is not waited for.
///
/// # Cancel safety
///
/// Dropping it before it resolves takes the waiter back and affects nobody else. A new one starts anew: an empty
/// moment that the dropped one had seen is forgotten.
///
/// [`ConnTracker::wait_empty`]: crate::ConnTracker::wait_empty
/// [`ConnTracker::wait_at_most`]: crate::ConnTracker::wait_at_most
/// [`ConnGroup::wait_empty`]: crate::ConnGroup::wait_empty
/// [`ConnChain::wait_empty`]: crate::ConnChain::wait_empty
#[must_use = "futures do nothing unless polled"]
pub struct WaitEmpty {
    target: Target,
    /// How many may be left.
    few: u64,
    stage: Stage,
}

enum Target {
    All(Handle),
    /// Holds the ledger: it is not removed while someone waits for it.
    One(LedgerHandle),
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    New,
    Waiting { key: u64 },
    Done,
}

impl WaitEmpty {
    pub(crate) fn all(handle: Handle, few: u64) -> Self {
        Self {
            target: Target::All(handle),
            few,
            stage: Stage::New,
        }
    }

    pub(crate) fn one(ledger: LedgerHandle) -> Self {
        Self {
            target: Target::One(ledger),
            few: 0,
            stage: Stage::New,
        }
    }

    fn ledger(&self) -> Option<&StdArc<Ledger>> {
        match &self.target {
            Target::All(_) => None,
            Target::One(ledger) => Some(ledger.ledger()),
        }
    }

    fn handle(&self) -> &Handle {
        match &self.target {
            Target::All(handle) => handle,
            Target::One(ledger) => ledger.handle(),
        }
    }

    fn stop_waiting(&mut self) {
        if let Stage::Waiting { key } = self.stage {
            let registry = self.handle().registry();
            registry.gate(self.ledger()).leave(key);
            registry.unwatch(self.ledger());
        }
        self.stage = Stage::Done;
    }
}

impl Future for WaitEmpty {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let registry = self.handle().registry();
        let gate = registry.gate(self.ledger());
        let few = self.few;
        let is_over = match self.stage {
            Stage::Done => return Poll::Ready(()),
            Stage::Waiting { key } => gate.passed(key, cx.waker()),
            Stage::New => {
                // Waiter, watcher, look: in this order, see `Registry::at_most`.
                let key = gate.enter(cx.waker(), few);
                registry.watch(self.ledger(), few);
                let is_over = registry.at_most(self.ledger()) <= few;
                self.stage = Stage::Waiting { key };
                is_over
            }
        };
        if !is_over {
            return Poll::Pending;
        }
        self.stop_waiting();
        Poll::Ready(())
    }
}

impl Drop for WaitEmpty {
    fn drop(&mut self) {
        self.stop_waiting();
    }
}

impl fmt::Debug for WaitEmpty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = self.ledger().map(|ledger| &ledger.key);
        f.debug_struct("WaitEmpty")
            .field("of", &of)
            .field("stage", &self.stage)
            .finish()
    }
}
