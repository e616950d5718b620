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
