//! The engine: what the threads of a drain share. Read this page before any file beside it.
//!
//! ```text
//!  Drain (one Arc: trigger, signals, draining)
//!    ├── State (Arc) ── word · published facts (mutex) · waiters for the end
//!    └── per shard, made when one of its threads opens a watch:
//!        Shard (Arc: the drain, every watch, handle and wait of the shard)
//!          ├── State (Arc)
//!          ├── counts: watches that any drain concerns, and watches that only a full drain concerns
//!          ├── records: per connection with handles or waits: flags, refs, its waits
//!          └── entries (mutex): per wait: waker, slot, the phase it waits to pass
//! ```
//!
//! # Invariants
//!
//! **The word**
//!
//! 1. Facts change with `State::published` locked and are published in one store of the word; the
//!    word's version rises with each change. How far a word has brought a slot (`Slot::phase`) only
//!    grows from one word to the next.
//!
//! **Counting**
//!
//! 2. A watch is counted in one word of its shard, its *count*, from open to drop. A drain that
//!    begins, completes, or takes a completion back changes a bit of the same word. All of that is
//!    read-modify-writes of one word, so it is in one order: an opener and a leaver know from the
//!    value found on which side of the change they are.
//! 3. A completion is decided with `published` locked: every count that the drain concerns is
//!    closed; if one was not zero, all are opened again. An opener that finds its count closed has
//!    counted its watch, takes the lock and reads the decision: completed, and the watch is refused
//!    and counted out; not completed, and the watch is as good as any. No watch is refused under a
//!    drain that goes on, and none is admitted to a completed one.
//! 4. A leaver that makes a count zero under a drain wakes the waiters; a waiter registers first
//!    and looks at the counts afterwards.
//!
//! **Waiting**
//!
//! 5. A wait owns its entry from the poll that parks it until the wait resolves or is dropped;
//!    nothing else frees it. A drain or a `force` takes the waker out of it, and only when the wait
//!    is over: when its connection has passed the phase it waits to pass. So a wait that is not
//!    over, and that parked this very waker, is parked still: no lock is needed to know.
//! 6. A wait parks, and a drain and a `force` take wakers, with the entries of the shard locked.
//!    The drain stores the word and `force` sets the flag before they take that lock; a wait looks
//!    at both after it took it. One of them sees the other.
//! 7. A record is shared by the handles of one connection and counts them. Its waits are a list
//!    through their entries, changed with the entries locked, so a flag reaches every wait of the
//!    connection, and one that has gone is not in it.
//!
//! **Threads**
//!
//! 8. Lock order: `published`, then entries; the registration of a `Draining`, then the list of
//!    waiters. No two shards are locked at once. A waker is cloned before and woken or dropped
//!    after, never under a lock, and a debug text is written with nothing locked; no other code of
//!    a user is called here.
//! 9. Arcs point from the drain and from the watches to shards, and from shards to the state, never
//!    back: what is not used is freed.

mod advance;
mod connection;
mod count;
mod drain;
mod entries;
mod records;
mod shard;
mod slot;
mod state;
mod word;

pub(crate) use advance::advance;
pub(crate) use connection::Connection;
pub(crate) use drain::Drain;
pub(crate) use records::{FORCED, SIGNALED};
pub(crate) use shard::Parked;
pub(crate) use slot::Clock;
pub(crate) use state::Published;
pub(crate) use word::ALL_PLACES;
