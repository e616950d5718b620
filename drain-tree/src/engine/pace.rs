//! Which connections are signaled next, from above: which parts a sequence looks at. A part is one
//! node's share of the drain. To look at a part is to call its `Draining::advance(now)`, which
//! signals those of its connections whose slots have come (`drain-signal/src/engine/advance.rs`).
//!
//! A sequence looks at the parts that reported a change (a connection opened, another deadline),
//! and at every step of the pace at all parts with connections. At most 32 connections are woken or
//! 64 parts are looked at in a turn; then other tasks run.

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
    parts: Slab<Arc<Part>>,
    /// To be looked at now, out of turn.
    called: BTreeSet<usize>,
    /// How far the round that is under way has come.
    round: Option<usize>,
    /// When the next round is due.
    pub(crate) next: Option<Instant>,
    /// How many parts are being looked at right now, by all tasks.
    pub(crate) looking: usize,
    /// How often a part was looked at.
    #[cfg(test)]
    pub(crate) looks: usize,
}

/// One part of a batch.
pub(crate) type Look = (usize, Arc<Part>);

impl List {
    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    pub(crate) fn open_watches(&self) -> usize {
        let parts = self.parts.iter();
        parts
            .map(|(_, part)| part.draining.concerned_watches())
            .sum()
    }

    /// Adds the part, if it is unlisted. Whether it was.
    pub(crate) fn add(&mut self, part: &Arc<Part>) -> bool {
        match part.place() {
            Place::Released => false,
            Place::Listed(key) => {
                self.called.insert(key);
                false
            }
            Place::Unlisted => {
                let key = self.parts.insert(Arc::clone(part));
                part.set_place(Place::Listed(key));
                self.called.insert(key);
                true
            }
        }
    }

    /// Has a listed part looked at.
    pub(crate) fn call(&mut self, part: &Part) {
        if let Place::Listed(key) = part.place() {
            self.called.insert(key);
        }
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
        self.called.remove(&key);
        self.parts.remove(key);
        if self.parts.is_empty() {
            // What the most parts at a time took is given back.
            self.parts = Slab::new();
            self.next = None;
        }
        true
    }

    /// Takes all parts out.
    pub(crate) fn clear(&mut self, to: Place) -> Slab<Arc<Part>> {
        for (_, part) in &self.parts {
            part.set_place(to);
        }
        self.called.clear();
        (self.round, self.next) = (None, None);
        std::mem::take(&mut self.parts)
    }

    /// Whether there is something to look at.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        !self.called.is_empty() || self.is_round_due(now)
    }

    fn is_round_due(&self, now: Instant) -> bool {
        self.round.is_some() || self.next.is_some_and(|next| next <= now)
    }

    /// Which parts to look at now: first those that were called, then the next portion of the
    /// round, if one is due.
    pub(crate) fn take_batch(&mut self, now: Instant) -> Vec<Look> {
        let mut batch: Vec<Look> = vec![];
        let mut wakes = 0;
        let mut take = |key: usize, part: &Arc<Part>| {
            wakes += part.draining.open_watches();
            batch.push((key, Arc::clone(part)));
            wakes < WAKES && batch.len() < BATCH
        };
        let mut has_room = true;
        while has_room {
            let Some(key) = self.called.pop_first() else {
                break;
            };
            if let Some(part) = self.parts.get(key) {
                has_room = take(key, part);
            }
        }
        if has_room && self.round.is_none() && self.is_round_due(now) {
            // The parts say when the next one is due.
            self.next = None;
            self.round = Some(0);
        }
        while let (Some(key), true) = (self.round, has_room) {
            self.round = (key < self.parts.capacity()).then_some(key + 1);
            if let Some(part) = self.parts.get(key) {
                has_room = take(key, part);
            }
        }
        self.looking += batch.len();
        #[cfg(test)]
        {
            self.looks += batch.len();
        }
        batch
    }

    /// What came of a look at a part.
    pub(crate) fn put_back(&mut self, look: &Look, advance: Advance) {
        self.looking -= 1;
        let (key, part) = look;
        if part.place() != Place::Listed(*key) {
            return;
        }
        if advance.more {
            self.called.insert(*key);
        } else {
            self.next = [self.next, advance.next].into_iter().flatten().min();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

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
}
