//! A closer is called outside the shard's lock: it is lent for the call, and brought back.

use crate::{id::ConnId, info::Closer, labels::CloseReason, shard::Shard, tracker::CloseError};

/// A closer that is being called.
pub(crate) struct Lent<'a> {
    shard: &'a Shard,
    id: ConnId,
    closer: Option<Closer>,
}

impl Lent<'_> {
    pub(crate) fn call(&self) {
        if let Some(closer) = &self.closer {
            closer();
        }
    }
}

impl Shard {
    /// The closer of `id`, to be called and brought back by its drop; `None` while somebody else has it and calls it.
    ///
    /// # Errors
    ///
    /// [`CloseError`]; the reason is recorded otherwise.
    pub(crate) fn lend_closer(
        &self,
        id: ConnId,
        reason: CloseReason,
    ) -> Result<Option<Lent<'_>>, CloseError> {
        let mut books = self.lock();
        let found = books.slab.find_mut(id.slot(), id.generation());
        let (hot, cold) = found.ok_or(CloseError::NotFound { id })?;
        let closer = cold.closer.take();
        if closer.is_none() && !hot.closer_is_out() {
            return Err(CloseError::NoCloser { id });
        }
        hot.give_reason(reason);
        hot.set_closer_is_out(true);
        Ok(closer.map(|closer| Lent {
            shard: self,
            id,
            closer: Some(closer),
        }))
    }
}

/// Also when the call has panicked.
impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let mut books = self.shard.lock();
        // Ended meanwhile, or given another closer: this one is dropped, outside the lock.
        if let Some((hot, cold)) = books.slab.find_mut(self.id.slot(), self.id.generation()) {
            if hot.closer_is_out() {
                hot.set_closer_is_out(false);
                cold.closer = self.closer.take();
            }
        }
    }
}
