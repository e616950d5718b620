//! Which shard a thread uses.

/// A small number that differs between threads. Only speed depends on it.
#[cfg(not(loom))]
#[inline]
pub(crate) fn thread_index() -> usize {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicUsize, Ordering};

    static NEXT: AtomicUsize = AtomicUsize::new(0);
    const UNSET: usize = usize::MAX;
    thread_local!(static INDEX: Cell<usize> = const { Cell::new(UNSET) });

    INDEX.with(|cell| match cell.get() {
        UNSET => {
            // Relaxed: each thread gets its own number whatever the order, and the number orders
            // nothing.
            let index = NEXT.fetch_add(1, Ordering::Relaxed) & (UNSET >> 1);
            cell.set(index);
            index
        }
        index => index,
    })
}

/// Under loom every model thread gets the next number, counted anew in each execution.
#[cfg(loom)]
pub(crate) fn thread_index() -> usize {
    loom::lazy_static! {
        static ref NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    }
    loom::thread_local!(static INDEX: usize = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
    INDEX.with(|index| *index)
}
