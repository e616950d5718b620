//! Whom a run looks at next: those that called, and all attended members at every step of the pace.
//!
//! Between two steps nothing happens but what somebody asks for; a step looks at the members with connections and at
//! nobody else.

use std::sync::Weak;
use std::task::Waker;
use std::time::Instant;

use drain_signal::{Advance, DrainState, Draining};

use crate::run::{Run, State};

/// How many members one turn looks at.
const BATCH: usize = 64;
/// How many connections one turn may wake before it stops, if more than one member is to be looked at.
const WAKES: usize = 32;

/// One member of a batch.
pub(crate) struct Look {
    pub(crate) index: usize,
    draining: Draining,
    /// Set if it was called: it must be registered for the next change.
    waker: Option<Waker>,
}

impl Look {
    pub(crate) fn advance(&self, now: Instant) -> Advance {
        if let Some(waker) = &self.waker {
            // Registered before it is looked at, so that a last guard dropped in between is seen.
            self.draining.wake_on_change(waker);
        }
        self.draining.advance(now)
    }

    /// Completes a node where only those are left whom a drain of inbound listeners does not concern; they are counted
    /// among the open ones. A node completed by an earlier drain, whoever was left, is still waited for.
    pub(crate) fn complete_if_unconcerned(&self) -> bool {
        self.draining.open_watches() > 0
            && self.draining.signal().state() == DrainState::Draining
            && self.draining.complete_if_empty()
    }
}

impl State {
    pub(crate) fn call(&mut self, index: usize) {
        if self.outcome.is_none() && !self.members[index].called {
            self.members[index].called = true;
            self.calls.push(index);
        }
    }

    pub(crate) fn attend(&mut self, index: usize) {
        if self.members[index].attend() && self.outcome.is_none() {
            self.attended += 1;
            if !self.members[index].listed {
                self.members[index].listed = true;
                self.active.push(index);
            }
        }
        self.call(index);
    }

    /// How many connections are open in the run.
    pub(crate) fn open_watches(&self) -> usize {
        let active = self.active.iter().map(|&index| &self.members[index]);
        active
            .filter(|member| member.is_attended())
            .map(|member| member.draining.open_watches())
            .sum()
    }

    pub(crate) fn is_round_due(&self) -> bool {
        self.round.is_some() || self.next.is_some_and(|next| next <= self.now)
    }

    /// Whom to look at now: first those that called, then the next part of the round, if one is due.
    pub(crate) fn take_batch(&mut self, run: &Weak<Run>) -> Vec<Look> {
        let mut batch = vec![];
        let mut wakes = 0;
        while wakes < WAKES && batch.len() < BATCH {
            let Some(index) = self.calls.pop() else { break };
            let member = &mut self.members[index];
            member.called = false;
            wakes += member.draining.open_watches();
            batch.push(Look {
                index,
                draining: member.draining.clone(),
                waker: Some(member.waker(run, index)),
            });
        }
        if self.round.is_none() && self.is_round_due() {
            self.begin_round();
        }
        while let (Some(at), true) = (self.round, wakes < WAKES && batch.len() < BATCH) {
            let Some(&index) = self.active.get(at) else {
                self.round = None;
                break;
            };
            self.round = Some(at + 1);
            let member = &self.members[index];
            if member.is_attended() {
                wakes += member.draining.open_watches();
                batch.push(Look {
                    index,
                    draining: member.draining.clone(),
                    waker: None,
                });
            }
        }
        if self.round.is_some_and(|at| at >= self.active.len()) {
            self.round = None;
        }
        self.in_hand += batch.len();
        #[cfg(test)]
        {
            self.looks += batch.len();
        }
        batch
    }

    /// Those left alone since the last round leave the list; the others will say when the next one is due.
    fn begin_round(&mut self) {
        let members = &mut self.members;
        self.active.retain(|&index| {
            members[index].listed = members[index].is_attended();
            members[index].listed
        });
        self.next = None;
        self.round = Some(0);
    }

    /// What became of a look at a member; `completed` if its node was completed by it.
    pub(crate) fn put_back(&mut self, index: usize, advance: Advance, completed: bool) {
        if self.members[index].leave_if_empty(completed) {
            self.attended -= 1;
            return;
        }
        if advance.more {
            self.call(index);
        } else if self.members[index].is_attended() {
            self.next = [self.next, advance.next].into_iter().flatten().min();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    use crate::{
        ChildOptions, DrainLength, DrainManager, DrainOutcome, DrainReason, DrainSequence, DrainSettings,
        DrainStart, cascade,
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

    /// Drives a drain by hand from start to end; its outcome, and in how many polls.
    fn drive(sequence: &DrainSequence) -> (DrainOutcome, usize) {
        let mut cx = Context::from_waker(Waker::noop());
        let (mut now, mut polls) = (sequence.event().start, 0);
        loop {
            let mut next = None;
            polls += 1;
            match sequence.poll_at(now, &mut cx, &mut next) {
                Poll::Ready(outcome) => return (outcome, polls),
                Poll::Pending => now = next.unwrap_or(now),
            }
        }
    }

    /// Looks at members, and polls, of a whole drain of a tree with `connections` in listener nodes.
    fn cost(listeners: usize, connections: usize) -> (usize, usize) {
        let nodes = tree(listeners);
        let watched = nodes.iter().rev().skip(1).step_by(41).take(connections);
        let watches: Result<Vec<_>, _> = watched.map(DrainManager::watch).collect();
        let Some(root) = nodes.last() else { return (0, 0) };
        let sequence = root.start_drain_sequence_at(START, tokio::time::Instant::now().into_std());
        let (outcome, polls) = drive(&sequence);
        assert_eq!(
            (outcome.left, watches.map(|watches| watches.len())),
            (connections, Ok(connections))
        );
        assert!(nodes.iter().all(DrainManager::is_draining));
        (sequence.run().lock().looks, polls)
    }

    #[test]
    fn a_drain_looks_at_no_node_without_connections() {
        assert_eq!(cost(100, 0).0, 0);
    }

    #[test]
    fn what_pacing_costs_depends_on_the_connections_and_not_on_the_size_of_the_tree() {
        let (small, big) = (cost(30, 5).0, cost(300, 5).0);
        assert!(small > 5, "five connections are paced: {small}");
        assert_eq!(small, big);
        let twice = cost(30, 10).0;
        assert!(
            twice.abs_diff(2 * small) <= small / 10,
            "{small} looks for 5, {twice} for 10"
        );
    }

    #[test]
    fn a_start_tells_small_trees_at_once_and_big_ones_in_linear_time() {
        let small = tree(50);
        let start = small[2050].start_drain_sequence_at(START, tokio::time::Instant::now().into_std());
        assert!(small.iter().all(DrainManager::is_draining));
        assert_eq!(drive(&start).0.left, 0);
        // 4096 nodes at once and 128 a poll, then 512 a poll to complete them.
        let polls = |listeners: usize| {
            let nodes = 41 * listeners + 1;
            let expected = (nodes - cascade::AT_ONCE).div_ceil(cascade::A_POLL) + nodes.div_ceil(512);
            let (looks, polls) = cost(listeners, 0);
            assert_eq!(looks, 0);
            assert!(
                polls.abs_diff(expected) <= 6,
                "{polls} polls for {nodes} nodes, not {expected}"
            );
        };
        polls(200);
        polls(400);
    }

    #[test]
    fn a_dropped_sequence_has_told_everybody() {
        let nodes = tree(200);
        let root = nodes.last().cloned();
        let sequence =
            root.map(|root| root.start_drain_sequence_at(START, tokio::time::Instant::now().into_std()));
        assert!(
            !nodes.iter().all(DrainManager::is_draining),
            "too small a tree for this test"
        );
        drop(sequence);
        assert!(nodes.iter().all(DrainManager::is_draining));
    }

    #[test]
    fn a_deadline_brought_forward_while_nodes_are_told_holds_for_all() {
        let nodes = tree(200);
        let now = tokio::time::Instant::now().into_std();
        let sequences: Vec<_> = nodes
            .iter()
            .rev()
            .take(1)
            .map(|root| root.start_drain_sequence_at(START, now))
            .collect();
        let listeners: Vec<_> = nodes.iter().filter(|node| !node.is_draining()).take(1).collect();
        let near = now + Duration::from_secs(5);
        for node in nodes.iter().rev().take(1) {
            node.bring_forward(near);
        }
        assert!(
            sequences
                .iter()
                .all(|sequence| Arc::strong_count(sequence.run()) > 1)
        );
        drop(sequences);
        assert!(listeners.iter().all(|node| node.deadline() == Some(near)));
        assert!(nodes.iter().all(|node| node.deadline() == Some(near)));
    }
}
