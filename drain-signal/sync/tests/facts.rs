//! What the three types promise: waits have entries of their own, threads find their shard again, a
//! table has what was made.
#![cfg(not(any(loom, shuttle)))]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Wake, Waker};

use drain_sync::{CachePadded, PerShard, Table, WaitEntries, WaitList, Waiter};

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn task() -> (Arc<Count>, Waker) {
    let count = Arc::new(Count::default());
    (Arc::clone(&count), Waker::from(count))
}

#[test]
fn every_waiter_is_woken_once() {
    let list = WaitList::default();
    let tasks: Vec<_> = (0..5).map(|_| task()).collect();
    let mut waiters: Vec<_> = tasks.iter().map(|_| Waiter::default()).collect();
    for (waiter, (_, waker)) in waiters.iter_mut().zip(&tasks) {
        list.register(waiter, waker);
        list.register(waiter, waker);
    }
    assert_eq!(list.len(), 5);
    list.wake_all();
    list.wake_all();
    assert!(
        tasks
            .iter()
            .all(|(count, _)| count.0.load(Ordering::Relaxed) == 1)
    );
}

#[test]
fn a_wait_that_moved_to_another_task_wakes_that_one() {
    let list = WaitList::default();
    let ((first, one), (second, two)) = (task(), task());
    let mut waiter = Waiter::default();
    list.register(&mut waiter, &one);
    list.register(&mut waiter, &two);
    list.wake_all();
    assert_eq!(
        (
            first.0.load(Ordering::Relaxed),
            second.0.load(Ordering::Relaxed)
        ),
        (0, 1)
    );
}

#[test]
fn a_waiter_that_was_woken_takes_no_entry_of_another_with_it() {
    let list = WaitList::default();
    let ((_, one), (second, two)) = (task(), task());
    let (mut woken, mut waiting) = (Waiter::default(), Waiter::default());
    list.register(&mut woken, &one);
    list.wake_all();
    list.register(&mut waiting, &two);
    list.remove(&mut woken);
    list.wake_all();
    assert_eq!(second.0.load(Ordering::Relaxed), 1);
}

/// A waker that panics, without a message on stderr.
struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        std::panic::resume_unwind(Box::new("woken"));
    }
}

#[test]
fn wakers_that_panic_keep_no_other_from_being_woken() {
    let list = WaitList::default();
    let tasks: Vec<_> = (0..3).map(|_| task()).collect();
    let mut waiters: Vec<_> = (0..6).map(|_| Waiter::default()).collect();
    let panics = Waker::from(Arc::new(Panics));
    let calm = tasks.iter().map(|(_, waker)| waker);
    let wakers: Vec<_> = calm.flat_map(|calm| [&panics, calm]).collect();
    for (waiter, waker) in waiters.iter_mut().zip(wakers) {
        list.register(waiter, waker);
    }
    list.wake_all();
    let woken = tasks
        .iter()
        .map(|(count, _)| count.0.load(Ordering::Relaxed));
    assert_eq!(woken.collect::<Vec<_>>(), [1, 1, 1]);
}

#[test]
fn removed_waiters_leave_nothing() {
    let list = WaitList::default();
    let (count, waker) = task();
    for _ in 0..1000 {
        let (mut one, mut two) = (Waiter::default(), Waiter::default());
        list.register(&mut one, &waker);
        list.register(&mut two, &waker);
        list.remove(&mut one);
        list.remove(&mut two);
        list.remove(&mut two);
    }
    drop(waker);
    assert_eq!((list.len(), Arc::strong_count(&count)), (0, 1));
}

/// A waker that uses the list whenever it is woken or dropped: it would hang if that happened under
/// the lock.
struct Reentrant(Arc<OnceLock<WaitList>>);

impl Wake for Reentrant {
    fn wake(self: Arc<Self>) {
        assert!(self.0.get().is_some_and(|list| list.len() == 0));
    }
}

impl Drop for Reentrant {
    fn drop(&mut self) {
        self.0.get().map(WaitList::wake_all);
    }
}

#[test]
fn a_waker_may_use_the_list() {
    let list = Arc::new(OnceLock::from(WaitList::default()));
    let waker = || Waker::from(Arc::new(Reentrant(Arc::clone(&list))));
    let shared = list.get().expect("it was set");
    let (mut woken, mut replaced, mut removed) =
        (Waiter::default(), Waiter::default(), Waiter::default());
    shared.register(&mut woken, &waker());
    shared.wake_all();
    shared.register(&mut replaced, &waker());
    shared.register(&mut replaced, Waker::noop());
    shared.register(&mut removed, &waker());
    shared.remove(&mut removed);
}

#[test]
fn every_thread_finds_its_shard_again() {
    let counts: PerShard<CachePadded<AtomicUsize>> = PerShard::with_len(3);
    assert_eq!(counts.len(), 4);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                for _ in 0..100 {
                    counts
                        .mine_or_init(CachePadded::default)
                        .fetch_add(1, Ordering::Relaxed);
                }
                assert!(counts.mine().is_some());
            });
        }
    });
    assert_eq!(
        counts
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .sum::<usize>(),
        600
    );
    assert_eq!(counts.iter_from_mine().count(), counts.iter().count());
}

#[test]
fn any_number_of_shards_is_taken() {
    for (asked, got) in [(0, 1), (1, 1), (5, 8), (usize::MAX, 1 << 16)] {
        assert_eq!(PerShard::<u8>::with_len(asked).len(), got);
    }
}

#[test]
fn a_table_has_a_value_for_every_index_up_to_its_end() {
    let table = Table::new();
    let mut made = 0;
    for index in 0..1000_u32 {
        assert_eq!(table.get(index).is_some(), made > index, "{index}");
        assert!(table.get_or_make(index, || made += 1).is_some());
    }
    assert_eq!(made, 16 * 63);
    assert_eq!(table.get(u32::MAX), None);
    assert_eq!(Table::<()>::new().get_or_make(u32::MAX, || ()), None);
}

#[test]
fn entries_that_are_chosen_are_taken_out_and_the_others_stay() {
    let mut entries = WaitEntries::default();
    let tasks: Vec<_> = (0..6).map(|_| task()).collect();
    let mut waiters: Vec<_> = tasks.iter().map(|_| Waiter::default()).collect();
    for (at_most, (waiter, (_, waker))) in waiters.iter_mut().zip(&tasks).enumerate() {
        assert!(entries.put(waiter, waker.clone(), at_most).is_none());
    }
    let line = entries.last_ticket();
    let (late, late_waker) = task();
    let mut later = Waiter::default();
    assert!(entries.put(&mut later, late_waker, 9).is_none());
    // As of `line`: the first entry and the others are chosen alike.
    let woken = entries.take_where(|ticket, &at_most| ticket <= line && at_most % 2 == 0);
    assert_eq!(woken.len(), 3);
    woken.into_iter().for_each(Waker::wake);
    let is_in: Vec<_> = waiters
        .iter()
        .map(|waiter| entries.renew(waiter, Waker::noop().clone()).is_ok())
        .collect();
    assert_eq!(is_in, [false, true, false, true, false, true]);
    let woken = |(count, _): &(Arc<Count>, Waker)| count.0.load(Ordering::Relaxed);
    assert_eq!(tasks.iter().map(woken).sum::<usize>(), 3);
    assert_eq!(late.0.load(Ordering::Relaxed), 0);
    // A renewed entry keeps its value and its place; one that is taken back leaves nothing.
    assert_eq!(entries.values().copied().max(), Some(9));
    assert!(waiters.iter_mut().all(|waiter| {
        let was_in = entries.renew(waiter, Waker::noop().clone()).is_ok();
        entries.take(waiter).is_some() == was_in && entries.take(waiter).is_none()
    }));
    assert_eq!(entries.values().collect::<Vec<_>>(), [&9]);
}
