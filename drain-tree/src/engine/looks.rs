//! A batch of parts that one task looks at, with the sequence unlocked.

use drain_sync::lock;

use super::pace::Look;
use super::sequence::Sequence;

/// Parts that are being looked at. If a waker panics, they are looked at again, by the task that
/// polls next.
pub(super) struct Looks<'a> {
    pub(super) sequence: &'a Sequence,
    pub(super) batch: Vec<Look>,
}

impl Drop for Looks<'_> {
    fn drop(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let mut state = lock(&self.sequence.state);
        for look in &self.batch {
            state.list.put_back_unseen(look);
        }
        drop(state);
        self.sequence.waiters.wake_all();
    }
}
