//! Which connections are signaled next, from above: which parts a sequence looks at. A part is one
//! node's share of the drain. To look at a part is to call its `Draining::advance(now)`, which
//! signals those of its connections whose slots have come (`drain-signal/src/engine/advance.rs`).
//!
//! A sequence looks at a part that reported a change (a connection opened, another deadline), and
//! else at the instant that its last look asked for: its next slot, tick or step. A look at one
//! part is none at the others, so that a part costs the same however many there are. At most 32
//! connections are woken or 64 parts are looked at in a turn; then other tasks run. A part that has
//! more to wake goes behind those whose time came before.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use drain_signal::Advance;
use slab::Slab;

use super::part::{Part, Place};

/// How many parts one turn looks at.
const BATCH: usize = 64;
/// How many connections one turn may wake before it stops, if more than one part is to be looked
/// at.
const WAKES: usize = 32;

/// The parts with open watches.
#[derive(Default)]
pub(crate) struct List {
    parts: Slab<Listed>,
    /// When to look at which part.
    due: BTreeSet<(Instant, usize)>,
    /// How many parts are being looked at right now, by all tasks.
    pub(crate) looking: usize,
    /// How often a part was looked at.
    #[cfg(test)]
    pub(crate) looks: usize,
}

pub(crate) struct Listed {
    part: Arc<Part>,
    /// As in [`List::due`]; `None` while it is looked at, or if nothing is to come.
    due: Option<Instant>,
}

/// One part of a batch.
pub(crate) type Look = (usize, Arc<Part>);

impl List {
    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Whether no watch is open: ends at the first part that has one.
    pub(crate) fn has_no_watches(&self) -> bool {
        self.parts.iter().all(|(_, listed)| listed.part.is_empty())
    }

    pub(crate) fn open_watches(&self) -> usize {
        let parts = self.parts.iter();
        parts
            .map(|(_, listed)| listed.part.draining.concerned_watches())
            .sum()
    }

    /// Adds the part, if it is unlisted, and has it looked at. Whether it was.
    pub(crate) fn add(&mut self, part: &Arc<Part>, now: Instant) -> bool {
        let is_new = part.place() == Place::Unlisted;
        if is_new {
            let part = Arc::clone(part);
            let entry = self.parts.vacant_entry();
            part.set_place(Place::Listed(entry.key()));
            entry.insert(Listed { part, due: None });
        }
        self.call(part, now);
        is_new
    }

    /// Has a listed part looked at, out of turn.
    pub(crate) fn call(&mut self, part: &Part, now: Instant) {
        if let Place::Listed(key) = part.place() {
            self.look_at(key, now);
        }
    }

    /// Has a part looked at then, unless it is to be looked at before.
    fn look_at(&mut self, key: usize, at: Instant) {
        let Some(listed) = self.parts.get_mut(key) else {
            return;
        };
        if listed.due.is_some_and(|due| due <= at) {
            return;
        }
        if let Some(later) = listed.due.replace(at) {
            self.due.remove(&(later, key));
        }
        self.due.insert((at, key));
    }

    /// Takes the part out if it is empty; see [`super::part`]. Whether it was.
    pub(crate) fn remove_if_empty(&mut self, part: &Part) -> bool {
        let place = part.place();
        let Place::Listed(key) = place else {
            return false;
        };
        part.set_place(Place::Unlisted);
        if !part.is_empty_unlisted() {
            part.set_place(place);
            return false;
        }
        if let Some(due) = self.parts.remove(key).due {
            self.due.remove(&(due, key));
        }
        if self.parts.is_empty() {
            // What the most parts at a time took is given back.
            self.parts = Slab::new();
        }
        true
    }

    /// Takes all parts out.
    pub(crate) fn clear(&mut self, to: Place) -> Slab<Listed> {
        for (_, listed) in &self.parts {
            listed.part.set_place(to);
        }
        self.due.clear();
        std::mem::take(&mut self.parts)
    }

    /// When a part is to be looked at next.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.due.first().map(|&(at, _)| at)
    }

    /// Whether there is something to look at.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.next().is_some_and(|next| next <= now)
    }

    /// Which parts to look at now: those whose time came first.
    pub(crate) fn take_batch(&mut self, now: Instant) -> Vec<Look> {
        let mut batch: Vec<Look> = vec![];
        let mut wakes = 0;
        while wakes < WAKES && batch.len() < BATCH && self.is_due(now) {
            let Some((_, key)) = self.due.pop_first() else {
                break;
            };
            if let Some(listed) = self.parts.get_mut(key) {
                listed.due = None;
                wakes += listed.part.draining.open_watches();
                batch.push((key, Arc::clone(&listed.part)));
            }
        }
        self.looking += batch.len();
        #[cfg(test)]
        {
            self.looks += batch.len();
        }
        batch
    }

    /// What came of a look at a part, as of `now`.
    pub(crate) fn put_back(&mut self, look: &Look, advance: Advance, now: Instant) {
        self.looking -= 1;
        let (key, part) = look;
        if part.place() != Place::Listed(*key) {
            return;
        }
        let next = if advance.more {
            Some(now)
        } else {
            advance.next
        };
        if let Some(next) = next {
            self.look_at(*key, next);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use drain_signal::{Phase, PhaseWait};

    use crate::{
        ChildOptions, DrainLength, DrainManager, DrainOutcome, DrainReason, DrainSequence,
        DrainSettings, DrainStart,
    };

    const START: DrainStart = DrainStart::new(DrainReason::HotRestart);

    /// `listeners` x 10 chains x 3 HTTP connection managers below a root; all nodes, the root last.
    fn tree(listeners: usize) -> Vec<DrainManager> {
        let child = |parent: &DrainManager| parent.child(ChildOptions::default());
        let settings = DrainSettings::default().with_length(DrainLength::Full);
        let root = DrainManager::root(settings);
        let mut nodes = vec![];
        for _ in 0..listeners {
            let listener = child(&root);
            for _ in 0..10 {
                let chain = child(&listener);
                nodes.extend((0..3).map(|_| child(&chain)));
                nodes.push(chain);
            }
            nodes.push(listener);
        }
        nodes.push(root);
        nodes
    }

    /// Drives a drain by hand from start to end.
    fn drive(sequence: &mut DrainSequence) -> DrainOutcome {
        let mut cx = Context::from_waker(Waker::noop());
        let mut now = sequence.event().start;
        loop {
            let mut next = None;
            match sequence.poll_at(now, &mut cx, &mut next) {
                Poll::Ready(outcome) => return outcome,
                Poll::Pending => now = next.unwrap_or(now),
            }
        }
    }

    /// Looks at parts during a whole drain of a tree with `connections` in listener nodes.
    fn looks(listeners: usize, connections: usize) -> usize {
        let nodes = tree(listeners);
        let watched = nodes.iter().rev().skip(1).step_by(41).take(connections);
        let watches: Result<Vec<_>, _> = watched.map(DrainManager::watch).collect();
        let Some(root) = nodes.last() else { return 0 };
        let mut sequence =
            root.start_drain_sequence_at(START, tokio::time::Instant::now().into_std());
        assert!(
            nodes.iter().all(DrainManager::is_draining),
            "when the start returns"
        );
        let outcome = drive(&mut sequence);
        assert_eq!(
            (outcome.left, watches.map(|watches| watches.len())),
            (connections, Ok(connections))
        );
        sequence.looks()
    }

    #[test]
    fn a_drain_looks_at_no_node_without_connections() {
        assert_eq!(looks(100, 0), 0);
    }

    #[test]
    fn what_pacing_costs_depends_on_the_connections_and_not_on_the_size_of_the_tree() {
        let (small, big) = (looks(30, 5), looks(300, 5));
        assert!(small > 5, "five connections are paced: {small}");
        assert_eq!(small, big);
        let twice = looks(30, 10);
        assert!(
            twice.abs_diff(2 * small) <= small / 10,
            "{small} looks for 5, {twice} for 10"
        );
    }

    /// Looks at parts during a whole drain of so many listeners, with a connection each that waits
    /// for its slot.
    fn looks_at_waiting(listeners: usize) -> usize {
        let root = DrainManager::root(DrainSettings::default());
        let nodes: Vec<_> = (0..listeners)
            .map(|_| root.child(ChildOptions::default()))
            .collect();
        let watches = nodes.iter().filter_map(|node| node.watch().ok());
        let mut waits: Vec<_> = watches.map(PhaseWait::new).collect();
        let mut cx = Context::from_waker(Waker::noop());
        for wait in &mut waits {
            assert!(wait.poll_phase(&mut cx, Phase::Open).is_pending());
        }
        let mut sequence =
            root.start_drain_sequence_at(START, tokio::time::Instant::now().into_std());
        assert_eq!(drive(&mut sequence).left, listeners);
        sequence.looks()
    }

    #[test]
    fn a_slot_at_one_node_is_no_look_at_the_others() {
        let (few, many) = (looks_at_waiting(20), looks_at_waiting(500));
        assert!(
            many / 500 <= few / 20 + 2,
            "{few} looks at 20 nodes, {many} at 500"
        );
    }
}
