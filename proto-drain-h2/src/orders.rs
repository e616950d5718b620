//! Orders: what another task may ask of a transport, and how that wakes the task that polls it.

use atomic_waker::AtomicWaker;
use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

/// A set of orders; they are only ever added.
#[derive(Default)]
pub(crate) struct Orders {
    given: AtomicU8,
    /// The task that polls the transport. A wake takes it out, so every poll that returns pending
    /// puts it in again.
    task: AtomicWaker,
}

impl Orders {
    /// Write the first GOAWAY.
    pub(crate) const NOTICE: u8 = 1;
    /// End the gap.
    pub(crate) const FINISH: u8 = 2;
    /// Do not wait for the peer's FIN.
    pub(crate) const END: u8 = 4;
    /// Wait for nothing.
    pub(crate) const CUT: u8 = 8;

    pub(crate) fn give(&self, orders: u8) {
        // Release pairs with the Acquire in `given`. `AtomicWaker` orders this store before the
        // wake: either `register` in `pending` comes first and the task is woken, or its second
        // look sees the order.
        self.given.fetch_or(orders, Ordering::Release);
        self.task.wake();
    }

    #[inline]
    pub(crate) fn given(&self) -> u8 {
        self.given.load(Ordering::Acquire)
    }

    #[inline]
    pub(crate) fn has(&self, order: u8) -> bool {
        self.given() & order != 0
    }

    /// To be asked before pending is returned, by a task that has acted on the orders in `known`:
    /// pending if there are no others, and the next one wakes the task.
    #[inline]
    pub(crate) fn pending(&self, cx: &Context<'_>, known: u8) -> Poll<()> {
        self.task.register(cx.waker());
        if self.given() == known {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }
}

impl fmt::Debug for Orders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Orders({:#b})", self.given())
    }
}
