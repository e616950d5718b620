//! A closer is called with nothing locked (invariant 2): it is taken out of its entry for the call,
//! and put back.

use super::shard::Shard;
use crate::{id::ConnId, info::Closer, labels::CloseReason, tracker::CloseError};

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

/// The closer of `id`, to be called, and put back by its drop; `None` while another thread calls
/// it.
///
/// # Errors
///
/// [`CloseError`]; the reason is recorded otherwise.
pub(crate) fn lend(
    shard: &Shard,
    id: ConnId,
    reason: CloseReason,
) -> Result<Option<Lent<'_>>, CloseError> {
    let mut state = shard.lock();
    let found = state.entries.find_mut(id.entry(), id.generation());
    let (hot, cold) = found.ok_or(CloseError::NotFound { id })?;
    let closer = cold.closer.take();
    if closer.is_none() && !hot.is_closer_out() {
        return Err(CloseError::NoCloser { id });
    }
    hot.give_reason(reason);
    hot.set_closer_out(true);
    Ok(closer.map(|closer| Lent {
        shard,
        id,
        closer: Some(closer),
    }))
}

/// Also when the call has panicked.
impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let mut state = self.shard.lock();
        // If the connection has ended meanwhile, or was given another closer, this one is dropped,
        // after the lock.
        if let Some((hot, cold)) = state
            .entries
            .find_mut(self.id.entry(), self.id.generation())
        {
            if hot.is_closer_out() {
                hot.set_closer_out(false);
                cold.closer = self.closer.take();
            }
        }
    }
}
