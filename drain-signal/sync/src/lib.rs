//! What the core of the drain crates shares between threads: values per shard, waiter lists, and
//! the models' primitives.
//!
//! ```text
//!  thread ── its number ──► shard index ──► PerShard<T>: counters and entries that this thread shares with few others
//!  task ──── Waiter ──────► WaitList: wakers of the tasks that wait for one thing
//!            Waiter ──────► WaitEntries<T>: the same under a lock of the owner's, each with what its task waits for
//! ```
//!
//! Everything is built on the primitives that this crate re-exports: std's, or loom's under `--cfg
//! loom` and shuttle's under `--cfg shuttle`, so that the models of the crates above see every
//! step. Reference counts stay std's: nothing in those crates depends on when one reaches zero.
//!
//! # Features and requirements
//!
//! No features, no unsafe code, no runtime. Minimum supported Rust version 1.85.

mod per_shard;
mod primitives;
mod table;
mod thread;
mod wait_list;

pub use crossbeam_utils::CachePadded;
pub use per_shard::PerShard;
pub use primitives::{
    AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Mutex, MutexGuard, Ordering, fence,
    get_mut, lock,
};
pub use table::Table;
pub use thread::{shards, thread_number};
pub use wait_list::{WaitEntries, WaitList, Waiter, wake_each};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
