//! How drains run through the tree. Read this page before any file beside it.
//!
//! ```text
//!  Node ─┬─ DrainSignal            watches of its connections
//!        ├─ children (Slab<Weak<Node>>)
//!        └─ joined: each Sequence that reached it, with its Part ──────┐
//!                                                                      ▼
//!  DrainSequence (future) ─► Sequence ─┬─ members: the Part of each living node that it covers
//!                                      ├─ List: the parts with open watches, which are looked at
//!                                      └─ waiters: the tasks that poll it
//! ```
//!
//! # Invariants
//!
//! The code and the models cite these by number.
//!
//! **The tree**
//!
//! 1. A drain flows down only: a parent or a sibling never learns of it.
//! 2. A node's signal starts at most once. The first event wins; a later one can bring its deadline
//!    nearer, or widen it.
//! 3. What runs at a node runs at every node below it that it covers. A start marks all of them,
//!    parents first, before it returns. A child is added to its parent and reads what the parent
//!    has joined under one lock, which a start takes to join the parent and to read its children:
//!    so one of the two sees the other. Of a deadline that comes nearer the same holds: it is
//!    written before the children are read, and a child reads it after it was added.
//! 4. To mark a node twice does nothing more than once. A start that joins a sequence whose first
//!    walk is not finished therefore walks itself, and the promise of 3 holds for it too. Only a
//!    walk from the node that the sequence was started at says that all is marked: before that, no
//!    sequence is over. Who brings a deadline nearer meanwhile walks too, so that no node below
//!    joins with the old one afterwards.
//!
//! **Watches**
//!
//! 5. A sequence looks only at the parts in its list. The others are *unlisted*, which their node
//!    counts. No watch is open at an unlisted part for longer than its opening takes: see [`part`].
//! 6. A part leaves the list when its last watch is dropped, also if no task polls the sequence:
//!    the drop reports it.
//! 7. A sequence is over by one decision, under its lock, with no part listed or after the
//!    deadline. A watch opened at an unlisted part asks for that lock before it is given out:
//!    either it is listed before the decision, which is then not taken, or it finds the sequence
//!    over and is refused. No watch is refused by a drain that goes on.
//!
//! **Memory**
//!
//! 8. A sequence refers to living nodes and open watches only. A node that is dropped takes its
//!    part out of the members; a sequence that is over has neither members nor list, and takes none
//!    in.
//! 9. A node that is dropped takes itself out of its parent's children.
//!
//! **Locks and user code**
//!
//! 10. Lock order: a node, then a sequence, then what is inside drain-signal. No two nodes are
//!     locked at once, and no two sequences.
//! 11. No waker is cloned, woken or dropped, and no callback called or dropped, under a lock.
//!     Callbacks are called when the walk is finished: one that starts a drain, makes a child or
//!     panics finds all nodes marked. A panic of either ends there (`drain_sync::wake_each`): no
//!     walk, look or completion is left half done by it.

pub(crate) mod callbacks;
pub(crate) mod cascade;
mod completing;
mod ending;
pub(crate) mod node;
mod pace;
pub(crate) mod part;
pub(crate) mod sequence;

use std::time::{Duration, Instant};

/// `duration` after `instant`, or as near to that as can be expressed.
pub(crate) fn later(instant: Instant, duration: Duration) -> Instant {
    const YEARS: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
    let sum = instant.checked_add(duration);
    sum.or_else(|| instant.checked_add(YEARS))
        .unwrap_or(instant)
}
