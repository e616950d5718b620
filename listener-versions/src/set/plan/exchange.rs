//! Listeners that wait for each other's addresses: they exchange them in one update, two or more in
//! a ring.
//!
//! Sockets and queues stay where they are; only their owners change, all in the same step. A
//! listener of the ring that cannot be taken keeps what it has, which refuses those that want it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::sync::Arc;

use super::Plan;
use super::sockets::Next;
use super::turns::Turns;
use crate::set::decision::{Candidate, Wanted};
use crate::set::record::Asked;
use crate::{ListenerConfig, SocketKey, UpdateError};

/// Candidates that are not decided, each by the index of its step.
type Undecided<C> = BTreeMap<usize, Candidate<C>>;

/// What listeners give and take if all of them are taken.
struct Exchange {
    /// The sockets that one of them does not want any more.
    left: HashSet<SocketKey>,
    /// Which of them gets which socket: of several that want the same one, the first.
    wanted: HashMap<SocketKey, Arc<str>>,
}

impl<C: ListenerConfig> Plan<'_, C> {
    /// Decides listeners of which each waits for another one.
    pub(super) fn exchange(
        &mut self,
        mut open: Undecided<C>,
        mut turns: Turns,
        bind: &mut impl FnMut(&C, &Asked, Wanted<'_>) -> io::Result<()>,
    ) {
        let mut left = HashSet::new();
        for (index, candidate) in &open {
            let name = &self.steps[*index].0;
            left.extend(self.left_by(name, Next::of(&candidate.asked)).cloned());
        }
        let wanted = HashMap::new();
        let mut exchange = Exchange { left, wanted };
        turns.begin(open.keys().copied());
        loop {
            self.refuse_what_stays_taken(&mut open, &mut exchange, &mut turns);
            let before = open.len();
            turns.begin(None);
            self.refuse_what_cannot_be_built(&mut open, &mut turns);
            if open.len() == before {
                self.refuse_what_cannot_be_opened(&mut open, &mut turns, bind);
            }
            if open.len() == before {
                break;
            }
        }
        for (index, candidate) in open {
            let name = Arc::clone(&self.steps[index].0);
            let step = self.take(&name, candidate);
            self.decided(index, Ok(step), &mut turns);
        }
    }

    /// Those stay that have their addresses if all others leave what they do not want any more.
    fn refuse_what_stays_taken(
        &mut self,
        open: &mut Undecided<C>,
        exchange: &mut Exchange,
        turns: &mut Turns,
    ) {
        while let Some(index) = turns.next() {
            let Some(candidate) = open.get(&index) else {
                continue;
            };
            #[cfg(test)]
            {
                self.looks += 1;
            }
            if let Err(error) = self.has_all(index, &candidate.asked, exchange) {
                open.remove(&index);
                self.decided(index, Err(error), turns);
            }
        }
    }

    /// Whether a listener has its addresses in the exchange.
    fn has_all(
        &self,
        index: usize,
        asked: &Asked,
        exchange: &mut Exchange,
    ) -> Result<(), UpdateError> {
        let name = &self.steps[index].0;
        let Exchange { left, wanted } = exchange;
        for socket in &asked.sockets {
            let before = wanted.get(socket).filter(|before| *before != name);
            let owner = self.taken_by(name, socket);
            let stays = owner.filter(|owner| !owner.leaves || !left.contains(socket));
            if let Some(held_by) = before.or(stays.map(|owner| owner.by)) {
                return Err(self.conflict(name, asked, socket, held_by));
            }
        }
        let sockets = asked.sockets.iter().cloned();
        wanted.extend(sockets.map(|socket| (socket, Arc::clone(name))));
        Ok(())
    }

    fn refuse_what_cannot_be_built(&mut self, open: &mut Undecided<C>, turns: &mut Turns) {
        let indices: Vec<usize> = open.keys().copied().collect();
        for index in indices {
            let Some(candidate) = open.get_mut(&index) else {
                continue;
            };
            if let Err(error) = self.build(&self.steps[index].0, candidate) {
                open.remove(&index);
                self.decided(index, Err(error), turns);
            }
        }
    }

    /// If one cannot, nothing of the others stays open either.
    fn refuse_what_cannot_be_opened(
        &mut self,
        open: &mut Undecided<C>,
        turns: &mut Turns,
        bind: &mut impl FnMut(&C, &Asked, Wanted<'_>) -> io::Result<()>,
    ) {
        let mut refused = None;
        for (index, candidate) in &*open {
            let name = Arc::clone(&self.steps[*index].0);
            if let Err(error) = self.open(&name, candidate, bind) {
                refused = Some((*index, error));
                break;
            }
        }
        let Some((index, error)) = refused else {
            return;
        };
        for (_, opened) in open.range(..index) {
            self.close(opened, bind);
        }
        open.remove(&index);
        self.decided(index, Err(error), turns);
    }
}
