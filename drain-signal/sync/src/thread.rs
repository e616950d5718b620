//! Which shard a thread uses. Nothing depends on it but how often threads meet: two threads of one
//! shard are merely slower.

/// How many shards there are: the number of cores, rounded up to a power of two, at most 64. Asked
/// of the system once.
#[cfg(not(any(loom, shuttle)))]
pub fn shards() -> usize {
    use std::sync::OnceLock;

    /// Beyond this the memory of a drain that many threads use grows faster than the threads get in
    /// each other's way.
    const MOST: usize = 64;
    static SHARDS: OnceLock<usize> = OnceLock::new();
    *SHARDS.get_or_init(|| {
        let cores = std::thread::available_parallelism().map_or(1, Into::into);
        cores.next_power_of_two().min(MOST)
    })
}

/// Threads are numbered as they come, so that as many workers as there are cores use a shard each.
#[cfg(not(any(loom, shuttle)))]
#[inline]
pub fn thread_number() -> usize {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const UNSET: usize = usize::MAX;
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static NUMBER: Cell<usize> = const { Cell::new(UNSET) });

    #[cold]
    fn take() -> usize {
        // Relaxed: numbers need to differ, and order nothing.
        NEXT.fetch_add(1, Ordering::Relaxed) & (UNSET >> 1)
    }

    NUMBER.with(|cell| match cell.get() {
        UNSET => {
            let number = take();
            cell.set(number);
            number
        }
        number => number,
    })
}

/// Two, so that a model of three threads has threads that share a shard and threads that do not.
#[cfg(any(loom, shuttle))]
pub fn shards() -> usize {
    2
}

/// A model runs its threads on threads of its own and numbers them itself.
#[cfg(any(loom, shuttle))]
pub fn thread_number() -> usize {
    #[cfg(loom)]
    use loom::thread;
    #[cfg(shuttle)]
    use shuttle::thread;

    let id = format!("{:?}", thread::current().id());
    id.bytes()
        .rfind(u8::is_ascii_digit)
        .map_or(0, |digit| usize::from(digit - b'0'))
}
