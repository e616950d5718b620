//! A table that grows at its end and never moves: read without a lock by index.

use crate::primitives::OnceBox;

/// Buckets of 16, 32, 64, .. values.
const BUCKETS: usize = 24;
const FIRST: u32 = 16;

/// Values by index. It grows under a lock of the caller's and is read without one; a value stays
/// where it is until the whole is dropped.
///
/// # Examples
///
/// ```
/// let table = drain_sync::Table::new();
/// assert_eq!(table.get(20), None);
/// assert_eq!(table.get_or_make(20, || 7), Some(&7));
/// assert_eq!(table.get(21), Some(&7)); // made with its neighbours
/// ```
#[derive(Debug)]
pub struct Table<T> {
    buckets: [OnceBox<Box<[T]>>; BUCKETS],
}

impl<T> Table<T> {
    /// An empty one, of 8 bytes a bucket.
    pub fn new() -> Self {
        Self {
            buckets: std::array::from_fn(|_| OnceBox::new()),
        }
    }

    /// The bucket of `index`, and where in it; `None` beyond the last bucket.
    #[inline]
    fn find(index: u32) -> Option<(usize, usize)> {
        let bucket = (index / FIRST + 1).ilog2();
        let before = FIRST * ((1 << bucket) - 1);
        ((bucket as usize) < BUCKETS).then_some((bucket as usize, (index - before) as usize))
    }

    /// The value at `index`, if it has been made.
    #[inline]
    pub fn get(&self, index: u32) -> Option<&T> {
        let (bucket, at) = Self::find(index)?;
        self.buckets[bucket].get()?.get(at)
    }

    /// The value at `index`, made with the rest of its bucket if it has not been; `None` beyond the
    /// end, after 2^28 values.
    pub fn get_or_make(&self, index: u32, make: impl FnMut() -> T) -> Option<&T> {
        let (bucket, at) = Self::find(index)?;
        if self.buckets[bucket].get().is_none() {
            let values = std::iter::repeat_with(make)
                .take((FIRST as usize) << bucket)
                .collect();
            // If another thread was first, its values are as good.
            self.buckets[bucket].set(Box::new(values)).ok();
        }
        self.buckets[bucket].get()?.get(at)
    }
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self::new()
    }
}
