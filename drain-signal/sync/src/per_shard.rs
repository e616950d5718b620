//! One value per shard, made when it is first wanted.

use std::fmt;

use crate::primitives::OnceBox;
use crate::thread;

/// One value per shard, each made when a thread of its shard first wants it: eight bytes for each
/// that is not wanted yet.
///
/// Values are never replaced and never go before the whole. Put what threads write into
/// [`CachePadded`](crate::CachePadded), so that neighbours on the heap are not written together.
pub struct PerShard<T> {
    /// A power of two of them.
    values: Box<[OnceBox<T>]>,
}

impl<T> PerShard<T> {
    /// As many as [`shards`](crate::shards) says.
    pub fn new() -> Self {
        Self::with_len(crate::shards())
    }

    /// For `len` shards, rounded up to a power of two; at least one, at most 65 536.
    pub fn with_len(len: usize) -> Self {
        let len = len.clamp(1, 1 << 16).next_power_of_two();
        Self {
            values: (0..len).map(|_| OnceBox::new()).collect(),
        }
    }

    /// For how many shards.
    #[expect(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// The index of the calling thread's shard, below [`len`](Self::len).
    #[inline]
    pub fn my_index(&self) -> usize {
        thread::thread_number() & (self.values.len() - 1)
    }

    /// The value of shard `index`, if it has been made.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&T> {
        self.values.get(index)?.get()
    }

    /// The value of the calling thread's shard, if it has been made.
    #[inline]
    pub fn mine(&self) -> Option<&T> {
        self.get(self.my_index())
    }

    /// The value of the calling thread's shard. If two threads make one at once, the first that is
    /// done wins and the other's is dropped; callers that cannot have that lock a mutex of their
    /// own around this.
    #[inline]
    pub fn mine_or_init(&self, make: impl FnOnce() -> T) -> &T {
        match self.mine() {
            Some(value) => value,
            None => self.init(self.my_index(), make),
        }
    }

    #[cold]
    #[inline(never)]
    fn init(&self, index: usize, make: impl FnOnce() -> T) -> &T {
        let cell = &self.values[index];
        let lost = cell.set(Box::new(make())).err();
        drop(lost);
        // A race that was lost was won by another thread: there is a value now, and it stays.
        cell.get()
            .unwrap_or_else(|| unreachable!("it was set a line above"))
    }

    /// All values that have been made.
    pub fn iter(&self) -> impl Iterator<Item = &T> + Clone {
        self.values.iter().filter_map(OnceBox::get)
    }

    /// All values that have been made, the calling thread's first.
    pub fn iter_from_mine(&self) -> impl Iterator<Item = &T> + Clone {
        let (before, from_mine) = self.values.split_at(self.my_index());
        from_mine.iter().chain(before).filter_map(OnceBox::get)
    }
}

impl<T> Default for PerShard<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: fmt::Debug> fmt::Debug for PerShard<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
