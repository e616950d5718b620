//! Who may open connections: a tracker's handles, and those on one of its ledgers.

use crate::{
    ledger::{Key, Ledger},
    registry::Registry,
};
use std::sync::{Arc, atomic::Ordering};

/// A public handle on the books. The last one abandons them.
#[derive(Debug)]
pub(crate) struct Handle(&'static Registry);

impl Handle {
    /// The first handle on books that have just been [claimed](Registry::claim).
    pub(crate) fn first(registry: &'static Registry) -> Self {
        Self(registry)
    }

    pub(crate) fn registry(&self) -> &'static Registry {
        self.0
    }
}

impl Clone for Handle {
    fn clone(&self) -> Self {
        // Relaxed: the handle that is cloned keeps the count above zero.
        self.0.handles.fetch_add(1, Ordering::Relaxed);
        Self(self.0)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // AcqRel: the last one comes after all that was opened through the others.
        if self.0.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.abandon();
        }
    }
}

/// A handle on one ledger.
#[derive(Debug)]
pub(crate) struct LedgerHandle {
    handle: Handle,
    ledger: Arc<Ledger>,
}

impl LedgerHandle {
    pub(crate) fn open(handle: Handle, key: Key) -> Self {
        let ledger = handle.registry().ledger(key);
        Self { handle, ledger }
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    pub(crate) fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }
}

impl Clone for LedgerHandle {
    fn clone(&self) -> Self {
        self.ledger.handles.fetch_add(1, Ordering::Relaxed);
        Self {
            handle: self.handle.clone(),
            ledger: Arc::clone(&self.ledger),
        }
    }
}

impl Drop for LedgerHandle {
    fn drop(&mut self) {
        self.handle.registry().let_go(&self.ledger);
    }
}
