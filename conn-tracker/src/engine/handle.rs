//! The reference counts of the public handles: on a tracker, and on one of its groups.

use super::{
    groups::{Group, Key},
    registry::Registry,
};
use std::sync::{Arc, atomic::Ordering};

/// A public handle on a registry. With the last one nothing is opened any more.
#[derive(Debug)]
pub(crate) struct Handle(&'static Registry);

impl Handle {
    /// The first handle on a registry that has just been [claimed](Registry::claim).
    pub(crate) fn first(registry: &'static Registry) -> Self {
        Self(registry)
    }

    pub(crate) fn registry(&self) -> &'static Registry {
        self.0
    }
}

impl Clone for Handle {
    fn clone(&self) -> Self {
        // Relaxed: the handle that is cloned keeps the count above zero, and nothing else is read.
        self.0.handles.fetch_add(1, Ordering::Relaxed);
        Self(self.0)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // AcqRel pairs with itself in the drops of the other handles: the last drop comes after all
        // that was opened through them. Without it, `abandon` could miss a shard that another
        // thread has built.
        if self.0.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.abandon();
        }
    }
}

/// A handle on one group.
#[derive(Debug)]
pub(crate) struct GroupHandle {
    handle: Handle,
    group: Arc<Group>,
}

impl GroupHandle {
    pub(crate) fn open(handle: Handle, key: Key) -> Self {
        let group = handle.registry().group(key);
        Self { handle, group }
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    pub(crate) fn group(&self) -> &Arc<Group> {
        &self.group
    }
}

impl Clone for GroupHandle {
    fn clone(&self) -> Self {
        // Relaxed: as `Handle::clone`.
        self.group.handles.fetch_add(1, Ordering::Relaxed);
        Self {
            handle: self.handle.clone(),
            group: Arc::clone(&self.group),
        }
    }
}

impl Drop for GroupHandle {
    fn drop(&mut self) {
        self.handle.registry().release_handle(&self.group);
    }
}
