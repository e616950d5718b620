//! How connections are registered, counted and waited for.
//!
//! ```text
//!  Handle ─► Registry ─┬─ Shard (one a thread; built when first used)
//!                      │    ├─ Mutex<ShardState>: Entries (peer, closer, ..), and for each group counted here its Counters
//!                      │    └─ Counters of the whole tracker in this shard
//!                      ├─ GroupTable: Key ─► Group ─┬─ the Counters of each shard that it is counted in
//!                      │                            └─ Waiters: drain-sync's entries, and how few connections they wait for
//!                      └─ Waiters of the whole tracker
//! ```
//!
//! # Invariants
//!
//! The code and the loom models cite these by number.
//!
//! 1. **Lock order**: the group table, then one shard, then a list of parts
//!    ([`Group::parts`](groups::Group), the mask of built shards). Waiters are locked with at most
//!    the table locked.
//! 2. **No user code under a lock**: no waker is cloned, woken or dropped, no closer called or
//!    dropped, while one of these locks is held. So no lock is poisoned, and user code may call
//!    anything here.
//! 3. **A counter has one writer**: the counters of a shard, of the whole tracker and of each
//!    group, are written under the shard's lock only. Readers that have to be exact take that lock
//!    too; others may be a few connections behind.
//! 4. **Parts appear under the list's lock**: a shard, or a group's part in a shard, is added to
//!    its list before the first connection is counted in it. A part stays until its group is
//!    removed, a shard until the end of the process.
//! 5. **No end is missed**: a waiter first raises the threshold, then reads the list of parts, then
//!    each part's counters under its shard's lock. A connection that ends changes the counters and
//!    then reads the threshold, in one pass through the shard's lock. If the waiter's read of the
//!    shard comes first, the lock makes the threshold visible to the end, which then looks for
//!    itself; otherwise the waiter's read sees the end. A part that the waiter did not find in the
//!    list was added after the waiter had read the list; the list's lock makes the threshold
//!    visible to everything in that part.
//! 6. **A number that was true**: [`Registry::at_most`](registry::Registry::at_most) reads, of
//!    counters that only grow, first all that have ended, then all that have been opened. What it
//!    returns was never less than the number of open connections at a moment between the two. So a
//!    connection that opens before another ends is never overlooked.
//! 7. **A group outlives its connections**: it is removed from the table when it has no handle and
//!    no connection. Without a handle nothing is opened in it, so from then on its counters only
//!    fall. Entries refer to a group by index; an index is given to another group only after that.
//! 8. **Registries are never freed** but recycled, so that guards and handles refer to them by a
//!    plain reference. A registry goes to the pool once: when the last of its holders is gone,
//!    which are all handles together as one, and each shard with an open connection.

pub(crate) mod clock;
pub(crate) mod counters;
pub(crate) mod entries;
pub(crate) mod groups;
pub(crate) mod handle;
mod lend;
mod parts;
mod pool;
pub(crate) mod registry;
pub(crate) mod shard;
pub(crate) mod waiters;

pub(crate) use counters::Counters;
pub(crate) use entries::{Cold, Hot};
pub(crate) use groups::{Group, Key};
pub(crate) use handle::{GroupHandle, Handle};
pub(crate) use lend::ask;
pub(crate) use registry::Registry;
pub(crate) use shard::Shard;
