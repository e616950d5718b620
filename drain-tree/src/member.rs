//! A node's part in a drain, and the protocol by which nodes without connections cost nothing.
//!
//! A drain's members are all nodes it covers; it looks only at those it *attends*: the ones that may have a watcher. The
//! first watcher of a node that is left alone makes its drains attend to it again:
//!
//! ```text
//!  who opens a watcher             who leaves a node alone (under the run's lock)
//!  1 count the watcher in          1 count the node as left alone
//!  2 fence                         2 fence
//!  3 is the node left alone?       3 is a watcher open?
//!    then ask its drains to attend   then take 1 back
//! ```
//!
//! Of the two looks at least one sees the other side's count, so no watcher is ever open at a node nobody attends. A drain
//! that begins at a node counts it as left alone before it publishes, and looks for watchers afterwards: the same pair.
//! Modelled in `tests/loom.rs`.

use std::ops::{Index, IndexMut};
use std::sync::{Arc, Weak};
use std::task::{Wake, Waker};

use drain_signal::Draining;

use crate::run::Run;
use crate::sync::{AtomicUsize, Ordering, fence};

/// How many of a node's drains do not attend to it.
#[derive(Debug)]
pub(crate) struct Unattended(AtomicUsize);

impl Unattended {
    pub(crate) fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    /// Whether there are any: a hint.
    pub(crate) fn any(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    /// Whether a drain of the node must be told of a watcher that was just opened. Pairs with [`is_open`].
    pub(crate) fn any_after_opening(&self) -> bool {
        fence(Ordering::SeqCst);
        self.any()
    }

    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn remove(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether a watcher is open at a node that was counted as left alone before. Pairs with
/// [`Unattended::any_after_opening`].
pub(crate) fn is_open(draining: &Draining) -> bool {
    fence(Ordering::SeqCst);
    draining.open_watches() > 0
}

/// A node's part in one run. All fields change under the run's lock only.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) draining: Draining,
    unattended: Arc<Unattended>,
    attended: bool,
    /// In the run's list of attended members; it leaves that list with the next round only.
    pub(crate) listed: bool,
    /// Already in the run's queue of those to look at.
    pub(crate) called: bool,
    waker: Option<Waker>,
}

impl Member {
    /// Not attended; `unattended` counts it already.
    pub(crate) const fn new(draining: Draining, unattended: Arc<Unattended>) -> Self {
        Self {
            draining,
            unattended,
            attended: false,
            listed: false,
            called: false,
            waker: None,
        }
    }

    pub(crate) const fn is_attended(&self) -> bool {
        self.attended
    }

    /// From now on its drain looks at it. Whether that is news.
    pub(crate) fn attend(&mut self) -> bool {
        if self.attended {
            return false;
        }
        self.attended = true;
        self.unattended.remove();
        true
    }

    /// Leaves the node alone if nobody is open there whom the drain concerns. Whether it is left alone now.
    pub(crate) fn leave_if_empty(&mut self, completed: bool) -> bool {
        if !self.attended || !completed && self.draining.open_watches() > 0 {
            return false;
        }
        self.unattended.add();
        if !completed && is_open(&self.draining) {
            self.unattended.remove();
            return false;
        }
        self.attended = false;
        true
    }

    /// What calls the run to look at member `index`.
    pub(crate) fn waker(&mut self, run: &Weak<Run>, index: usize) -> Waker {
        self.waker
            .get_or_insert_with(|| {
                Waker::from(Arc::new(Call {
                    run: Weak::clone(run),
                    index,
                }))
            })
            .clone()
    }
}

/// How many members a chunk holds.
const CHUNK: usize = 512;

/// All members of a run, in chunks: a list that grows by moving half a million members would hold its lock, and its
/// runtime, for that long.
#[derive(Debug, Default)]
pub(crate) struct Members {
    chunks: Vec<Vec<Member>>,
}

impl Members {
    pub(crate) fn len(&self) -> usize {
        let full = self.chunks.len().saturating_sub(1);
        full * CHUNK + self.chunks.last().map_or(0, Vec::len)
    }

    /// The place of the member that was added.
    pub(crate) fn push(&mut self, member: Member) -> usize {
        let index = self.len();
        if index % CHUNK == 0 {
            // Most drains are of a few nodes: only further chunks are made whole at once.
            self.chunks
                .push(Vec::with_capacity(if index == 0 { 1 } else { CHUNK }));
        }
        self.chunks[index / CHUNK].push(member);
        index
    }

    /// The members from `from` to the end of its chunk.
    pub(crate) fn chunk(&self, from: usize) -> &[Member] {
        let chunk = self.chunks.get(from / CHUNK);
        chunk.and_then(|chunk| chunk.get(from % CHUNK..)).unwrap_or(&[])
    }
}

impl Index<usize> for Members {
    type Output = Member;

    fn index(&self, index: usize) -> &Member {
        &self.chunks[index / CHUNK][index % CHUNK]
    }
}

impl IndexMut<usize> for Members {
    fn index_mut(&mut self, index: usize) -> &mut Member {
        &mut self.chunks[index / CHUNK][index % CHUNK]
    }
}

/// Wakes a run for one of its members.
struct Call {
    run: Weak<Run>,
    index: usize,
}

impl Wake for Call {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(run) = self.run.upgrade() {
            run.call(self.index);
        }
    }
}
