//! Listeners that wait for each other's addresses: they exchange them in one update, two or more in
//! a ring.
//!
//! Sockets and queues stay where they are; only their owners change, all in the same step. A
//! listener of the ring that cannot be taken keeps what it has, which refuses those that want it.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;

use super::Plan;
use super::sockets::Next;
use crate::set::decision::{Candidate, Wanted};
use crate::set::record::Asked;
use crate::{ListenerConfig, SocketKey, UpdateError};

/// Candidates that are not decided, each with the index of its step.
type Undecided<C> = Vec<(usize, Candidate<C>)>;

impl<C: ListenerConfig> Plan<'_, C> {
    /// Decides listeners of which each waits for another one.
    pub(super) fn exchange(
        &mut self,
        mut open: Undecided<C>,
        bind: &mut impl FnMut(&C, &Asked, Wanted<'_>) -> io::Result<()>,
    ) {
        loop {
            let before = open.len();
            open = self.refuse_what_stays_taken(open);
            if open.len() == before {
                open = self.refuse_what_cannot_be_built(open);
            }
            if open.len() == before {
                open = self.refuse_what_cannot_be_opened(open, bind);
            }
            if open.len() == before {
                break;
            }
        }
        for (index, candidate) in open {
            let name = Arc::clone(&self.steps[index].0);
            let step = self.take(&name, candidate);
            self.decided(index, Ok(step));
        }
    }

    /// Those stay that have their addresses if all others leave what they do not want any more.
    fn refuse_what_stays_taken(&mut self, open: Undecided<C>) -> Undecided<C> {
        let mut left: HashSet<SocketKey> = HashSet::new();
        for (index, candidate) in &open {
            let name = &self.steps[*index].0;
            left.extend(self.left_by(name, Next::of(&candidate.asked)).cloned());
        }
        let mut wanted: HashMap<SocketKey, Arc<str>> = HashMap::new();
        self.refuse(open, |plan, name, candidate| {
            let asked = &candidate.asked;
            for socket in &asked.sockets {
                let before = wanted.get(socket);
                let owner = plan.taken_by(name, socket);
                let stays = owner.filter(|owner| !owner.leaves || !left.contains(socket));
                if let Some(held_by) = before.or(stays.map(|owner| owner.by)) {
                    return Err(plan.conflict(name, asked, socket, held_by));
                }
            }
            let sockets = asked.sockets.iter().cloned();
            wanted.extend(sockets.map(|socket| (socket, Arc::clone(name))));
            Ok(())
        })
    }

    fn refuse_what_cannot_be_built(&mut self, open: Undecided<C>) -> Undecided<C> {
        self.refuse(open, |plan, name, candidate| plan.build(name, candidate))
    }

    /// If one cannot, nothing of the others stays open either.
    fn refuse_what_cannot_be_opened(
        &mut self,
        mut open: Undecided<C>,
        bind: &mut impl FnMut(&C, &Asked, Wanted<'_>) -> io::Result<()>,
    ) -> Undecided<C> {
        for at in 0..open.len() {
            let (index, candidate) = &open[at];
            let name = Arc::clone(&self.steps[*index].0);
            if let Err(error) = self.open(&name, candidate, bind) {
                for (_, opened) in &open[..at] {
                    self.close(opened, bind);
                }
                let (index, _) = open.remove(at);
                self.decided(index, Err(error));
                return open;
            }
        }
        open
    }

    /// Those stay that can be taken.
    fn refuse(
        &mut self,
        open: Undecided<C>,
        mut check: impl FnMut(&Self, &Arc<str>, &mut Candidate<C>) -> Result<(), UpdateError>,
    ) -> Undecided<C> {
        let mut stay = Vec::with_capacity(open.len());
        for (index, mut candidate) in open {
            match check(self, &self.steps[index].0, &mut candidate) {
                Ok(()) => stay.push((index, candidate)),
                Err(error) => self.decided(index, Err(error)),
            }
        }
        stay
    }
}
